"""A worker's jobs: claimed, run, and ended in every way they can end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from coordination import Fleet, Sweeping, ask, rows, task_row, wait_for, wait_until
from debfleet.config import Settings
from debfleet.db import jobs, tasks
from debfleet.db.connect import Database
from debfleet.db.jobs import NewJob
from debfleet.errors import (
    ConfigError,
    HostClosed,
    HttpStatusError,
    LeaseLost,
    NoReleaseFile,
    StoreError,
    UpstreamRotated,
)
from debfleet.model import Job
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker


@pytest.fixture(params=["notify", "rabbit"])
def fleet(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Fleet]:
    """Workers over both bells."""
    if request.param == "rabbit":
        settings = replace(settings, broker_url=request.getfixturevalue("broker_url"))
    fleet = Fleet(settings)
    yield fleet
    fleet.stop()


@pytest.fixture
def one(settings: Settings) -> Iterator[Fleet]:
    """Workers over Postgres' bell, where the bell does not matter."""
    fleet = Fleet(settings)
    yield fleet
    fleet.stop()


def complete(worker: Worker, job: Job, lease: Lease) -> None:
    worker.commit(lambda tx: tasks.complete(tx, job, created=["prn:x:1"], result={"a": 1}))


def finish(worker: Worker, job: Job, lease: Lease) -> None:
    worker.commit(lambda tx: jobs.finish(tx, job))


def test_a_task_of_one_job_runs_to_its_end(fleet: Fleet, db: Database) -> None:
    fleet.start(chores={"modify": complete})

    task = ask(db, fleet.bell, kind="modify")

    row = wait_until(db, task, "completed")
    assert (row["created_resources"], row["result"]) == (["prn:x:1"], {"a": 1})
    assert row["worker"] is not None


def test_a_sync_is_shared_by_two_workers_and_assembled_once(fleet: Fleet, db: Database) -> None:
    both = threading.Barrier(2, timeout=20)
    assembled = []

    def plan(worker: Worker, job: Job, lease: Lease) -> None:
        opens = [NewJob("index", {"n": n}) for n in range(20)]
        worker.commit(lambda tx: jobs.finish(tx, job, opens))

    def index(worker: Worker, job: Job, lease: Lease) -> None:
        if job.args["n"] < 2:
            both.wait()  # two jobs at once: that takes two workers
        worker.commit(lambda tx: jobs.finish(tx, job))

    def assemble(worker: Worker, job: Job, lease: Lease) -> None:
        assembled.append(job.id)
        complete(worker, job, lease)

    steps = {"plan": plan, "index": index, "assemble": assemble}
    fleet.start(steps=steps)
    fleet.start(steps=steps)

    task = ask(db, fleet.bell, kind="sync")

    wait_until(db, task, "completed")
    assert len(assembled) == 1
    done = rows(db, "select kind, state, count(*) n from jobs group by 1, 2 order by 1")
    assert [(r["kind"], r["state"], r["n"]) for r in done] == [
        ("assemble", "done", 1), ("index", "done", 20), ("plan", "done", 1),
    ]  # fmt: skip


def test_one_download_runs_beside_one_job_of_another_kind(fleet: Fleet, db: Database) -> None:
    beside = threading.Barrier(2, timeout=20)
    running: dict[str, int] = {"index": 0, "download": 0}
    most = dict(running)
    guard = threading.Lock()

    def plan(worker: Worker, job: Job, lease: Lease) -> None:
        opens = [NewJob(kind, {"n": n}) for n in range(4) for kind in ("index", "download")]
        worker.commit(lambda tx: jobs.finish(tx, job, opens))

    def step(worker: Worker, job: Job, lease: Lease) -> None:
        with guard:
            running[job.kind] += 1
            most[job.kind] = max(most[job.kind], running[job.kind])
        beside.wait()
        with guard:
            running[job.kind] -= 1
        worker.commit(lambda tx: jobs.finish(tx, job))

    fleet.start(steps={"plan": plan, "index": step, "download": step, "assemble": complete})

    wait_until(db, ask(db, fleet.bell, kind="sync"), "completed")

    assert most == {"index": 1, "download": 1}


def test_who_ends_starts_who_waits(fleet: Fleet, db: Database) -> None:
    order: list[int] = []

    def chore(worker: Worker, job: Job, lease: Lease) -> None:
        order.append(job.task)
        complete(worker, job, lease)

    asked = [ask(db, fleet.bell, exclusive=["prn:a"]) for _ in range(5)]
    fleet.start(chores={"modify": chore})
    fleet.start(chores={"modify": chore})

    wait_until(db, asked[-1], "completed")

    assert order == asked


def test_an_error_of_the_upstream_fails_the_task_with_its_code(one: Fleet, db: Database) -> None:
    def plan(worker: Worker, job: Job, lease: Lease) -> None:
        if job.task_args:
            raise NoReleaseFile("http://x/dists/y/Release")
        raise HttpStatusError(503, "Service Unavailable", "http://x/")

    one.start(steps={"plan": plan})

    row = wait_until(db, ask(db, one.bell, kind="sync"), "failed")

    assert row["error"] == {
        "description": "[PLP0025] 503, message='Service Unavailable', url='http://x/'",
        "traceback": "",
    }


def test_an_error_that_nobody_expected_names_no_secret_and_no_traceback(
    one: Fleet, db: Database
) -> None:
    def chore(worker: Worker, job: Job, lease: Lease) -> None:
        raise RuntimeError("password=geheim")

    one.start(chores={"modify": chore})

    row = wait_until(db, ask(db, one.bell), "failed")

    text = row["error"]["description"]
    assert text.startswith("[PLP0000] internal error in the modify job (RuntimeError)")
    assert "geheim" not in str(row["error"])
    assert "Traceback" not in str(row["error"])


def test_a_kind_that_is_not_built_fails_its_task(one: Fleet, db: Database) -> None:
    one.start()

    row = wait_until(db, ask(db, one.bell, kind="copy"), "failed")

    assert row["error"]["description"] == ("[PLP0028] this version of debfleet cannot run 'copy'")


@pytest.mark.parametrize(
    "error", [StoreError("no space"), psycopg.OperationalError("gone"), OSError("EIO")]
)
def test_what_is_broken_here_is_tried_again(one: Fleet, db: Database, error: Exception) -> None:
    attempts = []

    def chore(worker: Worker, job: Job, lease: Lease) -> None:
        attempts.append(job.attempt)
        if job.attempt < 2:
            raise error
        complete(worker, job, lease)

    one.start(chores={"modify": chore})

    with Sweeping(one.settings):
        wait_until(db, ask(db, one.bell), "completed")

    assert attempts == [1, 2]


def test_what_stays_broken_fails_the_task_in_the_end(settings: Settings, db: Database) -> None:
    fleet = Fleet(replace(settings, max_attempts=2))

    def chore(worker: Worker, job: Job, lease: Lease) -> None:
        raise StoreError("no space left on device")

    fleet.start(chores={"modify": chore})
    try:
        with Sweeping(fleet.settings):
            row = wait_until(db, ask(db, fleet.bell), "failed")
    finally:
        fleet.stop()

    assert row["error"]["description"] == (
        "[PLP0000] the modify job failed 2 times: no space left on device"
    )


def test_a_closed_host_puts_the_job_off_and_not_out(one: Fleet, db: Database) -> None:
    def plan(worker: Worker, job: Job, lease: Lease) -> None:
        if job.attempt == 1:
            raise HostClosed("http://x/", 0.5)
        complete(worker, job, lease)

    one.start(steps={"plan": plan})

    with Sweeping(one.settings):
        task = ask(db, one.bell, kind="sync")
        wait_until(db, task, "completed")

    [row] = rows(db, "select attempt, excused from jobs where task = %s", task)
    assert row == {"attempt": 2, "excused": 1}


def test_a_rotated_upstream_is_planned_again(one: Fleet, db: Database) -> None:
    rounds = []

    def plan(worker: Worker, job: Job, lease: Lease) -> None:
        rounds.append(job.round)
        worker.commit(lambda tx: jobs.finish(tx, job, [NewJob("index"), NewJob("index")]))

    def index(worker: Worker, job: Job, lease: Lease) -> None:
        if job.round == 1:
            raise UpstreamRotated("InRelease changed")
        finish(worker, job, lease)

    one.start(steps={"plan": plan, "index": index, "assemble": complete})

    wait_until(db, ask(db, one.bell, kind="sync"), "completed")

    assert rounds == [1, 2]


def test_a_step_without_progress_loses_its_job_to_another_worker(
    settings: Settings, db: Database
) -> None:
    fleet = Fleet(replace(settings, lease_seconds=1))
    release, refused = threading.Event(), threading.Event()

    def chore(worker: Worker, job: Job, lease: Lease) -> None:
        if job.attempt == 1:
            release.wait(30)  # hangs
            try:
                complete(worker, job, lease)
            except LeaseLost:
                refused.set()
                raise
        else:
            complete(worker, job, lease)

    fleet.start(chores={"modify": chore})
    fleet.start(chores={"modify": chore})
    try:
        with Sweeping(fleet.settings):
            task = ask(db, fleet.bell)
            wait_until(db, task, "completed")
        # Its process sees that it hangs, and would end.
        wait_for(lambda: any(e.hangs(0.1) for w in fleet.workers for e in w.crew.keeper.leases()))
        release.set()
        assert refused.wait(10)
    finally:
        release.set()
        fleet.stop()

    assert rows(db, "select attempt from jobs where task = %s", task) == [{"attempt": 2}]


def test_a_step_that_moves_keeps_its_job_beyond_the_lease(settings: Settings, db: Database) -> None:
    fleet = Fleet(replace(settings, lease_seconds=1))
    go_on = threading.Event()

    def chore(worker: Worker, job: Job, lease: Lease) -> None:
        if worker.settings.window == 16:
            while not go_on.wait(0.1):
                lease.progress()
                lease.check()
        complete(worker, job, lease)

    fleet.start(chores={"modify": chore})
    try:
        with Sweeping(fleet.settings):
            task = ask(db, fleet.bell)
            wait_until(db, task, "running")
            [first] = rows(db, "select leased_until from jobs where task = %s", task)
            wait_for(
                lambda: rows(
                    db,
                    "select 1 from jobs where task = %s and leased_until > %s + interval '2 s'",
                    task,
                    first["leased_until"],
                )
            )
            go_on.set()
            wait_until(db, task, "completed")
    finally:
        go_on.set()
        fleet.stop()

    assert rows(db, "select attempt from jobs where task = %s", task) == [{"attempt": 1}]


def test_a_canceled_task_stops_its_running_step(settings: Settings, db: Database) -> None:
    fleet = Fleet(replace(settings, lease_seconds=2))
    stopped = threading.Event()

    def chore(worker: Worker, job: Job, lease: Lease) -> None:
        with lease.busy():
            try:
                while True:
                    lease.check()
                    threading.Event().wait(0.05)
            finally:
                stopped.set()

    fleet.start(chores={"modify": chore})
    try:
        task = ask(db, fleet.bell)
        wait_until(db, task, "running")
        uuid = task_row(db, task)["uuid"]
        assert db.run(lambda tx: tasks.cancel(tx, uuid)) == "canceled"
        assert stopped.wait(10)
    finally:
        fleet.stop()

    assert task_row(db, task)["state"] == "canceled"


def test_a_worker_that_stops_hands_its_job_to_another(fleet: Fleet, db: Database) -> None:
    attempts: list[int] = []

    def chore(worker: Worker, job: Job, lease: Lease) -> None:
        attempts.append(job.attempt)
        if job.attempt > 1:
            complete(worker, job, lease)
            return
        with lease.busy():
            while True:
                lease.check()
                threading.Event().wait(0.02)

    fleet.settings = replace(fleet.settings, grace_seconds=0)
    first = fleet.start(chores={"modify": chore})
    task = ask(db, fleet.bell)
    wait_until(db, task, "running")
    fleet.start(chores={"modify": chore})

    first.stop()

    wait_until(db, task, "completed", seconds=15)  # at once: no sweep runs here
    assert attempts == [1, 2]


def test_a_worker_that_stops_lets_a_short_job_end(fleet: Fleet, db: Database) -> None:
    began, go_on = threading.Event(), threading.Event()

    def chore(worker: Worker, job: Job, lease: Lease) -> None:
        began.set()
        assert go_on.wait(20)
        complete(worker, job, lease)

    running = fleet.start(chores={"modify": chore})
    task = ask(db, fleet.bell)
    assert began.wait(20)

    stopping = threading.Thread(target=running.stop)
    stopping.start()
    go_on.set()
    stopping.join(30)
    fleet.workers.clear()

    assert task_row(db, task)["state"] == "completed"
    [row] = rows(db, "select ended from processes where kind = 'worker'")
    assert row["ended"] is not None


def test_a_worker_takes_only_the_kinds_it_is_told(fleet: Fleet, db: Database) -> None:
    fleet.start(steps={"plan": finish, "assemble": complete}, queues=["plan"])
    task = ask(db, fleet.bell, kind="sync")
    wait_for(lambda: rows(db, "select 1 from jobs where kind = 'assemble'"))

    fleet.start(steps={"assemble": complete}, queues=["debfleet.assemble"])

    wait_until(db, task, "completed")
    with pytest.raises(ConfigError, match="nonsense"):
        fleet.start(queues=["nonsense"])


def test_a_worker_hears_what_was_rung_before_it_came(fleet: Fleet, db: Database) -> None:
    task = ask(db, fleet.bell)

    fleet.start(chores={"modify": complete})

    wait_until(db, task, "completed", seconds=15)
