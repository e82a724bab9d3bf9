"""One small fleet behind proxies, and one repository that is synced again and again."""

from __future__ import annotations

import base64
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from archive.build import write_archive
from archive.debs import random_bytes
from archive.keys import SigningKey
from archive.model import NEW_YEAR, Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet_cli.client import Access, Api, Body, Refused, Unreachable
from debfleet_cli.ports import free_address
from faults import oracle
from faults.wire import Wire, postgres_at, through
from nursery import Nursery, Process

DIST = "sid"
PASSWORD = "a password for tests"
LEASE_SECONDS = 2
CHUNK_FILES = 4
LARGEST = 24_000  # bytes of a package
CHUNK_BYTES = CHUNK_FILES * LARGEST
_WORKERS = 2
_PATIENCE = 90.0  # seconds that a sync may take on a busy machine, whatever happens to it
_KEY = SigningKey.generate()

_SETTINGS = {
    "DEBFLEET_LEASE_SECONDS": str(LEASE_SECONDS),
    "DEBFLEET_SWEEP_SECONDS": "1",
    "DEBFLEET_HEARTBEAT_SECONDS": "1",
    "DEBFLEET_RING_SECONDS": "1",
    "DEBFLEET_GRACE_SECONDS": "1",
    "DEBFLEET_CHUNK_FILES": str(CHUNK_FILES),
    "DEBFLEET_MAX_ATTEMPTS": "50",  # here each fault is chance: no job is poison
    "DEBFLEET_LOG_LEVEL": "WARNING",
    "DEBFLEET_ADMIN_PASSWORD": PASSWORD,
}


@dataclass
class Part:
    """One process, and the proxies that it speaks through."""

    name: str
    argv: list[str]
    environ: dict[str, str]
    wires: dict[str, Wire]  # by what lies at the other end: postgres, rabbitmq
    process: Process | None = None
    deaths: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


@dataclass
class Outcome:
    """What came of one run."""

    state: str
    seconds: float
    again: int  # bytes of packages that were sent again
    seen: int  # walks of what was served, meanwhile


@dataclass
class Lane:
    """Processes, an upstream and a repository; used as a context."""

    folder: Path
    database_url: str
    nursery: Nursery
    broker_url: str = ""
    limits: dict[str, int] = field(default_factory=dict)  # of workers: file_bytes
    parts: dict[str, Part] = field(default_factory=dict)
    number: int = 0  # of the latest version
    state: int = 0  # of upstream
    _held: dict[str, Pkg] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Lane:
        (self.folder / "store").mkdir(parents=True)
        (self.folder / "empty").mkdir()
        self.store = oracle.Store(self.folder / "store")
        self.upstream = Upstream(self.folder / "empty")
        self.upstream.__enter__()
        key = base64.b64encode(os.urandom(32)).decode()
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("DEBFLEET_", "PULP_"))}
        self._environ = {
            **ours,
            **_SETTINGS,
            "DEBFLEET_STORE_URL": f"file://{self.folder}/store",
            "DEBFLEET_SECRET_KEY": key,
            "DEBFLEET_WORK_DIRECTORY": str(self.folder),
        }
        api, content = free_address(), free_address()
        self.content = f"http://{content}"
        self._add("content", ["content"], {"DEBFLEET_CONTENT_ADDRESS": content})
        origin = {"DEBFLEET_CONTENT_ORIGIN": self.content}
        self._add("api", ["api"], {"DEBFLEET_API_ADDRESS": api, **origin})
        self._add("sweep", ["sweep"], {})
        for n in range(_WORKERS):
            self._add(f"worker-{n}", ["worker"], {})
        self.api = Api(Access(f"http://{api}", "admin", PASSWORD))
        self.http = httpx.Client(timeout=30, trust_env=False)
        try:
            self._await(api, content)
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        for part in self.parts.values():
            with suppress(ProcessLookupError):
                os.killpg(part.pid, signal.SIGKILL)
            for wire in part.wires.values():
                wire.__exit__(None, None, None)
        self.api.__exit__(None, None, None)
        self.http.close()
        self.upstream.__exit__(None, None, None)

    # --- what faults do -----------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """SIGKILL; another is started in its place."""
        part = self.parts[name]
        with part.turn:  # two faults may want it at once
            with suppress(ProcessLookupError):
                os.kill(part.pid, signal.SIGKILL)  # one that just began leads no group yet
            with suppress(ProcessLookupError):
                os.killpg(part.pid, signal.SIGKILL)
            self._await_end(part)  # who comes next needs its port
            part.deaths += 1
            self._start(part)

    def stop(self, name: str) -> None:
        """SIGTERM, as a rolling deployment does; another is started when it has ended."""
        part = self.parts[name]
        self.end(name)
        self._start(part)

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        """SIGTERM or SIGKILL, and wait for the end; none is started in its place."""
        part = self.parts[name]
        assert part.process is not None
        part.process.send_signal(number)
        self._await_end(part)

    def start(self, name: str) -> None:
        """Start what was ended."""
        self._start(self.parts[name])

    def freeze(self, name: str, seconds: float) -> None:
        """SIGSTOP for so long, then SIGCONT."""
        pid = self.parts[name].pid
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._stopping.wait(seconds)
            os.kill(pid, signal.SIGCONT)

    def workers(self) -> list[str]:
        """Names of the workers."""
        return [name for name in self.parts if name.startswith("worker")]

    # --- one run ------------------------------------------------------------------------------

    def next_state(self, rng: random.Random) -> Archive:
        """Let upstream have other packages from now on; the new state."""
        self.state += 1
        for name in rng.sample(sorted(self._held), k=len(self._held) // 3):
            del self._held[name]
        for n in range(rng.randint(6, 12)):
            name = f"p{self.state}-{n}"
            body = random_bytes(f"{self.folder.name} {name}", rng.randint(500, LARGEST))
            self._held[name] = Pkg(name, deb=body)
        date = NEW_YEAR + timedelta(minutes=self.state)
        dist = Dist(DIST, {"main": list(self._held.values())}, date=date, architectures=["amd64"])
        folder = self.folder / f"state-{self.state}"
        folder.mkdir()
        archive = write_archive(folder, [dist], key=_KEY)
        before = self.upstream.folder
        self.upstream.rotate(folder)
        if before.name != "empty":
            shutil.rmtree(before)
        return archive

    def served(self) -> oracle.Served:
        """What the base path serves now, all of it looked at."""
        return oracle.walk(self.http, f"{self.content}/pulp/content/lane/", DIST)

    def ask(self) -> str:
        """Ask for a sync; its task. An API that is away is asked again, with the same key."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return self.api.ask(self.repository["pulp_href"] + "sync/", {"mirror": True})
            except (Unreachable, Refused):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def finish(self, task: str) -> Body:
        """The task's final state.

        Raises:
            Broken: V3, V6: it has none for long.
        """
        deadline = time.monotonic() + _PATIENCE
        state: Body = {}
        while time.monotonic() < deadline:
            with suppress(Unreachable, Refused):
                state = self.api.get(task)
                if state["finished_at"] is not None:
                    return state
            time.sleep(0.03)
        raise oracle.Broken("V6", f"after {_PATIENCE:g} s the task is {state}")

    def judge(
        self, task: Body, archive: Archive, before: oracle.Served, watch: Watch, faults: int
    ) -> Outcome:
        """Hold what there is now against the invariants."""
        oracle.check_task(task, is_expected=False)
        versions = [h for h in task["created_resources"] if "/versions/" in h]
        oracle.need("V4", len(versions) == 1, f"it made {task['created_resources']}")
        version = self.api.get(versions[0])
        expected = set(archive.files.values())
        oracle.check_version(self.number, version, self._packages(version), expected)
        self.number = version["number"]
        after = self.served()
        oracle.need("V2", after.packages == expected, "what is served is not the new version")
        oracle.check_switch(watch.seen, before.release, after.release)
        oracle.need("V7", expected <= self.store.check(), "a file of the version is not stored")
        again = oracle.check_repair(self._sent(), _sizes(archive), faults * CHUNK_BYTES)
        pids = [p.pid for p in self.parts.values()]
        oracle.check_bounds(pids, files=200, bytes=1 << 30)
        seconds = _seconds(task)
        return Outcome(task["state"], seconds, again, len(watch.seen))

    def judge_failed(self, task: Body, before: oracle.Served, watch: Watch) -> Outcome:
        """A sync that had to fail: it says why, and nothing has changed."""
        oracle.need("V2", task["state"] == "failed", f"the sync {task['state']}")
        oracle.check_task(task, is_expected=True)
        after = self.served()
        oracle.need("V2", after == before, "what is served has changed")
        oracle.check_switch(watch.seen, before.release, before.release)
        self.store.check()
        return Outcome(task["state"], _seconds(task), 0, len(watch.seen))

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """Look at what is served all the while."""
        watch = Watch(self)
        thread = threading.Thread(target=watch.run, daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            watch.stop.set()
            thread.join()
        if watch.error is not None:
            raise watch.error

    # --- details ------------------------------------------------------------------------------

    def _packages(self, version: Body) -> list[str]:
        path = "/pulp/api/v3/content/deb/packages/"
        page = self.api.get(path, repository_version=version["pulp_href"], limit=1000)
        return [row["sha256"] for row in page["results"]]

    def _sent(self) -> Counter[str]:
        sent: Counter[str] = Counter()
        for request in list(self.upstream.requests):
            if request.status in (200, 206):
                sent[request.path] += request.sent
        return sent

    def _add(self, name: str, argv: list[str], environ: dict[str, str]) -> None:
        wires = {}
        postgres = Wire(postgres_at(self.database_url))
        wires["postgres"] = postgres.__enter__()
        environ = {**self._environ, **environ}
        environ["DEBFLEET_DATABASE_URL"] = through(self.database_url, postgres.port)
        if self.broker_url:
            parts = urlsplit(self.broker_url)
            rabbit = Wire((parts.hostname or "", parts.port or 5672)).__enter__()
            wires["rabbitmq"] = rabbit
            login = f"{parts.username}:{parts.password}"
            netloc = f"{login}@127.0.0.1:{rabbit.port}"
            environ["DEBFLEET_BROKER_URL"] = parts._replace(netloc=netloc).geturl()
        part = Part(name, argv, environ, wires)
        self.parts[name] = part
        self._start(part)

    def _start(self, part: Part) -> None:
        log = self.folder / f"{part.name}.log"
        limits = self.limits if part.argv == ["worker"] else {}
        part.process = self.nursery.start(part.argv, part.environ, log, limits=limits)

    def _await_end(self, part: Part) -> None:
        assert part.process is not None
        try:
            part.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            raise oracle.Broken("V6", f"{part.name} does not end") from None

    def _await(self, *addresses: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        for address in addresses:
            host, _, port = address.rpartition(":")
            while True:
                try:
                    socket.create_connection((host, int(port)), timeout=1).close()
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
                else:
                    break

    def _make(self) -> None:
        """The repository, published once with the first state of upstream."""
        self.next_state(random.Random(0))
        remote = {"url": self.upstream.url, "distributions": DIST, "gpgkey": _KEY.public}
        tuned = {"max_retries": 5, "sock_read_timeout": 20, "download_concurrency": 4}
        made = self.api.post(
            "/pulp/api/v3/remotes/deb/apt/",
            {"name": "lane", **remote, **tuned, "guard_shrink": "warn"},
        )
        self.repository = self.api.post(
            "/pulp/api/v3/repositories/deb/apt/",
            {
                "name": "lane",
                "remote": made["pulp_href"],
                "autopublish": True,
                "retain_repo_versions": 4,
            },
        )
        first = self.finish(self.ask())
        oracle.check_task(first, is_expected=False)
        self.number = 1
        body = {"name": "lane", "base_path": "lane", "repository": self.repository["pulp_href"]}
        task = self.finish(self.api.post("/pulp/api/v3/distributions/deb/apt/", body)["task"])
        oracle.check_task(task, is_expected=False)


class Watch:
    """Walks what is served until it is told to stop."""

    def __init__(self, lane: Lane) -> None:
        self.seen: list[str] = []
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self._lane = lane

    def run(self) -> None:
        base = f"{self._lane.content}/pulp/content/lane/"
        with httpx.Client(timeout=30, trust_env=False) as client:
            while not self.stop.wait(0.1):
                try:
                    self.seen.append(oracle.walk(client, base, DIST).release)
                except httpx.TransportError:
                    continue  # a content service that is being replaced answers nothing: no wrong
                except oracle.Broken as e:
                    if "answers 503" in str(e):
                        continue
                    self.error = e
                    return


def _sizes(archive: Archive) -> dict[str, int]:
    return {package.path: package.size for package in archive.listed}


def _seconds(task: Body) -> float:
    ended = datetime.fromisoformat(task["finished_at"])
    return (ended - datetime.fromisoformat(task["pulp_created"])).total_seconds()
