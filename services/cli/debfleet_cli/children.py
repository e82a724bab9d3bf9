"""The children of ``debfleet up``: started, started again when they die, ended together."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from debfleet_cli.unprivileged import die_with_parent

_FIRST_PAUSE = 0.5  # seconds before a dead child starts again; doubles with each death
_LONGEST_PAUSE = 30.0
_SETTLED = 60.0  # a child that lived this long begins at the first pause again
_LONGEST_LOG = 64 << 20  # bytes; one older log is kept beside it


class Child:
    """One process of the fleet, its log, and how often it died lately."""

    def __init__(
        self, name: str, argv: Sequence[str], environ: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        self._argv = argv
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = _FIRST_PAUSE
        self._due: float | None = None  # when it starts again, once it has died

    @property
    def pid(self) -> int:
        """Its process id, also after it died; 0 before its first start."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it, with its output appended to its log."""
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self._argv, env=self._environ, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, preexec_fn=_as_child(),
            )  # fmt: skip
        self._started = time.monotonic()
        self._due = None

    def is_alive(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def watch(self, say: Callable[[str], None]) -> None:
        """Start it again when it has died and its pause is over; keep its log bounded."""
        self._turn_log()
        if self.is_alive():
            return
        now = time.monotonic()
        if self._due is None:
            if now - self._started > _SETTLED:
                self._pause = _FIRST_PAUSE
            say(f"{self._obituary()}; it starts again in {self._pause:g} s. Its log: {self.log}")
            self._due = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        elif now >= self._due:
            self.start()
            say(f"{self.name} runs again (process {self.pid})")

    def send(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self.is_alive():
            self._process.send_signal(number)

    def last_lines(self, count: int = 10) -> str:
        """The end of its log."""
        try:
            with open(self.log, errors="replace", encoding="utf-8") as log:
                return "".join(deque(log, count)).rstrip()
        except FileNotFoundError:
            return ""

    def _obituary(self) -> str:
        code = self._process.returncode if self._process else None
        if code is not None and code < 0:
            return f"{self.name} (process {self.pid}) was ended by {signal.Signals(-code).name}"
        return f"{self.name} (process {self.pid}) ended with status {code}"

    def _turn_log(self) -> None:
        if self.log.stat().st_size < _LONGEST_LOG:
            return
        # The child keeps its descriptor and appends: what it writes between these two is lost.
        shutil.copyfile(self.log, self.log.with_name(self.log.name + ".1"))
        os.truncate(self.log, 0)


def end_all(children: Sequence[Child], grace: float, is_hurried: Callable[[], bool]) -> list[str]:
    """SIGTERM to all, SIGKILL to who is left after the grace; returns the names of the killed."""
    for child in children:
        child.send(signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(c.is_alive() for c in children):
        if time.monotonic() > deadline or is_hurried():
            break
        time.sleep(0.05)
    killed = [c for c in children if c.is_alive()]
    for child in killed:
        child.send(signal.SIGKILL)
    while any(c.is_alive() for c in killed):
        time.sleep(0.02)
    return [c.name for c in killed]


def _as_child() -> Callable[[], None]:
    die = die_with_parent(signal.SIGTERM)

    def prepare() -> None:
        # Ctrl-C and a closed terminal reach the whole process group; the supervisor alone answers
        # them, with SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if die is not None:
            die()

    return prepare
