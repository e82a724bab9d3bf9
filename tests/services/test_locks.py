"""Who may run now: one writer, many readers, in order of creation."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Queue
from uuid import uuid4

import psycopg
import pytest

from coordination import ask, claimed, rows, task_row, wait_for
from debfleet import locks
from debfleet.config import Settings
from debfleet.db import jobs, tasks
from debfleet.db.connect import Database
from debfleet.model import Ring

A, B = "prn:deb.aptrepository:a", "prn:deb.aptrepository:b"
REMOTE = "prn:deb.aptremote:r"
_TURNS = """
select from pg_locks where locktype = 'advisory' and granted
   and database = (select oid from pg_database where datname = current_database())
"""
_WAITING = """
select from pg_locks where locktype = 'advisory' and not granted
   and database = (select oid from pg_database where datname = current_database())
"""


def start(db: Database, task: int) -> list[Ring]:
    return db.run(lambda tx: tasks.start(tx, task))


def end(db: Database, settings: Settings, ring: Ring) -> list[Ring]:
    """Claim and complete; who may run after."""
    job = claimed(db, settings, ring.job)
    db.run(lambda tx: tasks.complete(tx, job))
    return db.run(lambda tx: tasks.start_waiting(tx, job.task))


def ask_at_once(
    db: Database, *, exclusive: Sequence[str] = (), shared: Sequence[str] = ()
) -> tasks.Asked:
    """As the API does."""
    new = tasks.NewTask("modify", "x", exclusive=exclusive, shared=shared)
    return db.run(lambda tx: tasks.ask(tx, new, at_once=True), single=True)


def test_a_task_that_finds_its_resources_free_starts_in_the_transaction_that_asks_for_it(
    db: Database, settings: Settings
) -> None:
    asked = ask_at_once(db, exclusive=[A], shared=[REMOTE])

    [ring] = asked.rings
    assert task_row(db, asked.id)["unblocked"] is not None
    assert rows(db, "select task, rings, rung is not null as is_rung from jobs where id = %s",
                ring.job) == [{"task": asked.id, "rings": 1, "is_rung": True}]  # fmt: skip
    assert start(db, asked.id) == []
    assert claimed(db, settings, ring.job).task == asked.id


@pytest.mark.parametrize(
    ("older", "younger"),
    [
        ({"exclusive": [A]}, {"exclusive": [A]}),
        ({"exclusive": [A]}, {"shared": [A]}),
        ({"shared": [A]}, {"exclusive": [A]}),
    ],
)
def test_a_task_with_an_older_one_in_its_way_does_not_start_at_once(
    db: Database,
    settings: Settings,
    older: Mapping[str, Sequence[str]],
    younger: Mapping[str, Sequence[str]],
) -> None:
    [ring] = ask_at_once(db, **older).rings

    waiting = ask_at_once(db, **younger)

    assert waiting.rings == ()
    assert task_row(db, waiting.id)["unblocked"] is None
    assert start(db, waiting.id) == []
    assert len(end(db, settings, ring)) == 1


def test_who_waited_for_its_turn_sees_what_was_asked_for_meanwhile(db: Database) -> None:
    with ThreadPoolExecutor(1) as pool:
        with db.transaction() as tx:
            new = tasks.NewTask("modify", "x", exclusive=[A])
            first = tasks.ask(tx, new, at_once=True)
            second = pool.submit(ask_at_once, db, exclusive=[A])
            wait_for(lambda: rows(db, _WAITING))

        assert len(first.rings) == 1
        assert second.result(timeout=60).rings == ()


def test_a_turn_lasts_until_what_was_asked_for_in_it_is_committed(db: Database) -> None:
    new = tasks.NewTask("modify", "x", exclusive=[A])
    with ThreadPoolExecutor(1) as pool:
        with db.transaction() as tx:
            # The statement that writes the task waits for this; its turn is taken by then.
            tx.execute("lock table tasks in share mode")
            asked = pool.submit(ask_at_once, db, exclusive=[A])
            wait_for(lambda: rows(db, _TURNS))
            with db.transaction() as other:
                other.execute("set local lock_timeout = '50ms'")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    locks.take_turn(other, new.exclusive, new.shared)

        assert len(asked.result(timeout=60).rings) == 1
        assert rows(db, _TURNS) == []


def test_a_deadlock_while_it_takes_its_turn_is_tried_again(db: Database) -> None:
    held = threading.Event()

    def other() -> None:
        """Takes the two turns the wrong way round, and gives in last."""
        with db.transaction() as tx:
            tx.execute("set local deadlock_timeout = '100s'")
            locks.take_turn(tx, [last], [])
            held.set()
            wait_for(lambda: rows(db, _WAITING))
            locks.take_turn(tx, [first], [])

    [hashes] = rows(db, "select array_agg(r order by hashtextextended(r, 0)) as ordered"
                        " from unnest(%s::text[]) r", [A, B])  # fmt: skip
    first, last = hashes["ordered"]
    with ThreadPoolExecutor(1) as pool:
        crossing = pool.submit(other)
        assert held.wait(60)
        asked = ask_at_once(db, exclusive=[A, B])
        crossing.result(timeout=60)

    assert len(asked.rings) == 1
    assert len(rows(db, "select from tasks")) == 1


def test_the_second_writer_of_a_repository_waits_for_the_first(
    db: Database, settings: Settings
) -> None:
    first, second = ask(db, exclusive=[A]), ask(db, exclusive=[A])

    [ring] = start(db, first)
    blocked = start(db, second)
    [next_ring] = end(db, settings, ring)

    assert blocked == []
    assert task_row(db, second)["unblocked"] is not None
    assert rows(db, "select task from jobs where id = %s", next_ring.job) == [{"task": second}]


def test_writers_of_different_repositories_do_not_wait(db: Database) -> None:
    first, second = ask(db, exclusive=[A], shared=[REMOTE]), ask(db, exclusive=[B], shared=[REMOTE])

    assert start(db, first)
    assert start(db, second)


def test_readers_run_together_and_wait_behind_an_older_writer(
    db: Database, settings: Settings
) -> None:
    reader1, reader2 = ask(db, shared=[A]), ask(db, shared=[A])
    writer, reader3 = ask(db, exclusive=[A]), ask(db, shared=[A])

    [ring1], [ring2] = start(db, reader1), start(db, reader2)
    blocked = [start(db, writer), start(db, reader3)]
    after_one = end(db, settings, ring1)
    after_both = end(db, settings, ring2)

    assert blocked == [[], []]
    assert after_one == []
    assert [r["task"] for r in rows(db, "select task from jobs where rung is not null and "
            "state = 'queued'")] == [writer]  # fmt: skip
    assert len(after_both) == 1


def test_the_domain_is_shown_and_never_claimed(db: Database) -> None:
    task = ask(db, exclusive=[A], shared=["prn:core.domain:d"])

    assert task_row(db, task)["reserved"] == [A, "shared:prn:core.domain:d"]
    assert rows(db, "select resource from claims") == [{"resource": A}]


def test_a_started_task_is_not_started_twice(db: Database) -> None:
    task = ask(db, exclusive=[A])

    assert len(start(db, task)) == 1
    assert start(db, task) == []


def test_who_ends_starts_the_next_also_when_it_was_asked_for_meanwhile(
    db: Database, settings: Settings
) -> None:
    [ring] = start(db, ask(db, exclusive=[A]))
    job = claimed(db, settings, ring.job)

    with db.transaction() as tx:
        tasks.complete(tx, job)
        late = ask(db, exclusive=[A])
        assert start(db, late) == []

    assert db.run(lambda tx: tasks.start_waiting(tx, job.task))
    assert task_row(db, late)["unblocked"] is not None


def test_resources_are_free_only_when_nobody_claims_them_in_conflict(db: Database) -> None:
    ask(db, shared=[REMOTE], exclusive=[A])

    with db.transaction() as tx:
        locks.take_turn(tx, [B], [REMOTE])
        assert locks.are_free(tx, [B], [REMOTE])
        assert not locks.are_free(tx, [REMOTE], [])
        assert not locks.are_free(tx, [], [A])


def test_a_change_made_at_once_is_a_completed_task(db: Database) -> None:
    new = tasks.NewTask(kind="change", name="x", exclusive=[A])

    with db.transaction() as tx:
        locks.take_turn(tx, new.exclusive, new.shared)
        asked = tasks.add_done(tx, new, created=["prn:y:1"], result={"name": "n"})

    row = task_row(db, asked.id)
    assert (row["state"], row["result"], row["open_jobs"]) == ("completed", {"name": "n"}, 0)
    assert rows(db, "select * from claims") == []


@pytest.mark.alone
def test_a_thousand_waiting_for_one_repository_do_not_hold_up_another(db: Database) -> None:
    with db.transaction() as tx:
        waiting = [
            tasks.ask(tx, tasks.NewTask("sync", "x", exclusive=[A], shared=[REMOTE])).id
            for _ in range(1000)
        ]
        tx.execute("analyze claims")
        tx.execute("analyze tasks")
    assert start(db, waiting[0])

    refused, began = [], []
    for i in range(20):
        other = ask(db, exclusive=[f"{B}{i}"], shared=[REMOTE])
        before = time.monotonic()
        assert start(db, other)
        began.append(time.monotonic() - before)
        before = time.monotonic()
        assert start(db, waiting[-1]) == []
        refused.append(time.monotonic() - before)

    assert statistics.median(began) < 0.1
    assert statistics.median(refused) < 0.1


@pytest.mark.parametrize("at_once", [False, True])
def test_random_tasks_of_many_askers_keep_every_lock_and_none_is_stranded(
    database_url: str, settings: Settings, at_once: bool
) -> None:
    """The rings are all that moves the workers: no sweep helps here."""
    resources = [f"prn:deb.aptrepository:{n}" for n in range(4)]
    # Not a SimpleQueue: with several consumers its get() may outlast its timeout for ever.
    total, bell = 90, Queue[Ring]()
    violations: list[str] = []
    ended = threading.Semaphore(0)
    holding: dict[str, list[bool]] = {r: [] for r in resources}  # exclusive?, of each holder
    guard = threading.Lock()

    def asker(seed: int, db: Database) -> None:
        chance = random.Random(seed)
        for _ in range(total // 3):
            wanted = chance.sample(resources, chance.randint(1, 2))
            split = chance.randint(0, len(wanted))
            new = tasks.NewTask("modify", "x", exclusive=wanted[:split], shared=wanted[split:])
            asked = db.run(
                lambda tx, new=new: tasks.ask(tx, new, at_once=at_once),  # type: ignore[misc]  # bound now
                single=at_once,
            )
            for ring in asked.rings or start(db, asked.id):
                bell.put(ring)

    def enter(exclusive: list[str], shared: list[str]) -> None:
        with guard:
            for r in exclusive:
                if holding[r]:
                    violations.append(f"{r} was held")
                holding[r].append(True)
            for r in shared:
                if any(holding[r]):
                    violations.append(f"{r} was held alone")
                holding[r].append(False)

    def leave(exclusive: list[str], shared: list[str]) -> None:
        with guard:
            for r in exclusive:
                holding[r].remove(True)
            for r in shared:
                holding[r].remove(False)

    def worker(db: Database, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                ring = bell.get(timeout=0.05)
            except Empty:
                continue
            job = claimed(db, settings, ring.job)
            reserved = task_row(db, job.task)["reserved"]
            shared = [r.removeprefix("shared:") for r in reserved if r.startswith("shared:")]
            exclusive = [r for r in reserved if not r.startswith("shared:")]
            enter(exclusive, shared)
            leave(exclusive, shared)
            db.run(lambda tx, job=job: tasks.complete(tx, job))  # type: ignore[misc]  # bound now
            for next_ring in db.run(lambda tx, job=job: tasks.start_waiting(tx, job.task)):  # type: ignore[misc]  # bound now
                bell.put(next_ring)
            ended.release()

    stop = threading.Event()
    with Database(database_url, size=9) as db, ThreadPoolExecutor(9) as pool:
        work = [pool.submit(worker, db, stop) for _ in range(6)]
        asking = [pool.submit(asker, seed, db) for seed in range(3)]
        try:
            stranded = sum(not ended.acquire(timeout=60) for _ in range(total))
        finally:
            stop.set()
        for future in (*asking, *work):
            future.result()
        order = rows(
            db,
            "select a.id from tasks a join tasks b on a.id < b.id and a.started > b.started"
            " where exists (select from unnest(a.reserved) r"
            "  where r = any(b.reserved) and r not like 'shared:%%')",
        )

    assert stranded == 0
    assert violations == []
    assert order == []  # first in, first out of each resource


def test_two_requests_with_one_key_at_once_make_one_task(database_url: str) -> None:
    new = tasks.NewTask("modify", "x", exclusive=[A], idempotency_key=uuid4().hex)
    together = threading.Barrier(4)

    def request(db: Database) -> tasks.Asked:
        together.wait()
        return db.run(lambda tx: tasks.ask(tx, new))

    with Database(database_url, size=4) as db, ThreadPoolExecutor(4) as pool:
        asked = [f.result() for f in [pool.submit(request, db) for _ in range(4)]]

    assert len({a.uuid for a in asked}) == 1
    assert [a.is_new for a in asked].count(True) == 1


def test_a_key_older_than_a_day_makes_another_task(db: Database) -> None:
    new = tasks.NewTask("modify", "x", idempotency_key="k")
    old = db.run(lambda tx: tasks.ask(tx, new))
    db.run(lambda tx: tx.execute("update tasks set created = now() - interval '25 h'"))

    later = db.run(lambda tx: tasks.ask(tx, new))

    assert later.is_new
    assert later.uuid != old.uuid


def test_claims_of_a_claimed_job_outlive_a_put_off(db: Database, settings: Settings) -> None:
    [ring] = start(db, ask(db, exclusive=[A]))
    job = claimed(db, settings, ring.job)

    db.run(lambda tx: jobs.put_off(tx, job, 60, "host closed"))

    assert start(db, ask(db, exclusive=[A])) == []
