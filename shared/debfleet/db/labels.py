"""Labels of content units: written here, read with the units (``db.contents``).

They are no part of a unit: whoever looks at it, through whatever repository, sees the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from debfleet.db import contents, sql
from debfleet.db.connect import Tx
from debfleet.db.units import lock_content
from debfleet.errors import NotFound
from debfleet.identity import UnitId

_q = sql.load("labels.sql")


def set_label(tx: Tx, unit: UnitId, key: str, value: str | None) -> None:
    """Give a unit one label more, or another value of it.

    Raises:
        NotFound: There is no such unit.
    """
    _hold(tx, unit)
    tx.execute(_q["set_label"], {**_named(unit), "key": key, "value": value})


def unset_label(tx: Tx, unit: UnitId, key: str) -> str | None:
    """Take one label away; the value it had.

    Raises:
        NotFound: The label is not set.
    """
    row = tx.execute(_q["find_labels"], _named(unit)).fetchone()
    if row is None or key not in row["labels"]:
        raise NotFound("label", key)
    value: str | None = row["labels"].pop(key)
    if row["labels"]:
        replace_labels(tx, unit, row["labels"])
    else:
        tx.execute(_q["delete_labels"], {"list": row["list"], "unit": unit.id})
    return value


def replace_labels(tx: Tx, unit: UnitId, labels: Mapping[str, str | None]) -> None:
    """Give a unit, which this transaction keeps from cleanup, these labels and no others."""
    assert labels
    tx.execute(_q["replace_labels"], {**_named(unit), "labels": Jsonb(dict(labels))})


def forget_links(tx: Tx) -> None:
    """Delete the labels of links that are gone; those of other units go with their rows."""
    tx.execute(_q["forget_links"])


def _hold(tx: Tx, unit: UnitId) -> None:
    """Keep cleanup away until this transaction ends."""
    lock_content(tx)
    if unit not in contents.list_known(tx, [unit]):
        raise NotFound("content unit", unit.id)


def _named(unit: UnitId) -> dict[str, Any]:
    return {"kind": int(unit.kind), "list": unit.list, "unit": unit.id}
