"""Starts debfleet processes in milliseconds: it has imported all, and forks.

``python -m faults.nursery`` reads a JSON line for each process to start, answers with its pid, and
ends with everything it started when its input ends.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from debfleet_cli.unprivileged import die_with_parent


class Nursery:
    """The other end of the pipe."""

    def __init__(self) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("DEBFLEET_", "PULP_"))}
        tests = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.nursery"],
            cwd=tests, env=environ | {"PYTHONPATH": str(tests)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )  # fmt: skip
        self._lock = threading.Lock()

    def start(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        log: Path,
        limits: Mapping[str, int] | None = None,
    ) -> int:
        """Start ``debfleet ARGV``; returns its pid. ``limits``: file_bytes that it may write."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order: dict[str, Any] = {"argv": list(argv), "environ": dict(environ), "log": str(log)}
        order["limits"] = dict(limits or {})
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and all that it started."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def _serve() -> None:
    import debfleet_api.main  # noqa: F401
    import debfleet_cli.api
    import debfleet_cli.content
    import debfleet_cli.sweep
    import debfleet_cli.worker  # noqa: F401
    import debfleet_content.main  # noqa: F401
    import debfleet_worker.main
    import debfleet_worker.sweep

    assert debfleet_worker.main is not None
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    pids = []
    for line in sys.stdin:
        pid = _fork(json.loads(line))
        pids.append(pid)
        print(pid, flush=True)
    for pid in pids:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _fork(order: Mapping[str, Any]) -> int:
    ask = die_with_parent(signal.SIGKILL)
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        if ask is not None:
            ask()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.update(order["environ"])
        if "file_bytes" in order["limits"]:
            most = order["limits"]["file_bytes"]
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error of the write instead
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for ours, theirs in ((null, 0), (log, 1), (log, 2)):
            os.dup2(ours, theirs)
        from debfleet_cli.main import main

        status = main(order["argv"])
    except SystemExit as e:
        status = int(e.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
