"""Generic content: files that no index of packages names, as those of the installer.

Their lists (SHA256SUMS) tell no sizes. What upstream says when it is asked is kept as a hint; what
is stored has the size that it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from debfleet.db import sql, units
from debfleet.db.connect import Tx
from debfleet.errors import PathClash

_Q = sql.load("generics.sql")


@dataclass(frozen=True, slots=True)
class GenericFile:
    """One file of a list."""

    path: str  # below the remote's URL
    sha256: bytes
    size: int | None = None  # None: not known


def list_sizes(tx: Tx, digests: Sequence[bytes]) -> dict[bytes, int]:
    """By digest, the sizes of those files for which somebody told it."""
    rows = tx.execute(_Q["list_sizes"], {"sha256s": list(digests)})
    return {row["sha256"]: row["size"] for row in rows}


def profile(path: str) -> bytes:
    """What tells two readings of the same list apart: its files lie beside it."""
    return b"installer:" + path.encode("utf-8", "surrogateescape")


def ingest_list(tx: Tx, sha256: bytes, path: str, files: Sequence[GenericFile]) -> units.Ingested:
    """Record the files of a list and the set of them; a list that is known is returned as it is.

    As ``units.ingest_index`` in all else.

    Args:
        sha256: Of the list.
        path: Where it lies, below the remote's URL.
    """
    units.lock_index(tx, sha256)
    units.lock_content(tx)
    columns = _columns(files)
    tx.execute(_Q["add_generics"], columns)
    tx.execute(_Q["touch_generics"], columns)
    known = units.get_ingested(tx, sha256, profile(path))
    if known is not None:
        return known
    index = units.add_index(tx, sha256, profile(path), len(files))
    tx.execute(_Q["add_chunks"], {**columns, "index": index})
    return units.Ingested(index, len(files), len(files), len(files), [])


def list_missing_files(tx: Tx, task: int, positions: Sequence[int], *, everything: bool) -> int:
    """Note files of some wanted lists that are not stored, for the task to fetch; how many.

    Without ``everything`` only those whose size is not known.
    """
    values = {"task": task, "positions": list(positions), "everything": everything}
    return tx.execute(_Q["list_missing_files"], values).rowcount


def note_sizes(tx: Tx, task: int) -> None:
    """Take over the sizes of what a task's lists name and the store has."""
    tx.execute(_Q["note_sizes"], {"task": task})


def drop_refused(tx: Tx, task: int) -> None:
    """While a version is put together: leave out what upstream did not give."""
    tx.execute(_Q["drop_refused"], {"task": task})


def mask_replaced(tx: Tx) -> int:
    """While a version is put together: those of the base whose path a wanted one takes; chunks."""
    return tx.execute(_Q["mask_replaced"]).rowcount


def refuse_path_clashes(tx: Tx) -> None:
    """When a version is put together.

    Raises:
        PathClash: Two different files would lie at one path.
    """
    row: Mapping[str, Any] | None = tx.execute(_Q["find_path_clashes"]).fetchone()
    if row is not None and row["count"]:
        raise PathClash(row["examples"], row["count"])


def _columns(files: Sequence[GenericFile]) -> dict[str, list[Any]]:
    return {
        "paths": [f.path for f in files],
        "sha256s": [f.sha256 for f in files],
        "sizes": [f.size for f in files],
    }
