"""Worker processes that are killed, frozen, cut off and told to stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

import lease_worker
from coordination import Sweeping, ask, rows, task_row, wait_for, wait_until
from debfleet.bell import NotifyBell, open_bell
from debfleet.config import Settings
from debfleet.db import tasks
from debfleet.db.connect import Database
from debfleet.db.installation import check_secret_key
from debfleet.errors import ConfigError
from debfleet.sealed import Sealer, new_key
from debfleet_worker.main import start_worker

# A fork of a process that has imported all starts in milliseconds.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["lease_worker"])


class Process:
    """A worker, and what it says."""

    def __init__(self, settings: Settings) -> None:
        self._said, theirs = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=lease_worker.work, args=(settings, theirs))
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def wait_for(self, word: str) -> None:
        """Until it says so."""
        while self._said.poll(60):
            if self._said.recv() == word:  # EOFError: it ended before
                return
        raise AssertionError(f"it did not say {word}")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def status(self, seconds: float) -> int | None:
        """How it ended; None: it goes on."""
        self._process.join(seconds)
        return self._process.exitcode

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._said.close()


class Processes:
    """Worker processes of one test."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started: list[Process] = []

    def start(self) -> Process:
        """One more, ready to take jobs."""
        process = Process(self.settings)
        self.started.append(process)
        process.wait_for("ready")
        return process

    def stop(self) -> None:
        for process in self.started:
            process.end()


@pytest.fixture(params=["notify", "rabbit"])
def processes(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Processes]:
    if request.param == "rabbit":
        settings = replace(settings, broker_url=request.getfixturevalue("broker_url"))
    processes = Processes(replace(settings, lease_seconds=2, heartbeat_seconds=1, grace_seconds=0))
    yield processes
    processes.stop()


def ask_and_ring(db: Database, settings: Settings) -> int:
    bell = open_bell(settings)
    task = ask(db, bell)
    bell.close()
    return task


def test_a_job_of_a_killed_worker_is_done_by_another(processes: Processes, db: Database) -> None:
    first = processes.start()
    task = ask_and_ring(db, processes.settings)
    first.wait_for("began")
    second = processes.start()

    first.signal(signal.SIGKILL)

    with Sweeping(processes.settings):
        row = wait_until(db, task, "completed", seconds=20)
    assert row["result"] == second.pid
    assert rows(db, "select attempt from jobs where task = %s", task) == [{"attempt": 2}]


def test_a_frozen_worker_that_wakes_up_can_change_nothing(
    processes: Processes, db: Database
) -> None:
    first = processes.start()
    task = ask_and_ring(db, processes.settings)
    first.wait_for("began")
    second = processes.start()

    first.signal(signal.SIGSTOP)
    with Sweeping(processes.settings):
        row = wait_until(db, task, "completed", seconds=20)
    first.signal(signal.SIGCONT)

    # It notices, drops the job, and takes others.
    another = ask_and_ring(db, processes.settings)
    second.signal(signal.SIGTERM)
    assert second.status(20) == 0
    with Sweeping(processes.settings):
        wait_until(db, another, "running", "completed", seconds=60)
    assert row["result"] == second.pid
    assert task_row(db, task) == row


def test_sigterm_hands_the_job_back_and_ends_with_status_0(
    processes: Processes, db: Database
) -> None:
    first = processes.start()
    task = ask_and_ring(db, processes.settings)
    first.wait_for("began")
    second = processes.start()

    first.signal(signal.SIGTERM)

    # No sweep runs here: the worker that stops rings itself.
    row = wait_until(db, task, "completed", seconds=20)
    assert first.status(20) == 0
    assert row["result"] == second.pid
    [ended] = rows(db, "select count(*) n from processes where ended is not null")
    assert ended["n"] == 1


def test_an_idle_worker_ends_at_sigint(processes: Processes, db: Database) -> None:
    process = processes.start()
    wait_for(lambda: rows(db, "select 1 from processes where kind = 'worker'"))

    process.signal(signal.SIGINT)

    assert process.status(60) == 0


def test_work_goes_on_when_postgres_cut_every_connection(settings: Settings, db: Database) -> None:
    processes = Processes(replace(settings, lease_seconds=4))
    try:
        worker = processes.start()
        task = ask_and_ring(db, settings)
        worker.wait_for("began")
        bell = NotifyBell(settings.database_url)
        assert bell.ring_now([])

        rows(
            db,
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name <> 'tests'",
        )

        # The running job is kept: its lease is renewed over a new connection.
        [before] = rows(db, "select leased_until from jobs where task = %s", task)
        wait_for(
            lambda: rows(
                db,
                "select 1 from jobs where task = %s and leased_until > %s + interval '2 s'",
                task,
                before["leased_until"],
            )
        )
        # And the listener hears again, also what was rung meanwhile.
        uuid = task_row(db, task)["uuid"]
        db.run(lambda tx: tasks.cancel(tx, uuid))
        another = ask(db, bell)
        wait_until(db, another, "running", seconds=20)
        bell.close()
    finally:
        processes.stop()


def test_a_worker_with_another_secret_key_does_not_start(settings: Settings, db: Database) -> None:
    db.run(lambda tx: check_secret_key(tx, Sealer(settings.secret_key)))

    with pytest.raises(ConfigError, match="DEBFLEET_SECRET_KEY is not the key"):
        start_worker(replace(settings, secret_key=new_key()))
