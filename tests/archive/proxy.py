"""An HTTP proxy: forwards plain requests, tunnels CONNECT, and may ask for a password."""

from __future__ import annotations

import base64
import contextlib
import http.client
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "proxy-authorization", "proxy-connection", "te"}


class Proxy:
    """Listens at ``url`` as long as its context lasts; ``targets`` holds what was asked for."""

    def __init__(self, *, credentials: tuple[str, str] | None = None) -> None:
        self.credentials = credentials  # user and password for Basic; none: open to all
        self.targets: list[str] = []
        self.headers: list[dict[str, str]] = []  # of each request, names in lower case

    def __enter__(self) -> Self:
        self._server = _Server(self)
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
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may go when they like."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if not self._is_welcome():
            return
        parts = urlsplit(self.path)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=20)
        with contextlib.closing(connection):
            path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            connection.request(self.command, path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    do_HEAD = do_GET

    def do_CONNECT(self) -> None:
        if not self._is_welcome():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as other:
            self.send_response_only(200, "Connection established")
            self.end_headers()
            _tunnel(self.connection, other)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: the targets are kept."""

    def _is_welcome(self) -> bool:
        proxy = self.server.proxy
        proxy.targets.append(self.path)
        proxy.headers.append({name.lower(): value for name, value in self.headers.items()})
        if proxy.credentials is None:
            return True
        expected = base64.b64encode(":".join(proxy.credentials).encode()).decode()
        if self.headers.get("Proxy-Authorization") == f"Basic {expected}":
            return True
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False


def _tunnel(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes both ways until either side ends."""
    opposite = {one: other, other: one}
    while True:
        readable, _, _ = select.select(list(opposite), [], [], 20)
        if not readable:
            return
        for side in readable:
            content = side.recv(64 << 10)
            if not content:
                return
            opposite[side].sendall(content)
