"""A Release file without SHA-256: learn the digests that the rest of a sync works by.

The wanted indices are fetched and held against the digests that Release has; the SHA-256 of what
came is what the sync is pinned to from here on. MD5 and SHA1 alone are no proof: only a remote
whose guard says so gets here, and each sync reports it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import IO

from debfleet.deb import paths
from debfleet.deb.release import OtherFile, Release, SignedFile
from debfleet.errors import (
    DigestMismatch,
    HttpStatusError,
    MalformedFile,
    SizeMismatch,
    WeakDigests,
)
from debfleet.fetch import Access, Wanted, access_of, fetch_one
from debfleet.guards import WEAK_DIGESTS, guard_level
from debfleet.metrics import GUARDS_MET
from debfleet.model import Remote
from debfleet_worker.lease import Lease
from debfleet_worker.plain import UNPACKING_ERRORS, Xz, opened
from debfleet_worker.selection import Dist, wanted_indices
from debfleet_worker.worker import Worker

_BLOCK = 1 << 20
_ENDINGS = (".xz", ".gz", "")  # best first
_UNKNOWN = "0" * 64


def is_weak(release: Release) -> bool:
    """Whether nothing in it is stronger than MD5 or SHA1; false for one that lists nothing."""
    if release.lists_sha256:
        return False
    return any("sha512" not in file.digests for file in release.others.values())


def with_sha256(worker: Worker, lease: Lease, remote: Remote, dist: Dist) -> Dist:
    """The dist with SHA-256 of the indices that this remote wants; itself where it has them.

    Raises:
        WeakDigests: It has MD5 or SHA1 alone, and the remote's guard refuses that.
        DigestMismatch, SizeMismatch, MalformedFile: An index is not what Release says.
    """
    release = dist.release
    if release.lists_sha256:
        return dist
    offers = dist.place.is_flat or (release.components and release.architectures)
    if not offers:
        return dist  # no index that would need a digest
    is_refused = guard_level(remote.guards, WEAK_DIGESTS) == "refuse"
    if is_refused and (is_weak(release) or not release.others):
        GUARDS_MET.add(guard=WEAK_DIGESTS, level="refuse")
        raise WeakDigests(dist.name)
    named = {path: SignedFile(path, f.size, _UNKNOWN) for path, f in release.others.items()}
    asked = replace(dist, release=replace(release, files=named))
    access = access_of(remote, worker.sealer, worker.settings)
    files: dict[str, SignedFile] = {}
    for index in wanted_indices(asked, remote, worker.settings, []):
        plain = next(path for path in index.files if index.path.endswith(path))
        for file in _learn(worker, lease, remote, access, dist, plain):
            files[file.path] = file
    # What is not fetched above has no digest that we could hold it against.
    return replace(dist, release=replace(release, files=files, acquire_by_hash=False))


def _learn(
    worker: Worker, lease: Lease, remote: Remote, access: Access, dist: Dist, plain: str
) -> Iterator[SignedFile]:
    """The plain form and the one that was read; nothing where no form is there."""
    others = dist.release.others
    for ending in _ENDINGS:
        form = others.get(plain + ending)
        if form is None:
            continue
        path = paths.in_directory(dist.place.directory, form.path)
        try:
            wanted = Wanted(path=path, sha256=None, size=form.size)
            with fetch_one(access, wanted, worker.store, lease.traffic(remote)) as receiver:
                with receiver.path().open("rb") as file:
                    yield _checked(file, form, path, lease)
                if ending:
                    with opened(receiver.path(), path) as file:
                        yield _checked(file, others[plain], f"{path} unpacked", lease)
        except HttpStatusError as e:
            if e.status not in (404, 410):
                raise
            continue
        return


def _checked(file: IO[bytes] | Xz, expected: OtherFile, path: str, lease: Lease) -> SignedFile:
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in expected.digests}
    sha256, size = hashlib.sha256(), 0
    try:
        # One byte more than promised is enough to know: a bomb is never unpacked.
        while block := file.read(min(_BLOCK, expected.size + 1 - size)):
            lease.check()
            lease.progress(len(block))
            size += len(block)
            for digest in (sha256, *digests.values()):
                digest.update(block)
    except UNPACKING_ERRORS as e:
        raise MalformedFile(f"{path} cannot be unpacked: {e}") from None
    if size != expected.size:
        raise SizeMismatch(
            path, expected.size, f"more than {expected.size}" if size > expected.size else size
        )
    for name, digest in digests.items():
        if digest.hexdigest() != expected.digests[name]:
            raise DigestMismatch(f"{path} ({name})", expected.digests[name], digest.hexdigest())
    return SignedFile(expected.path, size, sha256.hexdigest())
