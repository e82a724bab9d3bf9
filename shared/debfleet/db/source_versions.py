"""Which source packages a version that is being put together may hold beside each other.

The rules are those of packages (``versions``), by name and version. The functions work on the
temporary tables of ``versions``, between its statements.
"""

from __future__ import annotations

from typing import Any

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.errors import ContentOverwrite, DuplicateSources, PathClash

_Q = sql.load("source_versions.sql")


def create_tables(tx: Tx) -> None:
    """Once for each version that is put together, before all else."""
    tx.execute(_Q["create_tables"])


def drop_tables(tx: Tx) -> None:
    """At its end."""
    tx.execute(_Q["drop_tables"])


def replace_sources(tx: Tx, *, mirror: bool, overwrite: bool) -> int:
    """Check the source packages new to this repository; mask those of the base that they replace.

    Raises:
        DuplicateSources: Two different ones of one name and version are wanted.
        ContentOverwrite: One would be replaced, and ``overwrite`` is false.
    """
    if not tx.execute(_Q["fill_fresh"]).rowcount:
        return 0
    tx.execute(_Q["analyze_fresh"])
    _refuse(tx, "find_duplicates")
    if not tx.execute(_Q["fill_rivals"]).rowcount:
        return 0
    _refuse(tx, "find_clashes")
    if mirror:
        return 0  # base goes away whole
    row = _one(tx, "get_replaced")
    if row["count"] and not overwrite:
        raise ContentOverwrite(
            f"Content overwrite rejected: it would replace the source packages "
            f"{', '.join(row['examples'])}"
            f"{' and others' if row['count'] > len(row['examples']) else ''}."
        )
    tx.execute(_Q["mask_rivals"])
    return int(row["count"])


def refuse_path_clashes(tx: Tx) -> None:
    """Of the files of source packages; when the result is known.

    Raises:
        PathClash: Two different ones would lie at one path.
    """
    row = _one(tx, "find_path_clashes")
    if row["count"]:
        raise PathClash(row["examples"], row["count"])


def _refuse(tx: Tx, query: str) -> None:
    row = _one(tx, query)
    if row["count"]:
        raise DuplicateSources(row["examples"], row["count"])


def _one(tx: Tx, query: str) -> dict[str, Any]:
    row = tx.execute(_Q[query]).fetchone()
    assert row is not None
    return row
