"""Files of a directory store to clients: the kernel copies, and a few threads tell it to.

Not the event loop: where a file does not lie in memory, the kernel waits for the disk, and nobody
else must. Not a thread for each client: most wait for the network, and hold none meanwhile; only
while there are no more clients than threads does one stay with a client that is quick.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from contextlib import suppress
from threading import Lock, Thread
from typing import BinaryIO

from debfleet.errors import StoreError

_THREADS = 8  # turns at a time, over all clients
_TURN = 8 << 20  # the most that a client gets at once, be it ever so quick
_STAY_SECONDS = 0.02  # a thread waits so long for its client, while there is one for each
_LEAST = 2 << 20  # a client that takes less than this in _LEAST_SECONDS is gone
_LEAST_SECONDS = 300.0
_LOOK_SECONDS = 0.01  # between two looks whether the kernel took the headers: it nearly always has
_WRITABLE_ONCE = select.EPOLLOUT | select.EPOLLONESHOT
_DISK_ERRORS = (errno.EIO, errno.ESTALE)  # all others are the connection's


class Senders:
    """Threads that wait for any client that can take more, and give it a piece."""

    def __init__(self, least_seconds: float = _LEAST_SECONDS) -> None:
        self._least_seconds = least_seconds
        self._ready = select.epoll()
        self._transfers: dict[int, _Transfer] = {}  # by the number of their socket
        self._end = os.eventfd(0)
        self._ready.register(self._end, select.EPOLLIN)
        self._threads = [
            Thread(target=self._run, name=f"sender-{n}", daemon=True) for n in range(_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    async def send(
        self, transport: asyncio.Transport, file: BinaryIO, start: int, count: int
    ) -> None:
        """Send bytes of a file on a connection, after what was written to it before.

        Raises:
            ConnectionError, TimeoutError: The client has gone, or takes nearly nothing; or the
                file is shorter than it was.
            StoreError: The disk gives no more.
        """
        transport.pause_reading()  # the next request can wait
        try:
            if transport.get_write_buffer_size():
                async with asyncio.timeout(self._least_seconds):
                    while transport.get_write_buffer_size():
                        await asyncio.sleep(_LOOK_SECONDS)
            if transport.is_closing():
                raise ConnectionResetError("the client has gone")
            transfer = self._begin(transport, file, start, count)
            try:
                await transfer.wait(self._least_seconds)
            finally:
                transfer.stop()
        finally:
            transport.resume_reading()

    def close(self) -> None:
        """End the threads; there must be no transfer left."""
        os.eventfd_write(self._end, 1)  # nobody reads it: it wakes every thread
        for thread in self._threads:
            thread.join()
        self._ready.close()
        os.close(self._end)

    def _begin(
        self, transport: asyncio.Transport, file: BinaryIO, start: int, count: int
    ) -> _Transfer:
        try:
            transfer = _Transfer(transport, file, start, count)
        except OSError as e:  # no descriptor is left
            raise ConnectionResetError(str(e)) from e
        self._transfers[transfer.number] = transfer
        self._ready.register(transfer.number, _WRITABLE_ONCE)
        return transfer

    def _run(self) -> None:
        while True:
            for number, _ in self._ready.poll(maxevents=1):
                if number == self._end:
                    return
                transfer = self._transfers[number]  # nobody else's until the epoll has it again
                try:
                    is_over = self._serve(transfer)
                except OSError as e:
                    self._finish(transfer, e)
                else:
                    if is_over:
                        self._finish(transfer, None)
                    else:
                        self._ready.modify(number, _WRITABLE_ONCE)

    def _serve(self, transfer: _Transfer) -> bool:
        """Give a client its turn; true: that was the last.

        While there are no more clients than threads, a thread stays with one that takes without a
        pause: to wake another for each turn doubles the switches between threads.
        """
        while not transfer.give(_TURN):
            if len(self._transfers) > _THREADS or not transfer.is_ready(_STAY_SECONDS):
                return False
        return True

    def _finish(self, transfer: _Transfer, error: OSError | None) -> None:
        self._ready.unregister(transfer.number)
        del self._transfers[transfer.number]
        transfer.finish(error)


class _Transfer:
    """Bytes on their way to one client.

    It has descriptors of its own: what the event loop closes meanwhile, and opens anew under the
    same number, must not get these bytes. Whichever thread sees its end closes them.
    """

    def __init__(
        self, transport: asyncio.Transport, file: BinaryIO, start: int, count: int
    ) -> None:
        self._file = os.dup(file.fileno())
        try:
            self._socket: socket.socket = transport.get_extra_info("socket").dup()
        except OSError:
            os.close(self._file)
            raise
        self.number = self._socket.fileno()
        self._position, self._left = start, count
        self._closing = Lock()  # nothing may happen to a number that is somebody else's by now
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[OSError | None] = self._loop.create_future()

    def give(self, most: int) -> bool:
        """Send what the socket takes at once; true: that was the last.

        Raises:
            OSError: There will be no more.
        """
        try:
            sent = os.sendfile(self.number, self._file, self._position, min(self._left, most))
        except BlockingIOError:
            return False
        if not sent and self._left:
            raise ConnectionResetError("the file is shorter than it was")
        self._position += sent
        self._left -= sent
        return not self._left

    def is_ready(self, seconds: float) -> bool:
        """Wait until the socket takes more, or has an error to tell."""
        ready = select.poll()
        ready.register(self.number, select.POLLOUT)
        return bool(ready.poll(seconds * 1000))

    def finish(self, error: OSError | None) -> None:
        """Nobody uses it any more but who waits."""
        with self._closing:
            self._socket.close()
            os.close(self._file)
        self._loop.call_soon_threadsafe(self._say, error)

    async def wait(self, least_seconds: float) -> None:
        """Until all is sent.

        Raises:
            ConnectionError, TimeoutError, StoreError: See ``Senders.send``.
        """
        while not self._over.done():
            left = self._left
            await asyncio.wait({self._over}, timeout=least_seconds)
            if not self._over.done() and left - self._left < _LEAST:
                raise TimeoutError("the client takes nearly nothing")
        error = self._over.result()
        if error is None:
            return
        if error.errno in _DISK_ERRORS:
            raise StoreError(f"a file cannot be read: {error.strerror}") from error
        if isinstance(error, ConnectionError | TimeoutError):
            raise error
        raise ConnectionResetError(str(error)) from error

    def stop(self) -> None:
        """If it is not over: the next turn, which comes at once, fails."""
        with self._closing:
            if self._socket.fileno() >= 0:
                with suppress(OSError):  # the client has gone meanwhile, which does as well
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _say(self, error: OSError | None) -> None:
        self._over.set_result(error)
