"""What the sweeper does, one short transaction each. All of it may run twice or beside itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from debfleet import reports
from debfleet.config import Settings
from debfleet.db import endings, jobs, slots, sql
from debfleet.db.connect import Tx
from debfleet.errors import Quarantined
from debfleet.model import Ring

_q = sql.load("sweeps.sql")
WORKERS = "debfleet worker"  # what the connections of a worker's transactions are called
_ABANDONED_AFTER = 30  # leases that a transaction of a worker was idle: ten minutes
_SPLIT_AT = 2  # the so-manieth loss of a job's worker


def lead(tx: Tx, role: str, holder: UUID, seconds: float) -> bool:
    """Take or keep the lead for so long; false while another one has it."""
    values = {"role": role, "holder": holder, "lease": seconds}
    return tx.execute(_q["lead"], values).fetchone() is not None


def step_down(tx: Tx, role: str, holder: UUID) -> None:
    """Let another one lead at once."""
    tx.execute(_q["step_down"], {"role": role, "holder": holder})


def end_abandoned(tx: Tx, settings: Settings) -> int:
    """End the transactions of workers that were lost in the middle of one; how many there were."""
    wanted = {"name": WORKERS, "seconds": _ABANDONED_AFTER * settings.lease_seconds}
    return len(tx.execute(_q["end_abandoned"], wanted).fetchall())


@dataclass(frozen=True, slots=True)
class Lost:
    """What became of the jobs whose lease ran out."""

    again: int  # how many were queued again
    split: int  # how many were replaced by two
    ended: list[int]  # tasks that failed by a quarantined job
    kinds: list[str]  # of those jobs


def end_lost_leases(tx: Tx, settings: Settings) -> Lost:
    """Queue again the jobs whose lease ran out, split them, or quarantine them."""
    rows = tx.execute(_q["list_lost"], {"max_attempts": settings.max_attempts}).fetchall()
    ended, again, kinds, split = [], [], [], 0
    for row in rows:
        strikes = row["attempt"] - row["excused"]
        if strikes >= min(_SPLIT_AT, settings.max_attempts) and row["files"] > 1:
            split += _split(tx, row, strikes)
        elif strikes < settings.max_attempts:
            again.append(row["id"])
        elif _quarantine(tx, row):
            ended.append(row["task"])
            kinds.append(row["kind"])
    tx.execute(_q["requeue_lost"], {"jobs": again})
    for row in rows:
        if row["scope"] is not None:
            slots.drop(tx, row["scope"], [slots.holder(row["id"])])
    return Lost(len(again), split, ended, kinds)


def _split(tx: Tx, row: dict[str, Any], strikes: int) -> bool:
    """Replace a chunk by two of half the files; false: its task is over or planned anew.

    If one file takes its workers down, it stands alone in the end, and the others are stored. A
    half inherits all strikes but one: the next time it is halved again, and not when others die.
    """
    if not jobs.count_open(tx, row["task"], row["round"], 1):
        return False
    args = row["args"]
    chunk = {"task": row["task"], "opener": args["opener"], "chunk": args["chunk"]}
    made = tx.execute(_q["split_chunk"], chunk).fetchone()
    assert made is not None  # only this job stores its files, and we hold its row
    # A statement does not see what it has written itself: the moved ones are among those before.
    stays = made["files_before"] - made["files"]
    counted = args.get("counted", 0)  # in the report, whichever files they were
    halves = [
        args | {"files": stays, "counted": min(counted, stays)},
        args | {"chunk": made["chunk"], "files": made["files"], "counted": max(0, counted - stays)},
    ]
    tx.execute(_q["end_split"], {"job": row["id"]})
    values = {"job": row["id"], "attempt": strikes - 1, "args": [Jsonb(half) for half in halves]}
    tx.execute(_q["add_halves"], values)
    return True


def _quarantine(tx: Tx, row: dict[str, Any]) -> bool:
    args = ", ".join(f"{name} {value}" for name, value in row["args"].items())
    at = (row["place"] or args or "its start")[:300]
    last = (row["error"] or {}).get("reason", "")
    text = (
        f"[{Quarantined.code}] the {row['kind']} job {row['id']} took its worker down or hung "
        f"{row['attempt']} times and is not tried any more; it was at: {at}."
        f"{' Last: ' + last if last else ''}"
    )
    error = {"description": text, "traceback": ""}
    # Also our own row: the task's other jobs are canceled, this one with them.
    report = reports.OF_JOB.get(row["kind"])
    return endings.end_task(
        tx, row["task"], "failed", round=row["round"], error=error, failed_report=report
    )


def tidy_jobs(tx: Tx) -> int:
    """Cancel what lost its right while its row was locked; how many."""
    rows = tx.execute(_q["tidy_jobs"]).fetchall()
    for row in rows:
        if row["scope"] is not None:
            slots.drop(tx, row["scope"], [slots.holder(row["id"])])
    return len(rows)


def ring_again(tx: Tx, settings: Settings, *, anew: bool = False) -> list[Ring]:
    """Jobs that were rung, can run, and were not claimed for a pause that doubles each time.

    Args:
        anew: The broker was away: all of them, whenever they were rung.
    """
    rows = tx.execute(_q["ring_again"], {"pause": settings.ring_seconds, "anew": anew})
    return [Ring(row["id"], row["kind"]) for row in rows]


def list_unrung_tasks(tx: Tx, window: int) -> list[tuple[int, int]]:
    """Tasks and their rounds that have room in a window and a job for it."""
    rows = tx.execute(_q["list_unrung_tasks"], {"window": window})
    return [(row["task"], row["round"]) for row in rows]


def ring_task(tx: Tx, task: int, round: int, window: int) -> list[Ring]:
    """Fill a task's windows; nothing if somebody is at it right now."""
    key = {"task": task, "round": round}
    if tx.execute(_q["lock_task"], key).fetchone() is None:
        return []
    return jobs.ring_window(tx, task, round, window)


def list_unrung_scopes(tx: Tx) -> list[str]:
    """Scopes that jobs wait for."""
    return [row["scope"] for row in tx.execute(_q["list_unrung_scopes"])]


def list_ringing(tx: Tx, kinds: Sequence[str]) -> list[Ring]:
    """What was rung and waits, for somebody who begins to listen."""
    rows = tx.execute(_q["list_ringing"], {"kinds": list(kinds)})
    return [Ring(row["id"], row["kind"]) for row in rows]


def prune(tx: Tx) -> None:
    """Forget slots and processes that nobody has renewed for long, and the work of ended syncs."""
    for what in ("forget_files", "forget_units", "forget_indices"):
        tx.execute(_q[what])
    tx.execute(_q["prune_slots"])
    tx.execute(_q["prune_processes"])
