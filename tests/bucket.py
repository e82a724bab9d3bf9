"""A bucket behind HTTP that only keeps what it is given; it does not check signatures."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Bucket(ThreadingHTTPServer):
    """Objects by path; answers 503 while it is ``away``, 403 while it is ``closed``."""

    daemon_threads = True

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refusals: list[int] = []  # the next answers
        self.refuses: int | None = None  # all answers
        super().__init__(("127.0.0.1", 0), _Handler)

    def url(self, prefix: str = "") -> str:
        return (
            f"s3://bucket{prefix}?endpoint=http://127.0.0.1:{self.server_address[1]}"
            "&region=eu-central-1"
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._refused():
            self.server.objects[self.path] = body
            self._answer(200, b"", {"ETag": '"1"'})

    def do_GET(self) -> None:
        if self._refused():
            return
        body = self.server.objects.get(self.path)
        if body is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        wanted = self.headers.get("Range")
        headers = {"ETag": '"1"', "Last-Modified": "Mon, 23 Nov 2026 12:00:00 GMT"}
        if wanted is None:
            self._answer(200, body, headers)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(body)), len(body) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
        self._answer(206, body[start : end + 1], headers)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        if not self._refused():
            self.server.objects.pop(self.path, None)
            self._answer(204, b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def _refused(self) -> bool:
        status = self.server.refuses
        if self.server.refusals:
            status = self.server.refusals.pop(0)
        if status is not None:
            self._answer(status, b"<Error><Code>Sorry</Code></Error>")
        return status is not None

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
