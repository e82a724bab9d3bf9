"""Hold a remote's Release files, and what came of them, against its guards.

A guard that refuses raises; what one lets through is a finding, for the task's report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from debfleet.db.guards import Seen
from debfleet.errors import GuardRefused
from debfleet.guards import EXPIRED, FUTURE, RENAMED, REPLAY, SHRINK, WEAK_DIGESTS, guard_level
from debfleet.metrics import GUARDS_MET
from debfleet.model import Remote, Tolerance
from debfleet_worker.selection import Dist
from debfleet_worker.weak import is_weak

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Watch:
    """A remote's guards in one sync."""

    remote: Remote
    is_mirror: bool

    def level(self, guard: str) -> str:
        """How strict a guard is in this sync."""
        return guard_level(
            self.remote.guards,
            guard,
            has_key=bool(self.remote.gpgkey),
            is_mirror=self.is_mirror,
        )

    def meet(self, guard: str, file: str, what: str) -> Iterator[Tolerance]:
        """Something that a guard is against.

        Raises:
            GuardRefused: The guard refuses.
        """
        level = self.level(guard)
        if level != "off":
            GUARDS_MET.add(guard=guard, level=level)
        if level == "refuse":
            raise GuardRefused(guard, f"{file}: {what}")
        if level == "warn":
            yield Tolerance(guard, file, None, what)


def check_dists(
    watch: Watch, dists: Sequence[Dist], seen: Mapping[str, Seen], now: datetime
) -> list[Tolerance]:
    """What is odd about these Release files and is let through.

    Args:
        seen: What the remote last gave, by directory.
        now: By the database's clock.

    Raises:
        GuardRefused: Naming the file, what is odd, and the guard.
    """
    return [
        finding
        for dist in dists
        for finding in _check_dist(watch, dist, seen.get(dist.place.directory), now)
    ]


def _check_dist(watch: Watch, dist: Dist, last: Seen | None, now: datetime) -> Iterator[Tolerance]:
    release, file = dist.release, dist.main
    if is_weak(release):
        yield from watch.meet(WEAK_DIGESTS, file, "it lists MD5 or SHA1 alone")
    if release.valid_until is not None and release.valid_until < now:
        yield from watch.meet(EXPIRED, file, f"its Valid-Until passed at {release.valid_until}")
    if release.date is not None and release.date > now + _DAY:
        yield from watch.meet(FUTURE, file, f"its Date {release.date} is ahead of now, {now:%c}")
    if last is None:
        return
    if release.date is not None and last.date is not None and release.date < last.date:
        what = f"its Date {release.date} is older than {last.date}, which this remote gave last"
        yield from watch.meet(REPLAY, file, what)
    renamed = [
        f"{name} was {before or 'absent'} and is {after or 'absent'}"
        for name, before, after in (
            ("Codename", last.codename, release.codename),
            ("Origin", last.origin, release.origin),
            ("Label", last.label, release.label),
        )
        if (before or "") != (after or "")
    ]
    if renamed:
        yield from watch.meet(RENAMED, file, f"its {'; its '.join(renamed)}")


def taken_by(remote: Remote) -> dict[str, str | None]:
    """The filters that decide how many packages a dist gives."""
    return {"components": remote.components, "architectures": remote.architectures}


def check_counts(
    watch: Watch, counts: Mapping[str, int], seen: Mapping[str, Seen]
) -> list[Tolerance]:
    """Dists (by directory) that give fewer than half the packages they last gave.

    Raises:
        GuardRefused: As the guard says.
    """
    taken = taken_by(watch.remote)
    found: list[Tolerance] = []
    for directory, count in counts.items():
        last = seen.get(directory)
        if last is None or last.packages is None or last.taken != taken:
            continue
        if 2 * count < last.packages:
            what = f"it gives {count} packages; last time there were {last.packages}"
            found += watch.meet(SHRINK, directory or "the flat archive", what)
    return found
