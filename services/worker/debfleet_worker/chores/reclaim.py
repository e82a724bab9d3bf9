"""Reclaim: delete stored files that can be fetched again, and that nobody else needs here."""

from __future__ import annotations

import logging

from debfleet.db import jobs, reclaims, tasks
from debfleet.db.connect import Tx
from debfleet.model import Job
from debfleet.reports import RECLAIMED
from debfleet_worker.batches import Batches
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_ARTIFACTS = 1000


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Rows in batches, then their files; each batch is counted as it is done."""
    batches = Batches(worker, job, lease)
    args = job.task_args
    kept = [(repository, number) for repository, number in args["kept"]]
    after: int | None = 0
    while after is not None:

        def work(tx: Tx, after: int = after) -> int | None:
            last, count = reclaims.doom_artifacts(
                tx, args["repositories"], kept, after, limit=_ARTIFACTS
            )
            tasks.add_progress(tx, job.task, *RECLAIMED, done=count)
            return last

        after = batches.run(work)
    batches.delete_files()
    worker.commit(lambda tx: _finish(tx, job))


def _finish(tx: Tx, job: Job) -> None:
    jobs.hold(tx, job)
    reclaims.close_report(tx, job.task)
    tasks.complete(tx, job)
    log.info("space.reclaimed")
