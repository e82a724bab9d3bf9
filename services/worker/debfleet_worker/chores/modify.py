"""Modify: make a repository version by naming what it has more and less than its base."""

from __future__ import annotations

import logging
from typing import Any, Literal

from debfleet.db import jobs, versions
from debfleet.db.connect import Tx
from debfleet.identity import UnitId
from debfleet.model import Job, Kind, Ring
from debfleet_worker.autopublish import end_with_version
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Make the version, or none where it would equal the latest, and end the task."""
    with lease.busy():
        worker.commit(lambda tx: _finish(tx, job))


def _finish(tx: Tx, job: Job) -> list[Ring]:
    args = job.task_args
    jobs.hold(tx, job)
    remove: list[UnitId] | Literal["*"] = "*"
    if args["remove"] != "*":
        remove = [read_unit(packed) for packed in args["remove"]]
    version = versions.modify(
        tx,
        repository=args["repository"],
        task=job.task,
        add=[read_unit(packed) for packed in args["add"]],
        remove=remove,
        base_number=args["base_version"],
        overwrite=args["overwrite"],
    )
    if version is None:
        log.info("version.unchanged")
    else:
        log.info("version.made", extra={"number": version.number})
    # The task's result is the version: the API shows it as it is when it is asked.
    return end_with_version(tx, job, args["repository"], version)


def read_unit(packed: list[Any]) -> UnitId:
    """A unit as a task's args hold it: kind, id, list."""
    kind, id, list_id = packed
    return UnitId(Kind(kind), id, list_id)
