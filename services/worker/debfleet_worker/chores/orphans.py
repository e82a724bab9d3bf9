"""Orphans: delete what no version holds and nobody wanted lately (see ``db.orphans``)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

from debfleet.db import jobs, labels, orphans, tasks
from debfleet.db.connect import Tx
from debfleet.model import Job, Kind
from debfleet.reports import CLEANED_ARTIFACTS, CLEANED_CONTENT
from debfleet_worker.chores.modify import read_unit
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

T = TypeVar("T")

_CHUNKS = 2  # of 4,096 ids, looked at in one batch
_INDICES = 100
_ARTIFACTS = 2000
_FILES = 100  # deleted under the lock: on a bucket each is a request
_PATIENCE_SECONDS = 0.2  # syncs wait behind a batch that waits
_PATIENT_TRIES = 20  # then it waits as long as it takes
_OLD_TEMPORARY_SECONDS = 24 * 3600.0
_LONGEST_MINUTES = 100 * 366 * 24 * 60  # older than any row


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Indices, then units, then artifacts, then files; each batch is counted as it is done."""
    cleanup = _Cleanup(worker, job, lease)
    given = job.task_args["units"]
    cleanup.delete_indices()
    if given is None:
        for kind in orphans.KINDS:
            chunks = worker.db.run(lambda tx, kind=kind: orphans.list_dead_chunks(tx, kind))  # type: ignore[misc]
            cleanup.delete_units(kind, chunks, None)
    else:
        by_kind: dict[Kind, list[int]] = {}
        for unit in (read_unit(packed) for packed in given):
            by_kind.setdefault(unit.kind, []).append(unit.id)
        for kind in orphans.KINDS:
            ids = by_kind.get(kind, [])
            cleanup.delete_units(kind, sorted({id >> 12 for id in ids}), ids)
    cleanup.forget_labels()
    cleanup.delete_artifacts()
    cleanup.delete_files()
    worker.store.sweep_temporary(_OLD_TEMPORARY_SECONDS)
    worker.commit(lambda tx: _finish(tx, job))


def _finish(tx: Tx, job: Job) -> None:
    jobs.hold(tx, job)
    _count_units(tx, job, 0)
    _count_artifacts(tx, job, 0)
    orphans.close_reports(tx, job.task)
    tasks.complete(tx, job)


def _count_units(tx: Tx, job: Job, count: int) -> None:
    tasks.add_progress(tx, job.task, *CLEANED_CONTENT, done=count)


def _count_artifacts(tx: Tx, job: Job, count: int) -> None:
    tasks.add_progress(tx, job.task, *CLEANED_ARTIFACTS, done=count)


class _Cleanup:
    """The batches of one cleanup, each a short transaction of its own under the content lock."""

    def __init__(self, worker: Worker, job: Job, lease: Lease) -> None:
        self._worker = worker
        self._job = job
        self._lease = lease
        self._minutes = min(int(job.task_args["protection_minutes"]), _LONGEST_MINUTES)

    def delete_indices(self) -> None:
        def work(tx: Tx) -> int:
            return orphans.delete_indices(tx, minutes=self._minutes, limit=_INDICES)

        while self._batch(work) == _INDICES:
            pass

    def delete_units(self, kind: Kind, chunks: list[int], ids: list[int] | None) -> None:
        for start in range(0, len(chunks), _CHUNKS):
            some = chunks[start : start + _CHUNKS]

            def work(tx: Tx, some: list[int] = some) -> None:
                deleted = orphans.delete_units(tx, kind, some, minutes=self._minutes, ids=ids)
                _count_units(tx, self._job, deleted)

            self._batch(work)

    def forget_labels(self) -> None:
        self._batch(labels.forget_links)

    def delete_artifacts(self) -> None:
        after: int | None = 0
        while after is not None:

            def work(tx: Tx, after: int = after) -> int | None:
                last, count = orphans.doom_artifacts(
                    tx, after, minutes=self._minutes, limit=_ARTIFACTS
                )
                _count_artifacts(tx, self._job, count)
                return last

            after = self._batch(work)

    def delete_files(self) -> None:
        def work(tx: Tx) -> int:
            digests = orphans.list_doomed_files(tx, limit=_FILES)
            for digest in digests:
                self._worker.store.delete(digest)
            orphans.forget_doomed_files(tx, digests)
            return len(digests)

        while self._batch(work) == _FILES:
            pass

    def _batch(self, work: Callable[[Tx], T]) -> T:
        def locked(tx: Tx, patience: float | None) -> T:
            orphans.lock(tx, patience)
            jobs.hold(tx, self._job)
            return work(tx)

        pause = 0.05
        for tries in range(_PATIENT_TRIES + 1):
            self._lease.check()
            patience = _PATIENCE_SECONDS if tries < _PATIENT_TRIES else None
            try:
                with self._lease.busy():
                    return self._worker.db.run(lambda tx, p=patience: locked(tx, p))  # type: ignore[misc]
            except psycopg.errors.LockNotAvailable:
                time.sleep(pause)
                pause = min(2 * pause, 2.0)
        raise AssertionError("not reached")
