"""A job id comes in: claim, run, finish. Every way in which a job can end stands here."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from debfleet import metrics, reports
from debfleet.db import jobs, tasks
from debfleet.errors import (
    DebfleetError,
    HostClosed,
    LeaseLost,
    NoPackageIndex,
    NotBuilt,
    StoreError,
    UpstreamError,
    UpstreamRotated,
    may_pass,
    storable,
)
from debfleet.log import bound
from debfleet.model import Job, Ring
from debfleet_worker.lease import Keeper
from debfleet_worker.worker import Step, Worker

log = logging.getLogger(__name__)

# What is broken is ours, and may be whole again in a moment: the same job is tried again.
_BROKEN = (psycopg.OperationalError, psycopg.InterfaceError, StoreError, OSError)
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 120.0
# The host may be whole again in a minute, and the sync has stored files by now: it is waited for.
_WAITING = ("index", "download")
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 60.0
_LAST_SECONDS = 10.0


def _nothing() -> None:
    """Nobody waits for it."""


@dataclass(frozen=True)
class Crew:
    """Who runs jobs in this process."""

    worker: Worker
    keeper: Keeper
    steps: Mapping[str, Step]  # by kind of job
    chores: Mapping[str, Step]  # by kind of task, for jobs of kind chore
    stopping: threading.Event = field(default_factory=threading.Event)
    # Held by the job that has handed over and is not over yet: one of them at a time.
    ending: threading.Lock = field(default_factory=threading.Lock)


def take_job(crew: Crew, job_id: int) -> None:
    """Run one job in a thread of its own, until it is over or has handed over (``Lease``)."""
    free = threading.Event()

    def run() -> None:
        try:
            run_job(crew, job_id, free.set)
        finally:
            free.set()

    threading.Thread(target=run, name=f"job {job_id}", daemon=True).start()
    free.wait()


def run_job(crew: Crew, job_id: int, on_free: Callable[[], None] = _nothing) -> None:
    """Run one job, unless it is finished, not to run yet, or held by another worker. Never raises.

    A message that is late or doubled ends at the claim.

    Args:
        on_free: Called when the process may begin the next job beside what is left of this one.
    """
    worker = crew.worker
    if crew.stopping.is_set():
        # Fetched in the moment of stopping. Not acknowledged, the broker gives it to another worker
        # when our connection closes, which happens meanwhile.
        threading.Event().wait(_LAST_SECONDS)
        return
    try:
        job = worker.db.run(lambda tx: jobs.claim(tx, job_id, worker.process, worker.settings))
    except psycopg.Error as e:
        # The message is spent; the sweeper rings again.
        log.warning("claim.failed", extra={"job": job_id, "reason": str(e)})
        return
    if job is None:
        return
    with bound(**job.log_ids):
        began = time.monotonic()
        with metrics.JOBS_IN_PROGRESS.during(kind=job.kind):
            outcome = _run(crew, job, on_free)
        seconds = round(time.monotonic() - began, 3)
        metrics.JOBS.add(kind=job.kind, outcome=outcome)
        metrics.JOB_SECONDS.observe(seconds, kind=job.kind)
        extra = {"kind": job.kind, "outcome": outcome, "seconds": seconds, "attempt": job.attempt}
        log.info("job.ended", extra=extra)


def _run(crew: Crew, job: Job, on_free: Callable[[], None]) -> str:
    worker = crew.worker
    with ExitStack() as ending:

        def hand_over() -> Job:
            nonlocal job
            ending.enter_context(crew.ending)
            worker.commit(lambda tx: jobs.hand_over(tx, job))
            job = replace(job, scope=None, slots=0)
            on_free()
            return job

        try:
            try:
                with crew.keeper.kept(job, hand_over) as lease:
                    _step(crew, job)(worker, job, lease)
                outcome = "done"
            # The one place where a job's errors are dealt with.
            except Exception as e:  # noqa: BLE001
                outcome = _settle(worker, job, e)
            worker.commit(lambda tx: tasks.start_waiting(tx, job.task))
        except LeaseLost:
            return "lost"
        except psycopg.Error as e:
            # We cannot even say what happened: the lease runs out and somebody tries again.
            log.warning("outcome.unsaid", extra={"reason": str(e)})
            return "unsaid"
        return outcome


def _step(crew: Crew, job: Job) -> Step:
    step = crew.chores.get(job.task_kind) if job.kind == "chore" else crew.steps.get(job.kind)
    if step is None:
        what = job.task_kind if job.kind == "chore" else job.kind
        raise NotBuilt(f"this version of debfleet cannot run '{what}'")
    return step


def _settle(worker: Worker, job: Job, error: Exception) -> str:
    """Write down what an error means for its job and its task; one of metrics.JOB_OUTCOMES.

    Raises:
        LeaseLost: The job is not ours to settle.
        psycopg.Error: The database does not take it.
    """
    if isinstance(error, LeaseLost):
        raise error
    if isinstance(error, HostClosed) and job.age < _patience(worker):
        worker.commit(lambda tx: jobs.put_off(tx, job, error.seconds, str(error)))
        return "put_off"
    if may_pass(error) and job.kind in _WAITING and job.age < _patience(worker):
        log.warning("upstream.trouble", extra={"reason": str(error)})
        seconds = _pause(job.excused, _FIRST_WAIT, _LONGEST_WAIT)
        worker.commit(lambda tx: jobs.put_off(tx, job, seconds, str(error)))
        return "put_off"
    if isinstance(error, UpstreamRotated):
        log.info("upstream.rotated", extra={"round": job.round, "reason": str(error)})
        worker.commit(lambda tx: jobs.replan(tx, job, error))
        return "rotated"
    if isinstance(error, _BROKEN):
        return _try_again(worker, job, error)
    if isinstance(error, DebfleetError):
        # Notes name the file that was being read, where the error itself does not know it.
        text = f"[{error.code}] " + ": ".join([*getattr(error, "__notes__", ()), str(error)])
    else:
        log.error("job.broke", exc_info=error, extra={"kind": job.kind})
        text = (
            f"[PLP0000] internal error in {_name(job)} ({type(error).__name__}); "
            f"the log of the worker has it under job {job.id}"
        )
    _fail(worker, job, text, _report(job, error))
    return "failed"


def _report(job: Job, error: Exception) -> str | None:
    """The report of what went wrong: the fetching, the indices, or what the job is about."""
    if isinstance(error, UpstreamError):
        return reports.DOWNLOADS.code
    if isinstance(error, NoPackageIndex):
        return reports.PACKAGE_INDICES.code
    return reports.OF_JOB.get(job.kind)


def _try_again(worker: Worker, job: Job, error: Exception) -> str:
    reason = storable(str(error).strip()) or type(error).__name__
    if job.attempt - job.excused >= worker.settings.max_attempts:
        _fail(
            worker,
            job,
            f"[PLP0000] {_name(job)} failed {job.attempt} times: {reason}",
            reports.OF_JOB.get(job.kind),
        )
        return "failed"
    log.warning("job.again", extra={"attempt": job.attempt, "reason": reason})
    seconds = _pause(job.attempt - job.excused - 1, _FIRST_PAUSE, _LONGEST_PAUSE)
    worker.commit(lambda tx: jobs.put_off(tx, job, seconds, reason, counted=True))
    return "again"


def _patience(worker: Worker) -> int:
    return worker.settings.upstream_patience_seconds


def _pause(before: int, first: float, longest: float) -> float:
    """Seconds, doubling with each one before, never quite the same for two jobs."""
    most = min(longest, first * 2.0 ** min(before, 16))
    return random.uniform(most / 2, most)


def _fail(worker: Worker, job: Job, text: str, report: str | None) -> None:
    error: dict[str, Any] = {"description": text, "traceback": ""}

    def work(tx: Any) -> list[Ring]:
        tasks.fail(tx, job, error, report)
        return []

    worker.commit(work)


def _name(job: Job) -> str:
    return f"the {job.task_kind if job.kind == 'chore' else job.kind} job"
