"""The sweeper finds what every ring missed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest

from coordination import add_process, ask, claimed, rows, task_row, wait_for
from debfleet.bell import Bell, NotifyBell, RabbitBell
from debfleet.config import Settings
from debfleet.db import jobs, slots, sweeps, tasks, upkeep
from debfleet.db.connect import Database
from debfleet.db.jobs import NewJob
from debfleet.model import Job
from debfleet_worker.sweep import Sweeper, sweep
from sync_flow import add_repository


@pytest.fixture
def bell(settings: Settings) -> Iterator[Bell]:
    """Nobody listens: what matters here is what the rows say."""
    bell = NotifyBell(settings.database_url)
    yield bell
    bell.close()


@pytest.fixture
def sweeper(db: Database, bell: Bell, settings: Settings) -> Sweeper:
    return Sweeper(db, bell, settings, uuid4())


def begin(db: Database, settings: Settings, **how: object) -> Job:
    task = ask(db, kind="sync", **how)  # type: ignore[arg-type]  # as ask takes it
    [ring] = db.run(lambda tx: tasks.start(tx, task))
    return claimed(db, settings, ring.job)


def job_row(db: Database, job: int) -> dict[str, object]:
    return rows(db, "select id, state, rung, rings, attempt from jobs where id = %s", job)[0]


def ago(db: Database, job: int, column: str, seconds: int) -> None:
    """As if that had been so long ago."""
    assert column in ("rung", "leased_until", "not_before")
    rows(
        db,
        f"update jobs set {column} = now() - make_interval(secs => %s) where id = %s returning id",
        seconds,
        job,
    )


def test_a_lost_ring_is_rung_again_after_a_pause_that_doubles(
    db: Database, sweeper: Sweeper
) -> None:
    task = ask(db)
    [ring] = db.run(lambda tx: tasks.start(tx, task))
    rings = []

    for seconds in (20, 31, 31, 61, 119, 121):
        ago(db, ring.job, "rung", seconds)
        sweeper.run_once()
        rings.append(job_row(db, ring.job)["rings"])

    assert rings == [1, 2, 2, 3, 3, 4]


def test_the_pause_never_grows_beyond_ten_minutes(db: Database, sweeper: Sweeper) -> None:
    task = ask(db)
    [ring] = db.run(lambda tx: tasks.start(tx, task))
    rows(db, "update jobs set rings = 500 returning id")
    ago(db, ring.job, "rung", 601)

    sweeper.run_once()

    assert job_row(db, ring.job)["rings"] == 501


def test_a_lost_lease_is_queued_and_rung_in_one_round(
    db: Database, settings: Settings, sweeper: Sweeper
) -> None:
    job = begin(db, settings)
    ago(db, job.id, "leased_until", 1)

    sweeper.run_once()

    row = job_row(db, job.id)
    assert row["state"] == "queued"
    assert row["rung"] is not None
    assert claimed(db, settings, job.id).attempt == 2


def test_what_a_lost_machine_had_locked_is_let_go_when_its_transaction_was_idle_for_long(
    db: Database, settings: Settings, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begin(db, settings)
    ago(db, job.id, "leased_until", 1)
    url = settings.database_url
    with (
        closing(psycopg.connect(url, application_name=sweeps.WORKERS)) as lost,
        closing(psycopg.connect(url, application_name="psql")) as foreign,
    ):
        lost.execute("select from jobs where id = %s for update", [job.id])
        foreign.execute("select 1")

        sweeper.run_once()

        assert job_row(db, job.id)["state"] == "running"  # as if its outcome were being written

        monkeypatch.setattr(sweeps, "_ABANDONED_AFTER", 0)
        wait_for(lambda: sweeper.run_once() and job_row(db, job.id)["state"] == "queued")

        foreign.execute("select 1")
        with pytest.raises(psycopg.OperationalError):
            lost.execute("select 1")


def test_a_job_that_takes_its_worker_down_again_and_again_is_quarantined(
    db: Database, settings: Settings, sweeper: Sweeper
) -> None:
    plan = begin(db, settings, exclusive=["prn:a"])
    waiting = ask(db, exclusive=["prn:a"])
    [ring, other] = db.run(
        lambda tx: jobs.finish(tx, plan, [NewJob("index", {"path": "main/Packages"})] * 2)
    )
    for _ in range(settings.max_attempts):
        claimed(db, settings, ring.job)
        ago(db, ring.job, "leased_until", 1)
        sweeper.run_once()

    row = task_row(db, plan.task)
    assert row["state"] == "failed"
    assert "index job" in row["error"]["description"]
    assert "main/Packages" in row["error"]["description"]
    assert f"{settings.max_attempts} times" in row["error"]["description"]
    assert {job_row(db, j)["state"] for j in (ring.job, other.job)} == {"canceled"}
    assert task_row(db, waiting)["unblocked"] is not None


def test_attempts_that_were_handed_back_do_not_lead_to_quarantine(
    db: Database, settings: Settings, sweeper: Sweeper
) -> None:
    job = begin(db, settings)
    for _ in range(settings.max_attempts * 2):
        db.run(lambda tx, job=job: jobs.give_back(tx, job))  # type: ignore[misc]  # bound now
        job = claimed(db, settings, job.id)
    ago(db, job.id, "leased_until", 1)

    sweeper.run_once()

    assert job_row(db, job.id)["state"] == "queued"


def test_a_task_that_nobody_started_is_started(db: Database, sweeper: Sweeper) -> None:
    task = ask(db, exclusive=["prn:a"])
    blocked = ask(db, exclusive=["prn:a"])

    sweeper.run_once()

    assert task_row(db, task)["unblocked"] is not None
    assert task_row(db, blocked)["unblocked"] is None
    [row] = rows(db, "select rung from jobs where task = %s", task)
    assert row["rung"] is not None


def test_a_job_that_was_put_off_is_rung_when_it_is_due(
    db: Database, settings: Settings, sweeper: Sweeper
) -> None:
    job = begin(db, settings)
    db.run(lambda tx: jobs.put_off(tx, job, 3600, "host closed"))
    sweeper.run_once()
    before = job_row(db, job.id)["rung"]
    ago(db, job.id, "not_before", 0)

    sweeper.run_once()

    assert before is None
    assert job_row(db, job.id)["rung"] is not None


def test_a_window_that_nobody_filled_is_filled_and_not_more(
    db: Database, settings: Settings, bell: Bell
) -> None:
    small = replace(settings, window=3)
    plan = begin(db, small)
    db.run(lambda tx: jobs.finish(tx, plan, [NewJob("index")] * 9))
    rows(db, "update jobs set rung = null where kind = 'index' returning id")

    for _ in range(3):
        Sweeper(db, bell, small, _same).run_once()

    [row] = rows(db, "select count(*) n from jobs where rung is not null and state = 'queued'")
    assert row["n"] == 3


_same = uuid4()


def test_slots_of_a_dead_worker_are_given_to_who_waits(
    db: Database, settings: Settings, sweeper: Sweeper
) -> None:
    plan = begin(db, settings)
    [remote] = rows(
        db,
        "insert into remotes (name, url, distributions, download_concurrency)"
        " values ('r', 'http://x/', 'x', 1) returning id",
    )
    opens = [NewJob("download", {"n": n}, slots.scope_of(remote["id"])) for n in range(2)]
    [ring] = db.run(lambda tx: jobs.finish(tx, plan, opens))
    dead = claimed(db, settings, ring.job)
    rows(db, "update slot_leases set until = now() - interval '1 s' returning holder")
    ago(db, dead.id, "leased_until", 1)

    sweeper.run_once()

    [row] = rows(db, "select count(*) n from jobs where kind = 'download' and rung is not null")
    assert row["n"] == 1
    assert rows(db, "select 1 from slot_leases where holder = %s", str(dead.id)) == []


def test_a_job_whose_slots_are_taken_is_not_rung_again(
    db: Database, settings: Settings, sweeper: Sweeper
) -> None:
    plan = begin(db, settings)
    [remote] = rows(
        db,
        "insert into remotes (name, url, distributions, download_concurrency)"
        " values ('r', 'http://x/', 'x', 2) returning id",
    )
    opens = [NewJob("download", {"n": n}, slots.scope_of(remote["id"])) for n in range(2)]
    first, second = db.run(lambda tx: jobs.finish(tx, plan, opens))
    rows(db, "update processes set ended = now() returning id")  # for whom a slot would be left
    claimed(db, settings, first.job)  # takes both slots
    ago(db, second.job, "rung", 1000)

    sweeper.run_once()

    assert job_row(db, second.job)["rings"] == 1


def test_jobs_that_lost_their_right_while_locked_are_tidied(
    db: Database, settings: Settings, sweeper: Sweeper
) -> None:
    job = begin(db, settings)
    with db.transaction() as tx:
        jobs.hold(tx, job)
        db.run(lambda other: tasks.cancel(other, job.task_uuid))
    before = job_row(db, job.id)["state"]

    sweeper.run_once()

    assert before == "running"
    assert job_row(db, job.id)["state"] == "canceled"


def test_of_two_sweepers_one_leads_and_the_other_follows_at_once(
    db: Database, bell: Bell, settings: Settings
) -> None:
    first, second = (Sweeper(db, bell, settings, uuid4()) for _ in range(2))

    led = [first.run_once(), second.run_once(), first.run_once()]
    first.step_down()

    assert led == [True, False, True]
    assert second.run_once()


def test_rings_that_the_broker_did_not_take_are_not_counted(
    db: Database, settings: Settings
) -> None:
    nobody = RabbitBell("amqp://guest:guest@127.0.0.1:1/")
    task = ask(db)
    [ring] = db.run(lambda tx: tasks.start(tx, task))
    ago(db, ring.job, "rung", 1000)

    Sweeper(db, nobody, settings, uuid4()).run_once()

    assert job_row(db, ring.job)["rings"] == 1


def test_the_sweep_beats_and_ends_when_it_is_told_to(db: Database, settings: Settings) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=sweep, args=(replace(settings, sweep_seconds=1), stop))
    thread.start()
    wait_for(lambda: rows(db, "select 1 from leaders"))

    stop.set()
    thread.join(timeout=20)

    assert not thread.is_alive()
    assert rows(db, "select 1 from leaders") == []
    [row] = rows(db, "select kind, ended from processes")
    assert row["kind"] == "sweep"
    assert row["ended"] is not None


def test_a_process_that_was_not_heard_of_for_a_day_is_forgotten(
    db: Database, sweeper: Sweeper
) -> None:
    add_process(db)
    rows(db, "update processes set last_heartbeat = now() - interval '25 h' returning id")

    sweeper.run_once()

    assert rows(db, "select 1 from processes") == []


# --- what nobody asks for -----------------------------------------------------------------------


def ask_due(db: Database, sweeper: Sweeper, settings: Settings, **more: int) -> list[str]:
    """What tasks a leading sweeper makes in its first round."""
    before = {r["id"] for r in rows(db, "select id from tasks")}
    Sweeper(db, sweeper._bell, replace(settings, **more), sweeper._process).run_once()  # type: ignore[arg-type]
    after = rows(db, "select id, kind from tasks order by id")
    return [r["kind"] for r in after if r["id"] not in before]


def test_a_cleanup_is_asked_for_once_in_its_time(
    db: Database, sweeper: Sweeper, settings: Settings
) -> None:
    fresh = ask_due(db, sweeper, settings)
    rows(db, "update installation set created = now() - interval '25 hours' returning 1")

    asked = [ask_due(db, sweeper, settings) for _ in range(2)]

    assert (fresh, asked) == ([], [["orphans"], []])
    [task] = rows(db, "select state, unblocked, args from tasks")
    assert task["unblocked"] is not None
    assert task["args"] == {"protection_minutes": 1440, "units": None}
    rows(db, "update tasks set created = now() - interval '25 hours' returning 1")
    assert ask_due(db, sweeper, settings) == []  # it is not over
    rows(db, "update tasks set state = 'completed', finished = now() returning 1")
    rows(db, "update tasks set idempotency_key = null returning 1")  # another day
    assert ask_due(db, sweeper, settings) == ["orphans"]
    assert ask_due(db, sweeper, settings, cleanup_hours=0) == []


def test_two_sweepers_that_both_lead_ask_for_one_cleanup(
    db: Database, sweeper: Sweeper, settings: Settings
) -> None:
    rows(db, "update installation set created = now() - interval '25 hours' returning 1")
    begun = threading.Barrier(2)

    def ask() -> None:
        begun.wait()
        db.run(lambda tx: upkeep.ask_due(tx, settings))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(rows(db, "select id from tasks")) == 1


def test_repositories_are_looked_into_one_after_the_other(
    db: Database, sweeper: Sweeper, settings: Settings
) -> None:
    made = [add_repository(db), add_repository(db), add_repository(db)]
    for repository, days in zip(made, (40, 50, 1), strict=True):
        rows(
            db,
            "insert into repository_versions (repository, number, created) "
            "values (%s, 1, now() - make_interval(days => %s)) returning 1",
            repository["id"],
            days,
        )
    looked = []

    for _ in range(4):
        if ask_due(db, sweeper, settings):
            [task] = rows(db, "select id, args from tasks where finished is null")
            looked.append(task["args"]["repository"])
            assert ask_due(db, sweeper, settings) == []  # one at a time
            rows(db, "update tasks set state = 'completed', finished = now() returning 1")

    assert looked == [made[1]["id"], made[0]["id"]]
