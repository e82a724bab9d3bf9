"""One `debfleet up` for a test: its processes, what it says, and requests to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar

import pytest

from debfleet_cli.place import Place

T = TypeVar("T")
REPOSITORIES = "/pulp/api/v3/repositories/deb/apt/"
NOBODY = 65534
FREE_PORTS = tuple(
    word for name in ("api", "content", "metrics") for word in (f"--{name}", "127.0.0.1:0")
)


def until(look: Callable[[], T], what: str, seconds: float = 60) -> T:
    """Look until there is something; fail with ``what`` after a while."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


_START_SECONDS = 150  # a database and five processes, on a machine that may have much to do


class Up:
    """One `debfleet up` in a session of its own, and what it said."""

    def __init__(self, folder: Path, *, prefix: Sequence[str], python: str) -> None:
        self.place = Place(folder / "data")
        self._output = folder / "output"
        self._argv = [*prefix, python, "-m", "debfleet_cli.main", "up"]
        self._argv += ["--data", str(self.place.folder)]
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""
        self.content = ""  # HOST:PORT, as address
        self.metrics = ""

    def start(self, *flags: str, environ: Mapping[str, str] | None = None) -> Up:
        """Start it and wait until it says that it is ready."""
        self.launch(*FREE_PORTS, *flags, environ=environ)
        ready = re.compile(r"debfleet is ready: http://(\S+?)/pulp")
        found = until(
            lambda: ready.search(self.said()) or self.is_over(), "it is not ready", _START_SECONDS
        )
        assert isinstance(found, re.Match), self.said() + self.logs()
        self.address = found[1]
        content = re.search(r"content +http://(\S+?)/pulp", self.said())
        assert content is not None
        self.content = content[1]
        metrics = re.search(r"metrics +http://(\S+?)/metrics", self.said())
        self.metrics = metrics[1] if metrics else ""
        return self

    def launch(self, *flags: str, environ: Mapping[str, str] | None = None) -> None:
        """Start it."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DEBFLEET_")}
        clean["DEBFLEET_API_PROCESSES"] = "1"  # quicker there than one a core
        clean["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p and Path(p).is_dir())
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                [*self._argv, *flags], env=clean | dict(environ or {}), stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def was_launched(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_over(self) -> bool:
        """Whether it has ended."""
        assert self._process is not None
        return self._process.poll() is not None

    def wait(self, seconds: float = 60) -> int:
        """Its exit status."""
        assert self._process is not None
        return self._process.wait(seconds)

    def said(self) -> str:
        """What it printed so far."""
        return self._output.read_text()

    def logs(self) -> str:
        """The ends of its children's logs, for a test that failed."""
        return "\n".join(
            f"--- {log.name}\n{log.read_text()[-2000:]}" for log in self.place.log.glob("*.log")
        )

    def family(self, parent: int | None = None) -> dict[int, str]:
        """The living processes of its session, or of this parent, with their command lines."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                state, ppid, _, session = (
                    (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                )
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except OSError:
                continue
            if int(session) == self.pid and state != "Z" and parent in (None, int(ppid)):
                found[int(entry.name)] = command
        return found

    def child(self, command: str) -> int:
        """The process id of its own child that runs this (and may have children itself)."""
        return until(
            lambda: max(
                (pid for pid, said in self.family(self.pid).items() if command in said), default=0
            ),
            f"there is a child {command}",
        )

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request as admin; status 0 where nothing answers."""
        password = self.place.admin_password.read_text().strip()
        credentials = b64encode(f"admin:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        host, _, port = self.address.rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except OSError:
            return 0, None
        finally:
            connection.close()

    def names(self) -> list[str]:
        """The names of the repositories."""
        status, page = self.ask("GET", REPOSITORIES)
        assert status == 200, (status, page)
        return sorted(repository["name"] for repository in page["results"])

    def kill_group(self) -> None:
        """SIGKILL to every process, with no time for anything, Postgres included."""
        for pid in self.family():
            os.kill(pid, signal.SIGKILL)
        self.wait()

    def end(self) -> None:
        """Be quick, but let Postgres give back the shared memory that it has."""
        for pid, command in self.family().items():
            os.kill(pid, signal.SIGINT if "/postgres -D" in command else signal.SIGKILL)
        self.wait()
        until(lambda: not self.family(), f"{self.family()} end")

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()


@contextmanager
def one_up(folder: Path, prefix: Sequence[str] = (), python: str = sys.executable) -> Iterator[Up]:
    """Not started yet; all of its processes are gone at the end."""
    up = Up(folder, prefix=prefix, python=python)
    try:
        yield up
    finally:
        if up.was_launched:
            up.end()


def python_for_others(prefix: Sequence[str]) -> str:
    """Our interpreter, or the system's of the same version where ours lies in root's own home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    probe = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    path = os.pathsep.join(p for p in sys.path if p and Path(p).is_dir())
    for python in (sys.executable, f"/usr/bin/{version}"):
        command = [*prefix, "env", f"PYTHONPATH={path}", python, "-c"]
        for code in (probe, "import debfleet_cli.main"):
            if subprocess.run([*command, code], capture_output=True).returncode != 0:
                break
        else:
            return python
    pytest.skip(f"no {version} with this checkout that an ordinary user can reach")
