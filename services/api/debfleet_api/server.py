"""gunicorn's worker and log in our ways: JSON also for what is no HTTP, one JSON object a line."""

from __future__ import annotations

import logging
import socket
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import ThreadWorker

log = logging.getLogger(__name__)

_ANSWER = (
    b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s"
)
_STATUS = {
    LimitRequestLine: b"414 URI Too Long",
    LimitRequestHeaders: b"431 Request Header Fields Too Large",
}


class ThreadedServer(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no type information
    """Answers what cannot be parsed without a page of HTML."""

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        if isinstance(exc, ParseException):
            status = _STATUS.get(type(exc), b"400 Bad Request")
            body = b'{"detail":"The request cannot be read."}'
            log.info("request.unreadable", extra={"error": str(exc)})
        else:
            status, body = b"500 Internal Server Error", b'{"detail":"Internal error."}'
            log.error("request.failed", exc_info=exc)
        try:
            client.sendall(_ANSWER % (status, len(body), body))
        except OSError:
            log.info("request.abandoned")


class ServerLog(Logger):  # type: ignore[misc]  # gunicorn ships no type information
    """Keeps the handlers that the process has; requests are one line each."""

    def setup(self, cfg: Any) -> None:
        self.error_log = logging.getLogger("debfleet_api.gunicorn")
        self.access_log = logging.getLogger("debfleet_api.access")

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        self.access_log.info(
            "request.answered",
            extra={
                "method": environ["REQUEST_METHOD"],
                "path": environ["PATH_INFO"],
                "status": resp.status_code,
                "seconds": round(request_time.total_seconds(), 4),
                # The request is over, and what it had bound is let go.
                "cid": next((v for k, v in resp.headers if k == "Correlation-ID"), ""),
            },
        )

    def reopen_files(self) -> None:
        """There are none."""
