"""The children of `debfleet up`, as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from debfleet_cli.children import Child, end_all

_SLEEPER = [sys.executable, "-c", "print('here', flush=True); import time; time.sleep(60)"]
_STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True); "
    "time.sleep(60)",
]


def child_of(tmp_path: Path, argv: list[str]) -> Child:
    child = Child("sleeper", argv, dict(os.environ), tmp_path / "log")
    child.start()
    until(lambda: "here" in child.last_lines(), "it says that it is here")
    return child


def until(claim: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return " (zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_child_that_dies_is_started_again_and_that_is_said(tmp_path: Path) -> None:
    child = child_of(tmp_path, _SLEEPER)
    first = child.pid
    said: list[str] = []
    os.kill(first, signal.SIGKILL)
    until(lambda: not child.is_alive(), "it dies")

    child.watch(said.append)
    until(lambda: (child.watch(said.append), child.is_alive())[1], "it runs again")

    assert child.pid != first
    assert "was ended by SIGKILL; it starts again in 0.5 s" in said[0]
    assert "runs again" in said[1]
    end_all([child], 5, lambda: False)


def test_the_pause_doubles_with_each_death(tmp_path: Path) -> None:
    child = Child("brief", [sys.executable, "-c", "exit(3)"], dict(os.environ), tmp_path / "log")
    child.start()
    said: list[str] = []

    def deaths() -> list[str]:
        child.watch(said.append)
        return [text for text in said if "ended with status 3" in text]

    until(lambda: len(deaths()) == 3, "it dies three times")

    assert ["0.5 s" in deaths()[0], "in 1 s" in deaths()[1], "in 2 s" in deaths()[2]] == [True] * 3


def test_who_does_not_go_in_time_is_killed_and_named(tmp_path: Path) -> None:
    child = child_of(tmp_path, _STUBBORN)

    killed = end_all([child], 0.2, lambda: False)

    assert killed == ["sleeper"]
    assert not child.is_alive()


def test_ctrl_c_reaches_no_child_by_itself(tmp_path: Path) -> None:
    child = child_of(tmp_path, _SLEEPER)

    status = Path(f"/proc/{child.pid}/status").read_text()

    ignored = int(status.split("SigIgn:")[1].split()[0], 16)
    assert ignored & (1 << (signal.SIGINT - 1))
    end_all([child], 5, lambda: False)


def test_a_child_ends_with_its_supervisor(tmp_path: Path) -> None:
    supervisor = (
        "import os, sys, time; from pathlib import Path; from debfleet_cli.children import Child; "
        f"child = Child('x', {_SLEEPER!r}, dict(os.environ), Path({str(tmp_path / 'log')!r})); "
        "child.start(); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", supervisor], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()

    until(lambda: not is_running(pid), "the child ends")


def test_a_log_that_grew_too_long_is_turned_once(tmp_path: Path) -> None:
    child = child_of(tmp_path, _SLEEPER)
    os.truncate(tmp_path / "log", 65 << 20)

    child.watch(lambda _: None)

    assert (tmp_path / "log").stat().st_size == 0
    assert (tmp_path / "log.1").stat().st_size == 65 << 20
    end_all([child], 5, lambda: False)
