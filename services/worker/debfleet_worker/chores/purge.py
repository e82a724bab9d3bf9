"""Purge: forget tasks that ended before some time."""

from __future__ import annotations

import logging
from datetime import datetime

from debfleet.db import jobs, purges, task_groups, tasks
from debfleet.db.connect import Tx
from debfleet.model import Job
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_AT_ONCE = 1000
# The texts and codes are Pulp's: clients look for them.
_REPORTS = {
    "purge.tasks.total": "Purged task-related objects total",
    "purge.tasks.key.core.Task": "Purged objects of type core.Task",
}


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Delete in batches; the last one ends the task."""
    while True:
        lease.check()
        if worker.db.run(lambda tx: _purge(tx, job)):
            return
        lease.progress()


def _purge(tx: Tx, job: Job) -> bool:
    """One batch, counted in the same transaction; true if it was the last."""
    jobs.hold(tx, job)
    count = purges.purge_tasks(
        tx,
        finished_before=datetime.fromisoformat(job.task_args["finished_before"]),
        states=job.task_args["states"],
        limit=_AT_ONCE,
    )
    for code, message in _REPORTS.items():
        tasks.add_progress(tx, job.task, code, message, done=count)
    is_last = count < _AT_ONCE
    if is_last:
        task_groups.drop_empty(tx)
        tasks.add_progress(
            tx, job.task, "purge.tasks.error", "Errors encountered during purge", done=0
        )
        tasks.complete(tx, job)
    return is_last
