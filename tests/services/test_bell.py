"""The bell: what RabbitMQ may do to our messages, and what a worker makes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pika
import pytest

from coordination import Fleet, Sweeping, ask, rows, task_row, wait_for, wait_until
from debfleet.bell import (
    RabbitBell,
    check_broker,
    job_message,
    open_bell,
    queue_name,
    read_notification,
)
from debfleet.config import Settings
from debfleet.db import jobs, tasks
from debfleet.db.connect import Database
from debfleet.db.jobs import NewJob
from debfleet.errors import ConfigError
from debfleet.model import KINDS, Job, Ring
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker


@pytest.fixture
def fleet(settings: Settings, broker_url: str) -> Iterator[Fleet]:
    fleet = Fleet(replace(settings, broker_url=broker_url))
    yield fleet
    fleet.stop()


@pytest.fixture
def channel(broker_url: str) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    """A stranger's own channel."""
    connection = pika.BlockingConnection(pika.URLParameters(broker_url))
    yield connection.channel()
    if connection.is_open:
        connection.close()


def complete(worker: Worker, job: Job, lease: Lease) -> None:
    worker.commit(lambda tx: tasks.complete(tx, job))


def waiting(broker_url: str, queue: str) -> int:
    """Messages that are in a queue and with nobody."""
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        declared = connection.channel().queue_declare(queue, passive=True)
        return int(declared.method.message_count)


def test_every_kind_has_a_quorum_queue_with_a_delivery_limit(
    broker_url: str, channel: pika.adapters.blocking_connection.BlockingChannel
) -> None:
    check_broker(broker_url)

    for kind in KINDS:
        name = queue_name(kind)
        # Declared with the same arguments, or the broker would refuse.
        channel.queue_declare(
            name,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-delivery-limit": 20,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": f"{name}.XQ",
            },
        )


def test_a_queue_with_other_arguments_is_said_so_at_the_start(
    fleet: Fleet, channel: pika.adapters.blocking_connection.BlockingChannel
) -> None:
    channel.queue_declare("debfleet.index", durable=True)

    with pytest.raises(ConfigError, match=r"queue debfleet\.index with other arguments"):
        fleet.start()


def test_a_message_holds_nothing_but_a_job_id() -> None:
    message = job_message(Ring(7, "index"))

    assert (message.args, message.kwargs, message.options) == ((7,), {}, {})


@pytest.mark.alone
def test_a_ring_neither_raises_nor_waits_when_the_broker_is_away() -> None:
    bell = RabbitBell("amqp://guest:guest@127.0.0.1:1/")

    before = time.monotonic()
    bell.ring([Ring(1, "plan")])
    seconds = time.monotonic() - before

    assert seconds < 0.1
    assert not bell.ring_now([Ring(1, "plan")])
    bell.close()


def test_foreign_notifications_are_ignored() -> None:
    assert read_notification("index 7") == Ring(7, "index")
    assert read_notification("index x") is None
    assert read_notification("nonsense 7") is None
    assert read_notification("") is None


def test_a_doubled_message_runs_its_job_once(fleet: Fleet, db: Database) -> None:
    ran = []

    def chore(worker: Worker, job: Job, lease: Lease) -> None:
        ran.append(job.attempt)
        complete(worker, job, lease)

    asked = [ask(db) for _ in range(5)]
    rings = [r for task in asked for r in db.run(lambda tx, t=task: tasks.start(tx, t))]  # type: ignore[misc]  # bound now
    assert fleet.bell.ring_now(rings * 3)
    for _ in range(2):
        fleet.start(chores={"modify": chore})

    for task in asked:
        wait_until(db, task, "completed")
    wait_for(lambda: waiting(fleet.settings.broker_url, "debfleet.chore") == 0)
    assert ran == [1] * 5


def test_a_lost_message_costs_a_pause_and_no_work(
    settings: Settings,
    broker_url: str,
    db: Database,
    channel: pika.adapters.blocking_connection.BlockingChannel,
) -> None:
    fleet = Fleet(replace(settings, broker_url=broker_url, ring_seconds=1))
    check_broker(broker_url)
    task = ask(db)
    assert fleet.bell.ring_now(db.run(lambda tx: tasks.start(tx, task)))
    channel.queue_purge("debfleet.chore")

    fleet.start(chores={"modify": complete})
    try:
        with Sweeping(fleet.settings):
            wait_until(db, task, "completed", seconds=20)
    finally:
        fleet.stop()


def test_a_deleted_queue_is_made_again(
    settings: Settings,
    broker_url: str,
    db: Database,
    channel: pika.adapters.blocking_connection.BlockingChannel,
) -> None:
    fleet = Fleet(replace(settings, broker_url=broker_url, ring_seconds=1))
    fleet.start(chores={"modify": complete})
    wait_until(db, ask(db, fleet.bell), "completed")
    channel.queue_delete("debfleet.chore")

    task = ask(db, fleet.bell)
    try:
        with Sweeping(fleet.settings):
            wait_until(db, task, "completed")
    finally:
        fleet.stop()


def test_foreign_messages_go_to_the_dead_letters_and_stop_nobody(
    fleet: Fleet, db: Database, channel: pika.adapters.blocking_connection.BlockingChannel
) -> None:
    check_broker(fleet.settings.broker_url)
    for body in (b"not json", b"{}", b'{"queue_name": "debfleet.chore"}'):
        channel.basic_publish("", "debfleet.chore", body)
    foreign = replace(job_message(Ring(1, "chore")), actor_name="somebody_else")
    channel.basic_publish("", "debfleet.chore", foreign.encode())
    nonsense = replace(job_message(Ring(1, "chore")), args=("x", "y"))
    channel.basic_publish("", "debfleet.chore", nonsense.encode())
    fleet.start(chores={"modify": complete})

    wait_until(db, ask(db, fleet.bell), "completed")

    wait_for(lambda: waiting(fleet.settings.broker_url, "debfleet.chore.XQ") >= 2)
    wait_for(lambda: waiting(fleet.settings.broker_url, "debfleet.chore") == 0)


def test_a_busy_worker_keeps_no_message_from_an_idle_one(fleet: Fleet, db: Database) -> None:
    """Also of the other queues: nothing waits in a worker, so nothing waits for a sweep."""
    go_on, held = threading.Event(), threading.Event()

    def hold(worker: Worker, job: Job, lease: Lease) -> None:
        held.set()
        with lease.busy():
            assert go_on.wait(30)
        complete(worker, job, lease)

    def plan(worker: Worker, job: Job, lease: Lease) -> None:
        worker.commit(lambda tx: jobs.finish(tx, job, [NewJob("index")] * 3))

    def index(worker: Worker, job: Job, lease: Lease) -> None:
        worker.commit(lambda tx: jobs.finish(tx, job))

    steps = {"plan": plan, "index": index, "assemble": complete}
    fleet.start(steps=steps, chores={"modify": hold})
    busy = ask(db, fleet.bell)
    assert held.wait(20)
    asked = [ask(db, fleet.bell, kind="sync") for _ in range(3)]
    more = ask(db, fleet.bell)
    # Nobody may have any of it in hand: a running worker prefetches nothing.
    wait_for(lambda: waiting(fleet.settings.broker_url, "debfleet.plan") == 3)
    wait_for(lambda: waiting(fleet.settings.broker_url, "debfleet.chore") == 1)

    fleet.start(steps=steps, chores={"modify": complete})
    for task in (*asked, more):
        wait_until(db, task, "completed", seconds=20)

    assert task_row(db, busy)["state"] == "running"
    go_on.set()
    wait_until(db, busy, "completed")


def test_the_bell_of_a_fork_or_thread_is_its_own(
    settings: Settings, db: Database, broker_url: str
) -> None:
    check_broker(broker_url)
    for url in (broker_url, ""):
        bell = open_bell(replace(settings, broker_url=url))
        sends: list[Callable[[], object]] = [
            lambda b=bell, n=n: b.ring_now([Ring(n, "publish")])  # type: ignore[misc]  # bound now
            for n in range(8)
        ]
        threads = [threading.Thread(target=send) for send in sends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        bell.ring([Ring(9, "publish")])
        bell.close()

    wait_for(lambda: waiting(broker_url, "debfleet.publish") == 9)
    assert rows(db, "select 1 from jobs") == []
