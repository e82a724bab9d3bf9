"""A web server that offers a folder, and fails in every way that servers do when told to."""

from __future__ import annotations

import base64
import email.utils
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from archive.faults import Fault, Reply

_BLOCK = 64 << 10


@dataclass(frozen=True)
class Request:
    """One request that was answered, or whose answer broke off."""

    method: str
    path: str  # below the server's root, unquoted, without query: dists/bookworm/InRelease
    target: str  # as it came
    headers: dict[str, str]  # names in lower case
    status: int
    sent: int  # bytes of the body
    started: float  # time.monotonic()
    ended: float


class Upstream:
    """Serves a folder at ``url`` on a free port of 127.0.0.1 as long as its context lasts.

    ``faults`` is a list to change at any time. ``requests`` grows with each request just before
    its last bytes go out, so that a client that has its answer finds itself in the list.
    """

    def __init__(
        self,
        folder: Path,
        *,
        credentials: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.folder = folder
        self.credentials = credentials  # user and password for Basic; none: open to all
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.open_requests = 0
        self.most_at_once = 0  # requests
        self.connections = 0  # opened so far
        self._tls = tls
        self._changed = threading.Condition()
        self.closing = threading.Event()

    def __enter__(self) -> Self:
        self._server = _Server(self, self._tls)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.end()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Of the root, with a slash at its end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/"

    def rotate(self, folder: Path) -> None:
        """From the next request on, serve another folder."""
        self.folder = folder

    def paths(self) -> list[str]:
        """Those of all requests so far, in the order of their ends."""
        with self._changed:
            return [request.path for request in self.requests]

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._changed:
            self.requests.clear()
            self.most_at_once = self.open_requests

    def wait_for(self, what: Callable[[Upstream], bool], seconds: float = 20) -> None:
        """Wait until this holds; it is asked whenever a request begins or ends.

        Raises:
            TimeoutError: It did not hold in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: what(self), seconds):
                raise TimeoutError(f"after {seconds} s: {[r.path for r in self.requests][-20:]}")

    def began(self) -> None:
        with self._changed:
            self.open_requests += 1
            self.most_at_once = max(self.most_at_once, self.open_requests)
            self._changed.notify_all()

    def ending(self, request: Request) -> None:
        """Called before the last bytes go out: the client may look or ask again at once."""
        with self._changed:
            self.open_requests -= 1
            self.requests.append(request)
            self._changed.notify_all()

    def ended_otherwise(self, request: Request, instead: Request) -> None:
        """The last bytes did not go out after all."""
        with self._changed:
            if request in self.requests:
                self.requests[self.requests.index(request)] = instead

    def applying(self, path: str) -> list[Fault]:
        with self._changed:
            return [fault for fault in list(self.faults) if fault.applies_to(path)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, upstream: Upstream, tls: ssl.SSLContext | None) -> None:
        self.upstream = upstream
        self._tls = tls
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.upstream.connections += 1
        self._open.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(10)
        try:
            wrapped = self._tls.wrap_socket(request, server_side=True)
        except OSError:
            return  # the client did not like our certificate
        with wrapped:
            super().finish_request(wrapped, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may go when they like."""

    def end(self) -> None:
        """Stop listening, and end what connections there are."""
        self.server_close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it was closed already


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: the requests are kept."""

    def _answer(self, has_body: bool) -> None:
        upstream = self.server.upstream
        self._started = time.monotonic()
        self._path = unquote(urlsplit(self.path).path).lstrip("/")
        self._sent = 0
        self._told: Request | None = None
        reply = Reply(500, {}, b"")
        upstream.began()
        try:
            reply = self._reply(upstream, self._path)
            for fault in upstream.applying(self._path):
                fault.apply(reply)
            if reply.delay_seconds:
                upstream.closing.wait(reply.delay_seconds)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if has_body:
                self._send(reply)
        finally:
            self._tell(reply.status, self._sent)

    def _tell(self, status: int, sent: int) -> None:
        """Note the request as it is about to end; if it was noted before, mend that."""
        request = Request(
            method=self.command,
            path=self._path,
            target=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            status=status,
            sent=sent,
            started=self._started,
            ended=time.monotonic(),
        )
        if self._told is None:
            self.server.upstream.ending(request)
            self._told = request
        elif self._told.sent != sent:
            self.server.upstream.ended_otherwise(self._told, request)

    def _reply(self, upstream: Upstream, path: str) -> Reply:
        if upstream.credentials is not None:
            expected = base64.b64encode(":".join(upstream.credentials).encode()).decode()
            if self.headers.get("Authorization") != f"Basic {expected}":
                return Reply(401, {"WWW-Authenticate": 'Basic realm="archive"'}, b"who are you?\n")
        root = upstream.folder.resolve()
        file = (root / path).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            return Reply(404, {"Content-Type": "text/plain"}, b"not found\n")
        content, stat = file.read_bytes(), file.stat()
        etag = f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"'
        modified = email.utils.formatdate(stat.st_mtime, usegmt=True)
        headers = {
            "Content-Type": "application/octet-stream",
            "Accept-Ranges": "bytes",
            "ETag": etag,
            "Last-Modified": modified,
        }
        wanted = self.headers.get("Range")
        reply = Reply(200, headers, content, wanted, content)
        condition = self.headers.get("If-Range")
        if wanted is not None and condition in (None, etag, modified):
            _narrow(reply, wanted)
        return reply

    def _send(self, reply: Reply) -> None:
        body, upstream = reply.body, self.server.upstream
        stops = sorted(
            {
                stop
                for stop in (reply.cut_after, reply.stall_after, len(body))
                if stop is not None and stop <= len(body)
            }
        )
        for stop in stops:
            self._write(body[self._sent : stop], reply, stop == len(body))
            if stop == reply.cut_after:
                self._tell(reply.status, self._sent)
                self._reset()
                return
            if stop == reply.stall_after and reply.stalled_until is not None:
                while not (reply.stalled_until.wait(0.02) or upstream.closing.is_set()):
                    pass

    def _write(self, content: bytes, reply: Reply, is_last: bool) -> None:
        speed = reply.bytes_per_second
        block = _BLOCK if speed is None else max(1, int(speed / 20))
        for start in range(0, len(content), block):
            part = content[start : start + block]
            if is_last and start + block >= len(content):
                self._tell(reply.status, len(reply.body))
            self.wfile.write(part)
            self.wfile.flush()
            self._sent += len(part)
            if speed is not None and self.server.upstream.closing.wait(len(part) / speed):
                return

    def _reset(self) -> None:
        """End the connection with RST, as a crashed server or a firewall does."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _narrow(reply: Reply, wanted: str) -> None:
    """Make the reply one of the range, where it is one ``bytes=FIRST-[LAST]``."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
    if match is None:
        return
    size = len(reply.body)
    first, last = int(match[1]), min(int(match[2] or size), size - 1)
    if first > last:
        reply.status, reply.body = 416, b""
        reply.headers["Content-Range"] = f"bytes */{size}"
    else:
        reply.status, reply.body = 206, reply.body[first : last + 1]
        reply.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
