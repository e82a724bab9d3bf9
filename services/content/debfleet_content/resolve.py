"""A path to what it stands for: a file, a listing, another URL, or nothing."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

from debfleet.db import served
from debfleet.db.served import AsyncTx, File, Grace, Target

_BY_HASH = re.compile(r"((?:.*/)?)by-hash/(SHA256|SHA512|SHA1|MD5Sum)/([0-9a-f]{32,128})")
_DISTS = "dists/"
_DIGITS = {"SHA256": 64, "SHA512": 128, "SHA1": 40, "MD5Sum": 32}
# What clients follow from: of what is served now or not at all, never of an earlier publication.
_OF_NOW = frozenset({"InRelease", "Release", "Release.gpg"})
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


Found = File | Missing | Guarded | Folder | BaseFolder | Keyring


async def resolve(
    tx: AsyncTx, parts: list[str], grace: Grace, known: Known, passed: UUID | None = None
) -> Found:
    """What a path stands for. A folder is not looked into: it may turn out to be empty.

    Args:
        parts: As ``read_path`` gives them.
        passed: The guard that let this request through.
    """
    path = "/".join(parts)
    bases = ["/".join(parts[: n + 1]) for n in range(min(len(parts), _DEEPEST_BASE))]
    target = await served.find_target(tx, path, bases) if parts else None
    if target is None:
        return BaseFolder(path)
    if target.content_guard is not None and target.content_guard != passed:
        return Guarded(target.content_guard)
    if target.file is not None:
        return target.file
    if target.publication is None:
        return Missing() if target.has_target else Missing(NO_TARGET)
    inner = path[len(target.base_path) + 1 :]
    file = known.find(target, inner)
    if file is None and inner:
        file = await _find_file(tx, target, inner, grace)
    if file is not None:
        known.add(target, inner, file)
        return file
    if inner == KEYRING:
        return Keyring(target.publication)
    return Folder(target, inner)


async def _find_file(tx: AsyncTx, target: Target, path: str, grace: Grace) -> File | None:
    """By hash, in the pool, or in what was served lately."""
    match = _BY_HASH.fullmatch(path)
    if match is not None:
        directory, algorithm, digest = match.groups()
        if len(digest) != _DIGITS[algorithm]:
            return None
        return await served.find_by_hash(
            tx, target.id, grace, directory, algorithm, bytes.fromhex(digest)
        )
    name = path.rpartition("/")[2]
    if target.kind == "verbatim" or path.startswith(served.POOL):
        file = await served.find_pool_file(tx, target.id, grace, path)
        if file is not None:
            return file
    if target.kind == "verbatim" or path.startswith(_DISTS):
        file = await served.find_generic_file(tx, target.id, grace, path)
        if file is not None:
            return file
    if name in _OF_NOW:
        return None
    return await served.find_older_file(tx, target.id, grace, path)
