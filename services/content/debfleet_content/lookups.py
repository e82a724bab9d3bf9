"""What paths stand for at this moment, asked of the database for many requests at once.

A switch of a distribution holds from the next request on, so each request has to ask. Those that
come while others are asked for wait, and go together with the next statement, which begins after
the last of them came.
"""

from __future__ import annotations

import asyncio
from functools import partial

from debfleet.db.served import Target, Wanted, find_target, find_targets
from debfleet_content.database import Reader

_STATEMENTS = 2  # at a time


class Lookups:
    """Of one process."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._turns = asyncio.Semaphore(_STATEMENTS)
        self._waiting: list[Wanted] = []
        self._next: asyncio.Task[list[Target | None]] | None = None  # who asks for those

    async def find_target(self, wanted: Wanted) -> Target | None:
        """The distribution of a path, and the file that publish wrote there.

        Raises:
            psycopg.OperationalError: Postgres is away.
        """
        if self._next is None and not self._turns.locked():
            async with self._turns:
                return await self._reader.read(partial(find_target, wanted=wanted))
        if self._next is None:
            self._next = asyncio.create_task(self._ask())
        asking, place = self._next, len(self._waiting)
        self._waiting.append(wanted)
        return (await asyncio.shield(asking))[place]  # a client that leaves takes nobody along

    async def _ask(self) -> list[Target | None]:
        async with self._turns:
            asked, self._waiting, self._next = self._waiting, [], None
            return await self._reader.read(partial(find_targets, wanted=asked))
