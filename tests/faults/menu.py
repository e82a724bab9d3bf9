"""What may happen to a sync, each at a moment that the run's seed decides."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from archive import faults as upstream_faults
from archive.faults import Fault
from faults.lane import LEASE_SECONDS, Lane
from faults.wire import Trap

# Points of a sync and what a worker says to Postgres there.
POINTS: Mapping[str, bytes] = {
    "claim": b"attempt = attempt + 1",
    "plan: Release recorded": b"insert into release_files",
    "plan: indices wanted": b"insert into wanted_indices",
    "index: merged": b"insert into indices",
    "download: files recorded": b"insert into artifacts",
    "assemble: version numbered": b"last_number = last_number + 1",
    "publish: complete": b"is_complete = true",
    "commit": b"COMMIT",
}


@dataclass
class Planned:
    """Faults of one run; ``fired`` grows as they happen."""

    lane: Lane
    rng: random.Random
    fired: list[str] = field(default_factory=list)
    must_fail: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _counted: list[tuple[Fault, str]] = field(default_factory=list)

    def note(self, what: str) -> None:
        """It happened."""
        with self._lock:
            self.fired.append(what)

    def later(self, what: str, act: Callable[[], bool], within: float) -> None:
        """Do it at some moment, unless the sync is over by then."""
        delay = self.rng.uniform(0, within)

        def run() -> None:
            if not self._over.wait(delay) and act():
                self.note(what)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def at_point(self, what: str, act: Callable[[str], None]) -> None:
        """Do it to the worker that first comes to a point, with or without the answer to it."""
        point = self.rng.choice(list(POINTS))
        is_after = self.rng.random() < 0.5
        skip = self.rng.randrange(12) if point == "commit" else self.rng.randrange(3) // 2
        once = threading.Lock()

        def spring(name: str) -> None:
            if once.acquire(blocking=False):
                self.note(f"{what} {'after' if is_after else 'before'} '{point}'")
                act(name)

        for name in self.lane.workers():
            trap = Trap(POINTS[point], partial(spring, name), is_after, skip)
            self.lane.parts[name].wires["postgres"].set_trap(trap)

    def from_upstream(self, what: str, fault: Fault) -> None:
        """Let upstream misbehave; each time counts."""
        self.lane.upstream.faults.append(fault)
        self._counted.append((fault, what))

    def end(self) -> None:
        """The sync is over: no more of it."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        for part in self.lane.parts.values():
            for wire in part.wires.values():
                wire.clear_traps()
                wire.stall(False)
        for fault, what in self._counted:
            self.fired += [what] * fault.hits
        self.lane.upstream.faults.clear()


def kill_any_time(run: Planned) -> None:
    name = run.rng.choice(run.lane.workers())

    def act() -> bool:
        run.lane.kill(name)
        return True

    run.later("worker killed at any time", act, 0.8)


def kill_at_point(run: Planned) -> None:
    run.at_point("worker killed", run.lane.kill)


def kill_sweeper(run: Planned) -> None:
    def act() -> bool:
        run.lane.kill("sweep")
        return True

    run.later("sweeper killed", act, 0.8)


def kill_content(run: Planned) -> None:
    def act() -> bool:
        run.lane.kill("content")
        return True

    run.later("content service killed", act, 0.5)


def freeze_worker(run: Planned) -> None:
    name = run.rng.choice(run.lane.workers())

    def act() -> bool:
        run.lane.freeze(name, LEASE_SECONDS + 1.5)
        return True

    run.later("worker frozen beyond its lease", act, 0.5)


def cut_postgres(run: Planned) -> None:
    name = run.rng.choice([*run.lane.workers(), "sweep", "api", "content"])
    wire = run.lane.parts[name].wires["postgres"]
    run.later(f"{name.partition('-')[0]} cut off Postgres", lambda: wire.cut() > 0, 0.8)


def cut_postgres_at_point(run: Planned) -> None:
    def cut(name: str) -> None:
        run.lane.parts[name].wires["postgres"].cut()

    run.at_point("worker cut off Postgres", cut)


def stall_postgres(run: Planned) -> None:
    name = run.rng.choice(run.lane.workers())
    wire = run.lane.parts[name].wires["postgres"]

    def act() -> bool:
        wire.stall()
        time.sleep(run.rng.uniform(0.2, LEASE_SECONDS + 1))
        wire.stall(False)
        return True

    run.later("worker's connections to Postgres stall", act, 0.5)


def cut_broker(run: Planned) -> None:
    name = run.rng.choice([*run.lane.workers(), "api"])
    wire = run.lane.parts[name].wires.get("rabbitmq")
    if wire is not None:
        run.later(f"{name.partition('-')[0]} cut off RabbitMQ", lambda: wire.cut() > 0, 0.8)


def cut_upstream(run: Planned) -> None:
    glob = run.rng.choice(["pool/*", "dists/*", "pool/*", "*by-hash*"])
    times, skip = run.rng.randint(1, 3), run.rng.randrange(4)
    after = run.rng.choice([0, 1, 300, 2000])
    fault = upstream_faults.cut(glob, after, times=times, skip=skip)
    run.from_upstream("upstream cuts a connection", fault)


def lie_for_a_while(run: Planned) -> None:
    fault = upstream_faults.wrong_bytes("pool/*", times=run.rng.randint(1, 2))
    run.from_upstream("upstream sends wrong bytes, then right ones", fault)


def refuse_for_a_while(run: Planned) -> None:
    code = run.rng.choice([500, 502, 504])
    fault = upstream_faults.status("pool/*", code, times=run.rng.randint(1, 3))
    run.from_upstream("upstream answers 5xx, then the file", fault)


def ignore_ranges(run: Planned) -> None:
    run.from_upstream("upstream cuts a connection", upstream_faults.cut("pool/*", 400, times=2))
    make = run.rng.choice([upstream_faults.no_range, upstream_faults.wrong_range])
    run.from_upstream("upstream ignores or mistakes a range", make("pool/*", times=2))


def lie_for_good(run: Planned) -> None:
    """The only one that a sync may fail for: and then nothing may change."""
    make = run.rng.choice(
        [
            lambda: upstream_faults.wrong_bytes(f"pool/*p{run.lane.state}-0_*"),
            lambda: upstream_faults.status(f"pool/*p{run.lane.state}-1_*", 404),
            lambda: upstream_faults.html_200("dists/sid/main/*"),
            lambda: upstream_faults.wrong_bytes("dists/sid/main/*"),
            lambda: upstream_faults.html_200("dists/sid/*elease*"),
        ]
    )
    run.from_upstream("upstream lies for good: the sync fails, nothing changes", make())
    run.must_fail = True


# How often each is chosen.
MENU: Mapping[Callable[[Planned], None], int] = {
    kill_at_point: 10,
    kill_any_time: 6,
    cut_upstream: 4,
    cut_postgres: 4,
    cut_postgres_at_point: 6,
    cut_broker: 3,
    freeze_worker: 1,
    stall_postgres: 1,
    kill_sweeper: 1,
    kill_content: 1,
    lie_for_a_while: 2,
    refuse_for_a_while: 1,
    ignore_ranges: 1,
}
# What counts as a kill or a cut.
COUNTED = ("killed", "cut", "frozen", "stall")


def plan_faults(lane: Lane, rng: random.Random) -> Planned:
    """Arm one to four of them, or the one that a sync must fail for."""
    run = Planned(lane, rng)
    if rng.random() < 0.04:
        lie_for_good(run)
        return run
    kinds = list(MENU)
    for kind in rng.choices(kinds, weights=[MENU[k] for k in kinds], k=rng.randint(2, 5)):
        kind(run)
    return run
