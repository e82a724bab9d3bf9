"""Jobs: the claim is the only right to work, and its attempt number fences every outcome.

The right holds as long as three facts do: the job is running under our attempt, its task is
running, and its task is in the job's round. ``hold`` checks them and keeps others from taking the
job over until the transaction ends; ``finish`` and the others check them again where they write.
A transaction that writes rows of the task (wanted indices, files, units) must therefore end in one
of them; one that only holds may leave content behind, which is true whoever found it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from debfleet.config import Settings
from debfleet.db import endings, slots, sql
from debfleet.db.connect import Tx
from debfleet.errors import LeaseLost
from debfleet.model import KINDS, Job, Ring

_q = sql.load("jobs.sql")


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that another job opens."""

    kind: str
    args: dict[str, Any] = field(default_factory=dict)
    scope: str | None = None  # remote:<id>: it needs slots of that remote


def claim(tx: Tx, job_id: int, process: UUID, settings: Settings) -> Job | None:
    """Lease a job, unless it is done, held, blocked, not due, or its slots are all taken.

    A job that waits for slots or for its host is taken off the bell: whoever frees them rings it.
    """
    row = tx.execute(
        _q["lock_job_to_claim"], {"job": job_id, "max_attempts": settings.max_attempts}
    ).fetchone()
    if row is None:
        return None
    if row["host"] is not None and (seconds := slots.closed_for(tx, row["host"])) > 0:
        tx.execute(_q["wait_unrung"], {"job": job_id, "seconds": seconds})
        return None
    if row["is_first"]:
        begun = tx.execute(_q["begin_task"], {"task": row["task"], "process": process}).fetchone()
        if begun is None:
            return None  # canceled between our look and now
    granted = 0
    if row["scope"] is not None:
        expected = 0
        if row["kind"] == "download":
            expected = slots.count_expected(tx, row["scope"], row["task"], job_id, process)
        granted = slots.take(
            tx,
            row["scope"],
            job_id,
            process,
            lease=settings.lease_seconds,
            want=_wanted_slots(row["kind"]),
            expected=expected,
        ).granted
        if granted == 0:
            slots.wait(tx, row["scope"], job_id, process, lease=settings.lease_seconds)
            tx.execute(_q["wait_unrung"], {"job": job_id, "seconds": 0})
            return None
        slots.stop_waiting(tx, row["scope"], process)
    leased = tx.execute(
        _q["lease_job"], {"job": job_id, "process": process, "lease": settings.lease_seconds}
    ).fetchone()
    assert leased is not None  # we hold the row's lock
    return _job(row, leased["attempt"], granted, settings)


def _wanted_slots(kind: str) -> int:
    """Plan fetches three files and index little more: what they cannot use is left to others."""
    return slots.ALL if kind == "download" else 3


def _job(row: dict[str, Any], attempt: int, granted: int, settings: Settings) -> Job:
    names = ("id", "task", "kind", "args", "round", "task_kind", "task_args", "task_uuid")
    return Job(
        **{name: row[name] for name in (*names, "logging_cid", "scope", "host", "age", "excused")},
        attempt=attempt,
        slots=granted,
        window=settings.window,
        plan_rounds=settings.plan_rounds,
    )


@dataclass(frozen=True, slots=True)
class Renewed:
    """A lease that goes on."""

    grant: slots.Grant | None  # None: the job needs no slots
    rings: list[Ring]  # who gets what this job gave back
    closed_for: float = 0.0  # seconds that the job's host is to be left alone


def renew(tx: Tx, job: Job, settings: Settings, in_use: int, process: UUID) -> Renewed:
    """Prolong a lease and its slots.

    Never waits for the job's row: if our own step is writing an outcome, nobody can take the job
    over anyway, because a claim skips a locked row.

    Raises:
        LeaseLost: The job is not ours any more.
    """
    key = {"job": job.id, "attempt": job.attempt}
    if tx.execute(_q["hold_job_at_once"], key).fetchone() is None:
        see(tx, job)
        return Renewed(None, [])
    tx.execute(_q["renew_lease"], {"job": job.id, "lease": settings.lease_seconds})
    if job.scope is None:
        return Renewed(None, [])
    grant = slots.take(
        tx,
        job.scope,
        job.id,
        process,
        lease=settings.lease_seconds,
        in_use=in_use,
        want=_wanted_slots(job.kind),
    )
    rings = slots.ring_scope(tx, job.scope, job.window) if grant.has_waiters else []
    closed = 0.0 if job.host is None else slots.closed_for(tx, job.host)
    return Renewed(grant, rings, closed)


def see(tx: Tx, job: Job) -> None:
    """Look whether the job is still ours; it may not be a moment later.

    Raises:
        LeaseLost: It is not.
    """
    key = {"job": job.id, "attempt": job.attempt}
    if tx.execute(_q["see_job"], key).fetchone() is None:
        raise LeaseLost(f"job {job.id}, attempt {job.attempt}")


def hold(tx: Tx, job: Job) -> None:
    """The fence: nobody takes the job over before this transaction ends.

    The first statement of each outcome.

    Raises:
        LeaseLost: Somebody did, or the task is over or planned anew: roll back, drop our result.
    """
    if tx.execute(_q["hold_job"], {"job": job.id, "attempt": job.attempt}).fetchone() is None:
        raise LeaseLost(f"job {job.id}, attempt {job.attempt}")


def add_jobs(tx: Tx, job: Job, new: Sequence[NewJob]) -> list[int]:
    """Open jobs of the same task and round; not rung before ``finish``.

    Holds the task's row to the end of the transaction: call it late.

    Raises:
        LeaseLost: The task is over or planned anew.
    """
    _count(tx, job, len(new))
    return _insert(tx, job, new)


def finish(
    tx: Tx, job: Job, opens: Sequence[NewJob] = (), then: NewJob | str | None = "assemble"
) -> list[Ring]:
    """End a job as done, open others, and mark as rung what may run next; ring after the commit.

    Args:
        then: The job that the last open job of the task opens, or its kind.

    Raises:
        LeaseLost: Nothing of this transaction may be kept.
    """
    hold(tx, job)
    left = _count(tx, job, len(opens) - 1)
    _insert(tx, job, opens)
    if left == 0 and then is not None:
        _count(tx, job, 1)
        _insert(tx, job, [NewJob(then) if isinstance(then, str) else then])
    tx.execute(_q["end_job"], {"job": job.id, "state": "done", "error": None})
    return _ring_next(tx, job)


def hand_over(tx: Tx, job: Job) -> list[Ring]:
    """Give a running job's slots to who comes next: it needs none for what is left of it.

    Raises:
        LeaseLost: It is not ours any more.
    """
    hold(tx, job)
    return _ring_scopes(tx, job, set())


def put_off(tx: Tx, job: Job, seconds: float, reason: str, *, counted: bool = False) -> list[Ring]:
    """Give a job up for some time; the sweep rings it when it is due.

    Args:
        counted: It failed, and the attempt counts towards quarantine. Else something outside made
            it wait, and it may do so as often as it must.

    Raises:
        LeaseLost: It was not ours any more.
    """
    hold(tx, job)
    _requeue(tx, job, seconds, {"reason": reason}, excused=not counted)
    return _ring_next(tx, job)


def give_back(tx: Tx, job: Job) -> list[Ring]:
    """Hand a job to somebody else, because this process stops.

    Raises:
        LeaseLost: It was not ours any more.
    """
    hold(tx, job)
    _requeue(tx, job, 0, {"reason": "the worker stopped"}, excused=True)
    return _ring_next(tx, job)


def replan(tx: Tx, job: Job, error: BaseException) -> list[Ring]:
    """Upstream changed under the sync: drop what it decided, keep what it stored, plan again.

    Beyond the allowed rounds the task fails with ``error``.

    Raises:
        LeaseLost: Another job of the task was first, or it is over.
    """
    hold(tx, job)
    if job.round >= job.plan_rounds:
        code = getattr(error, "code", "PLP0000")
        text = f"[{code}] {error} (planned {job.round} times, upstream changed each time)"
        failure = {"description": text, "traceback": ""}
        if not endings.end_task(tx, job.task, "failed", round=job.round, job=job.id, error=failure):
            raise LeaseLost(f"job {job.id}: its task is over")
        return _end_job(tx, job, "failed", failure)
    row = tx.execute(_q["begin_round"], {"task": job.task, "round": job.round}).fetchone()
    if row is None:
        raise LeaseLost(f"job {job.id}: its task is over or planned anew")
    endings.cancel_others(tx, job.task, job.id)
    endings.forget_round(tx, job.task)
    rings = _end_job(tx, job, "canceled", {"reason": str(error)})
    _insert(tx, job, [NewJob("plan", scope=job.scope)], round=row["round"])
    return rings + ring_window(tx, job.task, row["round"], job.window)


def end(tx: Tx, job: Job, state: str, error: dict[str, Any] | None = None) -> list[Ring]:
    """End a job whose task has just ended, and free its slots."""
    return _end_job(tx, job, state, error)


def _end_job(tx: Tx, job: Job, state: str, error: dict[str, Any] | None) -> list[Ring]:
    shown = None if error is None else Jsonb(error)
    tx.execute(_q["end_job"], {"job": job.id, "state": state, "error": shown})
    return _ring_scopes(tx, job, set())


def _requeue(tx: Tx, job: Job, seconds: float, error: dict[str, Any], *, excused: bool) -> None:
    values = {
        "job": job.id,
        "seconds": seconds,
        "error": Jsonb(error),
        "excused": int(excused),
    }
    tx.execute(_q["requeue_job"], values)


def _count(tx: Tx, job: Job, change: int) -> int:
    left = count_open(tx, job.task, job.round, change)
    if left is None:
        raise LeaseLost(f"job {job.id}: its task is over or planned anew")
    return left


def count_open(tx: Tx, task: int, round: int, change: int) -> int | None:
    """So many more jobs of a task are open: how many now; nothing if it is over or planned anew.

    Holds the task's row to the end of the transaction.
    """
    values = {"task": task, "round": round, "change": change}
    row = tx.execute(_q["count_open_jobs"], values).fetchone()
    return None if row is None else int(row["open_jobs"])


def _insert(tx: Tx, job: Job, new: Sequence[NewJob], *, round: int | None = None) -> list[int]:
    if not new:
        return []
    if scopes := {n.scope for n in new if n.scope is not None}:
        slots.set_limits(tx, sorted(scopes))
    values = {
        "task": job.task,
        "round": round or job.round,
        "kinds": [n.kind for n in new],
        "args": [Jsonb(n.args) for n in new],
        "scopes": [n.scope for n in new],
    }
    return [row["id"] for row in tx.execute(_q["add_jobs"], values)]


def ring_window(tx: Tx, task: int, round: int, window: int) -> list[Ring]:
    """Mark as rung the next jobs of a task that need no slots, as its windows have room."""
    values = {"task": task, "round": round, "window": window, "kinds": list(KINDS)}
    return [Ring(row["id"], row["kind"]) for row in tx.execute(_q["ring_window"], values)]


def _ring_next(tx: Tx, job: Job) -> list[Ring]:
    """Who may run now that this job has left its place in the window and its slots."""
    rings = ring_window(tx, job.task, job.round, job.window)
    row = tx.execute(_q["find_waiting_scope"], {"task": job.task}).fetchone()
    return rings + _ring_scopes(tx, job, set() if row is None else {row["scope"]})


def _ring_scopes(tx: Tx, job: Job, scopes: set[str]) -> list[Ring]:
    rings = []
    for scope in sorted(scopes | ({job.scope} if job.scope is not None else set())):
        slots.lock(tx, scope)
        if scope == job.scope:
            slots.leave(tx, scope, job.id)
        rings += slots.ring_scope(tx, scope, job.window)
    return rings
