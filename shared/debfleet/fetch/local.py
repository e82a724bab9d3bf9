"""Bring files of a ``file://`` remote, below the directories that the operator allows."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from debfleet.errors import ConnectionFailed, HttpStatusError, SizeMismatch, UnsupportedUrl
from debfleet.fetch.access import Access, Sample, Wanted
from debfleet.fetch.flow import Flow
from debfleet.fetch.http import Sink, check_whole

_BLOCK = 1 << 20


def is_local(url: str) -> bool:
    """Does the URL name a directory of this machine?"""
    return url.lower().startswith("file:")


class LocalSource:
    """Reads below the remote's directory.

    Raises:
        UnsupportedUrl: The URL names another machine, or nothing below the allowed directories.
    """

    def __init__(self, access: Access, flow: Flow[Any]) -> None:
        parts = urlsplit(access.url)
        if parts.netloc not in ("", "localhost"):
            raise UnsupportedUrl(f"{access.url}: a file:// URL names no host")
        self._root = unquote(parts.path) or "/"
        self._allowed = [os.path.realpath(path) for path in access.allowed_import_paths]
        self._flow = flow

    async def bring(self, wanted: Wanted, sink: Sink) -> None:
        """Fill the sink with one file, verified.

        Raises:
            HttpStatusError: 404 or 403, as a server would answer.
            UnsupportedUrl: It lies, all symbolic links followed, outside the allowed directories.
        """
        with self._opened(wanted.path) as (fd, shown):
            await self._read(fd, shown, wanted, sink)
        check_whole(shown, wanted, sink)

    async def read_part(self, sample: Sample) -> bytes | None:
        """What the file has in the place of a sample; None: it is of another size.

        Raises:
            HttpStatusError, UnsupportedUrl: As ``bring``.
        """
        with self._opened(sample.path) as (fd, _):
            if os.fstat(fd).st_size != sample.size:
                return None
            return os.pread(fd, len(sample.body), sample.start)

    @contextlib.contextmanager
    def _opened(self, below: str) -> Iterator[tuple[int, str]]:
        """A regular file's descriptor, and how the file is called in messages."""
        named = os.path.join(self._root, below)
        path = self._allowed_path(named)
        shown = f"file://{named}"
        try:
            # The last part can no longer be a link; and a pipe in its place must not hold us.
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as e:
            raise _not_opened(e, shown) from e
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise HttpStatusError(404, "Not Found", shown)
            yield fd, shown
        finally:
            os.close(fd)

    async def measure(self, wanted: Wanted) -> int | None:
        """The size of a file; None: nothing is there that could be read."""
        try:
            found = os.stat(self._allowed_path(os.path.join(self._root, wanted.path)))
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def _allowed_path(self, named: str) -> str:
        path = os.path.realpath(named)
        if not any(os.path.commonpath((path, allowed)) == allowed for allowed in self._allowed):
            raise UnsupportedUrl(f"file://{named} is not below DEBFLEET_ALLOWED_IMPORT_PATHS")
        return path

    async def _read(self, fd: int, shown: str, wanted: Wanted, sink: Sink) -> None:
        most = wanted.limit if wanted.size is None else wanted.size
        while True:
            try:
                block = os.read(fd, _BLOCK)
            except OSError as e:
                raise _not_opened(e, shown) from e
            if not block:
                return
            if sink.size + len(block) > most:
                raise SizeMismatch(shown, most, "more than that")
            sink.write(block)
            self._flow.count(len(block))
            await asyncio.sleep(0)  # the beat is heard between two blocks


def _not_opened(error: OSError, shown: str) -> HttpStatusError | ConnectionFailed:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return HttpStatusError(404, "Not Found", shown)
    if error.errno in (errno.EACCES, errno.EPERM):
        return HttpStatusError(403, "Forbidden", shown)
    return ConnectionFailed(f"{shown}: {error.strerror}")
