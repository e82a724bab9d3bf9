"""Answers: a file in whole or in part, and the short texts."""

from __future__ import annotations

import asyncio
import errno
import os
import posixpath
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, Protocol

from aiohttp import hdrs, web

from debfleet.db.served import File
from debfleet.errors import NotFound, StoreError
from debfleet.store import Store
from debfleet_content.content import CONTENT
from debfleet_content.ranges import (
    Unsatisfiable,
    Validators,
    http_date,
    is_unchanged,
    wanted_range,
)

_TYPES = {
    ".gz": "application/gzip",
    ".xz": "application/x-xz",
    ".bz2": "application/x-bzip2",
    ".asc": "application/pgp-keys",
}
SMALL = 64 << 10  # read whole and sent with the headers
_PIECE = 2 << 20  # read from a bucket at a time
_PIECE_SECONDS = 300.0  # a client that takes longer for a piece is gone


class Body(Protocol):
    """The bytes of one file."""

    async def read(self, start: int, count: int) -> bytes:
        """Some bytes at once; few."""

    async def send(
        self, request: web.Request, response: web.StreamResponse, start: int, count: int
    ) -> None:
        """Send bytes after the headers."""

    async def close(self) -> None:
        """The answer is over."""


def text_answer(status: int, reason: str, **headers: str) -> web.Response:
    """``404: Not Found`` and the like."""
    return web.Response(status=status, text=f"{status}: {reason}", headers=headers)


@dataclass(frozen=True, slots=True)
class Part:
    """Which bytes of a file to send."""

    start: int
    count: int
    is_partial: bool  # a range was asked for, be it all of them: 206


def checked(request: web.Request, file: File) -> web.StreamResponse | Part:
    """The answer where no byte of the file is needed, else which bytes are."""
    validators = _validators(file)
    headers = _headers(file, validators)
    if is_unchanged(request.headers, validators):
        del headers[hdrs.CONTENT_TYPE]
        return web.Response(status=304, headers=headers)
    if request.method == hdrs.METH_HEAD:
        # Ranges are defined for GET alone (RFC 9110 14.2).
        headers[hdrs.CONTENT_LENGTH] = str(file.size)
        return web.Response(headers=headers)
    try:
        part = wanted_range(request.headers, validators, file.size)
    except Unsatisfiable:
        return text_answer(
            416, "Range Not Satisfiable", **{hdrs.CONTENT_RANGE: f"bytes */{file.size}"}
        )
    return Part(0, file.size, False) if part is None else Part(*part, True)


async def send_file(request: web.Request, file: File, part: Part, body: Body) -> web.StreamResponse:
    """200 or 206 with these bytes."""
    headers = _headers(file, _validators(file))
    if part.is_partial:
        last = part.start + part.count - 1
        headers[hdrs.CONTENT_RANGE] = f"bytes {part.start}-{last}/{file.size}"
    status = 206 if part.is_partial else 200
    if part.count <= SMALL:
        content = await body.read(part.start, part.count)
        return web.Response(status=status, headers=headers, body=content)
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = part.count
    await response.prepare(request)
    await body.send(request, response, part.start, part.count)
    await response.write_eof()
    return response


class LocalFile:
    """A file of a directory store, sent by the kernel."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def read(self, start: int, count: int) -> bytes:
        """See ``Body``."""
        return await asyncio.to_thread(self._read, start, count)

    async def send(
        self, request: web.Request, response: web.StreamResponse, start: int, count: int
    ) -> None:
        """See ``Body``."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        await request.app[CONTENT].senders.send(transport, self._file, start, count)

    async def close(self) -> None:
        """See ``Body``."""
        self._file.close()

    def _read(self, start: int, count: int) -> bytes:
        self._file.seek(start)
        return self._file.read(count)


class RemoteFile(LocalFile):
    """A file of a bucket, read in blocks."""

    async def send(
        self, request: web.Request, response: web.StreamResponse, start: int, count: int
    ) -> None:
        """See ``Body``."""
        while count:
            block = await self.read(start, min(count, _PIECE))
            if not block:
                raise ConnectionResetError("the file is shorter than it was")
            async with asyncio.timeout(_PIECE_SECONDS):
                await response.write(block)
            start, count = start + len(block), count - len(block)

    async def close(self) -> None:
        """See ``Body``."""
        await asyncio.to_thread(self._file.close)


class Bytes:
    """A few bytes that were read already."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, start: int, count: int) -> bytes:
        """See ``Body``."""
        return self._content

    async def send(
        self, request: web.Request, response: web.StreamResponse, start: int, count: int
    ) -> None:
        """See ``Body``."""
        await response.write(self._content)

    async def close(self) -> None:
        """See ``Body``."""


async def open_stored(store: Store, file: File, part: Part) -> Body | None:
    """The bytes of an artifact; None: the store does not have them, whatever its row says.

    Raises:
        StoreError: The store cannot be read.
    """
    # What lies in memory is had in less time than it takes to wake a thread.
    opened = store.open_at_once(file.sha256)
    if opened is not None:
        try:
            return _body_of(opened, file, part, os.RWF_NOWAIT)
        except OSError:
            opened.close()  # of a small file not all is there
    return await asyncio.to_thread(_open_stored, store, file, part)


def _open_stored(store: Store, file: File, part: Part) -> Body | None:
    try:
        opened = store.open(file.sha256)
    except NotFound:
        return None
    if not store.is_local:
        return RemoteFile(opened)
    try:
        return _body_of(opened, file, part)
    except OSError as e:
        opened.close()
        raise StoreError(f"artifact {file.sha256.hex()} cannot be read: {e.strerror}") from e


def _body_of(opened: BinaryIO, file: File, part: Part, flags: int = 0) -> Body | None:
    """Of a file of this machine; a small one is read.

    Raises:
        OSError: It cannot be read; with ``RWF_NOWAIT`` in ``flags``: not without a disk.
    """
    if os.fstat(opened.fileno()).st_size != file.size:
        opened.close()
        return None
    if part.count > SMALL:
        return LocalFile(opened)
    content = bytearray(part.count)
    if os.preadv(opened.fileno(), [content], part.start, flags) != part.count:
        raise OSError(errno.EIO, "the file is shorter than it was")
    opened.close()
    return Bytes(bytes(content))


def _validators(file: File) -> Validators:
    modified = file.modified
    if not file.is_settled:
        # Another switch within this second would carry the same date; no later one carries this.
        modified -= timedelta(seconds=1)
    return Validators(f'"{file.sha256.hex()}"', http_date(modified), file.is_settled)


def _headers(file: File, validators: Validators) -> dict[str, str]:
    ending = posixpath.splitext(file.path)[1]
    return {
        hdrs.CONTENT_TYPE: _TYPES.get(ending, "application/octet-stream"),
        hdrs.ETAG: validators.etag,
        hdrs.LAST_MODIFIED: validators.modified,
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CACHE_CONTROL: "public, max-age=0, must-revalidate",
        "X-PULP-ARTIFACT-SIZE": str(file.size),
    }
