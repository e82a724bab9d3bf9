"""Copies: a version of one repository gives content to another, as sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from debfleet.db import sql, versions
from debfleet.db.connect import Tx
from debfleet.db.versions import NewVersion
from debfleet.errors import FinalError, NotFound
from debfleet.identity import UnitId

_Q = sql.load("copies.sql")


@dataclass(frozen=True, slots=True)
class Copy:
    """What goes where."""

    source: int  # repository
    number: int  # of its version
    target: int  # repository
    base_number: int | None  # of the target's version to start from; None: the latest
    units: Sequence[UnitId] | None  # None: everything


class NotInSource(FinalError):
    """Units were named that the source version does not hold."""

    def __init__(self, number: int, missing: int, named: int) -> None:
        super().__init__(
            f"{missing} of the {named} units to copy are not in version {number} of the source, "
            "or are files of upstream's own, which are not copied."
        )


def copy_content(tx: Tx, task: int, copy: Copy, *, structured: bool) -> NewVersion | None:
    """Make the target's next version; nothing if it would equal its latest.

    Args:
        structured: With the places of the packages, and what these need.

    Raises:
        NotInSource: A unit is not there.
        NotFound: A repository or version is gone.
        FinalError: As ``versions.modify``.
    """
    at: dict[str, Any] = {"source": copy.source, "number": copy.number}

    def fill(tx: Tx) -> None:
        if not versions.exists(tx, copy.source, copy.number):
            raise NotFound("repository version", copy.number)
        if copy.units is None:
            tx.execute(_Q["pick_all"], at)
        else:
            _pick(tx, at, copy)
        if structured:
            tx.execute(_Q["pick_structure"], at)
        tx.execute(_Q["want_picked"])
        tx.execute(_Q["forget_picked"])

    return versions.take_in(
        tx, repository=copy.target, task=task, fill=fill, base_number=copy.base_number
    )


def _pick(tx: Tx, at: dict[str, Any], copy: Copy) -> None:
    units = list(dict.fromkeys(copy.units or ()))
    columns = {
        "kinds": [int(unit.kind) for unit in units],
        "lists": [unit.list for unit in units],
        "units": [unit.id for unit in units],
    }
    tx.execute(_Q["pick_units"], at | columns)
    row = tx.execute(_Q["count_picked"]).fetchone()
    missing = len(units) - (row["count"] if row else 0)
    if missing:
        raise NotInSource(copy.number, missing, len(units))
