"""Worker processes that are killed, frozen, cut off and told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest

from coordination import Sweeping, ask, rows, task_row, wait_for, wait_until
from debfleet.bell import NotifyBell, open_bell
from debfleet.config import Settings
from debfleet.db import tasks
from debfleet.db.connect import Database
from debfleet.db.installation import check_secret_key
from debfleet.errors import ConfigError
from debfleet.sealed import Sealer, new_key
from debfleet_worker.main import start_worker

# A worker whose chore works for as long as the row of its resource says, and then completes.
_WORKER = """
import json, os, sys, threading, time, signal
from debfleet.config import Settings
from debfleet.db import tasks
from debfleet_worker.main import start_worker
from debfleet_worker.process import on_signals

def chore(worker, job, lease):
    print("began", job.id, job.attempt, flush=True)
    until = time.monotonic() + (60 if job.attempt == 1 else 0)
    while time.monotonic() < until:
        lease.check()
        lease.progress()
        time.sleep(0.02)
    worker.commit(lambda tx: tasks.complete(tx, job, result=os.getpid()))

stop = threading.Event()
on_signals(stop)
settings = Settings(**json.loads(sys.argv[1]))
running = start_worker(settings, ["chore"], stop=stop, chores={"modify": chore}, idle_ms=100)
print("ready", flush=True)
stop.wait()
running.stop()
"""


class Processes:
    """Worker processes of one test."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        """One more, ready to take jobs."""
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, json.dumps(asdict(self.settings))],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        read_until(process, "ready")
        return process

    def stop(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line
    raise AssertionError(f"it ended with {process.wait()} before it said {word}")


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
    read_until(first, "began")
    second = processes.start()

    first.kill()

    with Sweeping(processes.settings):
        row = wait_until(db, task, "completed", seconds=20)
    assert row["result"] == second.pid
    assert rows(db, "select attempt from jobs where task = %s", task) == [{"attempt": 2}]


def test_a_frozen_worker_that_wakes_up_can_change_nothing(
    processes: Processes, db: Database
) -> None:
    first = processes.start()
    task = ask_and_ring(db, processes.settings)
    read_until(first, "began")
    second = processes.start()

    os.kill(first.pid, signal.SIGSTOP)
    with Sweeping(processes.settings):
        row = wait_until(db, task, "completed", seconds=20)
    os.kill(first.pid, signal.SIGCONT)

    # It notices, drops the job, and takes others.
    another = ask_and_ring(db, processes.settings)
    second.terminate()
    assert second.wait(20) == 0
    with Sweeping(processes.settings):
        wait_until(db, another, "running", "completed", seconds=60)
    assert row["result"] == second.pid
    assert task_row(db, task) == row


def test_sigterm_hands_the_job_back_and_ends_with_status_0(
    processes: Processes, db: Database
) -> None:
    first = processes.start()
    task = ask_and_ring(db, processes.settings)
    read_until(first, "began")
    second = processes.start()

    first.send_signal(signal.SIGTERM)

    # No sweep runs here: the worker that stops rings itself.
    row = wait_until(db, task, "completed", seconds=20)
    assert first.wait(20) == 0
    assert row["result"] == second.pid
    [ended] = rows(db, "select count(*) n from processes where ended is not null")
    assert ended["n"] == 1


def test_an_idle_worker_ends_at_sigint(processes: Processes, db: Database) -> None:
    process = processes.start()
    wait_for(lambda: rows(db, "select 1 from processes where kind = 'worker'"))

    process.send_signal(signal.SIGINT)

    assert process.wait(60) == 0


def test_work_goes_on_when_postgres_cut_every_connection(settings: Settings, db: Database) -> None:
    processes = Processes(replace(settings, lease_seconds=4))
    try:
        worker = processes.start()
        task = ask_and_ring(db, settings)
        read_until(worker, "began")
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
