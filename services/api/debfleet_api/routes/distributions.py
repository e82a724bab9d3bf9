"""Distributions: base paths, and what is served there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Annotated, Any
from uuid import UUID, uuid4

from flask import Blueprint, Response
from psycopg import sql
from pydantic import BeforeValidator, Field

from debfleet.changes import Change
from debfleet.db import distributions, holdings
from debfleet.db.access import GUARD_MODELS
from debfleet.db.connect import Tx
from debfleet.db.distributions import DISTRIBUTION_COLUMNS, TARGETS, targets
from debfleet.model import DISTRIBUTION, prn
from debfleet_api import asks
from debfleet_api.answers import answer, chosen_fields
from debfleet_api.bodies import (
    Body,
    Flag,
    Labels,
    Name,
    read_body,
    read_text,
    refuse,
)
from debfleet_api.errors import field_errors
from debfleet_api.filters import (
    Condition,
    Filter,
    flag,
    identity_filters,
    list_page,
    literal,
    read_ref,
    read_selection,
    text_filters,
    type_filters,
    words,
)
from debfleet_api.hrefs import REPOSITORY, href, version_href, wire_time
from debfleet_api.label_filter import label_filter
from debfleet_api.openapi.operations import NO_TX, STARTED, Listing, Paged, changed, operation
from debfleet_api.paging import page_answer, read_page
from debfleet_api.permissions import visible
from debfleet_api.references import (
    find_guard,
    find_publication,
    find_repository,
    find_version,
    read_units,
)
from debfleet_api.routes.objects import Objects, add_object_routes
from debfleet_api.routes.publications import MODELS
from debfleet_api.shapes.serving import BaseDistribution, Distribution
from debfleet_api.state import api

blueprint = Blueprint("distributions", __name__)

_RESOURCE = "distributions/deb/apt"
_PATH = f"/{_RESOURCE}/"
_TYPES = type_filters("deb.apt-distribution")
_READ_ONLY = frozenset(
    {"pulp_href", "prn", "pulp_created", "pulp_last_updated", "base_url", "content_guard_prn",
     "no_content_change_since"}
)  # fmt: skip
_WIRE = {"labels": "pulp_labels", "version": "repository_version"}  # where a column differs


def read_base_path(value: Any) -> str:
    """A path in its one form: no empty part, no ``.`` or ``..``, nothing that ends it in a URL."""
    path = read_text(value, 512)
    parts = path.split("/")
    if re.search(r"[\s?#%\\\x00-\x1f\x7f]", path) or {"", ".", ".."} & set(parts):
        refuse(f"Relative path is not in canonical form. {path}")
    return path


class DistributionBody(Body, title="deb.AptDistribution"):
    """What a client may send."""

    name: Name
    base_path: Annotated[str, BeforeValidator(read_base_path)]
    pulp_labels: Labels = Field(default_factory=dict)
    repository: Annotated[UUID | None, BeforeValidator(find_repository)] = None
    repository_version: Annotated[UUID | None, BeforeValidator(find_version)] = None
    publication: Annotated[UUID | None, BeforeValidator(find_publication)] = None
    content_guard: Annotated[UUID | None, BeforeValidator(find_guard)] = None
    hidden: Flag = False
    checkpoint: Flag = False


@blueprint.get("/distributions/")
@operation(
    "distributions", "list", {200: Paged(BaseDistribution)}, listing=lambda: _listing(_TYPES)
)
def list_all_distributions() -> Response:
    """One page of distributions of all types: there is one."""
    return _page(_TYPES, _render_base)


@blueprint.get(_PATH)
@operation(_RESOURCE, "list", {200: Paged(Distribution)}, listing=lambda: _listing({}))
def list_distributions() -> Response:
    """One page of distributions."""
    return _page({}, render_distribution)


@blueprint.post(_PATH)
@operation(_RESOURCE, "create", STARTED, body=DistributionBody)
def add_distribution() -> Response:
    """202 and a task that has made it already."""
    values = _columns(dict(read_body(DistributionBody, read_only=_READ_ONLY)))
    _check_targets(values)
    _check_checkpoint(values)
    return asks.change(Change("distributions", "create", uuid4(), values))


@blueprint.get(f"{_PATH}<key>/")
@operation(_RESOURCE, "read", {200: Distribution})
def read_distribution(key: str) -> Response:
    """One distribution."""
    return answer(chosen_fields(render_distribution(_row(key))))


@blueprint.put(f"{_PATH}<key>/")
@operation(_RESOURCE, "update", changed(Distribution), body=DistributionBody)
def replace_distribution(key: str) -> Response:
    """As a PATCH that names the required fields; ``hidden`` and ``checkpoint`` go back."""
    row = _row(key)
    body = read_body(DistributionBody, read_only=_READ_ONLY)
    return _change(row, {"hidden": False, "checkpoint": False} | body.given())


@blueprint.patch(f"{_PATH}<key>/")
@operation(_RESOURCE, "partial_update", changed(Distribution), body=DistributionBody)
def update_distribution(key: str) -> Response:
    """200 if nothing would change, else 202 and a task; what is served is switched at once."""
    row = _row(key)
    return _change(row, read_body(DistributionBody, partial=True, read_only=_READ_ONLY).given())


def render_distribution(row: Mapping[str, Any]) -> dict[str, Any]:
    """A distribution as clients know it."""
    repository, publication = row["repository_uuid"], row["publication_uuid"]
    version, number = row["version_repository_uuid"], row["version_number"]
    updated, guard = wire_time(row["updated"]), row["content_guard"]
    is_fixed = publication is not None or version is not None
    return {
        "pulp_href": href(DISTRIBUTION, row["uuid"]),
        "prn": prn(DISTRIBUTION, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": updated,
        "base_path": row["base_path"],
        "base_url": f"{api().settings.content_origin.rstrip('/')}/pulp/content/{row['base_path']}/",
        "content_guard": None if guard is None else href(GUARD_MODELS[row["guard_kind"]], guard),
        "content_guard_prn": None if guard is None else prn(GUARD_MODELS[row["guard_kind"]], guard),
        "no_content_change_since": updated if is_fixed else None,
        "hidden": row["hidden"],
        "pulp_labels": row["labels"],
        "name": row["name"],
        "repository": None if repository is None else href(REPOSITORY, repository),
        "repository_version": None if version is None else version_href(version, number),
        "publication": (
            None if publication is None else href(MODELS[row["publication_kind"]], publication)
        ),
        "checkpoint": row["checkpoint"],
    }


def _render_base(row: Mapping[str, Any]) -> dict[str, Any]:
    """What distributions of every type have."""
    whole = render_distribution(row)
    return {n: v for n, v in whole.items() if n not in ("publication", "checkpoint")}


_SELECTED = sql.SQL(
    "d.id, d.uuid, d.name, d.base_path, d.labels, d.hidden, d.checkpoint, d.created, d.updated,"
    " d.content_guard, g.kind AS guard_kind,"
    " r.uuid AS repository_uuid, vr.uuid AS version_repository_uuid, d.version_number,"
    " p.uuid AS publication_uuid, p.kind AS publication_kind"
)
_SOURCE = sql.SQL(
    "distributions d LEFT JOIN repositories r ON r.id = d.repository"
    " LEFT JOIN repositories vr ON vr.id = d.version_repository"
    " LEFT JOIN publications p ON p.id = d.publication"
    " LEFT JOIN content_guards g ON g.uuid = d.content_guard"
)
_PLAIN = ("name", "base_path", "hidden", "checkpoint")
_BASE_PATH = ("base_path", "base_path__contains", "base_path__icontains", "base_path__in")
_ORDERINGS: dict[str, Condition] = {
    **{c: sql.Identifier("d", c) for c in _PLAIN},
    "pulp_type": sql.SQL("1 + 0"),  # there is one
    "pulp_labels": sql.Identifier("d", "labels"),
    "pulp_created": sql.Identifier("d", "created"),
    "pulp_last_updated": sql.Identifier("d", "updated"),
    "pulp_id": sql.Identifier("d", "uuid"),
    "pk": sql.Identifier("d", "uuid"),
}


def _page(
    more: Mapping[str, Filter], render: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Response:
    page = read_page()
    with api().db.transaction() as tx:
        filters = {**_filters(tx), **more}
        selection = read_selection(filters, _ORDERINGS, sql.SQL("d.id DESC"))
        selection = selection.narrowed(visible(tx, DISTRIBUTION, sql.Identifier("d", "uuid")))
        count, rows = list_page(tx, _SELECTED, _SOURCE, selection, page)
    return page_answer(page, count, [render(r) for r in rows])


def _listing(more: Mapping[str, Filter]) -> Listing:
    return Listing({**_filters(NO_TX), **more}, _ORDERINGS)


def _filters(tx: Tx) -> dict[str, Filter]:
    path = text_filters("base_path", sql.Identifier("d", "base_path"))

    def of_repository(value: str) -> Condition:
        ids = [str(read_ref(w, REPOSITORY).uuid) for w in words(value)]
        return sql.SQL("r.uuid = ANY({}::uuid[])").format(literal(ids))

    def holding(value: str) -> Condition:
        """What it serves now is in a version that holds one of the units."""
        places = holdings.find_versions(tx, read_units(tx, words(value)))
        if not places:
            return sql.SQL("false")
        pairs = [sql.SQL("({}, {})").format(literal(r), literal(n)) for r, n in places]
        return sql.SQL(
            "d.id IN (SELECT s.distribution FROM served s JOIN publications q"
            " ON q.id = s.publication WHERE s.until IS NULL AND (q.repository, q.number) IN ({}))"
        ).format(sql.SQL(", ").join(pairs))

    return {
        **text_filters("name", sql.Identifier("d", "name")),
        **{name: path[name] for name in _BASE_PATH},
        **identity_filters(DISTRIBUTION, sql.Identifier("d", "uuid")),
        "pulp_label_select": label_filter(sql.Identifier("d", "labels")),
        "repository": of_repository,
        "repository__in": of_repository,
        "checkpoint": flag(sql.Identifier("d", "checkpoint")),
        "with_content": holding,
    }


def _row(key: str) -> Mapping[str, Any]:
    return _OBJECTS.row(key)


def _find_row(uuid: UUID) -> dict[str, Any] | None:
    with api().db.single() as tx:
        return distributions.find_distribution_row(tx, uuid)


_OBJECTS = Objects(_PATH, "distributions", "AptDistribution", _find_row)
add_object_routes(blueprint, _OBJECTS)


def _columns(given: Mapping[str, Any]) -> dict[str, Any]:
    return {c: given[w] for c in DISTRIBUTION_COLUMNS if (w := _WIRE.get(c, c)) in given}


def _change(row: Mapping[str, Any], given: Mapping[str, Any]) -> Response:
    held = {**row, **targets(row)}
    changed = {c: v for c, v in _columns(given).items() if v != held[c]}
    if not changed:
        return answer(render_distribution(row))
    _check_targets(held | changed)
    if changed.keys() & {"checkpoint", *TARGETS}:  # its repository may have been deleted
        _check_checkpoint(held | changed)
    return asks.change(Change("distributions", "update", row["uuid"], changed))


def _check_targets(values: Mapping[str, Any]) -> None:
    for one, other in combinations(("repository", "version", "publication"), 2):
        if values[one] is not None and values[other] is not None:
            names = f"'{_WIRE.get(one, one)}' and '{_WIRE.get(other, other)}'"
            text = f"Only one of the attributes {names} may be used simultaneously."
            raise field_errors({"non_field_errors": [text]})


def _check_checkpoint(values: Mapping[str, Any]) -> None:
    if values["checkpoint"] and values["repository"] is None:
        text = "The 'checkpoint' attribute may only be used with the 'repository' attribute."
        raise field_errors({"checkpoint": [text]})
