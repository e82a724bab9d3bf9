"""on_demand and streamed: fetch once, verify, keep, hand on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

import psycopg

from debfleet.config import Settings
from debfleet.db import fetches, gone, repositories, seen_files, slots
from debfleet.db.connect import Database, Tx
from debfleet.db.fetches import Source
from debfleet.db.served import File
from debfleet.deb.sums import LARGEST_FILE
from debfleet.errors import (
    DebfleetError,
    DigestMismatch,
    HostClosed,
    LeaseLost,
    NotFound,
    SizeMismatch,
    StoreError,
    is_gone,
)
from debfleet.fetch import Wanted, access_of, bring
from debfleet.sealed import Sealer
from debfleet.store import Store
from debfleet_content.answers import Body, Part, open_stored
from debfleet_content.arriving import Arriving
from debfleet_content.traffic import FleetTraffic

log = logging.getLogger(__name__)

T = TypeVar("T")

_Key = tuple[bytes, int | None]  # a digest, and the repository that has yet to see it

_LEASE_SECONDS = 20.0  # of a fetch; renewed four times in its length
_POLL_SECONDS = 0.25  # between two looks at what another process fetches
_PATIENCE_SECONDS = 5.0  # then we fetch it too
_LINGER_SECONDS = 2.0  # a file that is not kept is handed on to those who come a little later
_MOST_RETRIES = 1  # of one source: clients wait, and there may be others
_REQUESTS = 20  # at a time of a remote that says nothing
_LONGEST_CLOSED = 15.0  # a host that wants no request for longer is passed over


class Through:
    """The fetches of one process: one for each file, however many clients ask for it."""

    def __init__(
        self, settings: Settings, db: Database, store: Store, sealer: Sealer, process: UUID
    ) -> None:
        self._settings = settings
        self._db = db
        self._store = store
        self._sealer = sealer
        self._process = process
        self._fetches: dict[_Key, _Fetch] = {}
        self._tasks: dict[asyncio.Task[None], _Fetch] = {}
        self._requests: dict[int, asyncio.Semaphore] = {}  # by remote

    async def open(self, file: File, part: Part, *, is_lost: bool = False) -> Body | None:
        """The bytes of a file that is not stored; None: nobody has it.

        Args:
            part: Which of them are wanted.
            is_lost: Its row says that it is stored.

        Raises:
            psycopg.Error, StoreError: What it takes to fetch is away.
        """
        fetch = self._fetches.get(_key(file))
        if fetch is None or fetch.arriving.error is not None:
            fetch = self._fetches[_key(file)] = _Fetch(file, self._store, is_lost)
            task = asyncio.create_task(self._run(fetch))
            self._tasks[task] = fetch
            task.add_done_callback(lambda done: self._tasks.pop(done, None))
        arriving = fetch.arriving
        reader = arriving.reader()
        try:
            if await arriving.begun():
                return reader
        except BaseException:
            await reader.close()
            raise
        await reader.close()
        if fetch.is_stored:
            return await open_stored(self._store, file, part)
        if isinstance(arriving.error, psycopg.Error | StoreError):
            raise arriving.error
        return None

    async def close(self) -> None:
        """End all fetches; what is verified is stored first, if that does not take long."""
        keeping = [task for task, fetch in self._tasks.items() if fetch.is_keeping]
        if keeping:
            await asyncio.wait(keeping, timeout=max(self._settings.grace_seconds, 1))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, fetch: _Fetch) -> None:
        """From the first look for sources until the file is stored and its row is there."""
        arriving, file = fetch.arriving, fetch.file
        renewal: asyncio.Task[None] | None = None
        try:
            unseen = file.unseen_in
            sources, fetch.was_gone = await self._ask(lambda tx: _look_up(tx, file))
            counting = [s for s in sources if not s.is_alternate] or sources
            is_kept = any(source.policy != "streamed" for source in counting)
            if is_kept and not fetch.is_lost and unseen is None:
                if await self._is_stored_by_another(file):
                    fetch.is_stored = True
                    arriving.failed(NotFound("fetch", file.path))  # readers take the stored one
                    return
                renewal = asyncio.create_task(self._renew(file.sha256))
            arriving.is_for_readers = not is_kept
            await self._fetch(fetch, sources)
            if fetch.was_gone:
                await self._ask(lambda tx: gone.forget(tx, [file.sha256]))
            if unseen is not None:
                await self._ask(lambda tx: seen_files.forget_unseen(tx, unseen, [file.sha256]))
            if fetch.receiver.size != file.size:
                size = fetch.receiver.size
                await self._ask(lambda tx: fetches.note_size(tx, file.sha256, size))
            if is_kept:
                fetch.is_keeping = True
                await self._keep(fetch)
            else:
                await asyncio.sleep(_LINGER_SECONDS)
        except asyncio.CancelledError:
            arriving.failed(ConnectionError("the service stops"))
            raise
        except (DebfleetError, psycopg.Error) as e:
            arriving.failed(e)
            log.log(fetch.level, "fetch.failed", extra={"path": file.path, "reason": str(e)})
        finally:
            if self._fetches.get(_key(file)) is fetch:
                del self._fetches[_key(file)]
            fetch.receiver.abort()
            arriving.release()
            if renewal is not None:
                renewal.cancel()
                await self._end_claim(file.sha256)

    async def _is_stored_by_another(self, file: File) -> bool:
        """Wait a little for another process that fetches it; false: it is ours to fetch."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE_SECONDS
        while True:
            if await self._ask(lambda tx: fetches.is_stored(tx, file.sha256)):
                return True
            if await self._ask(
                lambda tx: fetches.claim(tx, file.sha256, self._process, _LEASE_SECONDS)
            ):
                # It may have been stored between the two looks.
                return await self._ask(lambda tx: fetches.is_stored(tx, file.sha256))
            if loop.time() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)

    async def _fetch(self, fetch: _Fetch, sources: list[Source]) -> None:
        """Try one source after the other.

        Raises:
            DebfleetError: What the last one failed with; NotFound: there is none.
        """
        error: DebfleetError = NotFound("source of", fetch.file.path)
        lacking: list[int] = []  # remotes that do not have it
        for source in sources:
            try:
                await self._fetch_from(fetch, source)
            except (StoreError, LeaseLost):
                raise
            except (DigestMismatch, SizeMismatch) as e:
                error = e
                await self._refuse(fetch.file, source)
            except DebfleetError as e:
                error = e
                if is_gone(e):
                    lacking.append(source.remote)
            else:
                fetch.arriving.verified()
                log.info(
                    "file.fetched",
                    extra={"path": fetch.file.path, "size": fetch.file.size},
                )
                return
            log.log(
                fetch.level if is_gone(error) else logging.WARNING,
                "source.failed",
                extra={"path": fetch.file.path, "remote": source.remote, "reason": str(error)},
            )
        if len(lacking) == len(sources):
            await self._note_gone(fetch, lacking, error)
        else:
            fetch.was_gone = False  # who knows: what went wrong is worth a line
        raise error

    async def _note_gone(self, fetch: _Fetch, lacking: list[int], error: DebfleetError) -> None:
        """Nobody has it: remember that, once, for the versions that hold it."""
        sha256 = fetch.file.sha256
        if fetch.was_gone:
            return
        try:
            said = [(sha256, remote) for remote in lacking]
            news = await self._ask(lambda tx: gone.note(tx, [sha256], said))
        except psycopg.Error as e:
            log.warning("file.unnoted", extra={"path": fetch.file.path, "reason": str(e)})
            return
        if news:
            log.warning("file.gone", extra={"path": fetch.file.path, "reason": str(error)})
            fetch.was_gone = True

    async def _fetch_from(self, fetch: _Fetch, source: Source) -> None:
        remote = await self._ask(lambda tx: repositories.get_remote(tx, source.remote))
        access = access_of(remote, self._sealer, self._settings)
        access = replace(access, max_retries=min(access.max_retries, _MOST_RETRIES))
        traffic = FleetTraffic(self._db, remote)
        closed = await self._ask(lambda tx: slots.closed_for(tx, slots.host_of(remote.url)))
        if closed > _LONGEST_CLOSED:
            raise HostClosed(remote.url, closed)
        size = fetch.file.size if fetch.file.is_size_sure else None
        wanted = Wanted(source.path, fetch.file.sha256, size, limit=LARGEST_FILE)
        limit = remote.download_concurrency or _REQUESTS
        async with self._requests.setdefault(remote.id, asyncio.Semaphore(limit)):
            await bring(access, wanted, fetch.arriving, traffic)

    async def _refuse(self, file: File, source: Source) -> None:
        seconds = self._settings.remote_content_fetch_failure_cooldown
        await self._ask(lambda tx: fetches.refuse(tx, file.sha256, source.remote, seconds))

    async def _keep(self, fetch: _Fetch) -> None:
        """Into the store, then its row; clients have their bytes already."""
        file, size = fetch.file, fetch.receiver.size
        await self._ask(lambda tx: fetches.announce(tx, file.sha256))
        await asyncio.to_thread(fetch.receiver.keep, file.sha256)
        await asyncio.to_thread(self._store.flush)
        is_kept = await self._ask(
            lambda tx: fetches.record(
                tx, file.sha256, size, lambda: self._store.size(file.sha256) == size
            )
        )
        log.info("file.kept" if is_kept else "file.cleaned_up", extra={"path": file.path})

    async def _renew(self, sha256: bytes) -> None:
        while True:
            await asyncio.sleep(_LEASE_SECONDS / 4)
            try:
                await self._ask(lambda tx: fetches.claim(tx, sha256, self._process, _LEASE_SECONDS))
            except psycopg.Error as e:
                log.warning("fetch.unrenewed", extra={"reason": str(e)})

    async def _end_claim(self, sha256: bytes) -> None:
        try:
            await self._ask(lambda tx: fetches.end(tx, sha256, self._process))
        except psycopg.Error as e:
            log.warning("fetch.unended", extra={"reason": str(e)})

    async def _ask(self, work: Callable[[Tx], T]) -> T:
        return await asyncio.to_thread(self._db.run, work)


def _look_up(tx: Tx, file: File) -> tuple[list[Source], bool]:
    """Where a file is offered, and whether everybody has said already that it is gone."""
    sources = fetches.list_sources(tx, file.sha256, file.size, file.unseen_in)
    return sources, gone.is_gone(tx, file.sha256)


def _key(file: File) -> _Key:
    """What one remote is to show is not what others fetch meanwhile."""
    return file.sha256, file.unseen_in


class _Fetch:
    """One file that is fetched."""

    def __init__(self, file: File, store: Store, is_lost: bool) -> None:
        self.file = file
        self.is_lost = is_lost
        self.is_keeping = False  # verified, and on its way into the store
        self.is_stored = False  # by another process, meanwhile
        self.was_gone = False  # as everybody said before
        self.receiver = store.receive()
        self.arriving = Arriving(file, self.receiver)

    @property
    def level(self) -> int:
        """How loudly it is said that nobody has it: once is enough."""
        return logging.DEBUG if self.was_gone else logging.WARNING
