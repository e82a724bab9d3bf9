"""Download: fetch one chunk of missing files into the store.

Reads the chunk's rows; leaves artifacts. What an earlier attempt stored is not fetched again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import sha256

from debfleet.db import guards, jobs, plans, repositories, tasks, units
from debfleet.db.connect import Tx
from debfleet.deb.sums import LARGEST_FILE
from debfleet.errors import (
    DebfleetError,
    DigestMismatch,
    HttpStatusError,
    NotFound,
    SizeMismatch,
    may_pass,
)
from debfleet.fetch import Got, Wanted, access_of, fetch_files
from debfleet.guards import MISSING_FILES, guard_level
from debfleet.metrics import GUARDS_MET
from debfleet.model import Job, Ring, Tolerance
from debfleet.store import Store
from debfleet_worker.downloads import Tally
from debfleet_worker.lease import Lease
from debfleet_worker.pins import raise_if_rotated
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_BLOCK = 1 << 20


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Fetch the chunk; one statement says what is stored."""
    with worker.db.transaction() as tx:
        remote = repositories.get_remote(tx, job.task_args["remote"])
        rows = plans.list_chunk(tx, job.task, job.args["opener"], job.args["chunk"])
    wanted = [
        Wanted(path=r["path"], sha256=r["sha256"], size=r["size"], limit=LARGEST_FILE) for r in rows
    ]
    tally = Tally(worker, job, len(wanted))
    kept, wanted = _already_there(worker.store, wanted, lease, tally)
    got = fetch_files(
        access_of(remote, worker.sealer, worker.settings),
        wanted,
        worker.store,
        lease.traffic(remote, tally.tell),
        lambda _: tally.add(),
    )
    kept += [(g.sha256, g.size) for g in got if g.error is None and g.sha256 is not None]
    failed = [g for g in got if g.error is not None]
    # What a row calls stored must outlive a loss of power.
    worker.store.flush()
    if failed:
        # What is tried again, or was not tried at a closed host, is not dealt with.
        tally.add(sum(not may_pass(g.error) for g in failed))
        worker.commit(lambda tx: _keep(tx, job, kept, tally.done))
        _raise_unless_let_through(worker, job, lease, failed)
        worker.commit(lambda tx: _finish_without(tx, job, failed))
        log.warning("files.refused", extra={"files": len(failed), "first": str(failed[0].error)})
        return
    worker.commit(lambda tx: _finish(tx, job, kept, tally.done))
    log.info("chunk.stored", extra={"files": len(kept), "bytes": sum(size for _, size in kept)})


def _already_there(
    store: Store, wanted: Sequence[Wanted], lease: Lease, tally: Tally
) -> tuple[list[tuple[bytes, int]], list[Wanted]]:
    """Files that an attempt before us put into the store without coming to say so.

    They are read once: after a loss of power a file may be there and not be whole. Then it is
    fetched again, over the one that is there; others may be about to say that they stored it, so
    it is never deleted.
    """
    missing = store.missing([w.sha256 for w in wanted if w.sha256 is not None])
    there, rest = [], []
    for file in wanted:
        if file.sha256 is None or file.sha256 in missing or not _is_whole(store, file, lease):
            rest.append(file)
        else:
            there.append((file.sha256, store.size(file.sha256) or 0))
            tally.add()
            tally.tell()
    return there, rest


def _is_whole(store: Store, file: Wanted, lease: Lease) -> bool:
    assert file.sha256 is not None
    size = store.size(file.sha256)
    digest = sha256()
    try:
        with store.open(file.sha256) as stored:
            while block := stored.read(_BLOCK):
                lease.check()
                lease.progress(len(block))
                digest.update(block)
    except NotFound:
        return False  # an operator removed it just now
    if digest.digest() != file.sha256:
        return False
    if file.size is not None and size != file.size:
        # It has the digest that the index promised, so the size that it promised is wrong.
        raise SizeMismatch(file.path, file.size, size or 0)
    return True


def _keep(tx: Tx, job: Job, kept: Sequence[tuple[bytes, int]], done: int) -> list[Ring]:
    """Another file failed, but these need not be fetched again."""
    jobs.hold(tx, job)
    units.add_artifacts(tx, sorted(set(kept)))
    tasks.count_files(tx, job, done)
    return []


def _finish(tx: Tx, job: Job, kept: Sequence[tuple[bytes, int]], done: int) -> list[Ring]:
    _keep(tx, job, kept, done)
    return jobs.finish(tx, job)


def _finish_without(tx: Tx, job: Job, failed: Sequence[Got]) -> list[Ring]:
    """The remote's guard lets the sync go on: assemble sees to the packages of these files."""
    jobs.hold(tx, job)
    guards.refuse_files(tx, job.task, {g.wanted.sha256 or b"": str(g.error) for g in failed})
    return jobs.finish(tx, job)


def _raise_unless_let_through(
    worker: Worker, job: Job, lease: Lease, failed: Sequence[Got]
) -> None:
    """Fail with the first error, one that waiting cannot help before others.

    Unless upstream has moved on: then the sync is planned anew. Or unless the remote's guard lets
    a sync go on without files that cannot be had.
    """
    error = _first(failed)
    with worker.db.transaction() as tx:
        remote = repositories.get_remote(tx, job.task_args["remote"])
    if any(_may_be_rotation(g.error) for g in failed):
        raise_if_rotated(worker, job, lease, remote, error)
    rest = [g for g in failed if not _is_for_good(g.error)]
    level = guard_level(remote.guards, MISSING_FILES)
    if not rest and level != "off":
        GUARDS_MET.add(len(failed), guard=MISSING_FILES, level=level)
    if level != "refuse":
        if not rest:
            return
        error = _first(rest)
    elif not rest:
        # The error names one; the task's report names all.
        worker.commit(lambda tx: _list_failed(tx, job, failed))
    log.warning("chunk.failed", extra={"files": len(failed), "first": str(error)})
    raise error


def _first(failed: Sequence[Got]) -> DebfleetError:
    error = min(failed, key=lambda got: may_pass(got.error)).error
    assert error is not None
    return error


def _list_failed(tx: Tx, job: Job, failed: Sequence[Got]) -> list[Ring]:
    jobs.hold(tx, job)
    items = [Tolerance(MISSING_FILES, g.wanted.path, None, str(g.error)) for g in failed]
    tasks.add_details(tx, job.task, items)
    return []


def _is_for_good(error: DebfleetError | None) -> bool:
    if isinstance(error, HttpStatusError):
        return error.status in (403, 404, 410)
    return isinstance(error, DigestMismatch | SizeMismatch)


def _may_be_rotation(error: DebfleetError | None) -> bool:
    if isinstance(error, HttpStatusError):
        return error.status in (404, 410)
    return isinstance(error, DigestMismatch | SizeMismatch)
