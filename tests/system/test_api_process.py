"""The API as a process: real gunicorn, heartbeats, a clean end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

import servers
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.db.installation import check_secret_key
from debfleet.errors import ConfigError
from debfleet.sealed import Sealer, new_key
from debfleet_api.main import ensure_admin, run_api

_PROGRAM = """
import os, sys
from debfleet.config import read_settings
from debfleet.log import start_logging
from debfleet_api.main import run_api
start_logging("INFO", "api")
sys.exit(run_api(read_settings(os.environ)))
"""


@dataclass
class ApiProcess:
    """A started process and where it listens."""

    process: subprocess.Popen[bytes]
    url: str
    output: BinaryIO


@contextmanager
def _started(settings: Settings) -> Iterator[ApiProcess]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environ = os.environ | {
        "DEBFLEET_DATABASE_URL": settings.database_url,
        "DEBFLEET_SECRET_KEY": settings.secret_key,
        "DEBFLEET_STORE_URL": settings.store_url,
        "DEBFLEET_API_ADDRESS": f"127.0.0.1:{port}",
        "DEBFLEET_HEARTBEAT_SECONDS": "1",
    }
    # A file, not a pipe: nobody reads while the process writes.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], env=environ, stdout=output, stderr=output
        )
        try:
            url = f"http://127.0.0.1:{port}/pulp/api/v3/"
            _wait_for(f"{url}livez/")
            yield ApiProcess(process, url, output)
        finally:
            process.terminate()
            process.wait(60)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(url, timeout=10):
                return
        except (URLError, ConnectionError):
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.1)  # between two tries, for the deadline's sake


def test_a_first_start_tells_the_password_that_it_made_serves_beats_and_ends_cleanly(
    settings: Settings, db: Database
) -> None:
    with _started(replace(settings, admin_password="")) as api:
        api.output.seek(0)
        told = re.search(rb"made the user admin with the password (\S+)\n", api.output.read())
        assert told is not None
        login = b64encode(b"admin:" + told[1]).decode()
        headers = {"Authorization": f"Basic {login}", "X-Thing": "1"}
        with urlopen(Request(f"{api.url}repositories/deb/apt/", headers=headers)) as answer:
            body = json.load(answer)
            kind = answer.headers["Content-Type"]
        online = _online(api.url)
        api.process.send_signal(signal.SIGTERM)
        api.process.wait(60)
        api.output.seek(0)
        lines = api.output.read().decode().splitlines()

    assert body == {"count": 0, "next": None, "previous": None, "results": []}
    assert kind == "application/json"
    assert len(online) == 1
    assert api.process.returncode == 0
    events = [json.loads(line) for line in lines if not line.startswith("made the user")]
    assert "request.answered" in {e["event"] for e in events}
    with db.transaction() as tx:
        row = tx.execute("SELECT kind, ended FROM processes").fetchone()
    assert row is not None
    assert row["kind"] == "api"
    assert row["ended"] is not None


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (
            b"POST /pulp/api/v3/repositories/deb/apt/ HTTP/1.1\r\nHost: a\r\n"
            b"Authorization: Basic YWRtaW46cGFzc3dvcmQ=\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"400",
        ),
    ],
)
def test_what_is_no_http_is_answered_as_json_too(
    served: ApiProcess, sent: bytes, status: bytes
) -> None:
    host, port = served.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        answer = client.makefile("rb").read()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert b"Content-Type: application/json" in head
    assert "detail" in json.loads(body)


@pytest.fixture(scope="module")
def served(
    postgres: servers.PostgresForTests, template_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiProcess]:
    """One process for several tests."""
    url = postgres.database(template_url)
    store = f"file://{tmp_path_factory.mktemp('store')}"
    settings = Settings(database_url=url, store_url=store, secret_key=new_key())
    with Database(url, size=1) as db:
        ensure_admin(db, replace(settings, admin_password="password"))
    with _started(settings) as process:
        yield process
    postgres.drop(url)


def test_a_database_that_cannot_be_used_is_told_at_the_start(
    settings: Settings, empty_database_url: str
) -> None:
    away = "postgresql://nobody@127.0.0.1:9/none?connect_timeout=1"

    with pytest.raises(ConfigError, match="run `debfleet migrate`"):
        run_api(replace(settings, database_url=empty_database_url))
    with pytest.raises(ConfigError, match="cannot be reached"):
        run_api(replace(settings, database_url=away))


def _online(url: str) -> list[dict[str, object]]:
    """The API processes that the status names, once there is one."""
    deadline = time.monotonic() + 60
    while True:
        with urlopen(f"{url}status/") as answer:
            found: list[dict[str, object]] = json.load(answer)["online_api_apps"]
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)  # the first heartbeat is a thread's work


def test_another_secret_key_is_refused_at_the_start(settings: Settings, db: Database) -> None:
    _prove(db, settings.secret_key)
    _prove(db, settings.secret_key)

    with pytest.raises(ConfigError, match="DEBFLEET_SECRET_KEY is not the key"):
        run_api(replace(settings, secret_key=new_key()))


def test_a_key_that_is_added_behind_the_first_does_no_harm(
    settings: Settings, db: Database
) -> None:
    _prove(db, settings.secret_key)

    _prove(db, f"{new_key()},{settings.secret_key}")


def _prove(db: Database, key: str) -> None:
    db.run(lambda tx: check_secret_key(tx, Sealer(key)))
