"""A REST API that says what a test tells it to: for situations that the real one cannot be in."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

V3 = "/pulp/api/v3/"
REMOTES = V3 + "remotes/deb/apt/"
REPOSITORIES = V3 + "repositories/deb/apt/"
TASK = V3 + "tasks/0192aaaa-0000-7000-8000-000000000001/"

Answer = tuple[int, Any]


@dataclass
class Seen:
    """One request that came."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]


@dataclass
class FakeApi:
    """Keeps remotes and repositories by name; a sync runs through ``states``, one a look."""

    states: list[dict[str, Any]] = field(default_factory=list)
    answer: Callable[[Seen], Answer | None] = lambda seen: None  # what to say instead
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    online_workers: int = 1
    looks: int = 0

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def asked(self, method: str, part: str) -> list[Seen]:
        """The requests with this method whose path holds this."""
        return [s for s in self.seen if s.method == method and part in s.path]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                text = self.rfile.read(length)
                seen = Seen(
                    self.command, self.path, json.loads(text) if text else None,
                    {k.lower(): v for k, v in self.headers.items()},
                )  # fmt: skip
                fake.seen.append(seen)
                found = fake.answer(seen) or fake.respond(seen)
                if found[0] == 0:  # hang up
                    self.close_connection = True
                    return
                body = found[1] if isinstance(found[1], bytes) else json.dumps(found[1]).encode()
                self.send_response(found[0])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = _serve

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    def respond(self, seen: Seen) -> Answer:
        """What a well-behaved server says."""
        parts = urlsplit(seen.path)
        if parts.path == V3 + "status/":
            return 200, {"online_workers": [{}] * self.online_workers}
        if seen.method == "GET" and parts.path == TASK:
            state = self.states[min(self.looks, len(self.states) - 1)]
            self.looks += 1
            return 200, state
        if parts.path.endswith("/sync/"):
            return 202, {"task": TASK}
        if parts.path in (REMOTES, REPOSITORIES):
            return self._many(seen, parts.path, parse_qs(parts.query))
        if parts.path in self.rows:
            if seen.method == "PATCH":
                self.rows[parts.path].update(seen.body)
            return 200, self.rows[parts.path]
        return 404, {"detail": "Not found."}

    def _many(self, seen: Seen, path: str, query: dict[str, list[str]]) -> Answer:
        rows = [r for href, r in self.rows.items() if href.startswith(path) and "name" in r]
        if seen.method == "GET":
            names = query.get("name")
            rows = [row for row in rows if not names or row["name"] == names[0]]
            return 200, {"count": len(rows), "next": None, "previous": None, "results": rows}
        href = f"{path}{len(rows) + 1}/"
        self.rows[href] = {"pulp_href": href, **_DEFAULTS[path], **seen.body}
        return 201, self.rows[href]


_DEFAULTS: dict[str, dict[str, Any]] = {
    REMOTES: {"components": None, "architectures": None, "policy": "immediate", "gpgkey": None},
    REPOSITORIES: {"remote": None, "latest_version_href": None},
}


def task_state(state: str, **more: Any) -> dict[str, Any]:
    """A task as the API shows it."""
    reports = more.pop("reports", [("downloading.artifacts", "Downloading Artifacts", 3, None)])
    final = state in ("completed", "failed", "canceled")
    return {
        "pulp_href": TASK,
        "state": state,
        "pulp_created": "2026-01-02T03:04:05.000000Z",
        "unblocked_at": "2026-01-02T03:04:05.100000Z",
        "started_at": None if state == "waiting" else "2026-01-02T03:04:05.200000Z",
        "finished_at": "2026-01-02T03:04:07.700000Z" if final else None,
        "error": None,
        "created_resources": [],
        "progress_reports": [
            {
                "code": code,
                "message": message,
                "state": state if final else "running",
                "done": done,
                "total": total,
                "suffix": None,
            }
            for code, message, done, total in reports
        ],
        **more,
    }
