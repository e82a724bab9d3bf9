"""An API for tests: Flask's own client, logged in, over a real database."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from debfleet.config import Settings
from debfleet.passwords import Passwords
from debfleet_api.app import open_state, wired_app
from debfleet_api.state import Api

V3 = "/pulp/api/v3/"
REPOSITORIES = f"{V3}repositories/deb/apt/"
REMOTES = f"{V3}remotes/deb/apt/"
TASKS = f"{V3}tasks/"
PASSWORD = "password"
NOWHERE = UUID("01234567-89ab-7cde-8f01-23456789abcd")

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

# Makes real hashes, as cheap as argon2id can be; checking one costs what making it did.
CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_HASH = CHEAP_HASHER.hash(PASSWORD)

_names = count(1)
_wired = cache(wired_app)  # making the routes takes a tenth of a second


def a_name() -> str:
    """One that no other test has."""
    return f"n-{next(_names)}"


class ApiClient:
    """Calls as admin, or as another user; answers are werkzeug's."""

    def __init__(self, app: Flask, username: str = "admin", password: str = PASSWORD) -> None:
        self.app = app
        self.login = (username, password)
        self.plain: FlaskClient = app.test_client()

    @property
    def state(self) -> Api:
        """What the app's requests work with."""
        found: Api = self.app.extensions["debfleet"]
        return found

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.plain.get(path, auth=self.login, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        return self._send("POST", path, body, more)

    def patch(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        return self._send("PATCH", path, body, more)

    def put(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        return self._send("PUT", path, body, more)

    def delete(self, path: str, **more: Any) -> TestResponse:
        return self._send("DELETE", path, None, more)

    def _send(self, method: str, path: str, body: Any, more: dict[str, Any]) -> TestResponse:
        if body is not None:
            more["json"] = body
        return self.plain.open(path, method=method, auth=self.login, **more)

    def repository(self, **fields: Any) -> dict[str, Any]:
        """A new repository."""
        return made(self.post(REPOSITORIES, {"name": a_name(), **fields}))

    def remote(self, **fields: Any) -> dict[str, Any]:
        """A new remote."""
        return made(self.post(REMOTES, remote_fields(**fields)))

    def task(self, response: TestResponse) -> dict[str, Any]:
        """The task that a 202 names."""
        assert response.status_code == 202, response.get_data(as_text=True)
        assert list(response.json or {}) == ["task"]
        found = self.get((response.json or {})["task"])
        assert found.status_code == 200
        return dict(found.json or {})


@contextmanager
def opened_api(settings: Settings) -> Iterator[ApiClient]:
    """An API until the end of the block; its routes are those of all others."""
    state = open_state(settings, Passwords(hasher=CHEAP_HASHER))
    app = copy.copy(_wired())
    app.extensions = {"debfleet": state}
    try:
        yield ApiClient(app)
    finally:
        state.bell.close()
        state.db.close()


@contextmanager
def running_api(settings: Settings) -> Iterator[ApiClient]:
    """An API on a database without users, which gets an admin."""
    with psycopg.connect(settings.database_url) as tx:
        tx.execute("INSERT INTO users (username, password_hash) VALUES ('admin', %s)", (_HASH,))
    with opened_api(settings) as client:
        yield client


def remote_fields(**fields: Any) -> dict[str, Any]:
    """What a remote needs, and more."""
    body = {"name": a_name(), "url": "http://127.0.0.1/", "distributions": "stable"}
    return body | fields


def made(response: TestResponse) -> dict[str, Any]:
    """The object that a 201 holds."""
    assert response.status_code == 201, response.get_data(as_text=True)
    body: dict[str, Any] = response.json or {}
    assert response.headers["Location"] == body["pulp_href"]
    return body


def refused(response: TestResponse, status: int = 400) -> Any:
    """The body of a refusal."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.headers["Content-Type"] == "application/json"
    return response.json
