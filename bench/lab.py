"""What every row of the benchmark stands on: servers, processes, and what they cost."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from debfleet_cli.embedded import EmbeddedPostgres
from system.up import Up, one_up

V3 = "/pulp/api/v3/"


class Unavailable(Exception):
    """A row or a peer needs what this machine does not have; the text says what."""


@dataclass(frozen=True)
class Run:
    """What one run of one contender came to."""

    seconds: float
    peak: int = 0  # bytes of memory of its largest process; 0 where it was not looked at


class Mirror:
    """One running `debfleet up`, and requests to it."""

    def __init__(self, up: Up, environ: Mapping[str, str]) -> None:
        self.up = up
        self.environ = dict(environ)

    def make(self, path: str, **body: Any) -> dict[str, Any]:
        """POST that creates something at once."""
        status, made = self.up.ask("POST", V3 + path, body)
        assert status == 201, (status, made)
        return dict(made)

    def change(self, href: str, **body: Any) -> None:
        """PATCH, and wait where it is a task."""
        status, answer = self.up.ask("PATCH", href, body)
        assert status in (200, 202), (status, answer)
        if status == 202:
            self.wait(answer["task"])

    def start(self, path: str, **body: Any) -> str:
        """POST that makes a task; its href."""
        status, made = self.up.ask("POST", path, body)
        assert status == 202, (status, made)
        return str(made["task"])

    def wait(self, href: str, seconds: float = 900) -> dict[str, Any]:
        """The task, once it is over; it must have succeeded."""
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while True:
            status, task = self.up.ask("GET", href)
            assert status == 200, (status, task)
            if task["finished_at"] is not None:
                assert task["state"] == "completed", task["error"]
                return dict(task)
            assert time.monotonic() < deadline, f"{task['name']} is not over"
            pause.wait(0.1)

    def pair(self, name: str, url: str, dist: str, **remote: Any) -> tuple[str, str]:
        """The hrefs of a new remote and a new repository."""
        made = self.make("remotes/deb/apt/", name=name, url=url, distributions=dist, **remote)
        repository = self.make("repositories/deb/apt/", name=name, remote=made["pulp_href"])
        return str(made["pulp_href"]), str(repository["pulp_href"])

    def sync(self, repository: str, **body: Any) -> float:
        """Seconds from the POST to the end, by the server's clock."""
        return task_seconds(self.wait(self.start(f"{repository}sync/", **body)))

    def url(self, path: str) -> str:
        """A path of the API as a URL."""
        return f"http://{self.up.address}{path}"

    def login(self) -> str:
        """admin:PASSWORD."""
        return f"admin:{self.up.place.admin_password.read_text().strip()}"

    def times(self, paths: Sequence[str], method: str = "GET") -> list[float]:
        """How long each of these requests takes, in seconds; one after the other, one connection.

        The answers must be good. The first request, which checks the password, is left out.
        """
        credentials = b64encode(self.login().encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        body = "{}" if method == "POST" else None
        found = []
        with closing(HTTPConnection(self.up.address, timeout=60)) as connection:
            for asked, path in (("GET", V3 + "repositories/"), *((method, path) for path in paths)):
                began = time.monotonic()
                connection.request(asked, path, body if asked == method else None, headers)
                answer = connection.getresponse()
                said = answer.read()
                found.append(time.monotonic() - began)
                assert answer.status in (200, 202), (path, answer.status, said[:500])
        return found[1:]

    def join(self, count: int) -> list[subprocess.Popen[bytes]]:
        """Start workers beside those of `up`, as on another machine; end them by their handles."""
        argv = [sys.executable, "-m", "debfleet_cli.main", "worker", "--data"]
        argv.append(str(self.up.place.folder))
        environ = {k: v for k, v in os.environ.items() if not k.startswith("DEBFLEET_")}
        environ["DEBFLEET_METRICS_ADDRESS"] = "off"
        return [
            subprocess.Popen(
                argv, env=environ | self.environ, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for _ in range(count)
        ]  # fmt: skip

    def make_key(self, name: str) -> None:
        """A signing service whose key debfleet makes and holds."""
        done = subprocess.run(
            [sys.executable, "-m", "debfleet_cli.main", "keys", "create", name,
             "--data", str(self.up.place.folder)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def peak(self, what: str = "worker") -> int:
        """Bytes of memory that the largest process of a kind ever had."""
        peaks = [0]
        for pid, command in self.up.family().items():
            if f" {what}" in command and "postgres" not in command:
                peaks.append(_peak_of(pid))
        return max(peaks)


@contextmanager
def postgres(folder: Path, **options: str) -> Iterator[str]:
    """The URL of a fresh Postgres with nothing in it, set up as debfleet's own but for these."""
    place = Path(tempfile.mkdtemp(prefix="pg-", dir=folder))
    place.chmod(0o755)
    server = EmbeddedPostgres(place, options)
    try:
        server.start()
        yield server.url()
    finally:
        server.stop()
        put_away(place)


@contextmanager
def mirror(
    folder: Path, workers: int = 2, environ: Mapping[str, str] | None = None
) -> Iterator[Mirror]:
    """A new debfleet with nothing in it; ``environ``: settings of its own."""
    place = Path(tempfile.mkdtemp(prefix="up-", dir=folder))
    place.chmod(0o755)
    try:
        with one_up(place) as up:
            settings = {"DEBFLEET_UPSTREAM_NETWORKS": "127.0.0.0/8", **(environ or {})}
            running = Mirror(up.start("--workers", str(workers), environ=settings), settings)
            os.sync()  # of a fresh database; who fetches is measured, not who was made before
            yield running
    finally:
        put_away(place)


def put_away(folder: Path) -> None:
    """Free the room of a folder's files, which go with the whole benchmark's folder at its end.

    ext4 does not take an inode that was freed in the last five minutes, and looks at each of them
    anew for every file that is made: after 2,000 files were removed, who comes next pays a
    millisecond of CPU a file.
    """
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            if os.path.isfile(path) and not os.path.islink(path):
                os.truncate(path, 0)


def task_seconds(task: Mapping[str, Any]) -> float:
    """From a task's creation to its end, by Postgres's clock."""
    began = datetime.fromisoformat(task["pulp_created"])
    ended = datetime.fromisoformat(task["finished_at"])
    return (ended - began).total_seconds()


def run(argv: Sequence[str], **environ: str) -> Run:
    """Run a peer to its end; its time and the memory of its largest process.

    Raises:
        Unavailable: It is not installed.
    """
    if shutil.which(argv[0]) is None:
        raise Unavailable(argv[0])
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            argv, env=os.environ | environ, stdin=subprocess.DEVNULL,
            stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
        peak = 0
        while True:
            peak = max(peak, *(_peak_of(pid) for pid in (process.pid, *children(process.pid))))
            try:
                process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
            break
        seconds = time.monotonic() - began
        said.seek(0)
        assert process.returncode == 0, (argv, said.read()[-2000:].decode(errors="replace"))
    return Run(seconds, peak)


def children(pid: int) -> list[int]:
    """The process ids of a process' own children; none once it is over."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _peak_of(pid: int) -> int:
    # Not from wait4: there the memory of who started it counts too.
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")),
        0,
    )


def connects(address: str) -> bool:
    """Whether something listens there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def until(look: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Look until it is so."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not look():
        assert time.monotonic() < deadline, what
        pause.wait(0.02)
