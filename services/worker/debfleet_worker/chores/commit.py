"""Commit: make an artifact of an upload's chunks."""

from __future__ import annotations

import logging
from uuid import UUID

from debfleet.db import installation, jobs, tasks, uploads
from debfleet.db.connect import Tx
from debfleet.model import Job, Kind, prn
from debfleet_worker.incoming import Incoming, check_digest, incoming_file, record
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Join the chunks, compare with the digest that the client gave, and end the task.

    Raises:
        FinalError: The upload is gone or not whole, or it is another file.
    """
    args = job.task_args
    with incoming_file(worker, job, lease, {"upload": args["upload"]}) as file:
        check_digest(file, args["sha256"])
        file.keep()
        worker.commit(lambda tx: _finish(worker, tx, job, file))
    log.info("upload.committed", extra={"bytes": file.size})


def _finish(worker: Worker, tx: Tx, job: Job, file: Incoming) -> None:
    jobs.hold(tx, job)
    artifact = record(worker, tx, file)
    uploads.delete_upload(tx, UUID(job.task_args["upload"]))
    uuid = installation.get_unit_ids(tx).uuid(Kind.ARTIFACT, artifact)
    tasks.complete(tx, job, created=[prn("core.artifact", uuid)])
