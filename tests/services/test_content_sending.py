"""How a file of a directory store goes to its clients."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from debfleet_content.sending import Senders

SIZE = 24 << 20  # more than the kernel holds for a client that does not read
NOT_READING = 20  # more than there are threads

Answer = Callable[[asyncio.Transport], Awaitable[None]]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BinaryIO]:
    path = tmp_path_factory.mktemp("store") / "artifact"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    with path.open("rb") as opened:
        yield opened


def content_of(file: BinaryIO) -> bytes:
    return os.pread(file.fileno(), SIZE, 0)


@contextmanager
def senders(**values: float) -> Iterator[Senders]:
    made = Senders(**values)
    try:
        yield made
    finally:
        made.close()


class _Connection(asyncio.Protocol):
    def __init__(self, answer: Answer, tasks: list[asyncio.Task[None]]) -> None:
        self._answer, self._tasks = answer, tasks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._tasks.append(asyncio.create_task(self._run(transport)))

    async def _run(self, transport: asyncio.Transport) -> None:
        try:
            await self._answer(transport)
        finally:
            transport.close()


class Server:
    """Answers each connection; the answers can be waited for, in the order of connecting."""

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
async def answering(answer: Answer) -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    answers: list[asyncio.Task[None]] = []
    made = await loop.create_server(lambda: _Connection(answer, answers), "127.0.0.1", 0)
    try:
        yield Server(made.sockets[0].getsockname(), answers)
    finally:
        made.close()
        for task in answers:
            task.cancel()
        await asyncio.gather(*answers, return_exceptions=True)


async def read_all(client: socket.socket) -> bytes:
    parts = []
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
    async with asyncio.timeout(30):
        while descriptors_of(file) > 1:
            await asyncio.sleep(0.01)


def test_a_client_gets_what_was_written_before_and_then_the_bytes_of_the_file(
    file: BinaryIO,
) -> None:
    async def run(sending: Senders) -> bytes:
        async def answer(transport: asyncio.Transport) -> None:
            transport.write(b"head" * (4 << 20))  # more than the kernel takes at once
            await sending.send(transport, file, 5, SIZE - 10)

        async with answering(answer) as server:
            return await read_all(await server.connect())

    with senders() as sending:
        got = asyncio.run(run(sending))

    assert got == b"head" * (4 << 20) + content_of(file)[5:-5]


def test_clients_that_do_not_read_keep_nobody_from_reading(file: BinaryIO) -> None:
    async def run(sending: Senders) -> bytes:
        async def answer(transport: asyncio.Transport) -> None:
            await sending.send(transport, file, 0, SIZE)

        async with answering(answer) as server:
            idle = [await server.connect() for _ in range(NOT_READING)]
            got = await read_all(await server.connect())
            assert not any(task.done() for task in server.answers[:NOT_READING])
            for client in idle:
                client.close()
            return got

    with senders() as sending:
        assert asyncio.run(run(sending)) == content_of(file)


def test_a_client_that_leaves_ends_its_transfer_and_leaves_nothing_open(file: BinaryIO) -> None:
    async def run(sending: Senders) -> None:
        async def answer(transport: asyncio.Transport) -> None:
            await sending.send(transport, file, 0, SIZE)

        async with answering(answer) as server:
            client = await server.connect()
            await asyncio.get_running_loop().sock_recv(client, 1000)
            client.close()

            with pytest.raises(ConnectionError):
                await server.answers[0]

            await until_released(file)

    with senders() as sending:
        asyncio.run(run(sending))


def test_a_client_that_takes_nearly_nothing_is_cut(file: BinaryIO) -> None:
    async def run(sending: Senders) -> int:
        async def answer(transport: asyncio.Transport) -> None:
            await sending.send(transport, file, 0, SIZE)

        async with answering(answer) as server:
            client = await server.connect()
            with pytest.raises(TimeoutError):
                await server.answers[0]
            await until_released(file)
            return len(await read_all(client))

    with senders(least_seconds=0.5) as sending:
        assert asyncio.run(run(sending)) < SIZE


def test_a_transfer_that_is_cancelled_is_cut_and_leaves_nothing_open(file: BinaryIO) -> None:
    async def run(sending: Senders) -> int:
        async def answer(transport: asyncio.Transport) -> None:
            await sending.send(transport, file, 0, SIZE)

        async with answering(answer) as server:
            client = await server.connect()
            await asyncio.get_running_loop().sock_recv(client, 1000)
            server.answers[0].cancel()
            await until_released(file)
            return len(await read_all(client))

    with senders() as sending:
        assert asyncio.run(run(sending)) < SIZE - 1000


def test_a_client_that_sends_no_more_gets_its_file(file: BinaryIO) -> None:
    async def run(sending: Senders) -> bytes:
        async def answer(transport: asyncio.Transport) -> None:
            await sending.send(transport, file, 0, SIZE)

        async with answering(answer) as server:
            client = await server.connect()
            client.shutdown(socket.SHUT_WR)
            return await read_all(client)

    with senders() as sending:
        assert asyncio.run(run(sending)) == content_of(file)


def test_a_file_that_became_shorter_cuts_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    path.write_bytes(bytes(SIZE))

    async def run(sending: Senders, file: BinaryIO) -> int:
        async def answer(transport: asyncio.Transport) -> None:
            await sending.send(transport, file, 0, SIZE)

        async with answering(answer) as server:
            client = await server.connect()
            os.truncate(path, SIZE - 1000)
            got = await read_all(client)
            with pytest.raises(ConnectionError, match="shorter"):
                await server.answers[0]
            return len(got)

    with senders() as sending, path.open("rb") as file:
        assert asyncio.run(run(sending, file)) == SIZE - 1000
