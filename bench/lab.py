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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from system.up import Up, one_up

V3 = "/pulp/api/v3/"
_NGINX = """\
{modules}
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr; {user}
events {{ worker_connections 512; }}
http {{
  log_format asked '$status $request_uri'; access_log {folder}/asked.log asked;
  sendfile on; tcp_nopush on; keepalive_requests 1000000; client_body_temp_path {folder};
  proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{ listen {address}; root {root}; {locations} }}
}}
"""
# 50 ms before each answer, and no connection faster than 4 MB/s.
_SLOW = """\
location / { echo_sleep 0.05; echo_exec @file; }
location @file { limit_rate 4m; limit_rate_after 0; }
"""
_ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")


class Unavailable(Exception):
    """A row or a peer needs what this machine does not have; the text says what."""


@dataclass(frozen=True)
class Run:
    """What one run of one contender came to."""

    seconds: float
    peak: int = 0  # bytes of memory of its largest process; 0 where it was not looked at


@dataclass(frozen=True)
class Web:
    """A running nginx with an archive."""

    url: str  # with a slash at its end
    log: Path

    def asked(self) -> list[str]:
        """The request lines since the last time."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return lines


@contextmanager
def web(root: Path, *, slow: bool = False) -> Iterator[Web]:
    """Serve a folder by nginx; ``slow`` as from far away.

    Raises:
        Unavailable: nginx, or for ``slow`` its echo module, is not installed.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        raise Unavailable("nginx (Debian: nginx-light)")
    if slow and not _ECHO.exists():
        raise Unavailable("nginx's echo module (Debian: libnginx-mod-http-echo)")
    folder = Path(tempfile.mkdtemp(prefix="bench-web-"))
    address = free_address()
    (folder / "nginx.conf").write_text(
        _NGINX.format(
            folder=folder,
            address=address,
            root=root,
            user="user root;" if os.geteuid() == 0 else "",
            modules=f"load_module {_ECHO};" if slow else "",
            locations=_SLOW if slow else "",
        )
    )
    process = subprocess.Popen(
        [program, "-c", str(folder / "nginx.conf"), "-e", "stderr"], stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: connects(address), "nginx answers")
        yield Web(f"http://{address}/", folder / "asked.log")
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


class Mirror:
    """One running `debfleet up`, and requests to it."""

    def __init__(self, up: Up) -> None:
        self.up = up

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

    def seconds(self, path: str) -> float:
        """How long one GET takes."""
        began = time.monotonic()
        status, _ = self.up.ask("GET", path)
        assert status == 200, (status, path)
        return time.monotonic() - began

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
def mirror(folder: Path, workers: int = 2) -> Iterator[Mirror]:
    """A new debfleet with nothing in it."""
    place = Path(tempfile.mkdtemp(prefix="up-", dir=folder))
    place.chmod(0o755)
    try:
        with one_up(place) as up:
            environ = {"DEBFLEET_UPSTREAM_NETWORKS": "127.0.0.0/8"}
            yield Mirror(up.start("--workers", str(workers), environ=environ))
    finally:
        shutil.rmtree(place, ignore_errors=True)


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


def free_address() -> str:
    """A loopback address that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


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
