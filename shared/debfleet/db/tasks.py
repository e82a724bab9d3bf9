"""Tasks: asked for in one transaction, started when nothing older is in the way, ended once.

A task that finds its resources free may start in the transaction that asks for it: askers of one
resource come one after the other, so nothing older can still appear. Where something is in the way,
``start`` looks again in a transaction after the commit.

After the commit of an ending call ``start_waiting`` in a new transaction: looked for in the
ending's own, a task that was asked for at the same moment is missed by both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from debfleet import locks, reports
from debfleet.db import endings, jobs, slots, sql
from debfleet.db.connect import Tx
from debfleet.errors import LeaseLost, NotFound
from debfleet.model import Job, Ring, Tolerance

_q = sql.load("tasks.sql")
_WINDOW = 16  # of a task whose settings are not at hand: who rings too few is helped by the sweep


@dataclass(frozen=True, slots=True)
class NewTask:
    """What somebody asks for."""

    kind: str  # sync, modify, …: what the worker runs
    name: str  # Pulp's dotted name
    args: dict[str, Any] = field(default_factory=dict)
    exclusive: Sequence[str] = ()  # PRNs
    shared: Sequence[str] = ()  # PRNs
    logging_cid: str = ""
    created_by: int | None = None
    idempotency_key: str | None = None
    idempotency_request: str | None = None  # digest of what came with the key, as far as it has one
    job_kind: str | None = None  # of its first job; none: plan for a sync, else chore
    scope: str | None = None  # of its first job: remote:<id>, whose slots it needs
    reports: Sequence[tuple[str, str]] = ()  # code and message, shown from the start


@dataclass(frozen=True, slots=True)
class Asked:
    """A task that exists now."""

    id: int
    uuid: UUID
    is_new: bool  # false: an earlier request with the same idempotency key made it
    rings: tuple[Ring, ...] = ()  # it was started at once: its first job, to ring after the commit


def ask(tx: Tx, new: NewTask, *, at_once: bool = False) -> Asked:
    """Make a task with its claims and its first job.

    Args:
        at_once: Start it in this same transaction where nothing is in its way; after the commit
            ring its ``rings``. Where something is (and without ``at_once``) call ``start`` then.
    """
    if new.idempotency_key is not None:
        found = find_asked(tx, new.idempotency_key)
        if found is not None:
            return found
    resources, flags = locks.claimable(new.exclusive, new.shared)
    kind = new.job_kind or ("plan" if new.kind == "sync" else "chore")
    values = _values(new) | {
        "resources": resources,
        "exclusive": flags,
        "at_once": at_once,
        "job_kind": kind,
        "scope": new.scope,
        "codes": [code for code, _ in new.reports],
        "messages": [message for _, message in new.reports],
    }
    # Two statements in one round trip, and one transaction also where none was begun: what a
    # pipeline sends is committed, and its advisory locks end, with its end.
    with tx.pipeline():
        locks.take_turn(tx, new.exclusive, new.shared)
        added = tx.execute(_q["add_task"], values)
    row = added.fetchone()
    assert row is not None
    rings = () if row["started"] is None else (Ring(row["started"], kind),)
    return Asked(row["id"], row["uuid"], True, rings)


def add_done(tx: Tx, new: NewTask, created: Sequence[str] = (), result: Any = None) -> Asked:
    """Store a change that was made in this same transaction as a completed task.

    Only after ``locks.take_turn`` and ``locks.are_free`` for the same resources.
    """
    values = _values(new)
    values |= {"created": list(created), "result": None if result is None else Jsonb(result)}
    row = tx.execute(_q["add_done_task"], values).fetchone()
    assert row is not None
    return Asked(row["id"], row["uuid"], True)


def find_asked(tx: Tx, key: str) -> Asked | None:
    """The task that an earlier request with this idempotency key made; then nobody else makes one.

    A key older than a day makes a new task.
    """
    tx.execute(_q["lock_key"], {"key": key})
    row = tx.execute(_q["find_by_key"], {"key": key}).fetchone()
    if row is not None:
        return Asked(row["id"], row["uuid"], False)
    tx.execute(_q["forget_key"], {"key": key})
    return None


def is_same_request(tx: Tx, asked: Asked, new: NewTask) -> bool:
    """Whether the task that a key led to was asked for with the request that leads there now."""
    held = tx.execute(_q["get_request"], {"task": asked.id}).fetchone()
    if held is None:
        return False
    if held["request"] is not None and new.idempotency_request is not None:
        return bool(held["request"] == new.idempotency_request)
    # A form, or a task of the version before: but what is created gets an id of its own each time.
    if new.args.get("action") == "create":
        held["args"]["uuid"] = new.args["uuid"]
    return bool(held["kind"] == new.kind and held["args"] == new.args)


def _values(new: NewTask) -> dict[str, Any]:
    return {
        "kind": new.kind,
        "name": new.name,
        "args": Jsonb(new.args),
        "reserved": locks.reserved(new.exclusive, new.shared),
        "logging_cid": new.logging_cid,
        "created_by": new.created_by,
        "key": new.idempotency_key,
        "request": new.idempotency_request,
    }


def start(tx: Tx, task: int) -> list[Ring]:
    """Let a task run if nothing older is in its way; ring its job after the commit.

    In a transaction of its own, after the one that asked: see ``start_waiting``.
    """
    if tx.execute(_q["start_task"], {"task": task}).fetchone() is None:
        return []
    rows = tx.execute(_q["ring_first"], {"task": task})
    return [Ring(row["id"], row["kind"]) for row in rows]


def start_waiting(tx: Tx, ended: int) -> list[Ring]:
    """After the commit of a task's end: start who waited for its resources, ring for its slots.

    Nothing if the task goes on.
    """
    row = tx.execute(_q["find_ended"], {"task": ended}).fetchone()
    if row is None:
        return []
    rings: list[Ring] = []
    resources = locks.resources_of(row["reserved"])
    for waiting in tx.execute(_q["list_next"], {"resources": resources}).fetchall():
        rings += start(tx, waiting["task"])
    for scope in endings.list_scopes(tx, ended):
        rings += slots.ring_scope(tx, scope, _WINDOW)
    return rings


def start_all(tx: Tx) -> list[Ring]:
    """Start every waiting task that may: the net below ``start`` and ``start_waiting``."""
    rings: list[Ring] = []
    for row in tx.execute(_q["list_startable"]).fetchall():
        rings += start(tx, row["id"])
    return rings


def complete(tx: Tx, job: Job, created: Sequence[str] = (), result: Any = None) -> None:
    """End the task, with its last job, as completed.

    Args:
        created: PRNs of what it made.

    Raises:
        LeaseLost: It was canceled, or the job is somebody else's: roll back.
    """
    _end(tx, job, "completed", "done", created=created, result=result)


def note_made(tx: Tx, job: Job, created: Sequence[str], result: Any) -> None:
    """Say what a task made that goes on with another job; only after ``jobs.hold``."""
    values = {"task": job.task, "created": list(created)}
    tx.execute(_q["note_made"], values | {"result": None if result is None else Jsonb(result)})


def fail(tx: Tx, job: Job, error: Mapping[str, Any], report_code: str | None = None) -> None:
    """End the task as failed, and all its jobs.

    Args:
        error: As the API shows it: {"description": "[CODE] text", "traceback": ""}.
        report_code: The progress report of the step that failed; the others become canceled.

    Raises:
        LeaseLost: It was over already, or the job is somebody else's.
    """
    _end(tx, job, "failed", "failed", error=dict(error), failed_report=report_code)


def _end(tx: Tx, job: Job, state: str, job_state: str, **how: Any) -> None:
    jobs.hold(tx, job)
    if not endings.end_task(tx, job.task, state, round=job.round, job=job.id, **how):
        raise LeaseLost(f"job {job.id}: its task is over or planned anew")
    jobs.end(tx, job, job_state, how.get("error"))


def cancel(tx: Tx, uuid: UUID) -> Literal["canceled", "final"]:
    """End a task at once, whatever its jobs are doing: none of them can change anything any more.

    After the commit call ``start_waiting``.

    Raises:
        NotFound: There is no such task.
    """
    row = tx.execute(_q["find_by_uuid"], {"uuid": uuid}).fetchone()
    if row is None:
        raise NotFound("task", uuid)
    return "canceled" if endings.end_task(tx, row["id"], "canceled") else "final"


def add_progress(
    tx: Tx,
    task: int,
    code: str,
    message: str,
    done: int = 1,
    total: int | None = None,
    subject: str = "",
    state: str | None = None,
) -> None:
    """Count on in a progress report, made if there is none.

    Holds the task's row to the end of the transaction: call it late, shortly before ``finish``.

    Args:
        done: So many more.
        total: The new total; none: as it was.
        subject: Tells apart the reports of one code.
        state: The new state; none: as it was.
    """
    values = {
        "task": task,
        "code": code,
        "message": message,
        "done": done,
        "total": total,
        "subject": subject,
        "state": state,
    }
    tx.execute(_q["add_progress"], values)


def count_files(tx: Tx, job: Job, done: int, *, at_once: bool = False) -> bool:
    """Say how many of a download job's files are dealt with; each is counted once in the report.

    What earlier attempts of the job counted is remembered with it. In the caller's outcome it comes
    after ``jobs.hold``; with ``at_once`` it is one of its own, which waits for nobody.

    Returns:
        Whether it was said: with ``at_once`` somebody else may be writing just now.
    """
    values = {"task": job.task, "job": job.id, "attempt": job.attempt, "done": done}
    if at_once and tx.execute(_q["hold_to_count"], values).fetchone() is None:
        return False
    row = tx.execute(_q["count_files"], values).fetchone()
    if row is not None and row["more"]:
        add_progress(tx, job.task, *reports.DOWNLOADS, done=row["more"])
    return True


def add_tolerances(
    tx: Tx, task: int, items: Sequence[Tolerance], counts: Mapping[str, int]
) -> None:
    """Report what was listed and left out.

    Args:
        items: Examples; of each reason the task's first 1,000 are kept.
        counts: By reason, how many there were in all.
    """
    for reason in sorted(counts):
        if counts[reason]:
            message = "Skipped: " + reason.replace("_", " ")
            code = f"sync.skipped.{reason}"
            add_progress(tx, task, code, message, counts[reason], state="completed")
    add_details(tx, task, items)


def add_findings(
    tx: Tx, task: int, findings: Sequence[Tolerance], counts: Mapping[str, int] | None = None
) -> None:
    """Report what guards have let through: one progress report and one reason each guard.

    Args:
        counts: By guard, how often in all, where ``findings`` are only the first.
    """
    for guard, count in sorted((counts or Counter(f.reason for f in findings)).items()):
        message = "Let through: " + guard.replace("_", " ")
        add_progress(tx, task, f"sync.guard.{guard}", message, count, state="completed")
    add_details(tx, task, [replace(f, reason=f"guard_{f.reason}") for f in findings])


def add_details(tx: Tx, task: int, items: Sequence[Tolerance]) -> None:
    """Lines of the task's report; of each reason the task's first 1,000 are kept."""
    if items:
        values = {
            "task": task,
            "reasons": [i.reason for i in items],
            "files": [i.file for i in items],
            "lines": [i.line for i in items],
            "details": [i.detail for i in items],
        }
        tx.execute(_q["add_tolerances"], values)
