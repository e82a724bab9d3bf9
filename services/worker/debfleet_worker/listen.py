"""Hear the bell: brokers whose consumers take a message only when its job can start at once.

A process runs one download, and the end of the one before (``Lease.hand_over``), beside one job of
any other kind. Dramatiq would fetch one message of each queue and let it wait here while other
workers idle. So the queues of one group share a turn: a consumer that gets a message takes the turn
and keeps it to the message's end; while the turn is taken, the other consumers of the group leave
the broker, and come back after.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

import pika.exceptions
import psycopg
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.rabbitmq import _RabbitmqConsumer
from dramatiq.brokers.stub import StubBroker, _StubConsumer
from dramatiq.errors import ConnectionClosed

from debfleet.bell import (
    CHANNEL,
    FleetBroker,
    job_message,
    queue_name,
    read_notification,
)
from debfleet.db import sweeps
from debfleet.db.connect import Database

log = logging.getLogger(__name__)

_BUSY_SECONDS = 0.2
_ANEW_SECONDS = 15.0
_RETRY_SECONDS = 2.0


def _nothing() -> None:
    """Nobody wants to know."""


class Turn:
    """One running message for a group of queues."""

    def __init__(self) -> None:
        self._holder: str | None = None
        self._changed = threading.Condition()

    def take(self, message: MessageProxy, seconds: float = 0) -> bool:
        """Take the turn for this message, waiting so long at most."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._holder is None, seconds):
                return False
            self._holder = message.message_id
            return True

    def leave(self, message: MessageProxy) -> None:
        """The message is over; nothing happens if it had no turn."""
        with self._changed:
            if self._holder == message.message_id:
                self._holder = None
                self._changed.notify_all()

    def is_free(self) -> bool:
        """Whether nobody has the turn now."""
        return self._holder is None


class Turns:
    """A turn for each group of queues."""

    def __init__(self) -> None:
        self._download = Turn()
        self._other = Turn()

    def of(self, queue: str) -> Turn:
        """The turn that messages of this queue need."""
        return self._download if queue == queue_name("download") else self._other


class RabbitListener(FleetBroker):
    """RabbitMQ, for a worker."""

    def __init__(self, url: str, on_heard: Callable[[], None] | None = None) -> None:
        """``on_heard``: called now and then while the broker is there."""
        super().__init__(url)
        self.turns = Turns()
        self.on_heard = on_heard or _nothing

    @property
    def consumer_class(self) -> type[_RabbitConsumer]:
        return _RabbitConsumer


class _RabbitConsumer(_RabbitmqConsumer):
    broker: RabbitListener

    def __init__(self, broker: RabbitListener, queue: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue, prefetch, timeout)
        self._timeout = timeout / 1000
        self._turn = broker.turns.of(queue)
        self._running: str | None = None  # our own message, which keeps the server from sending
        self._is_away = False
        self._since = time.monotonic()

    def __next__(self) -> MessageProxy | None:
        try:
            if self._running is None and not self._turn.is_free():
                self._go_away()
                # Wait on the connection, which keeps it alive and sends what was to be said.
                self.connection.process_data_events(time_limit=min(_BUSY_SECONDS, self._timeout))
                self.broker.on_heard()
                return None
            if self._is_away:
                self.iterator = self.channel.consume(
                    self.queue_name, inactivity_timeout=self._timeout
                )
                self._is_away = False
                self._since = time.monotonic()
        except (pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError) as e:
            raise ConnectionClosed(e) from None
        message: Any = super().__next__()
        self.broker.on_heard()
        if message is None:
            if self._running is None and time.monotonic() - self._since > _ANEW_SECONDS:
                # A queue that was deleted and made again may not have told us.
                self._go_away()
            return None
        if self._turn.take(message):
            self._running = message.message_id
            return message  # type: ignore[no-any-return]  # dramatiq says nothing here
        # Another queue of the group was a moment faster: some other worker may be idle.
        try:
            self.known_tags.discard(message._tag)
            self.channel.basic_nack(message._tag, requeue=True)
            self._go_away()
        except (pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError) as e:
            raise ConnectionClosed(e) from None
        return None

    def ack(self, message: MessageProxy) -> None:
        try:
            super().ack(message)
        finally:
            self._over(message)

    def nack(self, message: MessageProxy) -> None:
        try:
            super().nack(message)
        finally:
            self._over(message)

    def _over(self, message: MessageProxy) -> None:
        if self._running == message.message_id:
            self._running = None
        self._turn.leave(message)

    def _go_away(self) -> None:
        if not self._is_away:
            # Gives back what the server may have sent already.
            self.channel.cancel()
            self._is_away = True


class NotifyListener(StubBroker):
    """Postgres' NOTIFY, for a worker: each hears every ring, and the claim decides."""

    def __init__(self, url: str, kinds: Collection[str], idle_seconds: float = 1.0) -> None:
        super().__init__(middleware=[])
        self.turns = Turns()
        self._url = url
        self._kinds = list(kinds)
        self._idle_seconds = idle_seconds
        self._stopped = False
        self._db: psycopg.Connection[Any] | None = None
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def declare_queue(self, queue_name: str) -> None:
        super().declare_queue(queue_name)
        self.delay_queues.clear()

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 100) -> Consumer:
        turn = self.turns.of(queue_name)
        return _NotifyConsumer(self.queues[queue_name], [], prefetch, timeout, turn)

    def start(self) -> None:
        """Listen from now on, and ask once for what was rung before."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._stopped = True
        self._thread.join(timeout=5)

    def _listen(self) -> None:
        while not self._stopped:
            try:
                self._hear()
            except psycopg.Error as e:
                log.warning("listener.lost", extra={"reason": str(e)})
                time.sleep(_RETRY_SECONDS)

    def _hear(self) -> None:
        with psycopg.connect(
            self._url, autocommit=True, connect_timeout=10, prepare_threshold=None
        ) as db:
            db.execute(f"listen {CHANNEL}")
            # What was rung before we listened, or while the connection was lost.
            with Database(self._url, size=1, name="listener") as once:
                for ring in once.run(lambda tx: sweeps.list_ringing(tx, self._kinds)):
                    self.enqueue(job_message(ring))
            while not self._stopped:
                for said in db.notifies(timeout=self._idle_seconds):
                    heard = read_notification(said.payload)
                    if heard is not None and heard.kind in self._kinds:
                        self.enqueue(job_message(heard))


class _NotifyConsumer(_StubConsumer):
    def __init__(
        self, queue: Any, dead: list[Any], prefetch: int, timeout: int, turn: Turn
    ) -> None:
        super().__init__(queue, dead, prefetch, timeout)
        self._turn = turn
        self._next: MessageProxy | None = None

    def __next__(self) -> MessageProxy | None:
        # A message that waits here is no loss: every other worker has it too.
        if self._next is None:
            self._next = super().__next__()
        if self._next is None or not self._turn.take(self._next, self.timeout / 1000):
            return None
        message, self._next = self._next, None
        return message

    def ack(self, message: MessageProxy) -> None:
        try:
            super().ack(message)
        finally:
            self._turn.leave(message)

    def nack(self, message: MessageProxy) -> None:
        try:
            super().nack(message)
        finally:
            self._turn.leave(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """The queue ends with the process; every message is a row somewhere."""
