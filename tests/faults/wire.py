"""A TCP proxy between two parts, which cuts, stalls, and sees what passes."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

_BLOCK = 64 << 10


@dataclass
class Trap:
    """Does something, once, when the client sends a text."""

    text: bytes
    act: Callable[[], None]
    is_after: bool  # with the server's answer to it at hand, which the client does not get
    skip: int = 0  # so many times it may pass before
    is_sprung: bool = field(default=False, init=False)


class Wire:
    """Listens on a free port of 127.0.0.1 as long as its context lasts; passes on to ``target``.

    Args:
        target: (host, port), or the path of a socket.
        on_said: Called with what a client says, as it comes.
    """

    def __init__(
        self, target: tuple[str, int] | str, on_said: Callable[[bytes], None] | None = None
    ) -> None:
        self.port = 0
        self.cuts = 0  # connections that were cut
        self._target = target
        self._on_said = on_said
        self._loop = asyncio.new_event_loop()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._flows = asyncio.Event()
        self._traps: list[Trap] = []

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> int:
        """End every connection with RST; returns how many there were."""
        return int(self._call(self._cut))

    def stall(self, is_on: bool = True) -> None:
        """Pass nothing on, in either direction, and keep the connections; or go on."""
        self._call(self._flows.clear if is_on else self._flows.set)

    def set_trap(self, trap: Trap) -> None:
        """Do something when the client says something."""
        self._traps.append(trap)

    def clear_traps(self) -> None:
        """Forget those that were not sprung."""
        self._traps.clear()

    # --- in the thread ------------------------------------------------------------------------

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)

        async def listen() -> None:
            self._flows.set()
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
            started.set()

        self._loop.run_until_complete(listen())
        self._loop.run_forever()

    def _call(self, what: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return what()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    async def _end(self) -> None:
        self._server.close()
        self._flows.set()
        self._cut()
        tasks = [t for t in asyncio.all_tasks(self._loop) if t is not asyncio.current_task()]
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    def _cut(self) -> int:
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for writer in pair:
                _reset(writer)
        self.cuts += len(pairs)
        return len(pairs)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._target, str):
                there, back = await asyncio.open_unix_connection(self._target)
            else:
                there, back = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        pair = (writer, back)
        self._pairs.add(pair)
        held = _Held()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_to_server(reader, back, held))
                both.create_task(self._pass_to_client(there, writer, held))
        except* OSError:
            pass
        finally:
            self._pairs.discard(pair)
            for one in pair:
                one.transport.abort()

    async def _pass_to_server(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: _Held
    ) -> None:
        while block := await reader.read(_BLOCK):
            if self._on_said is not None:
                self._on_said(block)
            await self._flows.wait()
            for trap in [t for t in self._traps if t.text in block]:
                if trap.skip:
                    trap.skip -= 1
                    continue
                self._traps.remove(trap)
                if trap.is_after:
                    held.trap = trap
                    continue
                trap.is_sprung = True
                await asyncio.to_thread(trap.act)
            writer.write(block)
            await writer.drain()
        writer.transport.abort()
        raise ConnectionResetError

    async def _pass_to_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: _Held
    ) -> None:
        while block := await reader.read(_BLOCK):
            await self._flows.wait()
            if held.trap is not None:
                trap, held.trap = held.trap, None
                trap.is_sprung = True
                await asyncio.to_thread(trap.act)
            writer.write(block)
            await writer.drain()
        writer.transport.abort()
        raise ConnectionResetError


@dataclass
class _Held:
    """A trap that waits for the server's answer."""

    trap: Trap | None = None


def postgres_at(url: str) -> tuple[str, int] | str:
    """Where a database's server listens."""
    parts = urlsplit(url)
    folder = parse_qs(parts.query).get("host")
    if folder:
        return f"{folder[0]}/.s.PGSQL.5432"
    return (parts.hostname or "127.0.0.1", parts.port or 5432)


def through(url: str, port: int) -> str:
    """The same database by way of a proxy."""
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{login}@127.0.0.1:{port}", query="").geturl()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    # No descriptor: this side was closed just now, and its task has yet to take note of it.
    if sock.fileno() >= 0 and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
