"""Delete one repository version; the others keep what they hold."""

from __future__ import annotations

import logging

from debfleet.db import jobs, tasks, versions
from debfleet.db.connect import Tx
from debfleet.errors import NotFound
from debfleet.model import Job
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Delete it and end the task, in one transaction.

    Raises:
        LastVersion: There is no other.
    """
    with lease.busy():
        worker.commit(lambda tx: _finish(tx, job))


def _finish(tx: Tx, job: Job) -> None:
    jobs.hold(tx, job)
    number = job.task_args["number"]
    try:
        versions.delete_version(tx, job.task_args["repository"], number)
    except NotFound:
        # Asked twice, or retain_repo_versions was faster: it is gone, as was wished.
        log.info("version.gone", extra={"number": number})
    tasks.complete(tx, job)
