"""How many requests run at once, when the next may go out, and whether we may go on at all."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from debfleet import metrics
from debfleet.errors import ConnectionFailed, DebfleetError, HostClosed, TransferTimeout
from debfleet.fetch.access import Access, Traffic
from debfleet.measure import host_label

T = TypeVar("T")

# A job that waits holds a worker and slots: a longer wait puts it off instead.
LONGEST_WAIT_SECONDS = 15.0
_BEAT_SECONDS = 0.25
_RESERVED_SECONDS = 0.25  # of the remote's rate, at a time
_SILENT_FILES = 2  # that failed in a row without a byte: the host is taken for dead


class Flow(Generic[T]):
    """Works through items in lanes, one item a lane; as many lanes as there are slots now."""

    def __init__(self, access: Access, traffic: Traffic) -> None:
        self._url = access.url
        self.host = host_label(access.url)  # as metrics call it
        metrics.show_host(self.host)
        self._rate = access.rate_limit
        self._traffic = traffic
        self._slots = traffic.slots()
        self._queue: deque[T] = deque()
        self._uncounted = 0  # bytes since the last beat
        self._is_closed = False  # the host said so, and has not opened yet as far as we know
        self._turn = asyncio.Lock()
        self._reserved = 0
        self._next_at = 0.0
        self._silent = 0
        self._dead: DebfleetError | None = None

    async def run(self, items: Sequence[T], work: Callable[[T], Awaitable[None]]) -> None:
        """Do ``work`` on every item; the first error ends all.

        Raises:
            HostClosed: There was no slot for too long.
            LeaseLost: The job is no longer ours.
        """
        self._queue.extend(items)
        lanes: dict[int, asyncio.Task[None]] = {}
        beat = asyncio.create_task(self._beat())
        try:
            await self._run(lanes, beat, work)
        finally:
            tasks = [beat, *lanes.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            size = self._take_count()
        await asyncio.to_thread(self._report, size)

    def count(self, size: int) -> None:
        """So many bytes came."""
        self._uncounted += size
        self._silent = 0

    def fail_at_once(self) -> None:
        """Raise what the files before this one failed with, if none of them got a byte."""
        if self._dead is not None:
            raise self._dead

    def failed(self, error: DebfleetError) -> None:
        """One file failed for good."""
        if isinstance(error, HostClosed):
            self._dead = error
        elif isinstance(error, ConnectionFailed | TransferTimeout):
            self._silent += 1
            if self._silent >= _SILENT_FILES:
                self._dead = error

    async def close_host(self, seconds: float) -> None:
        """The host wants no request for so long."""
        self._is_closed = True
        metrics.UPSTREAM_CLOSINGS.add(host=self.host)
        await asyncio.to_thread(self._traffic.close_host, seconds)

    async def turn(self) -> None:
        """Wait until one more request may go out.

        Raises:
            HostClosed: That is too far away to wait for.
        """
        if self._rate is None and not self._is_closed:
            return
        async with self._turn:
            now = asyncio.get_running_loop().time()
            if self._is_closed or self._reserved == 0:
                await self._reserve(now)
            starts_at = self._next_at
            self._reserved -= 1
            self._next_at += 1 / self._rate if self._rate else 0
        await asyncio.sleep(starts_at - now)

    async def _reserve(self, now: float) -> None:
        count = 1
        if self._rate is not None:
            count = max(1, min(int(self._rate * _RESERVED_SECONDS), len(self._queue) + 1))
        seconds = await asyncio.to_thread(self._traffic.wait_seconds, count)
        if seconds > LONGEST_WAIT_SECONDS:
            raise HostClosed(self._url, seconds)
        if seconds <= 0:
            self._is_closed = False
        self._reserved = count
        self._next_at = now + seconds

    async def _run(
        self,
        lanes: dict[int, asyncio.Task[None]],
        beat: asyncio.Task[None],
        work: Callable[[T], Awaitable[None]],
    ) -> None:
        loop = asyncio.get_running_loop()
        idle_since = loop.time()
        while True:
            for number in range(min(self._slots, len(self._queue) + len(lanes))):
                if number not in lanes and self._queue:
                    lanes[number] = asyncio.create_task(self._lane(number, work))
            self._traffic.running(len(lanes))
            if lanes:
                idle_since = loop.time()
            elif not self._queue:
                return
            elif isinstance(self._dead, HostClosed):
                raise self._dead
            elif loop.time() - idle_since > LONGEST_WAIT_SECONDS:
                raise HostClosed(self._url, LONGEST_WAIT_SECONDS)
            done, _ = await asyncio.wait(
                [beat, *lanes.values()],
                timeout=_BEAT_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                task.result()
            for number in [n for n, task in lanes.items() if task in done]:
                del lanes[number]

    async def _lane(self, number: int, work: Callable[[T], Awaitable[None]]) -> None:
        while self._queue and number < self._slots:
            await work(self._queue.popleft())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            # In a thread: it may ask the database, and a stalled database must not stall a
            # transfer's own limits.
            self._slots = await asyncio.to_thread(self._report, self._take_count())

    def _take_count(self) -> int:
        """The bytes since the last time, also for the metric: one write a beat, not one a block."""
        size, self._uncounted = self._uncounted, 0
        metrics.UPSTREAM_BYTES.add(size, host=self.host)
        return size

    def _report(self, size: int) -> int:
        self._traffic.check()
        self._traffic.progress(size)
        return self._traffic.slots()
