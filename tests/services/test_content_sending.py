"""How a file of a directory store goes to its clients."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from debfleet_content.sending import Senders

SIZE = 24 << 20  # more than the kernel holds for a client that does not read
MANY = 20  # more than there are threads


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BinaryIO]:
    path = tmp_path_factory.mktemp("store") / "artifact"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    with path.open("rb") as opened:
        yield opened


def content_of(file: BinaryIO) -> bytes:
    return os.pread(file.fileno(), SIZE, 0)


class _Connection(asyncio.Protocol):
    def __init__(self, begin: Callable[[asyncio.Transport], None]) -> None:
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._begin(transport)


class Server:
    """The answers can be waited for, in the order of connecting."""

    def __init__(self, address: tuple[str, int], answers: list[asyncio.Task[None]]) -> None:
        self.answers = answers
        self._address = address

    async def connect(self) -> socket.socket:
        """A client that reads only when it is told to."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        client.setblocking(False)
        before = len(self.answers)
        await asyncio.get_running_loop().sock_connect(client, self._address)
        while len(self.answers) == before:
            await asyncio.sleep(0)
        return client


@asynccontextmanager
async def sending(
    file: BinaryIO,
    *,
    before: bytes = b"",
    start: int = 0,
    count: int = SIZE,
    least_seconds: float = 300,
) -> AsyncIterator[Server]:
    """A server that answers each connection with bytes of the file, and then closes it."""
    senders = Senders(least_seconds)
    answers: list[asyncio.Task[None]] = []

    async def answer(transport: asyncio.Transport) -> None:
        try:
            transport.write(before)
            await senders.send(transport, file, start, count)
        finally:
            transport.close()

    def begin(transport: asyncio.Transport) -> None:
        answers.append(asyncio.create_task(answer(transport)))

    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: _Connection(begin), "127.0.0.1", 0)
    try:
        yield Server(listening.sockets[0].getsockname(), answers)
    finally:
        listening.close()
        for task in answers:
            task.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        await until_released(file)
        senders.close()


async def read_all(client: socket.socket) -> bytes:
    parts = []
    async with asyncio.timeout(120):
        while block := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
            parts.append(block)
    client.close()
    return b"".join(parts)


def descriptors_of(file: BinaryIO) -> int:
    """How many of this process lead to a file."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}") == file.name
        except FileNotFoundError:  # of the listing itself
            continue
    return count


async def until_released(file: BinaryIO) -> None:
    """Wait until every transfer has closed what it had of the file."""
    async with asyncio.timeout(30):
        while descriptors_of(file) > 1:
            await asyncio.sleep(0.01)


def test_a_client_gets_what_was_written_before_and_then_the_bytes_of_the_file(
    file: BinaryIO,
) -> None:
    before = b"head" * (4 << 20)  # more than the kernel takes at once

    async def run() -> bytes:
        async with sending(file, before=before, start=5, count=SIZE - 10) as server:
            return await read_all(await server.connect())

    assert asyncio.run(run()) == before + content_of(file)[5:-5]


def test_clients_that_do_not_read_keep_nobody_from_reading(file: BinaryIO) -> None:
    async def run() -> bytes:
        async with sending(file) as server:
            idle = [await server.connect() for _ in range(MANY)]
            got = await read_all(await server.connect())
            assert not any(task.done() for task in server.answers[:MANY])
            for client in idle:
                client.close()
            return got

    assert asyncio.run(run()) == content_of(file)


@pytest.mark.parametrize("others", [7, MANY])
def test_clients_that_read_slowly_keep_nobody_from_reading(file: BinaryIO, others: int) -> None:
    async def read_slowly(client: socket.socket) -> None:
        left = SIZE // 2  # never all, so that it is still connected when the other has its file
        while left > 0:
            left -= len(await asyncio.get_running_loop().sock_recv(client, 64 << 10))
            await asyncio.sleep(0.002)

    async def run() -> bytes:
        async with sending(file) as server:
            slow = [await server.connect() for _ in range(others)]
            readings = [asyncio.create_task(read_slowly(client)) for client in slow]
            got = await read_all(await server.connect())
            assert not any(task.done() for task in server.answers[:others])
            for reading in readings:
                reading.cancel()
            await asyncio.gather(*readings, return_exceptions=True)
            for client in slow:
                client.close()
            return got

    assert asyncio.run(run()) == content_of(file)


def test_a_client_that_leaves_ends_its_transfer_and_leaves_nothing_open(file: BinaryIO) -> None:
    async def run() -> None:
        async with sending(file) as server:
            client = await server.connect()
            await asyncio.get_running_loop().sock_recv(client, 1000)
            client.close()

            with pytest.raises(ConnectionError):
                await server.answers[0]

            await until_released(file)

    asyncio.run(run())


def test_a_client_that_takes_nearly_nothing_is_cut(file: BinaryIO) -> None:
    async def run() -> int:
        async with sending(file, least_seconds=0.5) as server:
            client = await server.connect()
            with pytest.raises(TimeoutError):
                await server.answers[0]
            await until_released(file)
            return len(await read_all(client))

    assert asyncio.run(run()) < SIZE


def test_a_transfer_that_is_cancelled_is_cut_and_leaves_nothing_open(file: BinaryIO) -> None:
    async def run() -> int:
        async with sending(file) as server:
            client = await server.connect()
            await asyncio.get_running_loop().sock_recv(client, 1000)
            server.answers[0].cancel()
            await until_released(file)
            return len(await read_all(client))

    assert asyncio.run(run()) < SIZE - 1000


def test_a_client_that_sends_no_more_gets_its_file(file: BinaryIO) -> None:
    async def run() -> bytes:
        async with sending(file) as server:
            client = await server.connect()
            client.shutdown(socket.SHUT_WR)
            return await read_all(client)

    assert asyncio.run(run()) == content_of(file)


def test_a_file_that_became_shorter_cuts_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    path.write_bytes(bytes(SIZE))

    async def run(file: BinaryIO) -> int:
        async with sending(file) as server:
            client = await server.connect()
            os.truncate(path, SIZE - 1000)
            got = await read_all(client)
            with pytest.raises(ConnectionError, match="shorter"):
                await server.answers[0]
            return len(got)

    with path.open("rb") as file:
        assert asyncio.run(run(file)) == SIZE - 1000
