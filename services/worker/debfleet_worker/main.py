"""Put the worker together: settings, pools, store, bell, the one actor; and take it apart again."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import dramatiq
import psycopg

from debfleet.bell import ACTOR, check_broker, open_bell, queue_name
from debfleet.config import Settings
from debfleet.db import jobs, sweeps
from debfleet.db.connect import Database
from debfleet.db.installation import check_secret_key
from debfleet.errors import ConfigError, LeaseLost
from debfleet.metrics_port import MetricsPort, begin_metrics, listen, store_looks
from debfleet.model import KINDS
from debfleet.sealed import Sealer, sealer_of
from debfleet.store import open_store
from debfleet.vitals import Vitals
from debfleet_worker.actors import Crew, take_job
from debfleet_worker.chores import CHORES
from debfleet_worker.heart import Heart
from debfleet_worker.lease import Keeper, Lease
from debfleet_worker.listen import NotifyListener, RabbitListener
from debfleet_worker.process import on_signals, wait_for
from debfleet_worker.steps import STEPS
from debfleet_worker.waiting import WaitingPriorityQueue
from debfleet_worker.worker import Step, Worker

log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0
_HANGS_SECONDS = 60.0
_BROKER_SECONDS = 30.0  # of silence; its heartbeats come more often
_LAST_SECONDS = 5.0  # for a job that was handed back to notice it
# How long a thread that computes lets one wait that comes back from C: unpacking does so several
# times a block, beside the thread that reads along.
_TURN_SECONDS = 0.0005
# Objects more than before, and rounds of the younger ones before one of the older: what a download
# leaves is gone without it, and each collection looks at all requests that are under way.
_COLLECTED_AFTER = (20_000, 20, 50)


def run_worker(settings: Settings, queues: Collection[str] | None = None) -> int:
    """Work until SIGTERM or SIGINT; the exit status: 1 if a job hung, 0 otherwise.

    Args:
        queues: Kinds of jobs (plan, index, …) or names of their queues; none: all.

    Raises:
        ConfigError: A setting is missing, or the broker's queues are not ours.
    """
    settings.need("database_url", "store_url", "secret_key")
    sys.setswitchinterval(_TURN_SECONDS)
    gc.freeze()  # what was imported stays: no collection need look at it
    gc.set_threshold(*_COLLECTED_AFTER)
    listening = listen(settings.metrics_address)
    begin_metrics(settings, "worker")
    stop = threading.Event()
    on_signals(stop)
    vitals = _vitals(settings)
    with MetricsPort(listening, vitals, settings):
        running = start_worker(settings, queues, stop=stop, vitals=vitals)
        if running is None:
            return 0
        status = _work(running, stop)
        vitals.stopping()
        running.stop()
        return status


def _work(running: RunningWorker, stop: threading.Event) -> int:
    while not stop.wait(_LOOK_SECONDS):
        if any(lease.hangs(_HANGS_SECONDS) for lease in running.crew.keeper.leases()):
            # Its job runs elsewhere; only a new process gets rid of the thread.
            log.error("worker.hangs")
            return 1
    return 0


def _vitals(settings: Settings) -> Vitals:
    """A worker without its broker is alive and gets nothing to do."""
    limits = {"database": 3.0 * settings.heartbeat_seconds}
    if settings.broker_url:
        limits["broker"] = _BROKER_SECONDS
    return Vitals(limits, {"store": partial(store_looks, settings.store_url)})


def start_worker(
    settings: Settings,
    queues: Collection[str] | None = None,
    *,
    stop: threading.Event | None = None,
    steps: Mapping[str, Step] = STEPS,
    chores: Mapping[str, Step] = CHORES,
    vitals: Vitals | None = None,
) -> RunningWorker | None:
    """Start working in threads; nothing if ``stop`` was set while we waited for the database.

    Args:
        vitals: Told what works.

    Raises:
        ConfigError: See ``run_worker``.
    """
    kinds = _kinds(queues)
    sealer, store = sealer_of(settings), open_store(settings.store_url)
    stop = stop or threading.Event()
    with ExitStack() as opened:
        db = opened.enter_context(Database(settings.database_url, size=4, name=sweeps.WORKERS))
        heartbeat_db = opened.enter_context(
            Database(settings.database_url, size=2, name="debfleet leases")
        )
        stanza_key = wait_for(partial(_read_stanza_key, db, sealer), stop)
        if settings.broker_url and stanza_key is not None:
            wait_for(partial(check_broker, settings.broker_url), stop)
        if stanza_key is None or stop.is_set():
            return None
        opened.pop_all()  # the worker closes them
    worker = Worker(
        settings, db, heartbeat_db, store, sealer, open_bell(settings), uuid4(), stanza_key
    )
    crew = Crew(worker, Keeper(worker), steps, chores)
    return _start(crew, kinds, vitals or Vitals({}))


def _kinds(queues: Collection[str] | None) -> list[str]:
    if not queues:
        return list(KINDS)
    kinds = [name.removeprefix("debfleet.") for name in queues]
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ConfigError(f"unknown queues: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    return kinds


def _read_stanza_key(db: Database, sealer: Sealer) -> bytes:
    """Also proves the secret key: with another one, each sync would fail later."""
    with db.transaction() as tx:
        check_secret_key(tx, sealer)
        row = tx.execute("select stanza_key from installation").fetchone()
    assert row is not None  # migration 0001 makes it
    return bytes(row["stanza_key"])


@dataclass(frozen=True)
class RunningWorker:
    """A worker whose threads run."""

    worker: Worker
    crew: Crew
    heart: Heart
    threads: dramatiq.Worker
    queue: WaitingPriorityQueue  # between those of the threads that hear and those that work
    broker: RabbitListener | NotifyListener

    def stop(self) -> None:
        """Take no more jobs; let the running ones end within the grace time, hand back the rest."""
        settings = self.worker.settings
        log.info("worker.stopping", extra={"jobs": len(self.crew.keeper.leases())})
        self.crew.stopping.set()
        for thread in self.threads.workers:
            thread.stop()
        self.queue.end()
        self._wait_for_jobs(settings.grace_seconds)
        for lease in self.crew.keeper.leases():
            self._hand_back(lease)
        self._wait_for_jobs(_LAST_SECONDS)
        # Whatever still runs ends with the process, and cannot say anything any more.
        for consumer in self.threads.consumers.values():
            consumer.stop()
        self.broker.end_waits()
        self.threads.stop(timeout=2000)
        if isinstance(self.broker, NotifyListener):
            self.broker.stop()
        self.crew.keeper.stop()
        self.worker.bell.close()
        self.heart.stop()
        self.broker.close()
        self.worker.db.close()
        self.worker.heartbeat_db.close()
        log.info("worker.stopped")

    def _wait_for_jobs(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.crew.keeper.leases() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _hand_back(self, lease: Lease) -> None:
        lease.lose()
        try:
            self.worker.commit(lambda tx: jobs.give_back(tx, lease.job))
            log.info("job.handed_back", extra={"job": lease.job.id})
        except LeaseLost:
            pass  # it ended meanwhile
        except psycopg.Error as e:
            log.warning("job.left", extra={"job": lease.job.id, "reason": str(e)})


def _start(crew: Crew, kinds: list[str], vitals: Vitals) -> RunningWorker:
    worker = crew.worker
    heart = Heart(worker.heartbeat_db, worker.settings, "worker", worker.process, vitals)
    heart.beat_once()  # claims name this process: its row must be there
    heart.start()
    broker: RabbitListener | NotifyListener
    if worker.settings.broker_url:
        broker = RabbitListener(worker.settings.broker_url, partial(vitals.heard, "broker"))
    else:
        broker = NotifyListener(worker.settings.database_url, kinds)
    for kind in kinds:
        broker.declare_queue(queue_name(kind))

    def run_one(job_id: int) -> None:
        take_job(crew, job_id)

    # Made here, not by a decorator at import: that would make a global broker.
    first = queue_name(kinds[0])
    dramatiq.Actor(
        run_one, broker=broker, actor_name=ACTOR, queue_name=first, priority=0, options={}
    )
    threads = dramatiq.Worker(broker, worker_threads=2)
    # dramatiq read the variable when it was imported, perhaps before bell.py could set it.
    threads.queue_prefetch = 1
    threads.work_queue = queue = WaitingPriorityQueue()
    threads.start()
    if isinstance(broker, NotifyListener):
        broker.start()
    extra = {"process_id": str(worker.process), "queues": kinds}
    log.info("worker.started", extra=extra)
    return RunningWorker(worker, crew, heart, threads, queue, broker)
