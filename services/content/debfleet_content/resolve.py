"""A path to what it stands for: a file, a listing, another URL, or nothing."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from debfleet.db import served
from debfleet.db.served import AsyncTx, File, Grace, Target, Wanted
from debfleet_content.database import Reader
from debfleet_content.lookups import Lookups

_BY_HASH = re.compile(r"((?:.*/)?)by-hash/(SHA256|SHA512|SHA1|MD5Sum)/([0-9a-f]{32,128})")
_DISTS = "dists/"
_DIGITS = {"SHA256": 64, "SHA512": 128, "SHA1": 40, "MD5Sum": 32}
# What clients follow from: of what is served now or not at all, never of an earlier publication.
_OF_NOW = frozenset({"InRelease", "Release", "Release.gpg"})
_MOMENT = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_MOST_KNOWN = 20_000
_DEEPEST_BASE = 64  # parts of a base path
KEYRING = "debfleet-archive-keyring.asc"  # beside dists, unless publish wrote another file there

NO_TARGET = (
    "Distribution is not pointing to a publication, repository, repository version, or remote."
)


@dataclass(frozen=True, slots=True)
class Missing:
    """There is nothing; ``reason`` may be told."""

    reason: str = "Not Found"


@dataclass(frozen=True, slots=True)
class Guarded:
    """The distribution has a guard that this request has not passed yet."""

    guard: UUID


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory of what a distribution serves; the path may be ''."""

    target: Target
    path: str


@dataclass(frozen=True, slots=True)
class BaseFolder:
    """A folder that leads to base paths; '' is the root."""

    path: str


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """The checkpoints of a distribution, a folder each."""

    target: Target


@dataclass(frozen=True, slots=True)
class Moved:
    """What is asked for has another name: a path below the prefix."""

    path: str


@dataclass(frozen=True, slots=True)
class Keyring:
    """The public keys of who signs."""

    publication: int


class Known:
    """Stored pool files that were found lately: what a publication holds never changes."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[int, int, str], File] = OrderedDict()

    def find(self, target: Target, path: str) -> File | None:
        """A file that was found under what the distribution serves now."""
        return self._files.get((target.id, target.publication or 0, path))

    def add(self, target: Target, path: str, file: File) -> None:
        """Remember it, unless it may come to be stored."""
        if file.is_stored and file.is_pool:
            self._files[target.id, target.publication or 0, path] = file
            if len(self._files) > _MOST_KNOWN:
                self._files.popitem(last=False)


Found = File | Missing | Guarded | Folder | BaseFolder | CheckpointFolder | Moved | Keyring


def checkpoint_name(moment: datetime) -> str:
    """``20260131T235959Z``: the folder of a checkpoint."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def checkpoint_moment(name: str) -> datetime | None:
    """The moment that a folder's name says, or nothing."""
    if not _MOMENT.fullmatch(name):
        return None
    try:
        return datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:  # the 31st of February
        return None


async def resolve(
    lookups: Lookups,
    reader: Reader,
    parts: list[str],
    grace: Grace,
    known: Known,
    passed: UUID | None = None,
) -> Found:
    """What a path stands for. A folder is not looked into: it may turn out to be empty.

    Args:
        parts: As ``read_path`` gives them.
        passed: The guard that let this request through.
    """
    path = "/".join(parts)
    wanted = Wanted(path, min(len(parts), _DEEPEST_BASE))
    target = await lookups.find_target(wanted) if parts else None
    if target is None:
        return BaseFolder(path)
    if target.content_guard is not None and target.content_guard != passed:
        return Guarded(target.content_guard)
    inner = path[len(target.base_path) + 1 :]
    if target.checkpoint:
        return await reader.read(lambda tx: _resolve_checkpoint(tx, target, inner, grace, known))
    if target.file is not None:
        return target.file
    if target.publication is None:
        return Missing() if target.has_target else Missing(NO_TARGET)
    file = known.find(target, inner)
    if file is not None:
        return file
    return await reader.read(lambda tx: _resolve_inner(tx, target, inner, grace, known))


async def _resolve_checkpoint(
    tx: AsyncTx, target: Target, inner: str, grace: Grace, known: Known
) -> Found:
    """``<moment>/<path>``: what was published at the last checkpoint before that moment."""
    if not target.has_target:
        return Missing(NO_TARGET)
    if not inner:
        return CheckpointFolder(target)
    name, slash, rest = inner.partition("/")
    moment = checkpoint_moment(name)
    pinned = None if moment is None else await served.find_checkpoint(tx, target, moment)
    if pinned is None or pinned.since is None:
        return Missing()
    exact = checkpoint_name(pinned.since)
    if exact != name:
        return Moved(f"{target.base_path}/{exact}{slash}{rest}")
    return await _resolve_inner(tx, pinned, rest, grace, known)


async def _resolve_inner(
    tx: AsyncTx, target: Target, inner: str, grace: Grace, known: Known
) -> Found:
    file = known.find(target, inner)
    if file is None and inner:
        file = await _find_file(tx, target, inner, grace)
    if file is not None:
        known.add(target, inner, file)
        return file
    if inner == KEYRING:
        return Keyring(target.publication or 0)
    return Folder(target, inner)


async def _find_file(tx: AsyncTx, target: Target, path: str, grace: Grace) -> File | None:
    """By hash, in the pool, or in what was served lately."""
    if target.is_pinned:
        file = await served.find_older_file(tx, target, grace, path)
        if file is not None:
            return file
    match = _BY_HASH.fullmatch(path)
    if match is not None:
        directory, algorithm, digest = match.groups()
        if len(digest) != _DIGITS[algorithm]:
            return None
        return await served.find_by_hash(
            tx, target, grace, directory, algorithm, bytes.fromhex(digest)
        )
    name = path.rpartition("/")[2]
    if target.kind == "verbatim" or path.startswith(served.POOL):
        file = await served.find_pool_file(tx, target, grace, path)
        if file is not None:
            return file
    if target.kind == "verbatim" or path.startswith(_DISTS):
        file = await served.find_generic_file(tx, target, grace, path)
        if file is not None:
            return file
    if name in _OF_NOW or target.is_pinned:
        return None
    return await served.find_older_file(tx, target, grace, path)
