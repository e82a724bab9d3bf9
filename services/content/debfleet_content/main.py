"""The content service as a process, or several: an event loop each, heartbeats, a clean end."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import resource
import signal
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, nullcontext, suppress
from functools import partial
from uuid import UUID, uuid4

import psycopg
from aiohttp import web

from debfleet.config import Settings
from debfleet.db import processes
from debfleet.db.connect import Database
from debfleet.errors import ConfigError
from debfleet.metrics_port import MetricsPort, begin_metrics, listen, store_looks
from debfleet.sealed import sealer_of
from debfleet.store import open_store
from debfleet.vitals import Vitals
from debfleet_content.app import create_app
from debfleet_content.database import Reader
from debfleet_content.processes import run_processes
from debfleet_content.through import Through

log = logging.getLogger(__name__)

_CONNECTIONS = 8
_PATIENCE_SECONDS = 5.0  # that a request waits for a connection
_THREADS = 32  # that open and read files
_IDLE_SECONDS = 75.0  # that a client may take for a request, the next one too
_PARENT_SECONDS = 1.0  # between two looks whether the parent of several processes lives
_BACKLOG = 1024  # clients that connected and wait to be heard
_DESCRIPTORS = 65_536  # at most: a client that gets a big file takes four


def run_content(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    Raises:
        ConfigError: A setting is missing, or nothing can listen at the address.
    """
    settings.need("database_url", "store_url", "secret_key")
    _allow_descriptors()
    # Before any fork: whichever process is free answers.
    metrics_port = listen(settings.metrics_address)
    count = settings.content_processes
    is_shared = count > 1 and not settings.metrics_directory
    with (
        _bind(settings.content_address) as listening,
        tempfile.TemporaryDirectory(prefix="debfleet-metrics-")
        if is_shared
        else nullcontext(settings.metrics_directory) as folder,
    ):
        settings = dataclasses.replace(settings, metrics_directory=folder)
        work = partial(_run_one, settings, listening, metrics_port)
        if count == 1:
            return work(None)
        return run_processes(count, partial(work, os.getpid()))


def _run_one(
    settings: Settings,
    listening: socket.socket,
    metrics_port: socket.socket | None,
    parent: int | None,
) -> int:
    """One process; with a parent it ends with it."""
    begin_metrics(settings, "content")
    vitals = Vitals(
        {"database": 3.0 * settings.heartbeat_seconds},
        {"store": partial(store_looks, settings.store_url)},
    )
    with MetricsPort(metrics_port, vitals, settings):
        asyncio.run(_run(settings, listening, vitals, parent))
    return 0


def _bind(address: str) -> socket.socket:
    """Where clients are listened for.

    Raises:
        ConfigError: Nothing can listen there.
    """
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=_BACKLOG)
    except OSError as e:
        raise ConfigError(f"DEBFLEET_CONTENT_ADDRESS {address}: {e.strerror or e}") from e


def _allow_descriptors() -> None:
    """As many as we may have: by default a process begins with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _run(
    settings: Settings, listening: socket.socket, vitals: Vitals, parent: int | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Serving(settings, listening, vitals) as serving:
        log.info("content.started", extra={"address": serving.address})
        while not stop.is_set() and parent in (None, os.getppid()):
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _PARENT_SECONDS)
        vitals.stopping()
        log.info("content.stopping")
    log.info("content.stopped")


class Serving:
    """A context in which the service listens; transfers may end within the grace time."""

    def __init__(
        self,
        settings: Settings,
        listening: socket.socket | None = None,
        vitals: Vitals | None = None,
        *,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        """``listening``: the socket for clients; none: one is made for the settings' address.

        ``idle_seconds``: that a client may take for its request.
        """
        self._idle_seconds = idle_seconds
        self._settings = settings
        self._listening = listening
        self._vitals = vitals or Vitals({})
        self._stack = AsyncExitStack()
        self.address = ""  # HOST:PORT, once it listens

    async def __aenter__(self) -> Serving:
        settings = self._settings
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        async with AsyncExitStack() as stack:
            store = open_store(settings.store_url, settings.work_directory)
            db = stack.enter_context(
                Database(settings.database_url, name="debfleet content", patience=_PATIENCE_SECONDS)
            )
            reader = Reader(settings.database_url, size=_CONNECTIONS, patience=_PATIENCE_SECONDS)
            await reader.open()
            stack.push_async_callback(reader.close)
            process = uuid4()
            heart = asyncio.create_task(_beat(db, settings, process, self._vitals))
            stack.push_async_callback(_end_heart, heart, db, process)
            sealer = sealer_of(settings)
            through = Through(settings, db, store, sealer, process)
            stack.push_async_callback(through.close)
            app = create_app(settings, reader, db, store, through)
            runner = web.AppRunner(
                app,
                access_log=None,
                shutdown_timeout=max(settings.grace_seconds, 0.1),  # aiohttp takes 0 for no end
                keepalive_timeout=self._idle_seconds,
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            listening = self._listening or _bind(settings.content_address)
            await web.SockSite(runner, listening, backlog=_BACKLOG).start()
            host = settings.content_address.rpartition(":")[0]
            self.address = f"{host}:{listening.getsockname()[1]}"
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()


async def _beat(db: Database, settings: Settings, process: UUID, vitals: Vitals) -> None:
    name = processes.process_name()

    def beat() -> None:
        with db.single() as tx:
            processes.beat(tx, process, "content", name)

    while True:
        try:
            await asyncio.to_thread(beat)
            vitals.heard("database")
        except psycopg.Error as e:
            log.warning("heartbeat.missed", extra={"reason": str(e)})
        await asyncio.sleep(settings.heartbeat_seconds)


async def _end_heart(heart: asyncio.Task[None], db: Database, process: UUID) -> None:
    heart.cancel()
    with suppress(asyncio.CancelledError):
        await heart
    try:
        await asyncio.to_thread(db.run, lambda tx: processes.end_process(tx, process))
    except psycopg.Error as e:
        log.warning("heartbeat.missed", extra={"reason": str(e)})
