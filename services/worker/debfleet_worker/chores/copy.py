"""Copy: give content of some repository versions to other repositories."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from debfleet.db import copies, jobs, publications, seen_files, tasks
from debfleet.db.connect import Tx
from debfleet.db.copies import Copy
from debfleet.db.tasks import NewTask
from debfleet.db.versions import NewVersion
from debfleet.model import Job, Ring, prn
from debfleet_worker.autopublish import end_with_version
from debfleet_worker.chores.modify import read_unit
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """All entries in one transaction: if one fails, none is done."""
    with lease.busy():
        worker.commit(lambda tx: _finish(tx, job))


def _finish(tx: Tx, job: Job) -> list[Ring]:
    args = job.task_args
    jobs.hold(tx, job)
    made: list[tuple[int, NewVersion]] = []
    for entry in args["entries"]:
        copy = _read(entry)
        version = copies.copy_content(tx, job.task, copy, structured=args["structured"])
        if version is not None:
            seen_files.pass_on(tx, job.task, copy.target, version.number)
            made.append((copy.target, version))
    log.info("content.copied", extra={"entries": len(args["entries"]), "versions": len(made)})
    if len(made) == 1:
        return end_with_version(tx, job, *made[0])
    _publish_each(tx, made)
    tasks.complete(tx, job, created=[prn("core.repositoryversion", v.id) for _, v in made])
    return []


def _read(entry: Mapping[str, Any]) -> Copy:
    units = entry["units"]
    return Copy(
        entry["source"],
        entry["number"],
        entry["target"],
        entry["base_number"],
        None if units is None else [read_unit(packed) for packed in units],
    )


def _publish_each(tx: Tx, made: list[tuple[int, NewVersion]]) -> None:
    """A task makes one publication; of several versions each has one of its own.

    They start when this task gives its repositories free.
    """
    latest = dict(made)  # of one repository only its last version is served
    for repository, version in latest.items():
        origin = publications.get_origin(tx, repository, version.number)
        if not origin.autopublish:
            continue
        new = NewTask(
            kind="publish",
            name="pulp_deb.app.tasks.publishing.publish",
            args={"repository": repository, "number": version.number, "kind": "apt"}
            | {"structured": True},
            shared=[prn("deb.aptrepository", origin.uuid)],
            job_kind="publish",
        )
        tasks.ask(tx, new)
