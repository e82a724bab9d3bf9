"""Fetches of the content service: where a file can be had, and who of several processes gets it.

The file and its row: the file is stored first, without a claim as syncs have it (``db.orphans``),
and ``record`` looks again under the content lock. Either it is there, and no cleanup has it on its
list from then on, or it was deleted meanwhile, and there is no row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.db.units import add_artifacts, lock_content

_q = sql.load("fetches.sql")


@dataclass(frozen=True, slots=True)
class Source:
    """A remote that offers a file."""

    remote: int
    path: str  # below the remote's URL
    policy: str
    is_alternate: bool  # tried before the remote whose policy counts


def list_sources(tx: Tx, sha256: bytes, size: int, unseen_in: int | None = None) -> list[Source]:
    """Where a file can be had, the best first.

    Args:
        unseen_in: A repository that has yet to see the file.
    """
    values = {"sha256": sha256, "size": size, "unseen_in": unseen_in}
    rows = tx.execute(_q["list_sources"], values)
    return [Source(**row) for row in rows]


def is_stored(tx: Tx, sha256: bytes) -> bool:
    """Has another process stored it?"""
    row = tx.execute(_q["is_stored"], {"sha256": sha256}).fetchone()
    return row is not None and bool(row["is_stored"])


def claim(tx: Tx, sha256: bytes, holder: UUID, seconds: float) -> bool:
    """Take or renew the right to fetch a file for all processes; false: another one has it."""
    values = {"sha256": sha256, "holder": holder, "seconds": seconds}
    return tx.execute(_q["claim_fetch"], values).fetchone() is not None


def end(tx: Tx, sha256: bytes, holder: UUID) -> None:
    """Give the right back."""
    tx.execute(_q["end_fetch"], {"sha256": sha256, "holder": holder})


def announce(tx: Tx, sha256: bytes) -> None:
    """Say that a file is about to be stored; committed before it is."""
    tx.execute(_q["doom_file"], {"sha256": sha256})


def record(tx: Tx, sha256: bytes, size: int, is_there: Callable[[], bool]) -> bool:
    """Say that a file is stored, durably; false: it was deleted meanwhile.

    Args:
        is_there: Looks into the store.
    """
    lock_content(tx)
    if not is_there():
        return False
    add_artifacts(tx, [(sha256, size)])
    return True


def note_size(tx: Tx, sha256: bytes, size: int) -> None:
    """A file that came, and is right, has another size than upstream had said."""
    tx.execute(_q["note_size"], {"sha256": sha256, "size": size})


def refuse(tx: Tx, sha256: bytes, remote: int, seconds: float) -> None:
    """A remote gave wrong bytes: do not ask it for this file for so long."""
    tx.execute(_q["forget_refusals"])
    tx.execute(_q["refuse_source"], {"sha256": sha256, "remote": remote, "seconds": seconds})
