"""Orphans: delete what no version holds and nobody wanted lately (see ``db.orphans``)."""

from __future__ import annotations

import logging

from debfleet.db import gone, jobs, labels, orphans, tasks
from debfleet.db.connect import Tx
from debfleet.model import Job, Kind
from debfleet.reports import CLEANED_ARTIFACTS, CLEANED_CONTENT
from debfleet_worker.batches import Batches
from debfleet_worker.chores.modify import read_unit
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_CHUNKS = 2  # of 4,096 ids, looked at in one batch
_INDICES = 100
_ARTIFACTS = 2000
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
    cleanup.forget_gone()
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
    """The batches of one cleanup."""

    def __init__(self, worker: Worker, job: Job, lease: Lease) -> None:
        self._batches = Batches(worker, job, lease)
        self._job = job
        self._minutes = min(int(job.task_args["protection_minutes"]), _LONGEST_MINUTES)

    def delete_indices(self) -> None:
        def work(tx: Tx) -> int:
            return orphans.delete_indices(tx, minutes=self._minutes, limit=_INDICES)

        while self._batches.run(work) == _INDICES:
            pass

    def delete_units(self, kind: Kind, chunks: list[int], ids: list[int] | None) -> None:
        for start in range(0, len(chunks), _CHUNKS):
            some = chunks[start : start + _CHUNKS]

            def work(tx: Tx, some: list[int] = some) -> None:
                deleted = orphans.delete_units(tx, kind, some, minutes=self._minutes, ids=ids)
                _count_units(tx, self._job, deleted)

            self._batches.run(work)

    def forget_labels(self) -> None:
        self._batches.run(labels.forget_links)

    def forget_gone(self) -> None:
        self._batches.run(gone.forget_unnamed)

    def delete_artifacts(self) -> None:
        after: int | None = 0
        while after is not None:

            def work(tx: Tx, after: int = after) -> int | None:
                last, count = orphans.doom_artifacts(
                    tx, after, minutes=self._minutes, limit=_ARTIFACTS
                )
                _count_artifacts(tx, self._job, count)
                return last

            after = self._batches.run(work)

    def delete_files(self) -> None:
        self._batches.delete_files()
