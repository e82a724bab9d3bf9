"""Files that need not be stored: a remote offers them, and they are fetched when asked for."""

from __future__ import annotations

from collections.abc import Sequence

from debfleet.db import sql
from debfleet.db.connect import Tx

_q = sql.load("reclaims.sql")


def doom_artifacts(
    tx: Tx,
    repositories: Sequence[int],
    kept: Sequence[tuple[int, int]],
    after: int,
    *,
    limit: int,
) -> tuple[int | None, int]:
    """Delete those of the next ``limit`` artifacts that can be had again, and doom their files.

    Call with the lock (``orphans.lock``).

    Args:
        repositories: What no other one holds.
        kept: Versions (repository, number) whose files stay.

    Returns:
        The id to go on after, None at the end; and how many were deleted.
    """
    row = tx.execute(
        _q["doom_artifacts"],
        {
            "repositories": list(repositories),
            "kept": [repository for repository, _ in kept],
            "numbers": [number for _, number in kept],
            "after": after,
            "limit": limit,
        },
    ).fetchone()
    assert row is not None
    return row["last"], row["count"]


def close_report(tx: Tx, task: int) -> None:
    """What was deleted is all there was to delete."""
    tx.execute(_q["close_report"], {"task": task})
