"""The bell: tells the workers which jobs to try. The one place that knows the broker.

A ring may be lost, late or doubled without harm: the claim decides, and the sweeper rings again.
So ``ring`` never raises and never waits: a thread of its own sends, and what cannot be sent is
logged and dropped.
"""

from __future__ import annotations

import os

# Read by dramatiq when it is imported: a worker that fetched more than it runs would keep jobs from
# idle ones.
os.environ["dramatiq_queue_prefetch"] = "1"  # noqa: SIM112 (its own spelling)

import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, Full, Queue
from typing import Any, Protocol

import dramatiq
import pika
import pika.exceptions
import psycopg
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.common import xq_name
from dramatiq.errors import ConnectionClosed

from debfleet import metrics
from debfleet.config import Settings
from debfleet.db.connect import KEEPALIVE
from debfleet.errors import ConfigError
from debfleet.model import KINDS, Ring

log = logging.getLogger(__name__)

ACTOR = "run_job"
CHANNEL = "debfleet_jobs"  # of Postgres' NOTIFY
_DELIVERY_LIMIT = 20  # a message that takes its worker down so often goes to the dead letters
_BACKLOG = 10_000
# Nothing waits for a disk: a ring may be lost, and what it rings for is committed already.
_NOTIFY = """
select set_config('synchronous_commit', 'off', true), pg_notify(%s, said)
  from unnest(%s::text[]) said
"""


class Bell(Protocol):
    """Rings jobs; safe to use from any thread."""

    def ring(self, rings: Sequence[Ring]) -> None:
        """Send, soon and in this order; call it after the commit. Never raises, never waits."""

    def ring_now(self, rings: Sequence[Ring]) -> bool:
        """Send before returning; false if the broker did not take them all."""

    def close(self) -> None:
        """Send what is still waiting, for some seconds at most."""


def open_bell(settings: Settings) -> Bell:
    """RabbitMQ if there is a broker URL, else Postgres NOTIFY. Connects at the first ring."""
    if settings.broker_url:
        # We say it ourselves, once, when the broker is away.
        logging.getLogger("pika").setLevel(logging.CRITICAL)
        return RabbitBell(settings.broker_url)
    return NotifyBell(settings.database_url)


def queue_name(kind: str) -> str:
    """The queue of a kind of job."""
    return f"debfleet.{kind}"


def job_message(ring: Ring) -> dramatiq.Message[None]:
    """What is sent: nothing but the job's id."""
    return dramatiq.Message(
        queue_name=queue_name(ring.kind), actor_name=ACTOR, args=(ring.job,), kwargs={}, options={}
    )


class FleetBroker(RabbitmqBroker):
    """Quorum queues with a delivery limit, confirmed publishing, no queue for delayed messages.

    Delayed messages would be held unacknowledged in a worker's memory; what must wait waits in
    Postgres.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url=_with_limits(url), confirm_delivery=True, middleware=[])

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.queues_pending.add(queue_name)
            self.emit_after("declare_queue", queue_name)
        if ensure:
            self._ensure_queue(queue_name)

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": _DELIVERY_LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": xq_name(queue_name),
        }

    def _declare_dq_queue(self, queue_name: str) -> None:
        return None


def check_broker(url: str) -> None:
    """Declare all queues, once, at the start of a process.

    Raises:
        ConfigError: The queues exist with other arguments; waiting cannot mend that.
        ConnectionClosed: The broker is away; waiting may.
    """
    broker = FleetBroker(url)
    try:
        for kind in KINDS:
            name = queue_name(kind)
            try:
                broker._declare_queue(name)
                broker._declare_xq_queue(name)
            except pika.exceptions.ChannelClosedByBroker as e:
                if e.reply_code != 406:
                    raise ConnectionClosed(e) from None
                raise ConfigError(
                    f"RabbitMQ has a queue {name} with other arguments than ours "
                    f"({e.reply_text}). Stop the workers, delete the queue (nothing is lost: "
                    "Postgres knows every job), and start them again."
                ) from None
            except pika.exceptions.AMQPError as e:
                raise ConnectionClosed(e) from None
    finally:
        broker.close()


def _with_limits(url: str) -> list[str]:
    """Bounds for every wait that the URL does not bound: a broker that is away must not hang us."""
    limits = {
        "heartbeat": "60",
        "blocked_connection_timeout": "10",
        "socket_timeout": "5",
        "stack_timeout": "10",
    }
    return [
        one
        + ("&" if "?" in one else "?")
        + "&".join(f"{name}={value}" for name, value in limits.items() if f"{name}=" not in one)
        for one in url.split(";")
    ]


class _Sender:
    """One thread that sends; started by the first ring, so that a forked process has its own."""

    def __init__(self, send: Callable[[Sequence[Ring]], None]) -> None:
        self._send = send
        self._queue: Queue[list[Ring] | None] = Queue(_BACKLOG)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._sending = threading.Lock()  # the connection is one for all who send

    def ring(self, rings: Sequence[Ring]) -> None:
        if not rings:
            return
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait(list(rings))
        except Full:
            log.warning("ring.dropped", extra={"jobs": len(rings), "reason": "too many waiting"})

    def ring_now(self, rings: Sequence[Ring]) -> bool:
        try:
            with self._sending:
                self._send(rings)
        # Whatever went wrong, the sweeper rings again; nobody who rings can do anything about it.
        except Exception as e:  # noqa: BLE001
            log.warning("ring.failed", extra={"jobs": len(rings), "reason": str(e) or repr(e)})
            metrics.RINGS.add(len(rings), outcome="failed")
            return False
        metrics.RINGS.add(len(rings), outcome="sent")
        return True

    def close(self) -> None:
        thread = self._thread
        if thread is not None and thread.is_alive():
            self._queue.put(None)
            thread.join(timeout=10)

    def _run(self) -> None:
        while (rings := self._queue.get()) is not None:
            if not self.ring_now(rings):
                self._drop_waiting()

    def _drop_waiting(self) -> None:
        """The broker is away: each further try would wait for nothing as long as this one did."""
        dropped = 0
        try:
            while True:
                rings = self._queue.get_nowait()
                if rings is None:
                    self._queue.put(None)
                    break
                dropped += len(rings)
        except Empty:
            pass
        if dropped:
            log.warning("ring.dropped", extra={"jobs": dropped, "reason": "the broker is away"})


class RabbitBell:
    """Rings by RabbitMQ. One connection, used by one thread at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._broker: FleetBroker | None = None
        self._sender = _Sender(self._send)

    def ring(self, rings: Sequence[Ring]) -> None:
        self._sender.ring(rings)

    def ring_now(self, rings: Sequence[Ring]) -> bool:
        return self._sender.ring_now(rings)

    def close(self) -> None:
        self._sender.close()
        if self._broker is not None:
            self._broker.close()

    def _send(self, rings: Sequence[Ring]) -> None:
        if self._broker is None:
            self._broker = FleetBroker(self._url)
        try:
            for ring in rings:
                self._broker.enqueue(job_message(ring))
            if not rings:
                self._broker.connection.process_data_events()
        except BaseException:
            # Other threads' connections too: dramatiq keeps one for each thread.
            self._broker.close()
            self._broker = None
            raise


class NotifyBell:
    """Rings by Postgres' NOTIFY, for those that LISTEN (``debfleet up``)."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._db: psycopg.Connection[Any] | None = None
        self._sender = _Sender(self._send)

    def ring(self, rings: Sequence[Ring]) -> None:
        self._sender.ring(rings)

    def ring_now(self, rings: Sequence[Ring]) -> bool:
        return self._sender.ring_now(rings)

    def close(self) -> None:
        self._sender.close()
        if self._db is not None:
            self._db.close()

    def _send(self, rings: Sequence[Ring]) -> None:
        said = [f"{ring.kind} {ring.job}" for ring in rings]
        if self._db is not None:
            try:
                self._notify(self._db, said)
                return
            except psycopg.OperationalError:
                # Cut while it was idle, as a restart of Postgres does: once more with a new one.
                self._db.close()
        self._db = psycopg.connect(self._url, autocommit=True, prepare_threshold=None, **KEEPALIVE)
        self._notify(self._db, said)

    def _notify(self, db: psycopg.Connection[Any], said: list[str]) -> None:
        db.execute(_NOTIFY, (CHANNEL, said))


def read_notification(payload: str) -> Ring | None:
    """What NotifyBell sent; nothing if somebody else used our channel."""
    kind, _, job = payload.partition(" ")
    if kind not in KINDS or not (job.isascii() and job.isdigit()):
        return None
    return Ring(int(job), kind)
