"""Ask for tasks, start workers in this process, wait for rows: for the tests of coordination."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from debfleet.bell import Bell, open_bell
from debfleet.config import Settings
from debfleet.db import jobs, processes, tasks
from debfleet.db.connect import Database
from debfleet.model import Job
from debfleet_worker.main import RunningWorker, start_worker
from debfleet_worker.sweep import sweep
from debfleet_worker.worker import Step

DEADLINE = 30.0


class Fleet:
    """Workers in threads of this process, with steps of the test's own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bell: Bell = open_bell(settings)
        self.workers: list[RunningWorker] = []

    def start(
        self,
        *,
        steps: Mapping[str, Step] | None = None,
        chores: Mapping[str, Step] | None = None,
        queues: Sequence[str] | None = None,
    ) -> RunningWorker:
        running = start_worker(self.settings, queues, steps=steps or {}, chores=chores or {})
        assert running is not None
        self.workers.append(running)
        return running

    def stop(self) -> None:
        for running in self.workers:
            running.stop()
        self.workers.clear()
        self.bell.close()


def ask(
    db: Database,
    bell: Bell | None = None,
    *,
    kind: str = "modify",
    exclusive: Sequence[str] = (),
    shared: Sequence[str] = (),
    job_kind: str | None = None,
) -> int:
    """Ask for a task, and start and ring it as the API does if there is a bell."""
    new = tasks.NewTask(
        kind=kind, name=f"test.{kind}", exclusive=exclusive, shared=shared, job_kind=job_kind
    )
    asked = db.run(lambda tx: tasks.ask(tx, new, at_once=bell is not None))
    if bell is not None:
        bell.ring(asked.rings or db.run(lambda tx: tasks.start(tx, asked.id)))
    return asked.id


def rows(db: Database, query: str, *values: Any) -> list[dict[str, Any]]:
    """All rows of a query."""
    return db.run(lambda tx: tx.execute(query, values).fetchall())  # type: ignore[arg-type]  # a test's own text


def task_row(db: Database, task: int) -> dict[str, Any]:
    """A task's row."""
    return rows(db, "select * from tasks where id = %s", task)[0]


def wait_until(db: Database, task: int, *states: str, seconds: float = DEADLINE) -> dict[str, Any]:
    """The task's row once it is in one of these states."""
    wait_for(lambda: task_row(db, task)["state"] in states, seconds, lambda: task_row(db, task))
    return task_row(db, task)


def wait_for(
    look: Callable[[], Any], seconds: float = DEADLINE, shown: Callable[[], Any] | None = None
) -> Any:
    """What ``look`` answers once it answers something."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds} s: {shown() if shown else look}"
        time.sleep(0.02)


def add_process(db: Database) -> UUID:
    """A worker process's row, for claims by hand."""
    process = uuid4()
    db.run(lambda tx: processes.beat(tx, process, "worker", "by hand"))
    return process


def claimed(db: Database, settings: Settings, job: int, process: UUID | None = None) -> Job:
    """Claim a job that can be claimed."""
    who = process or add_process(db)
    found = db.run(lambda tx: jobs.claim(tx, job, who, settings))
    assert found is not None
    return found


class Sweeping:
    """A sweeper that runs within the block, often."""

    def __init__(self, settings: Settings) -> None:
        self._stop = threading.Event()
        quick = replace(settings, sweep_seconds=1)
        self._thread = threading.Thread(target=sweep, args=(quick, self._stop))

    def __enter__(self) -> Sweeping:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(30)
