"""The tables of the benchmark, and how their contenders take turns."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import Run, Unavailable


@dataclass
class Row:
    """One table: every contender's runs, ours first; what the others' names say is measured."""

    title: str
    runs: dict[str, list[Run]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    goal: str = ""

    def add(self, name: str, run: Run) -> None:
        """One more run of one contender."""
        self.runs.setdefault(name, []).append(run)
        print(f"  {self.title}: {name} {run.seconds:.2f} s", file=sys.stderr, flush=True)

    def median(self, name: str) -> float:
        """Seconds."""
        return statistics.median(run.seconds for run in self.runs[name])


@dataclass(frozen=True)
class Place:
    """Where a benchmark works, and how often."""

    folder: Path
    rounds: int
    real: Path  # where a real release's indices are kept between runs


def by_turns(row: Row, place: Place, contenders: Sequence[tuple[str, Callable[[], Run]]]) -> None:
    """Run them by turns; who is not installed is named once and left out."""
    missing: set[str] = set()
    for _ in range(place.rounds):
        for name, contend in contenders:
            if name in missing:
                continue
            os.sync()  # nobody waits for what others left to be written
            try:
                row.add(name, contend())
            except Unavailable as e:
                missing.add(name)
                row.notes.append(f"{name}: not run, since this machine lacks {e}")


def percentiles(seconds: Sequence[float]) -> str:
    """The p50 and the p99 in milliseconds, as cells of a table."""
    p99 = statistics.quantiles(seconds, n=100)[98]
    return f"{statistics.median(seconds) * 1000:.1f} ms | {p99 * 1000:.1f} ms"
