"""What became of a sync, for a person or for a machine."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console

from debfleet_cli.client import Body, failure_text
from debfleet_cli.progress import Display, Silent, left_out, let_through, open_display


@dataclass(frozen=True)
class Outcome:
    """What became of one sync."""

    task: Body  # in its final state
    repository: Body | None  # None where only a task was watched
    version: Body | None  # the new one; None when unchanged, failed or canceled

    @property
    def is_good(self) -> bool:
        return bool(self.task["state"] == "completed")

    @property
    def word(self) -> str:
        """One word for it: synced, unchanged, failed or canceled."""
        if not self.is_good:
            return str(self.task["state"])
        return "unchanged" if self.version is None else "synced"

    @property
    def seconds(self) -> float:
        """From the first work to the end, by the server's clock."""
        begin = self.task["started_at"] or self.task["pulp_created"]
        end = self.task["finished_at"] or begin
        return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def outcome_json(outcome: Outcome) -> Body:
    """The one object that --json prints."""
    task, version, repository = outcome.task, outcome.version, outcome.repository
    return {
        "outcome": outcome.word,
        "task": task["pulp_href"],
        "repository": repository
        and {
            "name": repository["name"],
            "href": repository["pulp_href"],
        },
        "version": version
        and {
            "number": version["number"],
            "href": version["pulp_href"],
            "content": content_counts(version),
        },
        "seconds": outcome.seconds,
        "progress_reports": task["progress_reports"],
        "error": None if outcome.is_good else failure_text(task),
    }


def outcome_lines(outcome: Outcome, api_url: str) -> list[str]:
    """The same for a person."""
    name = outcome.repository["name"] if outcome.repository else "the repository"
    took = f"in {outcome.seconds:.1f} s"
    lines = []
    if outcome.version is not None:
        lines.append(f"synced: {name} is at version {outcome.version['number']} now, {took}")
        lines += count_lines(outcome.version)
        lines.append(f"  {api_url}{outcome.version['pulp_href']}")
    elif outcome.is_good:
        lines.append(f"unchanged: {name} holds what upstream offers, {took}")
    else:
        lines.append(f"{outcome.word} after {outcome.seconds:.1f} s: {failure_text(outcome.task)}")
    skipped = [(reason, count) for reason, count in left_out(outcome.task) if count]
    if skipped:
        text = ", ".join(f"{reason} {count:,}" for reason, count in skipped)
        lines.append(
            f"left out: {text}; each is named in {api_url}{outcome.task['pulp_href']}report/"
        )
    warned = [f"{guard} ({count:,})" for guard, count in let_through(outcome.task)]
    if warned:
        lines.append(
            f"the guards warn: {', '.join(warned)}; why is in "
            f"{api_url}{outcome.task['pulp_href']}report/"
        )
    return lines


def content_counts(version: Body) -> dict[str, dict[str, int]]:
    """Type to its counts: ``{"deb.package": {"present": 4, "added": 4, "removed": 0}}``."""
    summary = version["content_summary"]
    kinds = sorted({kind for part in summary.values() for kind in part})
    return {
        kind: {
            part: int(summary[part].get(kind, {}).get("count", 0))
            for part in ("present", "added", "removed")
        }
        for kind in kinds
    }


def count_lines(version: Body, *, is_change: bool = True) -> list[str]:
    """The counts as a small table, packages first; with what came and went, or without."""
    counts = content_counts(version)
    order = sorted(counts, key=lambda kind: (kind != "deb.package", kind))
    names = {kind: kind.removeprefix("deb.").replace("_", " ") for kind in order}
    width = max((len(name) for name in names.values()), default=0)
    return [
        f"  {names[kind]:<{width}}  {count['present']:>9,}"
        + (f"  (+{count['added']:,} -{count['removed']:,})" if is_change else "")
        for kind, count in ((kind, counts[kind]) for kind in order)
    ]


class Speaker:
    """Speaks prose to a person, or one JSON object to a machine."""

    def __init__(
        self, *, is_json: bool, console: Console | None = None, command: str = "sync"
    ) -> None:
        self._is_json = is_json
        self._command = command
        self._console = console or Console()

    def display(self) -> Display:
        """Where progress is shown."""
        return Silent() if self._is_json else open_display(self._console)

    def say(self, text: str) -> None:
        """Tell a person."""
        if not self._is_json:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def put(self, body: Body) -> None:
        """Tell a machine."""
        if self._is_json:
            print(json.dumps(body, ensure_ascii=False))

    def fail(self, status: int, word: str, text: str, **more: Any) -> int:
        """Say why nothing came of it; returns the exit status."""
        self.put({"outcome": word, "error": text, **more})
        if not self._is_json:
            print(f"debfleet {self._command}: {text}", file=sys.stderr)
        return status
