"""Modify: make a repository version by naming what it has more and less than its base."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from debfleet.db import jobs, placements, repositories, seen_files, units, versions
from debfleet.db.connect import Tx
from debfleet.identity import UnitId
from debfleet.model import Job, Kind, Ring
from debfleet_worker.autopublish import end_with_version
from debfleet_worker.lease import Lease
from debfleet_worker.signed_units import sign_units, take_signed
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Make the version, or none where it would equal the latest, and end the task.

    Raises:
        FinalError: A package cannot be signed, or the repository cannot take a unit.
    """
    add = [read_unit(packed) for packed in job.task_args["add"]]
    signed = sign_units(worker, job, lease, add)

    def finish(tx: Tx) -> list[Ring]:
        jobs.hold(tx, job)
        return _finish(tx, job, *take_signed(worker, tx, add, signed))

    with lease.busy():
        worker.commit(finish)


def _finish(tx: Tx, job: Job, add: list[UnitId], made: list[str]) -> list[Ring]:
    args = job.task_args
    remove: list[UnitId] | Literal["*"] = "*"
    if args["remove"] != "*":
        remove = [read_unit(packed) for packed in args["remove"]]
    if args.get("place") is not None:
        add, remove = _in_place(tx, args, add, remove)
    version = versions.modify(
        tx,
        repository=args["repository"],
        task=job.task,
        add=add,
        remove=remove,
        base_number=args["base_version"],
        overwrite=args["overwrite"],
    )
    if version is None:
        log.info("version.unchanged")
    else:
        seen_files.pass_on(tx, job.task, args["repository"], version.number)
        log.info("version.made", extra={"number": version.number})
    # The task's result is the version: the API shows it as it is when it is asked.
    return end_with_version(tx, job, args["repository"], version, made)


def read_unit(packed: list[Any]) -> UnitId:
    """A unit as a task's args hold it: kind, id, list."""
    kind, id, list_id = packed
    return UnitId(Kind(kind), id, list_id)


def _in_place(
    tx: Tx,
    args: Mapping[str, Any],
    add: Sequence[UnitId],
    remove: Sequence[UnitId] | Literal["*"],
) -> tuple[list[UnitId], list[UnitId] | Literal["*"]]:
    """What is added is put into a component of a distribution, what is removed leaves that one."""
    units.lock_content(tx)
    placed = placements.place_packages(tx, add, *args["place"])
    added = [*add, *placed.links, *(s.unit for s in placed.structure)]
    if remove == "*":
        return added, "*"
    number = args["base_version"]
    if number is None:
        number = repositories.get_repository(tx, args["repository"]).latest
    at = (args["repository"], number)
    return added, placements.displace_packages(tx, remove, at, *args["place"])
