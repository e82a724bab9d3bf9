"""Repair: see whether files are in the store and whole; fetch again what is not.

Those of one version, or all that there are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from debfleet.db import gone, jobs, repairs, repositories, tasks
from debfleet.db.connect import Tx
from debfleet.db.repairs import StoredFile
from debfleet.errors import DebfleetError, NotFound, is_gone
from debfleet.fetch import Wanted, access_of, fetch_files
from debfleet.model import Job, Tolerance
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_AT_ONCE = 256
_BLOCK = 1 << 20
_REPORTS = {
    "repair.missing": "Identify missing files",
    "repair.corrupted": "Identify corrupted files",
    "repair.repaired": "Repair corrupted files",
}


@dataclass
class _Batch:
    """What was found about some files."""

    missing: list[StoredFile] = field(default_factory=list)
    corrupted: list[StoredFile] = field(default_factory=list)
    repaired: set[bytes] = field(default_factory=set)
    reasons: dict[bytes, str] = field(default_factory=dict)  # why a file could not be had again
    asked: set[tuple[bytes, int]] = field(default_factory=set)  # of which remote, which file
    lacking: set[tuple[bytes, int]] = field(default_factory=set)  # and it does not have it

    @property
    def lost(self) -> list[StoredFile]:
        return [f for f in (*self.missing, *self.corrupted) if f.sha256 not in self.repaired]

    @property
    def gone(self) -> list[bytes]:
        """What is lost, and whoever was asked for it does not have it."""
        unsure = {digest for digest, _ in self.asked - self.lacking}
        return [f.sha256 for f in self.lost if f.sha256 not in unsure]


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Look at the files in batches; the task's report names what is lost."""
    repository, number = job.task_args["repository"], job.task_args["number"]
    verify = bool(job.task_args["verify_checksums"])
    worker.commit(lambda tx: _start(tx, job))
    after = 0
    while True:
        lease.check()
        with worker.db.transaction() as tx:
            if repository is None:
                files = repairs.list_all_files(tx, after=after, limit=_AT_ONCE)
            else:
                files = repairs.list_files(tx, repository, number, after=after, limit=_AT_ONCE)
        if not files:
            break
        after = files[-1].id
        batch = _look(worker, lease, files, verify)
        if batch.missing or batch.corrupted:
            _fetch(worker, lease, repository, batch)
            worker.commit(lambda tx, batch=batch: _count(tx, job, batch))  # type: ignore[misc]
    worker.commit(lambda tx: _finish(tx, job))


def _look(worker: Worker, lease: Lease, files: Sequence[StoredFile], verify: bool) -> _Batch:
    missing = worker.store.missing([f.sha256 for f in files])
    lease.progress()
    batch = _Batch(missing=[f for f in files if f.sha256 in missing])
    for file in files:
        if file.sha256 not in missing and not _is_whole(worker, lease, file, verify):
            batch.corrupted.append(file)
    return batch


def _is_whole(worker: Worker, lease: Lease, file: StoredFile, verify: bool) -> bool:
    lease.check()
    lease.progress()
    if worker.store.size(file.sha256) != file.size:
        return False
    if not verify:
        return True
    digest = sha256()
    with worker.store.open(file.sha256) as stored:
        while block := stored.read(_BLOCK):
            lease.check()
            lease.progress(len(block))
            digest.update(block)
    return digest.digest() == file.sha256


def _fetch(worker: Worker, lease: Lease, repository: int | None, batch: _Batch) -> None:
    """From each remote that offers one of the files, what is still lacking."""
    sizes = {f.sha256: f.size for f in batch.lost}
    with worker.db.transaction() as tx:
        sources = repairs.list_sources(tx, repository, list(sizes))
    for remote_id in sorted({s.remote for s in sources}):
        wanted = [
            Wanted(path=s.path, sha256=s.sha256, size=sizes[s.sha256])
            for s in sources
            if s.remote == remote_id and s.sha256 not in batch.repaired
        ]
        try:
            with worker.db.transaction() as tx:
                remote = repositories.get_remote(tx, remote_id)
            access = access_of(remote, worker.sealer, worker.settings)
            got = fetch_files(access, wanted, worker.store, lease.traffic(remote))
        except NotFound:
            continue  # deleted meanwhile
        for one in got:
            digest = one.wanted.sha256
            if digest is None:
                continue
            batch.asked.add((digest, remote_id))
            if is_gone(one.error):
                batch.lacking.add((digest, remote_id))
            if one.error is None:
                batch.repaired.add(digest)
            else:
                batch.reasons[digest] = _shown(one.error)
    worker.store.flush()


def _shown(error: DebfleetError) -> str:
    return f"[{error.code}] {error}"


def _start(tx: Tx, job: Job) -> None:
    jobs.hold(tx, job)
    repairs.restart_reports(tx, job.task)
    for code, message in _REPORTS.items():
        tasks.add_progress(tx, job.task, code, message, done=0)


def _count(tx: Tx, job: Job, batch: _Batch) -> None:
    jobs.hold(tx, job)
    lost = batch.lost
    repairs.drop_artifacts(tx, [f.sha256 for f in lost])
    gone.note(tx, batch.gone, batch.lacking)
    gone.forget(tx, sorted(batch.repaired))
    counts = (len(batch.missing), len(batch.corrupted), len(batch.repaired))
    for (code, message), count in zip(_REPORTS.items(), counts, strict=True):
        tasks.add_progress(tx, job.task, code, message, done=count)
    tasks.add_tolerances(tx, job.task, [_tolerance(f, batch) for f in lost], {})
    log.warning("files.damaged", extra={"missing": counts[0], "corrupted": counts[1]})


def _tolerance(file: StoredFile, batch: _Batch) -> Tolerance:
    reason = "file_missing" if file in batch.missing else "file_corrupted"
    detail = batch.reasons.get(file.sha256, "no remote offers it")
    return Tolerance(reason, file.sha256.hex(), None, detail)


def _finish(tx: Tx, job: Job) -> None:
    tasks.complete(tx, job)
