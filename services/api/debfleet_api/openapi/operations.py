"""What a route says of itself for the OpenAPI document, beside its path and verb.

The decorator only leaves an :class:`Operation` on the view; ``document.py`` finds it through the
app's own table of routes, so that a path or a verb is never written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from debfleet.db.connect import Tx
from debfleet_api.filters import Condition, Filter
from debfleet_api.shapes.base import AsyncOperation

View = TypeVar("View", bound=Callable[..., Any])
Schema = Mapping[str, Any]

NO_TX = cast(Tx, None)
"""For tables of filters that touch the transaction only when a filter is used."""


@dataclass(frozen=True, slots=True)
class Paged:
    """The envelope around one page of these."""

    of: type[BaseModel]


Answer = type[BaseModel] | Paged | None
"""What an answer holds; None: nothing."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list can be asked for: the tables that its route reads the query with."""

    filters: Mapping[str, Filter]
    orderings: Mapping[str, Condition] = field(default_factory=dict)
    extra: Mapping[str, Schema] = field(default_factory=dict)  # read by the route itself
    is_bare: bool = False  # takes no q and no ordering


@dataclass(frozen=True, slots=True)
class Operation:
    """One verb of one path."""

    of: str  # the resource, as repositories/deb/apt: with the action the operationId, and the tag
    action: str  # list, create, read, update, partial_update, delete, or a verb of its own
    answers: Mapping[int, Answer]  # by status; those of errors are the same everywhere
    body: type[BaseModel] | None = None  # with a title, which is its name in the document
    listing: Callable[[], Listing] | None = None
    values: Mapping[str, str] = field(default_factory=dict)  # for variables of a path of many
    id: str = ""  # where Pulp's is not made of resource and action
    is_open: bool = False  # answers without a login
    headers: tuple[str, ...] = ()  # of the request, that the route reads itself
    type: str = "application/json"  # of its answers


STARTED: Mapping[int, Answer] = {202: AsyncOperation}
"""The answers of what starts a task."""


def changed(shape: type[BaseModel]) -> Mapping[int, Answer]:
    """The answers of an update: at once where nothing changes, else a task."""
    return {200: shape, 202: AsyncOperation}


def operation(
    of: str,
    action: str,
    answers: Mapping[int, Answer],
    *,
    body: type[BaseModel] | None = None,
    listing: Callable[[], Listing] | None = None,
    id: str = "",
    is_open: bool = False,
    headers: tuple[str, ...] = (),
    type: str = "application/json",
) -> Callable[[View], View]:
    """Say what the one operation of a view is; stands beneath the blueprint's own decorator."""
    made = Operation(
        of, action, answers, body, listing,
        id=id, is_open=is_open, headers=headers, type=type,
    )  # fmt: skip
    return operations([made])


def operations(found: Iterable[Operation]) -> Callable[[View], View]:
    """Say what a view does that serves several resources: one operation for each."""
    kept = tuple(found)

    def mark(view: View) -> View:
        view.__dict__["operations"] = kept
        return view

    return mark


def operations_of(view: Callable[..., Any]) -> tuple[Operation, ...]:
    """What a view said of itself; nothing where it said nothing."""
    found: tuple[Operation, ...] = getattr(view, "operations", ())
    return found
