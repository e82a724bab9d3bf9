"""The files of the installer: what a list of them says, as far as a sync must know it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from debfleet.db import generics, orphans
from debfleet.db.generics import GenericFile
from debfleet.db.plans import WantedIndex
from debfleet.deb.sums import LARGEST_FILE, MD5SUMS, parse_sums
from debfleet.errors import DigestMismatch, HttpStatusError, SizeMismatch, WeakList, is_gone
from debfleet.fetch import Access, Wanted, access_of, fetch_one, measure_files
from debfleet.guards import WEAK_DIGESTS, guard_level
from debfleet.metrics import GUARDS_MET
from debfleet.model import Job, Remote, Tolerance
from debfleet_worker.lease import Lease
from debfleet_worker.pins import raise_if_rotated
from debfleet_worker.plain import Plain
from debfleet_worker.worker import Worker

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class InstallerList:
    """One list, read."""

    files: list[GenericFile]
    stored: list[tuple[bytes, int]] = field(default_factory=list)  # already: SHA-256 and size
    findings: list[Tolerance] = field(default_factory=list)  # what the guards let through


def read_list(
    worker: Worker, job: Job, lease: Lease, remote: Remote, wanted: WantedIndex, plain: Plain
) -> InstallerList:
    """The files of a list by their SHA-256.

    No list tells sizes. Where the files are not downloaded in this sync, upstream is asked for
    them, as the content service must know them before it has a file.

    Raises:
        MalformedFile, UnsafePath: It is no such list, or names what it must not.
        WeakList: It knows the files by MD5, and the remote's guard refuses that.
        DigestMismatch, HttpStatusError: Where it does not: a file is wrong, or not there.
    """
    directory = wanted.path.rpartition("/")[0]
    named = parse_sums(wanted.path, b"".join(plain.blocks()))
    sums = {f"{directory}/{path}": digest for path, digest in named.items()}
    access = access_of(remote, worker.sealer, worker.settings)
    if wanted.path.endswith(f"/{MD5SUMS}"):
        return _learn(worker, job, lease, remote, wanted, access, sums)
    sizes: dict[bytes, int] = {}
    if remote.policy != "immediate":
        sizes = _sizes(worker, lease, remote, access, sums)
    return InstallerList([GenericFile(p, digest, sizes.get(digest)) for p, digest in sums.items()])


def _sizes(
    worker: Worker, lease: Lease, remote: Remote, access: Access, sums: Mapping[str, bytes]
) -> dict[bytes, int]:
    """By digest: what somebody said before, then what upstream says."""
    with worker.db.transaction() as tx:
        known = generics.list_sizes(tx, list(set(sums.values())))
    asked = {digest: path for path, digest in sums.items() if digest not in known}
    said = measure_files(access, list(asked.values()), lease.traffic(remote))
    return known | {digest: said[path] for digest, path in asked.items() if path in said}


def _learn(
    worker: Worker,
    job: Job,
    lease: Lease,
    remote: Remote,
    wanted: WantedIndex,
    access: Access,
    sums: Mapping[str, bytes],
) -> InstallerList:
    """Fetch all files, whatever the policy: a unit is known by its SHA-256, which no list says."""
    level = guard_level(remote.guards, WEAK_DIGESTS)
    if level != "off":
        GUARDS_MET.add(guard=WEAK_DIGESTS, level=level)
    if level == "refuse":
        raise WeakList(wanted.path)
    listed = InstallerList([])
    try:
        for file, size in _fetch_by_md5(worker, job, lease, remote, access, sums):
            listed.files.append(file)
            listed.stored.append((file.sha256, size))
    except (DigestMismatch, SizeMismatch, HttpStatusError) as e:
        if not isinstance(e, HttpStatusError) or is_gone(e):
            raise_if_rotated(worker, job, lease, remote, e)
        raise
    if level != "off":
        text = "the files of the installer are known by MD5 alone"
        listed.findings.append(Tolerance(WEAK_DIGESTS, wanted.path, None, text))
    return listed


def _fetch_by_md5(
    worker: Worker,
    job: Job,
    lease: Lease,
    remote: Remote,
    access: Access,
    sums: Mapping[str, bytes],
) -> Iterator[tuple[GenericFile, int]]:
    for path, expected in sums.items():
        wanted = Wanted(path, sha256=None, size=None, limit=LARGEST_FILE)
        with fetch_one(access, wanted, worker.store, lease.traffic(remote)) as receiver:
            digest = hashlib.md5(usedforsecurity=False)
            with receiver.path().open("rb") as file:
                while block := file.read(_BLOCK):
                    lease.check()
                    lease.progress(len(block))
                    digest.update(block)
            if digest.digest() != expected:
                raise DigestMismatch(f"{path} (MD5)", expected.hex(), digest.hexdigest())
            sha256, size = receiver.sha256, receiver.size
            claimed = [(sha256, size, path)]
            worker.db.run(lambda tx, c=claimed: orphans.claim_files(tx, job, c))  # type: ignore[misc]
            receiver.keep(sha256)
        yield GenericFile(path, sha256, size), size
