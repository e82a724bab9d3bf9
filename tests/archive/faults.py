"""The ways a server fails: each function makes a rule for ``Upstream.faults``.

A rule applies to the paths its glob matches (below the server's root, without a leading slash;
``*`` matches slashes too): to the first ``times`` of them (none: all), after letting ``skip``
through. All rules that match apply, in their order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass
class Reply:
    """What the server is about to answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    requested_range: str | None = None  # the Range header, where there is one
    whole: bytes = b""  # the file, of which body may be a range
    delay_seconds: float = 0
    bytes_per_second: float | None = None
    cut_after: int | None = None  # bytes of the body, then the connection is reset
    stall_after: int | None = None  # bytes of the body, then silence until `stalled_until`
    stalled_until: threading.Event | None = None


@dataclass
class Fault:
    """One rule; ``hits`` counts how often it applied."""

    glob: str
    apply: Callable[[Reply], None]
    times: int | None = None
    skip: int = 0
    hits: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False)

    def applies_to(self, path: str) -> bool:
        """Whether it applies to this request, which is counted by asking."""
        if not fnmatchcase(path, self.glob):
            return False
        self._seen += 1
        if self._seen <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


def status(
    glob: str,
    code: int,
    headers: Mapping[str, str] | None = None,
    *,
    times: int | None = None,
    skip: int = 0,
) -> Fault:
    """Answer with this status; ``headers`` may hold a Retry-After."""

    def apply(reply: Reply) -> None:
        reply.status, reply.body = code, f"status {code}\n".encode()
        reply.headers = {"Content-Type": "text/plain", **(headers or {})}

    return Fault(glob, apply, times, skip)


def cut(glob: str, after: int, *, times: int | None = None, skip: int = 0) -> Fault:
    """Promise all of the body, reset the connection after some bytes of it."""

    def apply(reply: Reply) -> None:
        reply.cut_after = after

    return Fault(glob, apply, times, skip)


def stall(
    glob: str, after: int, until: threading.Event, *, times: int | None = None, skip: int = 0
) -> Fault:
    """Go silent after some bytes of the body, until the event is set (or the server closes)."""

    def apply(reply: Reply) -> None:
        reply.stall_after, reply.stalled_until = after, until

    return Fault(glob, apply, times, skip)


def delay(glob: str, seconds: float, *, times: int | None = None, skip: int = 0) -> Fault:
    """Answer late."""

    def apply(reply: Reply) -> None:
        reply.delay_seconds = seconds

    return Fault(glob, apply, times, skip)


def drip(glob: str, bytes_per_second: float, *, times: int | None = None, skip: int = 0) -> Fault:
    """Send the body slowly."""

    def apply(reply: Reply) -> None:
        reply.bytes_per_second = bytes_per_second

    return Fault(glob, apply, times, skip)


def wrong_bytes(
    glob: str, content: bytes | None = None, *, times: int | None = None, skip: int = 0
) -> Fault:
    """Send other bytes: ``content``, or as many as there should be, each of them changed."""

    def apply(reply: Reply) -> None:
        if reply.status in (200, 206):
            reply.body = reply.body.translate(_FLIPPED) if content is None else content

    return Fault(glob, apply, times, skip)


def redirect(
    glob: str, to: str, code: int = 302, *, times: int | None = None, skip: int = 0
) -> Fault:
    """Send the client to another URL."""
    return status(glob, code, {"Location": to}, times=times, skip=skip)


def html_200(glob: str, *, times: int | None = None, skip: int = 0) -> Fault:
    """A page for browsers in place of the file, as a captive portal answers."""

    def apply(reply: Reply) -> None:
        reply.status, reply.headers = 200, {"Content-Type": "text/html"}
        reply.body = b"<!DOCTYPE html>\n<html><body>Please log in.</body></html>\n"

    return Fault(glob, apply, times, skip)


def no_range(glob: str = "*", *, times: int | None = None, skip: int = 0) -> Fault:
    """Ignore Range: 200 and the whole file."""

    def apply(reply: Reply) -> None:
        if reply.status == 206:
            reply.status, reply.body = 200, reply.whole
            del reply.headers["Content-Range"]

    return Fault(glob, apply, times, skip)


def wrong_range(glob: str = "*", *, times: int | None = None, skip: int = 0) -> Fault:
    """Answer 206 with another range than was asked for: from the first byte on."""

    def apply(reply: Reply) -> None:
        if reply.status == 206:
            reply.body = reply.whole
            reply.headers["Content-Range"] = f"bytes 0-{len(reply.whole) - 1}/{len(reply.whole)}"

    return Fault(glob, apply, times, skip)


_FLIPPED = bytes(byte ^ 0xFF for byte in range(256))
