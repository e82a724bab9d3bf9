"""What clients bring, and a worker in this thread that takes it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from werkzeug.test import TestResponse

from api_client import V3, ApiClient, made
from debfleet.db.connect import Database
from debfleet_worker.actors import Crew, run_job
from debfleet_worker.chores import CHORES

ARTIFACTS = f"{V3}artifacts/"
UPLOADS = f"{V3}uploads/"
PACKAGES = f"{V3}content/deb/packages/"

_RUNNABLE = """
select j.id from jobs j join tasks t on t.id = j.task
 where t.uuid = %s and j.state = 'queued' and j.not_before <= now() and t.finished is null
 order by j.id limit 1
"""


class Desk:
    """An API and a worker on one database and one store."""

    def __init__(self, api: ApiClient, db: Database, crew: Crew) -> None:
        self.api = api
        self.db = db
        self.crew = replace(crew, chores=CHORES)

    def form(self, path: str, body: bytes | None = None, **fields: Any) -> TestResponse:
        """POST a form, with a file in it if there is a body."""
        return self._form("POST", path, body, fields, {})

    def put(self, path: str, body: bytes, content_range: str | None, **fields: Any) -> TestResponse:
        """PUT a chunk."""
        headers = {} if content_range is None else {"Content-Range": content_range}
        return self._form("PUT", path, body, fields, headers)

    def _form(
        self,
        method: str,
        path: str,
        body: bytes | None,
        fields: dict[str, Any],
        headers: dict[str, str],
    ) -> TestResponse:
        values: dict[str, Any] = dict(fields)
        if body is not None:
            values["file"] = (io.BytesIO(body), "a file")
        return self.api.plain.open(
            path,
            method=method,
            auth=self.api.login,
            data=values,
            content_type="multipart/form-data",
            headers=headers,
        )

    def run(self, response: TestResponse) -> dict[str, Any]:
        """The task that a 202 names, after its end."""
        task = self.api.task(response)
        while job := self._next(task["pulp_href"].rstrip("/").rpartition("/")[2]):
            run_job(self.crew, job)
        found: dict[str, Any] = self.api.get(task["pulp_href"]).json or {}
        return found

    def done(self, response: TestResponse) -> dict[str, Any]:
        """As ``run``; it must complete."""
        task = self.run(response)
        assert task["state"] == "completed", task["error"]
        return task

    def failure(self, response: TestResponse) -> str:
        """Why the task failed."""
        task = self.run(response)
        assert task["state"] == "failed"
        return str(task["error"]["description"])

    def upload(self, body: bytes, chunk: int = 1 << 20) -> str:
        """A whole upload in chunks; its href."""
        upload = made(self.api.post(UPLOADS, {"size": len(body)}))["pulp_href"]
        for start in range(0, len(body), chunk):
            piece = body[start : start + chunk]
            said = f"bytes {start}-{start + len(piece) - 1}/{len(body)}"
            assert self.put(upload, piece, said).status_code == 200
        return str(upload)

    def clean_up(self) -> None:
        """An orphan cleanup that protects nothing."""
        self.done(self.api.post(f"{V3}orphans/cleanup/", {"orphan_protection_time": 0}))

    def _next(self, task: str) -> int | None:
        with self.db.transaction() as tx:
            row = tx.execute(_RUNNABLE, (task,)).fetchone()
        return row["id"] if row else None
