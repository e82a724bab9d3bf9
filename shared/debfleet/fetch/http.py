"""Bring one file over HTTP: tried again with growing pauses, resumed, checked."""

from __future__ import annotations

import asyncio
import email.utils
import http
import random
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import aiohttp

from debfleet import metrics
from debfleet.deb.paths import join_url
from debfleet.errors import (
    ConnectionFailed,
    DigestMismatch,
    HttpStatusError,
    SizeMismatch,
    TransferTimeout,
    UpstreamError,
)
from debfleet.fetch.access import Access, Sample, Wanted
from debfleet.fetch.connection import Connection, shown_url, stall_seconds
from debfleet.fetch.failures import translated
from debfleet.fetch.flow import Flow

_TRIED_AGAIN = frozenset({429, 500, 502, 503, 504})
_LONGEST_PAUSE = 10.0
_LONGEST_CLOSING = 3600.0
_STEP = 1 << 20  # a try that brings a file so much further is not counted
_SLOWEST = 64  # bytes a second, over the stall guard's time
_MOST_SKIPPED = 64 << 10  # bytes before a part, of a server that gives no parts
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Sink(Protocol):
    """Where bytes go: a Receiver, or memory."""

    @property
    def size(self) -> int:
        """Bytes received so far."""

    @property
    def sha256(self) -> bytes:
        """Of the bytes received so far."""

    def write(self, block: bytes) -> None:
        """Add bytes at the end."""

    def restart(self) -> None:
        """Forget all bytes."""


class HttpSource:
    """Brings files of one remote over one connection pool."""

    def __init__(self, access: Access, connection: Connection, flow: Flow[Any]) -> None:
        self._access = access
        self._connection = connection
        self._flow = flow
        self._stall = stall_seconds(access)

    async def bring(self, wanted: Wanted, sink: Sink) -> None:
        """Fill the sink with one file, verified.

        Raises:
            UpstreamError: After all tries; ``HostClosed`` when the host asks for a long pause.
            FinalError: Trying again cannot help.
        """
        url = join_url(self._access.url, wanted.path)
        state = _State(can_resume=wanted.sha256 is not None)
        failures = 0
        while True:
            await self._flow.turn()
            try:
                await self._try(url, wanted, sink, state)
                check_whole(url, wanted, sink)
                return
            except _StartAgain:
                continue  # at once and once: from here on nothing is resumed
            except _RETRIED as error:
                if isinstance(error, DigestMismatch):
                    metrics.UPSTREAM_DIGESTS.add(host=self._flow.host)
                if not _may_help(error, wanted):
                    raise
                if self._forget(error, sink, state):
                    self._count_retry(error)
                    continue
                failures = failures + 1 if sink.size < state.furthest + _STEP else 1
                state.furthest = max(state.furthest, sink.size)
                if failures > self._access.max_retries:
                    raise
                self._count_retry(error)
            await asyncio.sleep(self._pause(failures))

    def _count_retry(self, error: UpstreamError) -> None:
        cause = next(word for kind, word in _CAUSES.items() if isinstance(error, kind))
        metrics.UPSTREAM_RETRIES.add(host=self._flow.host, cause=cause)

    async def measure(self, wanted: Wanted) -> int | None:
        """The size in bytes that the server says a file has; None: it says none.

        Raises:
            UpstreamError: As ``bring``, after one try.
        """
        url = join_url(self._access.url, wanted.path)
        await self._flow.turn()
        with translated(url, self._stall):
            async with await self._connection.get(url, {}, "HEAD") as response:
                if response.status != 200:
                    await self._refuse(response, url)
                is_encoded = response.headers.get("Content-Encoding", "identity") != "identity"
                size = None if is_encoded else response.content_length
        return size if size is None or size <= wanted.limit else None

    async def read_part(self, sample: Sample) -> bytes | None:
        """What the server has in the place of a sample; None: it gives no part of such a file.

        Raises:
            UpstreamError: As ``bring``, after one try.
        """
        url = join_url(self._access.url, sample.path)
        start, count = sample.start, len(sample.body)
        headers = {"Range": f"bytes={start}-{start + count - 1}"}
        await self._flow.turn()
        with translated(url, self._stall):
            async with await self._connection.get(url, headers) as response:
                if response.status == 206:
                    skipped = 0
                    if not _continues(response, start, sample.size):
                        return None
                elif response.status == 200:
                    skipped = start
                    if skipped > _MOST_SKIPPED or response.content_length != sample.size:
                        return None
                else:
                    await self._refuse(response, url)
                try:
                    part = await response.content.readexactly(skipped + count)
                except asyncio.IncompleteReadError:
                    return None
        self._flow.count(len(part))
        return part[skipped:]

    def _forget(self, error: UpstreamError, sink: Sink, state: _State) -> bool:
        """After a failed try, drop what cannot be built upon; True: start over without a pause."""
        is_wrong = isinstance(error, DigestMismatch | SizeMismatch)
        if not state.can_resume or is_wrong:
            sink.restart()
        if is_wrong and state.was_resumed:  # what we had was perhaps of another file
            state.can_resume = state.was_resumed = False
            return True
        return False

    async def _try(self, url: str, wanted: Wanted, sink: Sink, state: _State) -> None:
        start = sink.size
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if state.validator:
                headers["If-Range"] = state.validator
        with translated(url, self._stall):
            async with await self._connection.get(url, headers) as response:
                if start and response.status in (206, 416):
                    if response.status == 416 or not _continues(response, start, wanted.size):
                        state.can_resume = state.was_resumed = False
                        sink.restart()
                        raise _StartAgain
                    state.was_resumed = True
                elif response.status == 200:
                    if start:
                        sink.restart()
                    state.was_resumed = False
                    state.validator = _validator(response)
                else:
                    await self._refuse(response, url)
                _check_length(response, url, wanted, sink.size)
                await self._read(response, url, wanted, sink)

    async def _read(
        self, response: aiohttp.ClientResponse, url: str, wanted: Wanted, sink: Sink
    ) -> None:
        most = wanted.limit if wanted.size is None else wanted.size
        window = self._stall
        clock = time.monotonic
        window_ends, window_size = clock() + (window or 0), sink.size
        while block := await response.content.readany():
            size = sink.size + len(block)
            if size > most:
                raise SizeMismatch(shown_url(url), most, "more than that")
            sink.write(block)
            self._flow.count(len(block))
            if window and clock() > window_ends:
                if size - window_size < _SLOWEST * window:
                    raise TransferTimeout(shown_url(url))
                window_ends, window_size = clock() + window, size

    async def _refuse(self, response: aiohttp.ClientResponse, url: str) -> None:
        """Raises ``HttpStatusError``; tells the fleet when the host wants to be left alone."""
        status = response.status
        if status in (429, 503):
            await self._flow.close_host(_retry_after(response) or self._pause(1))
        if status == 407:
            # As aiohttp says it for the proxy of an https URL.
            raise aiohttp.ClientHttpProxyError(response.request_info, (), status=status)
        raise HttpStatusError(status, response.reason or _phrase(status), shown_url(url))

    def _pause(self, failures: int) -> float:
        """Seconds before the next try, doubling, never quite the same for two files."""
        longest = min(_LONGEST_PAUSE, self._access.pause_seconds * 2.0 ** (failures - 1))
        return longest * random.uniform(0.75, 1)


_CAUSES: Mapping[type[UpstreamError], str] = {  # as metrics call them
    TransferTimeout: "timeout",
    ConnectionFailed: "connection",
    HttpStatusError: "status",
    DigestMismatch: "digest",
    SizeMismatch: "size",
}
_RETRIED = tuple(_CAUSES)


class _State:
    """What is remembered between the tries of one file."""

    __slots__ = ("can_resume", "furthest", "validator", "was_resumed")

    def __init__(self, can_resume: bool) -> None:
        self.can_resume = can_resume  # only under a digest: it alone proves that parts fit
        self.was_resumed = False
        self.validator: str | None = None  # for If-Range
        self.furthest = 0  # bytes that the best try came to


class _StartAgain(Exception):
    """The server does not resume as asked."""


def check_whole(url: str, wanted: Wanted, sink: Sink) -> None:
    """Compare what came with what was wanted.

    Raises:
        SizeMismatch, DigestMismatch: Naming the URL.
    """
    if wanted.size is not None and sink.size != wanted.size:
        raise SizeMismatch(shown_url(url), wanted.size, sink.size)
    if wanted.sha256 is not None and sink.sha256 != wanted.sha256:
        raise DigestMismatch(shown_url(url), wanted.sha256.hex(), sink.sha256.hex())


def _may_help(error: UpstreamError, wanted: Wanted) -> bool:
    if isinstance(error, HttpStatusError):
        return error.status in _TRIED_AGAIN
    # Nothing promised another size: it is simply too big.
    return not (isinstance(error, SizeMismatch) and wanted.size is None)


def _continues(response: aiohttp.ClientResponse, start: int, size: int | None) -> bool:
    """Does a 206 hold the rest of the file that we have the start of?"""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != start:
        return False
    whole = size if match[3] == "*" else int(match[3])
    return whole == size if size is not None else True


def _check_length(response: aiohttp.ClientResponse, url: str, wanted: Wanted, start: int) -> None:
    """A wrong length is known before the first byte; the digest is what counts in the end."""
    length = response.content_length
    if length is None:
        return
    if wanted.size is not None and start + length != wanted.size:
        raise SizeMismatch(shown_url(url), wanted.size, start + length)
    if wanted.size is None and start + length > wanted.limit:
        raise SizeMismatch(shown_url(url), wanted.limit, start + length)


def _validator(response: aiohttp.ClientResponse) -> str | None:
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):  # RFC 9110 13.1.5: weak ones do not count here
        return etag
    return response.headers.get("Last-Modified")


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds, given as a number or as a date."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal() and len(text) < 10:
        seconds = float(text)
    else:
        try:
            when = email.utils.parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        seconds = (when - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_CLOSING) or None


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
