"""Download: fetch one chunk of missing files into the store.

Reads the chunk's rows; leaves artifacts. What an earlier attempt stored is not fetched again. What
somebody else has stored, and this remote is to show that it holds (``db.seen_files``), is compared
with it at one place, and fetched where that cannot be done.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Container, Sequence
from hashlib import sha256

from debfleet.db import gone, guards, jobs, plans, repositories, seen_files, tasks, units
from debfleet.db.connect import Tx
from debfleet.deb.sums import LARGEST_FILE
from debfleet.errors import (
    DebfleetError,
    DigestMismatch,
    HttpStatusError,
    NotFound,
    SizeMismatch,
    is_gone,
    may_pass,
)
from debfleet.fetch import (
    Access,
    Got,
    Sample,
    Traffic,
    Wanted,
    access_of,
    compare_files,
    fetch_files,
)
from debfleet.guards import MISSING_FILES, guard_level
from debfleet.metrics import GUARDS_MET
from debfleet.model import Job, Remote, Ring, Tolerance
from debfleet.store import Store
from debfleet_worker import vanishing
from debfleet_worker.alternates import fetch_elsewhere
from debfleet_worker.downloads import Tally
from debfleet_worker.lease import Lease
from debfleet_worker.pins import raise_if_rotated
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_BLOCK = 1 << 20
_SAMPLE = 4 << 10  # bytes that are compared of a file


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Fetch the chunk; one statement says what is stored."""
    with worker.db.transaction() as tx:
        remote = repositories.get_remote(tx, job.task_args["remote"])
        rows = plans.list_chunk(tx, job.task, job.args["opener"], job.args["chunk"])
    wanted = [
        Wanted(path=r["path"], sha256=r["sha256"], size=r["size"], limit=LARGEST_FILE) for r in rows
    ]
    to_see = {bytes(r["sha256"]): bool(r["is_stored"]) for r in rows if r["must_see"]}
    tally = Tally(worker, job, len(wanted))
    access = access_of(remote, worker.sealer, worker.settings)
    traffic = lease.traffic(remote, tally.tell)
    kept, wanted = _already_there(worker.store, wanted, lease, tally, to_see)
    found = [digest for digest, _ in kept]
    shown = _shown(
        worker.store, access, [w for w in wanted if to_see.get(w.sha256 or b"")], traffic
    )
    tally.add(len(shown))
    kept += shown.items()
    wanted = [w for w in wanted if w.sha256 not in shown]
    elsewhere = [w for w in wanted if w.sha256 not in to_see]
    brought = fetch_elsewhere(worker, lease, remote, elsewhere, tally)
    kept += brought.items()
    wanted = [w for w in wanted if w.sha256 not in brought]
    got = fetch_files(access, wanted, worker.store, traffic, lambda _: tally.add())
    kept += [(g.sha256, g.size) for g in got if g.error is None and g.sha256 is not None]
    failed = [g for g in got if g.error is not None]
    if not failed:
        job = lease.hand_over()
    # What a row calls stored must outlive a loss of power.
    worker.store.flush(found)
    if failed:
        # What is tried again, or was not tried at a closed host, is not dealt with.
        tally.add(sum(not may_pass(g.error) for g in failed))
        worker.commit(lambda tx: _keep(tx, job, kept, tally.done, to_see))
        if vanishing.is_about_them(job):
            vanishing.wait_for_upstream(worker, job, failed)
        else:
            _raise_unless_let_through(worker, job, lease, failed)
        worker.commit(lambda tx: _finish_without(tx, job, remote, failed))
        log.warning("files.refused", extra={"files": len(failed), "first": str(failed[0].error)})
        return
    worker.commit(lambda tx: _finish(tx, job, remote, kept, tally.done, to_see))
    log.info("chunk.stored", extra={"files": len(kept), "bytes": sum(size for _, size in kept)})


def _already_there(
    store: Store, wanted: Sequence[Wanted], lease: Lease, tally: Tally, to_see: Container[bytes]
) -> tuple[list[tuple[bytes, int]], list[Wanted]]:
    """Files that an attempt before us put into the store without coming to say so.

    They are read once: after a loss of power a file may be there and not be whole. Then it is
    fetched again, over the one that is there; others may be about to say that they stored it, so
    it is never deleted. What the remote is to show may have come from elsewhere.
    """
    missing = store.missing([w.sha256 for w in wanted if w.sha256 is not None])
    there, rest = [], []
    for file in wanted:
        if (
            file.sha256 is None
            or file.sha256 in to_see
            or file.sha256 in missing
            or not _is_whole(store, file, lease)
        ):
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


def _shown(
    store: Store, access: Access, wanted: Sequence[Wanted], traffic: Traffic
) -> dict[bytes, int]:
    """Of stored files those, with their sizes, that the remote has too: as far as a sample tells.

    A HEAD would not do: a server that does not have a file can say any size. It cannot say what
    lies in the file at a place that it did not choose.
    """
    samples, sizes = [], []
    for file in wanted:
        assert file.sha256 is not None
        size = store.size(file.sha256) or 0
        start = secrets.randbelow(max(size - _SAMPLE, 0) + 1)
        try:
            with store.open(file.sha256) as stored:
                stored.seek(start)
                samples.append(Sample(file.path, start, stored.read(_SAMPLE), size))
                sizes.append((file.sha256, size))
        except NotFound:
            continue  # an operator removed it just now: it is fetched
    same = compare_files(access, samples, traffic)
    return dict(found for found, is_same in zip(sizes, same, strict=True) if is_same)


def _keep(
    tx: Tx,
    job: Job,
    kept: Sequence[tuple[bytes, int]],
    done: int,
    to_see: Container[bytes],
) -> list[Ring]:
    """Another file failed, but these need not be fetched again."""
    jobs.hold(tx, job)
    units.add_artifacts(tx, sorted(set(kept)))
    if seen := [digest for digest, _ in kept if digest in to_see]:
        seen_files.see_files(tx, job.task, seen)
        if vanishing.is_about_them(job):  # no index lists them any more that could say so later
            seen_files.forget_unseen(tx, job.task_args["repository"], seen)
    tasks.count_files(tx, job, done)
    return []


def _finish(
    tx: Tx,
    job: Job,
    remote: Remote,
    kept: Sequence[tuple[bytes, int]],
    done: int,
    to_see: Container[bytes],
) -> list[Ring]:
    _keep(tx, job, kept, done, to_see)
    return jobs.finish(tx, job, then=vanishing.last_job(job, remote))


def _finish_without(tx: Tx, job: Job, remote: Remote, failed: Sequence[Got]) -> list[Ring]:
    """The sync may go on: where its guard lets it, assemble sees to the packages of these files."""
    jobs.hold(tx, job)
    if vanishing.is_about_them(job):
        vanishing.report_failed(tx, job, failed)
    else:
        guards.refuse_files(tx, job.task, {g.wanted.sha256 or b"": str(g.error) for g in failed})
    lacking = [g.wanted.sha256 or b"" for g in failed if is_gone(g.error)]
    gone.note(tx, lacking, [(digest, remote.id) for digest in lacking])
    return jobs.finish(tx, job, then=vanishing.last_job(job, remote))


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
    return is_gone(error) or isinstance(error, DigestMismatch | SizeMismatch)
