"""The pool of connections, and the transaction that everything in ``debfleet.db`` takes first."""

from __future__ import annotations

import random
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from debfleet import metrics

Tx = psycopg.Connection[DictRow]
T = TypeVar("T")

# A deadlock or a serialisation failure is nobody's fault: the whole transaction runs again.
_AGAIN = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
_TRIES = 8
_TRUSTED_SECONDS = 30.0  # since Postgres last answered: longer than two heartbeats are apart

KEEPALIVE: Mapping[str, Any] = {
    "connect_timeout": 10,
    # A server that is gone without a word (its machine, or the network between) is noticed within
    # a minute, also in the middle of a statement; Linux by itself looks after two hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # ms
}
"""Of every connection to Postgres."""


class Database:
    """A bounded pool of connections to Postgres.

    A connection that was lost is noticed when it is handed out (``_check``), so that a restart of
    Postgres costs a reconnect and not an error. Nothing is kept in a session (a transaction pooler
    may stand between): no prepared statements, no LISTEN, no temporary table that outlives its
    transaction.
    """

    def __init__(
        self, url: str, *, size: int = 4, name: str = "debfleet", patience: float = 30
    ) -> None:
        self.url = url
        self._name, self._size = name, size
        self._pool: ConnectionPool[_Connection] = ConnectionPool(
            url,
            connection_class=_Connection,
            kwargs={
                "row_factory": dict_row,
                "prepare_threshold": None,
                "application_name": name,
                "autocommit": False,
                **KEEPALIVE,
            },
            min_size=1,
            max_size=size,
            timeout=patience,  # seconds that a transaction waits for its connection
            check=_check,
            open=False,
            name=name,
        )

    def open(self) -> None:
        """Start the pool; returns at once, also when Postgres is away."""
        self._pool.open(wait=False)
        metrics.DB_MOST.add(self._size, pool=self._name)

    def close(self) -> None:
        """Close every connection; waits at most five seconds for those in use."""
        if not self._pool.closed:
            metrics.DB_MOST.add(-self._size, pool=self._name)
        self._pool.close(timeout=5)

    def __enter__(self) -> Database:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[_Connection]:
        """One transaction: committed at the end of the block, rolled back if it raises."""
        began = time.monotonic()
        with self._pool.connection() as tx, metrics.DB_IN_USE.during(pool=self._name):
            metrics.DB_WAIT.observe(time.monotonic() - began, pool=self._name)
            yield tx
            tx.heard = time.monotonic()

    @contextmanager
    def single(self) -> Iterator[_Connection]:
        """For one statement alone: it is its own transaction, without the two round trips.

        Of several statements each sees its own state of the database, and is kept by itself.
        """
        with self.transaction() as tx:
            tx.autocommit = True
            try:
                yield tx
            finally:
                _end_single(tx)

    def run(self, work: Callable[[Tx], T], *, single: bool = False) -> T:
        """Run ``work`` in one transaction, again as a whole after a deadlock.

        Use this where others may insert or lock the same rows. ``work`` must have no effect
        outside its transaction.

        Args:
            single: It is one statement or one pipeline, which is its own transaction.
        """
        for attempt in range(_TRIES):
            try:
                with self.single() if single else self.transaction() as tx:
                    return work(tx)
            except _AGAIN:
                if attempt == _TRIES - 1:
                    raise
                time.sleep(random.uniform(0, 0.02 * 2**attempt))
        raise AssertionError("not reached")


class _Connection(psycopg.Connection[DictRow]):
    """A connection of a pool."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heard = time.monotonic()  # when Postgres last answered


def _check(tx: _Connection) -> None:
    """Before a connection is handed out: that Postgres is still at its other end.

    A server that ends or dies makes the socket readable, which costs no round trip to see. What a
    network drops in silence is found by asking, where nothing was heard for a while: not before
    each heartbeat.

    Raises:
        psycopg.OperationalError: It is not: the pool takes another.
    """
    if time.monotonic() - tx.heard > _TRUSTED_SECONDS or _is_readable(tx.fileno()):
        ConnectionPool.check_connection(tx)
        tx.heard = time.monotonic()


def _is_readable(socket: int) -> bool:
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


def _end_single(tx: _Connection) -> None:
    """However the use of a connection ended. (The pool's ``reset`` would do it in a thread.)"""
    if tx.info.transaction_status == TransactionStatus.IDLE:
        tx.autocommit = False
    else:
        tx.close()  # lost, or left in the middle of something: the pool makes another
