"""What tests of fetching share: an allowance for a job without a database, and a proxy."""

from __future__ import annotations

import base64
import hashlib
import os
import select
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from debfleet.errors import LeaseLost
from debfleet.fetch import Access, Wanted


class Allowance:
    """A ``Traffic`` of its own: so many slots, a host that can close, a lease that can be lost."""

    def __init__(self, slots: int = 8, waits: Callable[[int], float] | None = None) -> None:
        self.allowed = slots
        self.waits = waits or (lambda requests: 0.0)
        self.reserved: list[int] = []
        self.closings: list[float] = []
        self.bytes = 0
        self.used: list[int] = []
        self.lost = threading.Event()

    def slots(self) -> int:
        return self.allowed

    def running(self, requests: int) -> None:
        self.used.append(requests)

    def wait_seconds(self, requests: int) -> float:
        self.reserved.append(requests)
        return self.waits(requests)

    def close_host(self, seconds: float) -> None:
        self.closings.append(seconds)

    def progress(self, bytes: int) -> None:
        self.bytes += bytes

    def check(self) -> None:
        if self.lost.is_set():
            raise LeaseLost("canceled")


def access(url: str, **more: Any) -> Access:
    """Of a remote whose retries do not wait."""
    return Access(**{"url": url, "pause_seconds": 0.01, **more})


def write_files(folder: Path, count: int = 1, size: int = 100_000) -> list[Wanted]:
    """Files of random bytes: pool/0.deb, pool/1.deb, …"""
    (folder / "pool").mkdir(parents=True, exist_ok=True)
    wanted = []
    for number in range(count):
        body = os.urandom(size)
        (folder / f"pool/{number}.deb").write_bytes(body)
        wanted.append(Wanted(f"pool/{number}.deb", hashlib.sha256(body).digest(), size))
    return wanted


class Proxy:
    """A forward proxy on a free port of 127.0.0.1, with CONNECT, and Basic if it has a user."""

    def __init__(self, credentials: tuple[str, str] | None = None) -> None:
        self.targets: list[str] = []  # what was asked for, in order
        self.headers: list[dict[str, str]] = []  # names in lower case
        self.expected = None
        if credentials is not None:
            token = base64.b64encode(":".join(credentials).encode()).decode()
            self.expected = f"Basic {token}"

    def __enter__(self) -> Self:
        proxy = self

        class Handler(_ProxyHandler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class _ProxyHandler(BaseHTTPRequestHandler):
    owner: Proxy

    def do_GET(self) -> None:
        if not self._may():
            return
        parts = urlsplit(self.path)
        with socket.create_connection((parts.hostname, parts.port or 80)) as there:
            lines = [f"GET {parts.path} HTTP/1.0"]
            lines += [f"{n}: {v}" for n, v in self.headers.items() if n.lower()[:5] != "proxy"]
            there.sendall("\r\n".join([*lines, "", ""]).encode())
            while block := there.recv(1 << 16):
                self.wfile.write(block)
        self.close_connection = True

    def do_CONNECT(self) -> None:
        if not self._may():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: there, there: self.connection}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    block = end.recv(1 << 16)
                    if not block:
                        self.close_connection = True
                        return
                    ends[end].sendall(block)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def _may(self) -> bool:
        self.owner.targets.append(self.path)
        self.owner.headers.append({n.lower(): v for n, v in self.headers.items()})
        if self.owner.expected in (None, self.headers.get("Proxy-Authorization")):
            return True
        self.send_error(407)
        return False
