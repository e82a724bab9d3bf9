"""A file on its way from upstream, which clients read while it arrives."""

from __future__ import annotations

import asyncio
import hashlib
import os

from aiohttp import web

from debfleet.db.served import File
from debfleet.errors import LeaseLost, SizeMismatch
from debfleet.store import Receiver

_HELD = 64 << 10  # the last bytes of a file wait until its digest is right
_PIECE = 256 << 10
_SEND_SECONDS = 300.0  # a client that takes longer for a piece is gone


class Broken(ConnectionError):
    """The file did not come, or not as it should."""


class Arriving:
    """What has come so far, and who reads it. Where bytes come in, it is a ``Sink`` of ``fetch``.

    Bytes may be read before the whole is verified, but for the last ones: a client never gets a
    full file that is wrong. If the transfer has to begin anew, readers wait until what they have is
    proved to be the start of what comes now; those for whom it is not are cut off.
    """

    def __init__(self, file: File, receiver: Receiver) -> None:
        self.file = file
        self.is_for_readers = False  # and not to be kept
        self._receiver = receiver
        self._fd = -1
        self._users = 1  # whoever fetches, and the readers
        self._readable = 0  # bytes from the start
        self._shown: tuple[int, bytes] | None = None  # bytes and digest, to be proved again
        self._most_shown = 0
        self._run = 0  # grows when what was shown turned out to be wrong
        self._is_verified = False
        self._error: BaseException | None = None
        self._changed = asyncio.Event()

    # --- who fetches

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self._receiver.size

    @property
    def sha256(self) -> bytes:
        """Of the bytes received so far."""
        return self._receiver.sha256

    def write(self, block: bytes) -> None:
        """Add bytes at the end.

        Raises:
            LeaseLost: They are not to be kept, and nobody reads them any more.
        """
        if self.is_for_readers and self._users == 1:
            raise LeaseLost("nobody reads it any more")
        self._receiver.write(block)
        if self._fd < 0:
            self._fd = os.open(self._receiver.path(), os.O_RDONLY | os.O_CLOEXEC)
        self._show(min(self.size, self.file.size - _HELD))

    def restart(self) -> None:
        """Forget all bytes."""
        if self._shown is None and self._most_shown:
            self._shown = (self._most_shown, self._digest(self._most_shown))
        self._readable = 0
        self._receiver.restart()

    def verified(self) -> None:
        """All bytes are there, and right."""
        if self.size != self.file.size:
            # The size was a hint, and clients were told it. The next ones are told the right one.
            self.failed(SizeMismatch(self.file.path, self.file.size, self.size))
            return
        self._is_verified = True
        self._show(self.file.size)

    def failed(self, error: BaseException) -> None:
        """There will be no more bytes."""
        self._error = error
        self._wake()

    # --- who reads

    async def begun(self) -> bool:
        """Wait until there is something to read; false: it failed before."""
        while not (self._readable or self._is_verified or self._error):
            await self._changed.wait()
        return bool(self._readable or self._is_verified)

    @property
    def error(self) -> BaseException | None:
        """Why there will be no more bytes."""
        return self._error

    def reader(self) -> Reading:
        """One client's view."""
        self._users += 1
        return Reading(self)

    def release(self) -> None:
        """One user less; the last one closes the file."""
        self._users -= 1
        if self._users == 0 and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def wait_for(self, position: int, run: int | None) -> tuple[int, int]:
        """Wait for bytes behind ``position``: up to where there are some, and of which run.

        Raises:
            Broken: None will come, or those before were wrong.
        """
        while True:
            if run is not None and run != self._run:
                raise Broken("bytes that were sent turned out to be wrong")
            if self._readable > position:
                return self._readable, self._run
            if self._error is not None:
                raise Broken(str(self._error) or type(self._error).__name__)
            await self._changed.wait()

    def bytes_at(self, start: int, count: int) -> bytes:
        """Bytes that are there."""
        return os.pread(self._fd, count, start)

    def _show(self, readable: int) -> None:
        if self._shown is not None:
            size, digest = self._shown
            if self.size < size:
                return
            if self._digest(size) != digest:
                self._run += 1
                self._most_shown = 0
            self._shown = None
        if readable > self._readable:
            self._readable = readable
            self._most_shown = max(self._most_shown, readable)
            self._wake()

    def _digest(self, size: int) -> bytes:
        digest, start = hashlib.sha256(), 0
        while start < size and (block := os.pread(self._fd, min(_PIECE, size - start), start)):
            digest.update(block)
            start += len(block)
        return digest.digest()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Reading:
    """The bytes of a file that arrives, for one client (a ``Body``)."""

    def __init__(self, arriving: Arriving) -> None:
        self._arriving = arriving

    async def read(self, start: int, count: int) -> bytes:
        """See ``Body``."""
        if count == 0:
            return b""
        await self._arriving.wait_for(start + count - 1, None)
        return self._arriving.bytes_at(start, count)

    async def send(
        self, request: web.Request, response: web.StreamResponse, start: int, count: int
    ) -> None:
        """See ``Body``."""
        run: int | None = None
        while count:
            readable, run = await self._arriving.wait_for(start, run)
            block = self._arriving.bytes_at(start, min(count, readable - start, _PIECE))
            if not block:
                raise Broken("the file is shorter than it was")
            async with asyncio.timeout(_SEND_SECONDS):
                await response.write(block)
            start, count = start + len(block), count - len(block)

    async def close(self) -> None:
        """See ``Body``."""
        self._arriving.release()
