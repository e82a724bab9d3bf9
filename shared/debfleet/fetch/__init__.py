"""Files from upstream: bounded, resumed, digested as they stream.

Everything here is synchronous; asyncio lives inside. One call keeps its connections and uses them
again. Memory is a fixed buffer a request, whatever the size of the files.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from debfleet import metrics
from debfleet.errors import (
    DebfleetError,
    HostClosed,
    HttpStatusError,
    LeaseLost,
    StoreError,
    UnsupportedUrl,
    UpstreamError,
    is_gone,
)
from debfleet.fetch.access import Access, Got, Sample, Traffic, Wanted, access_of
from debfleet.fetch.allocator import keep_read_buffers
from debfleet.fetch.connection import Connection, shown_url
from debfleet.fetch.flow import Flow
from debfleet.fetch.http import HttpSource, Sink
from debfleet.fetch.local import LocalSource, is_local
from debfleet.store import Receiver, Store

__all__ = [
    "Access",
    "Got",
    "Sample",
    "Sink",
    "Traffic",
    "Wanted",
    "access_of",
    "bring",
    "compare_files",
    "fetch_files",
    "fetch_one",
    "fetch_small",
    "measure_files",
    "shown_url",
]

T = TypeVar("T")

_LARGEST = 1 << 40  # bytes; more is no size
_SMALL = 64 << 20  # bytes that fetch_small holds of one file at most
# Not a matter of one file: the call ends.
_RAISED = (LeaseLost, StoreError, UnsupportedUrl)
_THREADS = 32  # at most: names resolved, the beat, files sent to a bucket


def fetch_small(
    access: Access, wanted: Sequence[Wanted], traffic: Traffic
) -> dict[str, bytes | None]:
    """The whole bodies of small files, by path; None for what is not there (404, 410).

    Raises:
        LeaseLost: The job is no longer ours.
        DebfleetError: Any other failure, after all tries; SizeMismatch above the limit.
    """
    bodies: dict[str, bytes | None] = {}

    async def fetch() -> None:
        async with _source(access, traffic) as (source, flow):

            async def bring(one: Wanted) -> None:
                sink = _Memory()
                try:
                    await source.bring(replace(one, limit=min(one.limit, _SMALL)), sink)
                except HttpStatusError as e:
                    if not is_gone(e):
                        raise
                    bodies[one.path] = None
                else:
                    bodies[one.path] = bytes(sink.body)

            await flow.run(wanted, bring)

    _run(traffic, fetch())
    return bodies


def fetch_files(
    access: Access,
    wanted: Sequence[Wanted],
    store: Store,
    traffic: Traffic,
    on_kept: Callable[[Got], None] | None = None,
) -> list[Got]:
    """Fetch files into the store, verified, as many at once as there are slots.

    Args:
        on_kept: Called for each file that was kept, at once, from the loop: it must be quick.

    Returns:
        One Got for each wanted file, in their order. Kept files are not flushed yet.

    Raises:
        LeaseLost: The job is no longer ours.
        StoreError: The store refused a file.
        UnsupportedUrl: The remote, or where it redirects to, may not be fetched from.
    """
    tasks = [_Task(one) for one in wanted]

    async def fetch() -> None:
        async with _source(access, traffic) as (source, flow):

            async def bring(task: _Task) -> None:
                try:
                    flow.fail_at_once()
                    await _bring_into(source, task, store)
                except _RAISED:
                    raise
                except DebfleetError as e:
                    task.got.error = e
                    flow.failed(e)
                else:
                    task.is_kept = True
                    if on_kept is not None:
                        on_kept(task.got)

            try:
                await flow.run(tasks, bring)
            except HostClosed as e:
                for task in tasks:
                    if not task.is_kept and task.got.error is None:
                        task.got.error = e

    if tasks:
        _run(traffic, fetch())
    return [task.got for task in tasks]


def fetch_one(access: Access, wanted: Wanted, store: Store, traffic: Traffic) -> Receiver:
    """Fetch one file, verified and not kept yet; use the Receiver as a context manager.

    Raises:
        DebfleetError: As ``fetch_small``, and HttpStatusError for 404 too.
    """

    async def fetch(receiver: Receiver) -> None:
        async with _source(access, traffic) as (source, flow):

            async def bring(one: Wanted) -> None:
                await source.bring(one, receiver)

            await flow.run([wanted], bring)

    receiver = store.receive()
    try:
        _run(traffic, fetch(receiver))
    except BaseException:
        receiver.abort()
        raise
    return receiver


def measure_files(access: Access, paths: Sequence[str], traffic: Traffic) -> dict[str, int]:
    """What upstream says the sizes of files are, in bytes; no digest covers that.

    A file of which it says nothing, for whatever reason, is left out.

    Raises:
        LeaseLost: The job is no longer ours.
        UnsupportedUrl: The remote, or where it redirects to, may not be fetched from.
    """
    sizes: dict[str, int] = {}

    async def measure() -> None:
        async with _source(access, traffic) as (source, flow):

            async def ask(path: str) -> None:
                try:
                    flow.fail_at_once()
                    size = await source.measure(Wanted(path, None, None, limit=_LARGEST))
                except UpstreamError as e:
                    flow.failed(e)
                else:
                    if size is not None:
                        sizes[path] = size

            with contextlib.suppress(HostClosed):
                await flow.run(paths, ask)

    if paths:
        _run(traffic, measure())
    return sizes


def compare_files(access: Access, samples: Sequence[Sample], traffic: Traffic) -> list[bool]:
    """Whether upstream has the same bytes at the same places: for each sample, in their order.

    One try each: false is also what is not there, or cannot be had now.

    Raises:
        LeaseLost: The job is no longer ours.
        UnsupportedUrl: The remote, or where it redirects to, may not be fetched from.
    """
    same = [False] * len(samples)

    async def compare() -> None:
        async with _source(access, traffic) as (source, flow):

            async def ask(number: int) -> None:
                sample = samples[number]
                try:
                    flow.fail_at_once()
                    part = await source.read_part(sample) if sample.body else b""
                    same[number] = part == sample.body
                except UpstreamError as e:
                    flow.failed(e)

            with contextlib.suppress(HostClosed):
                await flow.run(range(len(samples)), ask)

    if samples:
        _run(traffic, compare())
    return same


async def bring(access: Access, wanted: Wanted, sink: Sink, traffic: Traffic) -> None:
    """Fill a sink with one file, verified: for a caller with an event loop of its own.

    The sink is told to restart when what it has cannot be built upon.

    Raises:
        DebfleetError: As ``fetch_one``.
    """
    async with _source(access, traffic) as (source, flow):

        async def fill(one: Wanted) -> None:
            await source.bring(one, sink)

        await flow.run([wanted], fill)


class _Source(Protocol):
    async def bring(self, wanted: Wanted, sink: Sink) -> None: ...
    async def measure(self, wanted: Wanted) -> int | None: ...
    async def read_part(self, sample: Sample) -> bytes | None: ...


@dataclass(slots=True)
class _Task:
    got: Got
    is_kept: bool

    def __init__(self, wanted: Wanted) -> None:
        self.got = Got(wanted, None, 0, None)
        self.is_kept = False


class _Memory:
    """A sink for what is small."""

    def __init__(self) -> None:
        self.body = bytearray()

    @property
    def size(self) -> int:
        return len(self.body)

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.body).digest()

    def write(self, block: bytes) -> None:
        self.body += block

    def restart(self) -> None:
        self.body.clear()


@contextlib.asynccontextmanager
async def _source(access: Access, traffic: Traffic) -> AsyncIterator[tuple[_Source, Flow[Any]]]:
    flow: Flow[Any] = Flow(access, traffic)
    if is_local(access.url):
        yield _Counted(LocalSource(access, flow), flow.host), flow
        return
    async with Connection(access) as connection:
        yield _Counted(HttpSource(access, connection, flow), flow.host), flow


@dataclass(frozen=True, slots=True)
class _Counted:
    """A source whose files are counted."""

    source: _Source
    host: str

    async def bring(self, wanted: Wanted, sink: Sink) -> None:
        try:
            await self.source.bring(wanted, sink)
        except DebfleetError as e:
            outcome = "missing" if is_gone(e) else "failed"
            metrics.UPSTREAM_FILES.add(host=self.host, outcome=outcome)
            raise
        metrics.UPSTREAM_FILES.add(host=self.host, outcome="fetched")

    async def measure(self, wanted: Wanted) -> int | None:
        return await self.source.measure(wanted)

    async def read_part(self, sample: Sample) -> bytes | None:
        return await self.source.read_part(sample)


async def _bring_into(source: _Source, task: _Task, store: Store) -> None:
    wanted = task.got.wanted
    with store.receive() as receiver:
        await source.bring(wanted, receiver)
        if store.is_local:
            sha256 = receiver.keep(wanted.sha256)
        else:
            sha256 = await asyncio.to_thread(receiver.keep, wanted.sha256)
        task.got.sha256, task.got.size = sha256, receiver.size


def _run(traffic: Traffic, work: Coroutine[Any, Any, T]) -> T:
    async def with_threads() -> T:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        return await work

    keep_read_buffers()
    try:
        traffic.check()
    except LeaseLost:
        work.close()
        raise
    return asyncio.run(with_threads())
