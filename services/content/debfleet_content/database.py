"""A bounded pool of connections for the event loop: reads, each statement for itself."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from debfleet import metrics
from debfleet.db.connect import KEEPALIVE
from debfleet.db.served import AsyncTx

T = TypeVar("T")

_TRIES = 3
_POOL = "debfleet content reads"  # as metrics call it


class Reader:
    """Runs reads; a connection that Postgres closed meanwhile costs another try, not an error.

    Not checked before each use, as ``Database`` does: that would double what a small file costs.
    """

    def __init__(self, url: str, *, size: int, patience: float) -> None:
        self._size = size
        self._pool: AsyncConnectionPool[AsyncTx] = AsyncConnectionPool(
            url,
            connection_class=AsyncTx,
            kwargs={
                "row_factory": dict_row,
                "prepare_threshold": None,
                "application_name": "debfleet content",
                "autocommit": True,
                **KEEPALIVE,
            },
            min_size=1,
            max_size=size,
            timeout=patience,
            open=False,
            name="debfleet content",
        )

    async def open(self) -> None:
        """Start the pool; returns at once, also when Postgres is away."""
        await self._pool.open(wait=False)
        metrics.DB_MOST.add(self._size, pool=_POOL)

    async def close(self) -> None:
        """Close every connection."""
        metrics.DB_MOST.add(-self._size, pool=_POOL)
        await self._pool.close(timeout=5)

    async def read(self, work: Callable[[AsyncTx], Awaitable[T]]) -> T:
        """Run ``work``, which only reads.

        Raises:
            psycopg.OperationalError: Postgres is away (``PoolTimeout`` is one).
        """
        for attempt in range(1, _TRIES + 1):
            try:
                began = time.monotonic()
                async with self._pool.connection() as tx:
                    metrics.DB_WAIT.observe(time.monotonic() - began, pool=_POOL)
                    with metrics.DB_IN_USE.during(pool=_POOL):
                        return await work(tx)
            except PoolTimeout:
                raise  # it has waited long enough
            except (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown):
                if attempt == _TRIES:
                    raise
            except psycopg.OperationalError as e:
                if attempt == _TRIES or e.sqlstate is not None:
                    raise
            await self._pool.check()  # the others of the pool are as old
        raise AssertionError("not reached")
