"""Hear the bell: brokers whose consumers take a message only when its job can start at once.

A process runs one download, and the end of the one before (``Lease.hand_over``), beside one job of
any other kind. Dramatiq would fetch one message of each queue and let it wait here while other
workers idle. So the queues of one group share a turn: a consumer that gets a message takes the turn
and keeps it to the message's end; while the turn is taken, the other consumers of the group leave
the broker, and come back after.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
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
from debfleet_worker.waiting import WaitingQueue

log = logging.getLogger(__name__)

_BUSY_SECONDS = 0.2
_SHORT_SECONDS = 0.5  # a job that is over by then: to leave the broker and come back costs more
_IDLE_SECONDS = 10.0
_ANEW_SECONDS = 15.0
_RETRY_SECONDS = 2.0


def _nothing() -> None:
    """Nobody wants to know."""


class Turn:
    """One running message for a group of queues."""

    def __init__(self) -> None:
        self._holder: str | None = None
        self._changed = threading.Condition()
        self._watchers: tuple[Callable[[], None], ...] = ()

    def watch(self, tell: Callable[[], None]) -> None:
        """Have this called whenever somebody took the turn."""
        with self._changed:
            self._watchers += (tell,)

    def forget(self, tell: Callable[[], None]) -> None:
        """Call it no more."""
        with self._changed:
            self._watchers = tuple(one for one in self._watchers if one != tell)

    def take(self, message: MessageProxy, seconds: float = 0) -> bool:
        """Take the turn for this message, waiting so long at most."""
        with self._changed:
            if not self._changed.wait_for(self.is_free, seconds):
                return False
            self._holder = message.message_id
            watchers = self._watchers
        for tell in watchers:
            tell()
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until nobody has the turn, so long at most; whether it is so."""
        with self._changed:
            return self._changed.wait_for(self.is_free, seconds)

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
        self.is_over = False
        self._consumers: set[_RabbitConsumer] = set()
        self._changing = threading.Lock()

    def add(self, consumer: _RabbitConsumer) -> None:
        """One that is to be told of the end."""
        with self._changing:
            self._consumers.add(consumer)

    def remove(self, consumer: _RabbitConsumer) -> None:
        """One that has ended."""
        with self._changing:
            self._consumers.discard(consumer)

    def end_waits(self) -> None:
        """No consumer waits for messages any more."""
        self.is_over = True
        with self._changing:
            consumers = list(self._consumers)
        for consumer in consumers:
            consumer.wake()

    @property
    def consumer_class(self) -> type[_RabbitConsumer]:
        return _RabbitConsumer


class _RabbitConsumer(_RabbitmqConsumer):
    broker: RabbitListener

    def __init__(self, broker: RabbitListener, queue: str, prefetch: int, timeout: int) -> None:
        # Its own wait cannot be cut short: only ours can.
        super().__init__(broker, queue, prefetch, timeout=0)
        self._turn = broker.turns.of(queue)
        self._running: str | None = None  # our own message, which keeps the server from sending
        self._is_away = False
        self._since = time.monotonic()
        broker.add(self)
        self._turn.watch(self.wake)

    def wake(self) -> None:
        """Have the thread that waits on the connection look about itself."""
        with suppress(pika.exceptions.ConnectionWrongStateError):  # closed: nobody waits
            self.connection.add_callback_threadsafe(_nothing)

    def close(self) -> None:
        self._turn.forget(self.wake)
        self.broker.remove(self)
        super().close()

    def __next__(self) -> MessageProxy | None:
        try:
            if self._running is None and not self._turn.wait(
                0 if self._is_away else _SHORT_SECONDS
            ):
                self._go_away()
                # Wait on the connection, which keeps it alive and sends what was to be said.
                self.connection.process_data_events(time_limit=_BUSY_SECONDS)
                self.broker.on_heard()
                return None
            if self._is_away:
                self.iterator = self.channel.consume(self.queue_name, inactivity_timeout=0)
                self._is_away = False
                self._since = time.monotonic()
        except (pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError) as e:
            raise ConnectionClosed(e) from None
        message: Any = super().__next__()
        self.broker.on_heard()
        if message is None:
            self._rest()
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

    def _rest(self) -> None:
        """Sleep until something comes, or somebody wakes us."""
        if self._running is None and time.monotonic() - self._since > _ANEW_SECONDS:
            # A queue that was deleted and made again may not have told us.
            self._go_away()
        elif not self.broker.is_over and (self._running is not None or self._turn.is_free()):
            try:
                self.connection.process_data_events(time_limit=_IDLE_SECONDS)
            except (pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError) as e:
                raise ConnectionClosed(e) from None

    def _go_away(self) -> None:
        if not self._is_away:
            # Gives back what the server may have sent already.
            self.channel.cancel()
            self._is_away = True


class NotifyListener(StubBroker):
    """Postgres' NOTIFY, for a worker: each hears every ring, and the claim decides."""

    def __init__(self, url: str, kinds: Collection[str]) -> None:
        super().__init__(middleware=[])
        self.turns = Turns()
        self._url = url
        self._kinds = list(kinds)
        self._stopped = False
        self._told = os.eventfd(0)  # to stop, while nothing comes from Postgres
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def declare_queue(self, queue_name: str) -> None:
        # Not beside it one for delayed messages, which would have a thread.
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = WaitingQueue()
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 100) -> Consumer:
        turn = self.turns.of(queue_name)
        return _NotifyConsumer(self.queues[queue_name], [], prefetch, timeout, turn)

    def start(self) -> None:
        """Listen from now on, and ask once for what was rung before."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; twice is once."""
        if self._stopped:
            return
        self._stopped = True
        os.eventfd_write(self._told, 1)
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            os.close(self._told)

    def end_waits(self) -> None:
        """No consumer waits for messages any more."""
        for queue in self.queues.values():
            queue.end()

    def _listen(self) -> None:
        while not self._stopped:
            try:
                self._hear()
            except psycopg.Error as e:
                log.warning("listener.lost", extra={"reason": str(e)})
                select.select([self._told], [], [], _RETRY_SECONDS)

    def _hear(self) -> None:
        with psycopg.connect(
            self._url, autocommit=True, connect_timeout=10, prepare_threshold=None
        ) as db:
            db.execute(f"listen {CHANNEL}")
            # What was rung before we listened, or while the connection was lost.
            with Database(self._url, size=1, name="listener") as once:
                for ring in once.run(lambda tx: sweeps.list_ringing(tx, self._kinds)):
                    self.enqueue(job_message(ring))
            poll = select.poll()
            poll.register(db.fileno(), select.POLLIN)
            poll.register(self._told, select.POLLIN)
            while not self._stopped:
                # Psycopg's own wait would look up ten times a second.
                for said in db.notifies(timeout=0):
                    heard = read_notification(said.payload)
                    if heard is not None and heard.kind in self._kinds:
                        self.enqueue(job_message(heard))
                poll.poll()


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
