"""Change: make, update or delete one row, for which the API found its locks taken."""

from __future__ import annotations

from debfleet.changes import apply_change, list_created, read_change
from debfleet.db import access, jobs, tasks
from debfleet.db.connect import Tx
from debfleet.model import DISTRIBUTION, Job
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Make the change and end the task, in one transaction."""
    wanted = read_change(job.task_args)

    def work(tx: Tx) -> None:
        jobs.hold(tx, job)
        result = apply_change(tx, wanted)
        for name in list_created(wanted):
            access.grant_task_owner(tx, job.task, DISTRIBUTION, name)
        tasks.complete(tx, job, created=list_created(wanted), result=result)

    worker.commit(work)
