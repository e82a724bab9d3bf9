"""What a sync is stopped by beside a wrong digest or signature: guards, each with a level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

LEVELS = ("off", "warn", "refuse")


class Guard(NamedTuple):
    """One guard: what it looks at, and its level where the remote does not say."""

    meaning: str
    default: str
    with_key: str | None = None  # instead, for a remote with a gpgkey
    mirror_with_key: str | None = None  # instead, for a mirroring sync of one


REPLAY = "replay"
EXPIRED = "expired"
FUTURE = "future"
RENAMED = "renamed"
SHRINK = "shrink"
WEAK_DIGESTS = "weak_digests"
MISSING_FILES = "missing_files"

GUARDS: Mapping[str, Guard] = {
    REPLAY: Guard("a Release older than the last one that this remote gave", "warn", "refuse"),
    EXPIRED: Guard("a Release whose Valid-Until has passed", "warn"),
    FUTURE: Guard("a Release whose Date is more than a day ahead", "warn"),
    RENAMED: Guard("another Codename, Origin or Label than this remote last gave", "warn"),
    SHRINK: Guard("fewer than half the packages this remote last gave", "warn", None, "refuse"),
    WEAK_DIGESTS: Guard("a Release file that knows its indices by MD5 or SHA1 alone", "refuse"),
    MISSING_FILES: Guard("packages that are listed and cannot be had, or are wrong", "refuse"),
}


def guard_level(
    guards: Mapping[str, str], name: str, *, has_key: bool = False, is_mirror: bool = False
) -> str:
    """The level of one guard of a remote: its own, or the default."""
    guard = GUARDS[name]
    default = guard.default
    if has_key:
        default = guard.with_key or default
        if is_mirror:
            default = guard.mirror_with_key or default
    return guards.get(name) or default
