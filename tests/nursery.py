"""Starts debfleet processes in milliseconds: it has imported all, and forks.

Run as a program it reads a JSON line for each process to start, says in such lines which it has
started and which have ended, and ends with all of them when its input ends. What it starts is a
process like any other: of a session and group of its own, with exactly the environment that it was
given, and killed when the nursery dies. What the interpreter and the loader read at a start
(PYTHON…, LD_PRELOAD) is the nursery's.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import queue
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from debfleet_cli.unprivileged import die_with_parent

_START_SECONDS = 120  # for all imports, on a machine that has much else to do


class Process:
    """One that a nursery has started; what ``subprocess.Popen`` can do, as far as tests need it."""

    def __init__(self, argv: Sequence[str], pid: int) -> None:
        self.args = list(argv)
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def poll(self) -> int | None:
        """Its exit status, below 0 if a signal ended it; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended.

        Raises:
            TimeoutExpired: It has not in so many seconds.
        """
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def end(self, status: int) -> None:
        """Called by the nursery."""
        self.returncode = status
        self._ended.set()


class Nursery:
    """The other end of the pipes."""

    def __init__(self) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("DEBFLEET_", "PULP_"))}
        # It ends when its input does, and that ends with this process, however that ends.
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__], env=environ, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._started: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._running: dict[int, Process] = {}
        self._order: Sequence[str] = ()
        threading.Thread(target=self._listen, name="nursery", daemon=True).start()

    def start(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        log: Path,
        *,
        errors: Path | None = None,
        folder: Path | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> Process:
        """Start ``debfleet ARGV``, with its output appended to ``log``.

        Args:
            environ: All that it sees.
            errors: Where its stderr goes instead.
            folder: The directory that it starts in.
            limits: file_bytes that it may write.
        """
        order: dict[str, Any] = {"argv": list(argv), "environ": dict(environ), "log": str(log)}
        order |= {"errors": str(errors or log), "folder": str(folder or "/")}
        order["limits"] = dict(limits or {})
        for file in {order["log"], order["errors"]}:
            Path(file).touch(0o600)  # here, so that it can be read at once
        assert self._process.stdin is not None
        with self._lock:
            self._order = argv
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            pid = self._started.get(timeout=_START_SECONDS)
            assert pid, "the nursery has ended"
            return self._running[pid]

    def run(
        self, argv: Sequence[str], environ: Mapping[str, str], folder: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run ``debfleet ARGV`` to its end, with nothing to read."""
        with tempfile.TemporaryDirectory(prefix="command-") as place:
            out, errors = Path(place, "out"), Path(place, "errors")
            process = self.start(argv, environ, out, errors=errors, folder=folder)
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            return subprocess.CompletedProcess(
                process.args, status, out.read_text(), errors.read_text()
            )

    def close(self) -> None:
        """End it, and all that it started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as told:
            for line in told:
                said = json.loads(line)
                if "started" in said:
                    # Here, so that it is known before its end can be told.
                    self._running[said["started"]] = Process(self._order, said["started"])
                    self._started.put(said["started"])
                else:
                    self._running.pop(said["ended"]).end(said["status"])
        self._started.put(0)


@functools.cache
def the_nursery() -> Nursery:
    """The one of this test process, from the first use on."""
    return Nursery()


def close_the_nursery() -> None:
    """End it, if there is one."""
    if the_nursery.cache_info().currsize:
        the_nursery().close()
        the_nursery.cache_clear()


# --- the program ----------------------------------------------------------------------------------


def _serve() -> None:
    """Until the input ends."""
    _import_all()
    gc.collect()
    gc.freeze()  # what is here stays: no child looks through it again
    heard, told = os.pipe()
    for end in (heard, told):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # so that there is something to wake us
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    running: set[int] = set()
    for order in _orders(heard, running):
        pid = _fork()
        if pid == 0:
            os.close(heard)
            os.close(told)
            _end(_become(order))
        running.add(pid)
        _tell(started=pid)
    for pid in running:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _import_all() -> None:
    import importlib
    import pkgutil

    import debfleet
    import debfleet_api
    import debfleet_cli
    import debfleet_content
    import debfleet_worker

    for package in (debfleet, debfleet_api, debfleet_cli, debfleet_content, debfleet_worker):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    # A fork has one thread only: whatever another one held would be held for ever.
    assert len(os.listdir("/proc/self/task")) == 1, "an import has started a thread"


def _orders(heard: int, running: set[int]) -> Iterator[Mapping[str, Any]]:
    """What is to be started; meanwhile those that ended are told and taken out."""
    rest = b""
    while True:
        ready, _, _ = select.select([0, heard], [], [])
        if heard in ready:
            os.read(heard, 4096)
            _reap(running)
        if 0 in ready:
            read = os.read(0, 1 << 16)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            yield from map(json.loads, lines)


def _reap(running: set[int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        running.remove(pid)
        _tell(ended=pid, status=os.waitstatus_to_exitcode(status))


def _tell(**said: int) -> None:
    with suppress(BrokenPipeError):  # nobody listens any more: the input ends too
        os.write(1, json.dumps(said).encode() + b"\n")


def _fork() -> int:
    ask = die_with_parent(signal.SIGKILL)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if ask is not None:
            ask()
    return pid


def _become(order: Mapping[str, Any]) -> int:
    from debfleet_cli.main import main

    os.environ.clear()
    os.environ.update(order["environ"])
    if "file_bytes" in order["limits"]:
        most = order["limits"]["file_bytes"]
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error of the write instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    os.chdir(order["folder"])
    for path, flags, number in (
        (os.devnull, os.O_RDONLY, 0),
        (order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 1),
        (order["errors"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 2),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["debfleet", *order["argv"]]
    try:
        return main(order["argv"])
    except SystemExit as e:
        return int(e.code or 0)
    except BaseException:  # noqa: BLE001 - the edge of a process
        traceback.print_exc()
        return 1


def _end(status: int) -> NoReturn:
    """As the interpreter ends, but for taking every module apart, which costs half a second."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve()
