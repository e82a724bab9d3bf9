"""Break a thousand syncs: ``python -m faults.run --events 1000 --seed 1`` (run it in tests/).

Each run is one sync of a new upstream state, published and served, with a few faults that its seed
chose. Afterwards the oracle looks. A run that broke an invariant ends all, and says its seed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from faults import menu
from faults.ground import ground
from faults.lane import Lane, Outcome

_ROOT = Path(__file__).parents[2]


@dataclass
class Tally:
    """What came of all runs."""

    seed: int
    runs: int = 0
    failed_as_they_must: int = 0
    events: Counter[str] = field(default_factory=Counter)  # kills, cuts and lies that happened
    seconds: list[float] = field(default_factory=list)
    slowest: str = ""  # the run that took longest
    again: int = 0  # bytes of packages sent again
    walks: int = 0
    broken: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def counted(self) -> int:
        """Kills and cuts."""
        words = menu.COUNTED
        return sum(n for what, n in self.events.items() if any(word in what for word in words))

    def add(self, name: str, outcome: Outcome, fired: Sequence[str]) -> None:
        """One more run that held."""
        with self._lock:
            if outcome.seconds > max(self.seconds, default=0):
                self.slowest = name
            self.runs += 1
            self.failed_as_they_must += outcome.state == "failed"
            self.events.update(fired)
            self.seconds.append(outcome.seconds)
            self.again += outcome.again
            self.walks += outcome.seen

    def break_(self, text: str) -> None:
        """A run that did not."""
        with self._lock:
            self.broken.append(text)


def run_one(lane: Lane, seed: str) -> tuple[Outcome, list[str]]:
    """One sync under faults, judged.

    Raises:
        Broken: Naming the invariant.
    """
    rng = random.Random(seed)
    archive = lane.next_state(rng)
    before = lane.served()
    lane.upstream.clear()
    with lane.watched() as watch:
        planned = menu.plan_faults(lane, rng)
        try:
            task = lane.finish(lane.ask())
        finally:
            planned.end()
    fired = planned.fired
    if planned.must_fail:
        outcome = lane.judge_failed(task, before, watch)
        # The next run's state comes on top: what this one offered is no part of it.
        return outcome, sorted(set(fired))
    return lane.judge(task, archive, before, watch, len(fired)), fired


def break_syncs(
    *, seed: int, lanes: int, events: int = 0, runs: int = 0, seconds: float = 3600,
    with_rabbit: bool = True, folder: Path | None = None, is_loud: bool = True,
) -> Tally:  # fmt: skip
    """Run until so many kills and cuts, so many runs, or so much time; or until one broke."""
    tally = Tally(seed)
    deadline = time.monotonic() + seconds
    with ground(with_rabbit=with_rabbit, folder=folder) as made:
        # Every second one has RabbitMQ for a bell, the others Postgres.
        fleets = [made.lane(with_rabbit=number % 2 == 0) for number in range(lanes)]

        def drive(number: int) -> None:
            lane, n = fleets[number], 0
            while not tally.broken and time.monotonic() < deadline:
                if (runs and tally.runs >= runs) or (events and tally.counted >= events):
                    return
                name = f"{seed}/{number}/{n}"
                n += 1
                try:
                    tally.add(name, *run_one(lane, name))
                except BaseException as e:  # noqa: BLE001 - told, and ends all
                    tally.break_(f"run {name}: {type(e).__name__}: {e}")
                    return
                if is_loud and tally.runs % 20 == 0:
                    print(f"{tally.runs} runs, {tally.counted} kills and cuts", flush=True)

        with ThreadPoolExecutor(lanes) as pool:
            list(pool.map(drive, range(lanes)))
        if tally.broken and is_loud:
            made.show_logs()
    return tally


def table(tally: Tally) -> str:
    """What happened, as lines of Markdown."""
    seconds = sorted(tally.seconds)
    rows = [f"| {what} | {count:,} |" for what, count in sorted(tally.events.items())]
    return "\n".join(
        [
            f"{tally.runs:,} syncs, {tally.counted:,} kills and cuts; seed {tally.seed}, commit "
            f"{_commit()}.",
            f"{tally.runs - tally.failed_as_they_must:,} completed; {tally.failed_as_they_must:,} "
            "met an upstream that lied for good, failed as they must, and changed nothing.",
            f"A sync took {seconds[len(seconds) // 2]:.1f} s in the middle and {seconds[-1]:.1f} s "
            f"at most (run {tally.slowest}). Upstream sent {tally.again:,} bytes of packages a "
            f"second time. What was served was walked {tally.walks:,} times meanwhile, each time "
            "whole.",
            "",
            "| What happened | Times |",
            "|---|---|",
            *rows,
        ]
    )


def _commit() -> str:
    said = subprocess.run(
        ["git", "rev-parse", "--short=10", "HEAD"],
        cwd=_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return said.stdout.strip() or "unknown"


def _write(path: Path, text: str) -> None:
    """Replace what stands between the two marks of a page."""
    start, end = "<!-- made by make faults -->", "<!-- end -->"
    page = path.read_text(encoding="utf-8")
    head, _, rest = page.partition(start)
    _, _, tail = rest.partition(end)
    path.write_text(f"{head}{start}\n{text}\n{end}{tail}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m faults.run", description=__doc__)
    add = parser.add_argument
    add("--events", type=int, default=1000, help="kills and cuts (default: %(default)s)")
    add("--runs", type=int, default=0, help="or so many syncs")
    add("--seconds", type=float, default=3600, help="or so much time")
    add("--seed", type=int, default=1, help="(default: %(default)s)")
    add("--lanes", type=int, default=3, help="fleets side by side (default: %(default)s)")
    add("--write", type=Path, help="put the table into this page, docs/reliability.md")
    add("--json", type=Path, help="and the numbers into this file")
    options = parser.parse_args(arguments)
    tally = break_syncs(
        seed=options.seed, lanes=options.lanes, events=options.events, runs=options.runs,
        seconds=options.seconds,
    )  # fmt: skip
    print(table(tally))
    if options.json is not None:
        options.json.write_text(json.dumps(dict(tally.events), indent=1))
    if tally.broken:
        print("\nBROKEN:\n" + "\n".join(tally.broken))
        return 1
    if options.write is not None:
        _write(options.write, table(tally))
    return 0


if __name__ == "__main__":
    sys.exit(main())
