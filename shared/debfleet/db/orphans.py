"""What nobody holds any more goes: ingested indices, units, artifacts, files, in this order.

An index's set of bits counts as a holder of its units, so its row goes first; a unit names its
files, so it goes before them.

**Beside running syncs.** Every batch here is a short transaction that holds the content lock
exclusively (``units.lock_content``). Whoever relies on rows that others made takes it shared from
before the first look to the commit: plan (which units and indices are there), index (which
packages), assemble and modify (which bits are set), and whoever records artifacts. So a batch sees
either all of such a transaction or nothing of it, and what it deletes is missed by none.

**The file and its row.** A file is stored without any lock (it takes minutes), and its row comes
later. Were the file of a deleted row simply deleted, this could happen: we delete the row; a sync
finds no row, stores the file anew; we delete the file; the sync writes its row, which lies. Hence
three rules:

1. Nobody stores a file before a *claim* on its digest was committed, under the content lock:
   ``task_files``, ``wanted_indices.files``, or ``claim_files`` below. A claim holds as long as its
   task is not over.
2. Deleting a row of ``artifacts`` leaves one in ``doomed_files``, in the same transaction.
3. Files are deleted while the content lock is held exclusively, and only those doomed ones that
   have neither a row nor a claim. A sync that wants the file either claimed it before, and we leave
   it, or claims it after us, and stores it anew.

If we die between 2 and 3, the next cleanup goes on from ``doomed_files``. Claims that end without
a row are doomed too (a trigger): a worker may have died, or been canceled, between file and row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql as compose

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.db.contents import SHARED_TABLE, TABLES
from debfleet.db.units import lock_content
from debfleet.model import Job, Kind

_q = sql.load("orphans.sql")

KINDS = (
    Kind.PACKAGE_INDEX,
    Kind.SOURCE_INDEX,
    Kind.INSTALLER_FILE_INDEX,
    Kind.RELEASE_FILE,
    Kind.RELEASE,
    Kind.RELEASE_ARCHITECTURE,
    Kind.RELEASE_COMPONENT,
    Kind.PACKAGE,
    Kind.SOURCE_PACKAGE,
    Kind.INSTALLER_PACKAGE,
    Kind.GENERIC,
)
"""Every kind that has rows; links are bits, and go with their last version."""


def lock(tx: Tx, patience_seconds: float | None) -> None:
    """Take the content lock for one batch; the first statement of its transaction.

    While we wait, every sync that wants to write something down waits behind us. So a batch gives
    up after a moment and comes again, unless ``patience_seconds`` is None.

    Raises:
        psycopg.errors.LockNotAvailable: The patience is over.
    """
    if patience_seconds is not None:
        milliseconds = compose.Literal(f"{int(patience_seconds * 1000)}ms")
        tx.execute(compose.SQL("set local lock_timeout = {}").format(milliseconds))
    lock_content(tx, exclusive=True)
    tx.execute("set local lock_timeout = 0")


def delete_indices(tx: Tx, *, minutes: int, limit: int = 100) -> int:
    """Delete ingested indices that are free, with their sets and offers; how many.

    Call with the lock, again until it deletes less than ``limit``.
    """
    return tx.execute(_q["delete_indices"], {"minutes": minutes, "limit": limit}).rowcount


def list_dead_chunks(tx: Tx, kind: Kind) -> list[int]:
    """Chunks of ids that hold units without a bit; without the lock."""
    query = _composed("list_dead_chunks", kind, mine=_mine(kind))
    return [row["chunk"] for row in tx.execute(query)]


def delete_units(
    tx: Tx, kind: Kind, chunks: Sequence[int], *, minutes: int, ids: Sequence[int] | None = None
) -> int:
    """Delete the free units of a few chunks, or those of them in ``ids``; how many.

    Call with the lock.
    """
    also = [_mine(kind)]
    if kind in (Kind.PACKAGE_INDEX, Kind.SOURCE_INDEX, Kind.INSTALLER_FILE_INDEX):
        number = compose.Literal(int(kind))
        also.append(compose.SQL(_q["is_no_task_s_index"]).format(kind=number))
    if kind == Kind.RELEASE_COMPONENT:
        also.append(compose.SQL(_q["has_no_links"]))
    if ids is not None:
        also.append(compose.SQL(_q["is_one_of"]).format(ids=compose.Literal(list(ids))))
    query = _composed(
        "delete_units",
        kind,
        chunks=compose.Literal(list(chunks)),
        minutes=compose.Literal(minutes),
        also=compose.SQL(" and ").join(also),
    )
    return tx.execute(query).rowcount


def doom_artifacts(
    tx: Tx, after: int, *, minutes: int, limit: int = 2000
) -> tuple[int | None, int]:
    """Delete the free ones of the next ``limit`` artifacts, and doom their files.

    Call with the lock.

    Returns:
        The id to go on after, None at the end; and how many were deleted.
    """
    row = tx.execute(
        _q["doom_artifacts"], {"after": after, "minutes": minutes, "limit": limit}
    ).fetchone()
    assert row is not None
    return row["last"], row["count"]


def list_doomed_files(tx: Tx, after: bytes, *, limit: int) -> tuple[list[bytes], bytes | None]:
    """Digests of files to delete from the store now, in this transaction, with the lock.

    Args:
        after: Only digests behind this one are looked at, so many of them.

    Returns:
        The digests, and the last one that was looked at: where to go on; None: there are no more.
    """
    rows = tx.execute(_q["list_next_doomed"], {"after": after, "limit": limit})
    found = [bytes(row["sha256"]) for row in rows]
    tx.execute(_q["forgive_files"], {"digests": found})
    doomed = tx.execute(_q["list_doomed_files"], {"digests": found})
    return [bytes(row["sha256"]) for row in doomed], found[-1] if found else None


def forget_doomed_files(tx: Tx, digests: Sequence[bytes]) -> None:
    """They are deleted."""
    tx.execute(_q["forget_doomed_files"], {"digests": list(digests)})


def claim_files(tx: Tx, job: Job, files: Sequence[tuple[bytes, int, str]]) -> None:
    """Say that a sync's job is about to store files (digest, size, path) of its own finding.

    For what no other claim names: a plan's Release files. Commit before storing the first.
    """
    lock_content(tx)
    tx.execute(
        _q["claim_files"],
        {
            "task": job.task,
            "job": job.id,
            "digests": [f[0] for f in files],
            "sizes": [f[1] for f in files],
            "paths": [f[2] for f in files],
        },
    )


def close_reports(tx: Tx, task: int) -> None:
    """What was deleted is all there was to delete."""
    tx.execute(_q["close_reports"], {"task": task})


def _mine(kind: Kind) -> compose.Composable:
    """Of the table's rows those of this kind."""
    if kind not in SHARED_TABLE:
        return compose.SQL("true")
    return compose.SQL(_q["is_of_kind"]).format(kind=compose.Literal(int(kind)))


def _composed(name: str, kind: Kind, **parts: Any) -> compose.Composed:
    return compose.SQL(_q[name]).format(
        table=compose.Identifier(TABLES[kind]), kind=compose.Literal(int(kind)), **parts
    )
