"""How a task goes on, for the eye: bars on a terminal, one line a phase elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

_SKIPPED = "sync.skipped."  # what was left out: told at the end, not a phase
_GUARD = "sync.guard."  # what a guard let through: told at the end as well
_ENDED = ("completed", "failed", "canceled", "skipped")


class Display(Protocol):
    """What a watched task is shown on; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def show(self, task: dict[str, Any]) -> None:
        """Take in the newest state of the task."""

    def note(self, text: str) -> None:
        """Say something beside the phases; the same text is said once."""


def open_display(console: Console) -> Display:
    """Bars where the console is a terminal, lines where it is none."""
    return Bars(console) if console.is_terminal else Lines(console)


def phases(task: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The progress reports that are phases, each with a key that stays the same.

    A code may come more than once (one report a distribution), hence the count in the key.
    """
    seen: dict[str, int] = {}
    found = []
    for report in task.get("progress_reports") or []:
        code = str(report["code"])
        if not code.startswith((_SKIPPED, _GUARD)):
            seen[code] = seen.get(code, 0) + 1
            found.append((f"{code}#{seen[code]}", report))
    return found


def left_out(task: dict[str, Any]) -> list[tuple[str, int]]:
    """What upstream listed and the version lacks: the reason and how many."""
    return _counts(task, _SKIPPED)


def let_through(task: dict[str, Any]) -> list[tuple[str, int]]:
    """What the remote's guards warn of: the guard and how often."""
    return _counts(task, _GUARD)


def _counts(task: dict[str, Any], prefix: str) -> list[tuple[str, int]]:
    return [
        (str(report["code"]).removeprefix(prefix), int(report["done"]))
        for report in task.get("progress_reports") or []
        if str(report["code"]).startswith(prefix)
    ]


class Silent:
    """Shows nothing: for machines."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def show(self, task: dict[str, Any]) -> None:
        pass

    def note(self, text: str) -> None:
        pass


@dataclass
class _Phase:
    """When a phase began to move, and whether its line is out."""

    began: float | None = None
    done: int = 0
    moved: float = 0.0
    is_told: bool = False


@dataclass
class Lines:
    """One line a phase, when it is over."""

    console: Console
    _phases: dict[str, _Phase] = field(default_factory=dict)
    _notes: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def show(self, task: dict[str, Any]) -> None:
        now = time.monotonic()
        for key, report in phases(task):
            phase = self._phases.setdefault(key, _Phase())
            if report["done"] != phase.done:
                phase.began = phase.began or now
                phase.done, phase.moved = report["done"], now
            if report["state"] in _ENDED and not phase.is_told:
                phase.is_told = True
                seconds = max(phase.moved - (phase.began or now), 0.0)
                self._say(_phase_line(report, seconds))

    def note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.add(text)
            self._say(text)

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _phase_line(report: dict[str, Any], seconds: float) -> str:
    line = f"{report['message']}: {count_text(report)}"
    if seconds >= 0.5 and report["done"] >= 10:  # below that a rate says nothing
        line += f" in {seconds:.1f} s ({report['done'] / seconds:,.0f}/s)"
    return line if report["state"] == "completed" else f"{line}, {report['state']}"


def count_text(report: dict[str, Any]) -> str:
    """How far a phase is: ``125 of 300``, or ``125`` while nobody knows the total."""
    text = f"{report['done']:,}"
    if report.get("total") is not None:
        text += f" of {report['total']:,}"
    return f"{text} {report['suffix']}" if report.get("suffix") else text


class _Rate(ProgressColumn):
    """Pieces a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f}/s", justify="right")


class Bars:
    """A bar for each phase, with its rate and the time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: dict[str, TaskID] = {}
        self._notes: set[str] = set()
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=24, finished_style="green"),
            TextColumn("{task.fields[count]}", justify="right", markup=False),
            _Rate(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def show(self, task: dict[str, Any]) -> None:
        for key, report in phases(task):
            if key not in self._bars:
                self._bars[key] = self._progress.add_task(report["message"], total=None, count="")
            self._update(self._bars[key], report)

    def note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.add(text)
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _update(self, bar: TaskID, report: dict[str, Any]) -> None:
        done, total = int(report["done"]), report.get("total")
        if report["state"] == "completed":
            # A bar of nothing would look empty although its phase is over.
            done = total = max(done, 1)
        description = report["message"]
        if report["state"] in ("failed", "canceled"):
            description += f" ({report['state']})"
        self._progress.update(
            bar, completed=done, total=total, description=description, count=count_text(report)
        )
