"""What an upstream sees of the whole fleet: requests at once, requests a second, and pauses.

Slots of a scope (``remote:<id>``) are leased by working jobs, a number to each, renewed with the
job's lease. Nothing is taken away while it is in use; who wants in waits with a row of its own, and
the others shrink to their share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.model import Ring

_q = sql.load("slots.sql")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a job holds of its scope's slots."""

    granted: int  # it may not run more requests than this at once
    share: int  # above it, it should start none, so that others get theirs
    has_waiters: bool


_WAITER = "waits:"  # before the id of a process that holds none

ALL = 1 << 30  # slots wanted: as many as there are


def take(
    tx: Tx,
    scope: str,
    job: int,
    process: UUID,
    *,
    lease: float,
    in_use: int = 0,
    want: int = ALL,
    expected: int = 0,
) -> Grant:
    """Take or renew a job's slots; ``granted`` may be 0 at first, then nothing is held.

    Args:
        want: More than it can use are left to others.
        in_use: Requests that run at this moment: they are never given away.
        expected: Workers that will want some in a moment.
    """
    lock(tx, scope)
    row = tx.execute(
        _q["take_slots"],
        {
            "scope": scope,
            "holder": holder(job),
            "waiter": _waiter(process),
            "lease": lease,
            "in_use": in_use,
            "want": want,
            "expected": expected,
        },
    ).fetchone()
    if row is None:  # no such limit: nobody set one, so nothing is limited
        return Grant(1, 1, False)
    return Grant(row["granted"], row["share"], row["has_waiters"])


def count_expected(tx: Tx, scope: str, task: int, job: int, process: UUID) -> int:
    """The workers that a task's first downloads are to be shared with, but for this one."""
    lock(tx, scope)
    values = {"scope": scope, "task": task, "job": job, "process": process}
    row = tx.execute(_q["count_expected"], values).fetchone()
    return 0 if row is None else int(row["workers"])


def wait(tx: Tx, scope: str, job: int, process: UUID, *, lease: float) -> None:
    """Let the holders see at their next renewal that this process waits."""
    drop(tx, scope, [holder(job)])
    tx.execute(_q["wait_for_slots"], {"scope": scope, "waiter": _waiter(process), "lease": lease})


def stop_waiting(tx: Tx, scope: str, process: UUID) -> None:
    """It got slots."""
    drop(tx, scope, [_waiter(process)])


def leave(tx: Tx, scope: str, job: int) -> None:
    """A job's slots go back; its process, if it comes for the next download, keeps its place."""
    drop(tx, scope, [holder(job)])
    tx.execute(_q["keep_place"], {"job": job, "waiter_prefix": _WAITER})


def drop(tx: Tx, scope: str, holders: Sequence[str]) -> None:
    """Give slots back; ``ring_scope`` then rings who may have them."""
    tx.execute(_q["drop_slots"], {"scope": scope, "holders": list(holders)})


def lock(tx: Tx, scope: str) -> None:
    """From here to the end of the transaction nobody else changes who holds what."""
    tx.execute(_q["lock_limit"], {"scope": scope})


def ring_scope(tx: Tx, scope: str, window: int) -> list[Ring]:
    """Mark as rung the next jobs that free slots would let run; ring them after the commit."""
    lock(tx, scope)
    rows = tx.execute(_q["ring_scope"], {"scope": scope, "window": window})
    return [Ring(row["id"], row["kind"]) for row in rows]


def set_limits(tx: Tx, scopes: Sequence[str]) -> None:
    """Read the limits of these scopes anew from their remotes."""
    tx.execute(_q["set_limits"], {"scopes": list(scopes)})


def set_rate(tx: Tx, scope: str, rate: float) -> None:
    """Requests a second by this scope, over the whole fleet."""
    tx.execute(_q["set_rate"], {"scope": scope, "rate": rate})


def take_turns(tx: Tx, scope: str, requests: int) -> float:
    """Reserve so many requests in the scope's rate; seconds until they may be made."""
    row = tx.execute(_q["take_turns"], {"scope": scope, "requests": requests}).fetchone()
    return 0.0 if row is None else float(row["seconds"])


def close_host(tx: Tx, host: str, seconds: float) -> None:
    """The host said 'later': nobody asks it until then."""
    tx.execute(_q["close_gate"], {"host": host, "seconds": seconds})


def closed_for(tx: Tx, host: str) -> float:
    """Seconds until the host may be asked again; 0 where it may."""
    row = tx.execute(_q["closed_for"], {"host": host}).fetchone()
    return 0.0 if row is None else max(0.0, float(row["seconds"]))


def host_of(url: str) -> str:
    """The gate of a URL's host; jobs.sql (add_jobs) makes the same."""
    return "host:" + urlsplit(url).netloc.rpartition("@")[2].lower()


def scope_of(remote: int) -> str:
    """The scope of a remote's slots and rate."""
    return f"remote:{remote}"


def holder(job: int) -> str:
    """How slot_leases names a working job."""
    return str(job)


def _waiter(process: UUID) -> str:
    return f"{_WAITER}{process}"
