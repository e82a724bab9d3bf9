"""Whole debfleet processes for a test: an API, workers, a sweeper.

They are forked by a nursery, which saves the second of CPU that each takes to import what it needs;
with ``by_exec`` they are started as a user would.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import psycopg
from psycopg.rows import DictRow, dict_row

from debfleet_cli.client import REMOTES, REPOSITORIES, Access, Api, Body, Unreachable, failure_text
from debfleet_cli.ports import free_address
from debfleet_cli.unprivileged import die_with_parent
from nursery import Process, the_nursery

T = TypeVar("T")
PASSWORD = "a password for tests"
_PROGRAM = str(Path(sys.executable).with_name("debfleet"))

# Everything that heals by itself does so in seconds instead of half a minute.
_QUICK = {
    "DEBFLEET_LEASE_SECONDS": "3",
    "DEBFLEET_SWEEP_SECONDS": "1",
    "DEBFLEET_HEARTBEAT_SECONDS": "1",
    "DEBFLEET_RING_SECONDS": "2",
    "DEBFLEET_GRACE_SECONDS": "2",
}


def wait_for(look: Callable[[], T | None], what: str, seconds: float = 30) -> T:
    """Look until there is something (not None, not False); fail with ``what`` after a while."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s: {what}")
        time.sleep(0.02)


@dataclass
class Fleet:
    """The processes of one debfleet on one database; all end with ``stop``."""

    database_url: str
    store_url: str
    folder: Path
    broker_url: str = ""  # empty: the bell is Postgres' NOTIFY
    environ: Mapping[str, str] = field(default_factory=dict)
    secret_key: str = field(default_factory=lambda: base64.b64encode(os.urandom(32)).decode())
    by_exec: bool = False
    processes: dict[str, subprocess.Popen[bytes] | Process] = field(default_factory=dict)
    url: str = ""
    content_url: str = ""  # without a slash at its end

    def start_api(self) -> str:
        """Start the API and wait until it answers; returns its URL."""
        address = free_address()
        self._start("api", "api", DEBFLEET_API_ADDRESS=address)
        self.url = f"http://{address}"
        with self.client() as api:
            wait_for(lambda: _answers(api, self.processes["api"]), "the API answers")
        return self.url

    def start_worker(self, name: str = "worker") -> int:
        """Start one worker and wait for its first heartbeat; returns its process id."""
        self.start_workers([name])
        return self.processes[name].pid

    def start_workers(self, names: Sequence[str], **environ: str) -> None:
        """Start workers side by side, and wait for the first heartbeat of each."""
        query = "select count(*) from processes where kind = 'worker'"
        wanted = self.count(query) + len(names)
        for name in names:
            self._start(name, "worker", **environ)
        wait_for(
            lambda: all(map(self._alive, names)) and self.count(query) >= wanted,
            f"{', '.join(names)} have started",
            30 + 5 * len(names),
        )

    def start_content(self) -> str:
        """Start the content service, before the API, and wait until it answers; returns its URL."""
        address = free_address()
        self.content_url = f"http://{address}"
        self.environ = {**self.environ, "DEBFLEET_CONTENT_ORIGIN": self.content_url}
        self._start("content", "content", DEBFLEET_CONTENT_ADDRESS=address)
        wait_for(lambda: self._alive("content") and _listens(address), "content is served")
        return self.content_url

    def start_sweep(self, name: str = "sweep") -> None:
        """Start a sweeper."""
        self._start(name, "sweep")

    def start(self, workers: int = 1) -> Fleet:
        """An API, a sweeper and some workers."""
        self.start_api()
        self.start_sweep()
        self.start_workers([f"worker-{number}" for number in range(1, workers + 1)])
        return self

    def command(self, *argv: str, status: int = 0) -> str:
        """Run a debfleet command to its end, on this fleet; returns what it printed."""
        environ = self._environment({"DEBFLEET_API_URL": self.url, "DEBFLEET_PASSWORD": PASSWORD})
        done = the_nursery().run(argv, environ, self.folder, timeout=90)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def kill(self, name: str) -> None:
        """SIGKILL, to the process and what it started."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop_one(self, name: str, seconds: float = 20) -> int:
        """SIGTERM; returns the exit status."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            return process.wait(seconds)
        finally:
            _kill(process)

    def stop(self) -> None:
        """End every process: asked first, killed after ten seconds."""
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + 10
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.1))
            _kill(process)
        self.processes.clear()

    def client(self) -> Api:
        """A client of this fleet's API, as admin."""
        return Api(Access(self.url, "admin", PASSWORD))

    def rows(self, query: str, *args: object) -> list[DictRow]:
        """Rows of the fleet's database, each query in a transaction of its own."""
        with psycopg.connect(self.database_url, row_factory=dict_row, autocommit=True) as db:
            return db.execute(query, args or None).fetchall()  # type: ignore[arg-type] # no literal

    def count(self, query: str, *args: object) -> int:
        """The one number that a query comes to."""
        return int(next(iter(self.rows(query, *args)[0].values())))

    def name_of(self, process_id: str) -> str | None:
        """Which of our processes a row of ``processes`` is."""
        row = self.rows("select name from processes where id = %s", process_id)
        pid = int(str(row[0]["name"]).partition("@")[0])
        return next((name for name, p in self.processes.items() if p.pid == pid), None)

    def runner(self, kind: str) -> str | None:
        """The name of the process that runs a job of this kind now."""
        found = self.rows(
            "select worker::text as worker from jobs where kind = %s and state = 'running'", kind
        )
        return self.name_of(found[0]["worker"]) if found and found[0]["worker"] else None

    def probe(self, name: str, path: str) -> tuple[int, str]:
        """Ask a process's own port (``/metrics``, ``/livez``, ``/readyz``)."""
        try:
            with urlopen(f"http://{self.metrics_address(name)}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as e:
            with e:
                return e.code, e.read().decode()

    def metrics_address(self, name: str) -> str:
        """Where a process answers Prometheus, with DEBFLEET_METRICS_ADDRESS=127.0.0.1:0."""
        log = self.folder / f"{name}.log"
        told = re.compile(r'"metrics.started".*"address": "([^"]+)"')
        return wait_for(
            lambda: self._alive(name) and next(iter(told.findall(log.read_text())[-1:]), None),
            f"{name} says where its metrics are",
        )

    def tail(self, lines: int = 30) -> str:
        """The last lines of every process' output, for a test that failed."""
        texts = []
        for path in sorted(self.folder.glob("*.log")):
            last = path.read_text(errors="replace").splitlines()[-lines:]
            texts.append("\n".join([f"--- {path.name}", *last]))
        return "\n".join(texts)

    def _start(self, name: str, *argv: str, **environ: str) -> subprocess.Popen[bytes] | Process:
        assert name not in self.processes, f"{name} runs already"
        log, variables = self.folder / f"{name}.log", self._environment(environ)
        process: subprocess.Popen[bytes] | Process
        if self.by_exec or "LD_PRELOAD" in variables:
            with open(log, "ab") as output:
                process = subprocess.Popen(
                    [_PROGRAM, *argv], env=variables, cwd=self.folder,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                    start_new_session=True, preexec_fn=die_with_parent(signal.SIGKILL),
                )  # fmt: skip
        else:
            process = the_nursery().start(argv, variables, log, folder=self.folder)
        self.processes[name] = process
        return process

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("DEBFLEET_", "PULP_"))}
        broker = {"DEBFLEET_BROKER_URL": self.broker_url} if self.broker_url else {}
        return {
            **ours,
            **_QUICK,
            **broker,
            "DEBFLEET_DATABASE_URL": self.database_url,
            "DEBFLEET_STORE_URL": self.store_url,
            "DEBFLEET_SECRET_KEY": self.secret_key,
            "DEBFLEET_ADMIN_PASSWORD": PASSWORD,
            "DEBFLEET_WORK_DIRECTORY": str(self.folder),
            **self.environ,
            **more,
        }

    def _alive(self, name: str) -> bool:
        status = self.processes[name].poll()
        assert status is None, f"{name} ended with {status}:\n{self.tail()}"
        return True


@contextmanager
def running(fleet: Fleet) -> Iterator[Fleet]:
    """Stop the fleet at the end; show its output if the test failed."""
    try:
        yield fleet
    except BaseException:
        print(fleet.tail())
        raise
    finally:
        fleet.stop()


# --- what tests ask of a fleet ------------------------------------------------------------------


def add_pair(api: Api, name: str, url: str, **remote: Any) -> tuple[Body, Body]:
    """A remote and a repository of this name, the one the other's remote."""
    made = api.post(REMOTES, {"name": name, "url": url, **remote})
    repository = api.post(REPOSITORIES, {"name": name, "remote": made["pulp_href"]})
    return made, repository


def start_sync(api: Api, repository: Body, **options: Any) -> str:
    """Ask for a sync; returns the task's href."""
    return api.ask(repository["pulp_href"] + "sync/", options)


def finished(api: Api, task: str, seconds: float = 60) -> Body:
    """The task in its final state."""
    deadline = time.monotonic() + seconds
    for state in api.watch(task):
        assert not isinstance(state, Unreachable), state
        if state["finished_at"] is None and time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s the task is {state}")
    assert isinstance(state, dict)
    return state


def synced(api: Api, repository: Body, seconds: float = 60, **options: Any) -> Body:
    """Sync to the end, which must be good; returns the task."""
    task = finished(api, start_sync(api, repository, **options), seconds)
    assert task["state"] == "completed", failure_text(task)
    return task


def version_of(api: Api, task: Body) -> Body:
    """The version that a sync made."""
    assert len(task["created_resources"]) == 1, task["created_resources"]
    return api.get(task["created_resources"][0])


def present(version: Body) -> dict[str, int]:
    """Type to count, without the prefix ``deb.``."""
    summary = version["content_summary"]["present"]
    return {kind.removeprefix("deb."): entry["count"] for kind, entry in summary.items()}


def list_packages(api: Api, version: Body) -> list[Body]:
    """Every package of a version."""
    found: list[Body] = []
    while True:
        page = api.get(
            "/pulp/api/v3/content/deb/packages/",
            repository_version=version["pulp_href"],
            limit=1000,
            offset=len(found),
        )
        found += page["results"]
        if page["next"] is None:
            return found


def stored_digests(store_url: str) -> dict[str, int]:
    """SHA-256, computed anew from the bytes, to size of every artifact in a directory store.

    Fails when a file's name does not hold the digest of its bytes.
    """
    root = Path(urlsplit(store_url).path)
    found = {}
    for path in root.rglob("*"):
        if path.is_file() and len(path.name) == 64:
            body = path.read_bytes()
            digest = hashlib.sha256(body).hexdigest()
            assert digest == path.name, f"{path} holds other bytes than its name says"
            found[digest] = len(body)
    return found


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(api: Api, process: subprocess.Popen[bytes] | Process) -> bool:
    assert process.poll() is None, "the API process ended"
    try:
        api.get("/pulp/api/v3/status/")
    except Unreachable:
        return False
    return True


def _kill(process: subprocess.Popen[bytes] | Process) -> None:
    """Whatever is left of a process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
