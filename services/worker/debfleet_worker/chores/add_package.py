"""Add a package: read the control data of a .deb, record it, and give it to a repository."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from debfleet.db import additions, installation, jobs, placements, uploads, versions
from debfleet.db.additions import Added
from debfleet.db.connect import Tx
from debfleet.deb.debfile import UDEB_SECTION, index_stanza, read_deb
from debfleet.deb.packages import PackageStanza
from debfleet.errors import DebfleetError, MalformedFile
from debfleet.identity import UnitId
from debfleet.model import Job, Ring, prn, unit_model
from debfleet_worker.autopublish import end_with_version
from debfleet_worker.incoming import Incoming, incoming_file, record
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Take the file in and end the task; what is no package is not stored.

    Raises:
        MalformedFile: It is no package that dpkg and apt would take.
        FinalError: The file cannot be had, or the repository cannot take the package.
    """
    args = job.task_args
    try:
        with incoming_file(worker, job, lease, args["source"]) as file:
            package = _read(file, args)
            file.keep()
            with lease.busy():
                worker.commit(lambda tx: _finish(worker, tx, job, file, package))
    except DebfleetError as e:
        e.add_note(args["name"])
        raise
    log.info("package.added", extra={"package": package.name, "bytes": file.size})


def _read(file: Incoming, args: Mapping[str, Any]) -> PackageStanza:
    with file.open() as opened:
        deb = read_deb(opened, file.size)
    package = index_stanza(
        deb, relative_path=args["relative_path"], size=file.size, sha256=file.sha256
    )
    if package.section == UDEB_SECTION:
        raise MalformedFile(
            f"its Section is {UDEB_SECTION}: it is an installer package, and no package"
        )
    return package


def _finish(worker: Worker, tx: Tx, job: Job, file: Incoming, package: PackageStanza) -> list[Ring]:
    args = job.task_args
    jobs.hold(tx, job)
    record(worker, tx, file)
    added = additions.add_package(tx, worker.stanza_key, package)
    if "upload" in args["source"]:
        uploads.delete_upload(tx, UUID(args["source"]["upload"]))
    structure: list[Added] = []
    version = None
    if args["repository"] is not None:
        placed = placements.place_packages(
            tx, [added.unit], args["distribution"], args["component"]
        )
        structure = placed.structure
        version = versions.modify(
            tx,
            repository=args["repository"],
            task=job.task,
            add=[added.unit, *placed.links, *(s.unit for s in structure)],
            remove=[],
            overwrite=args["overwrite"],
        )
    made = unit_names(tx, [added.unit, *(s.unit for s in structure if s.is_new)])
    result = {"unit": [int(added.unit.kind), added.unit.id, 0]}
    return end_with_version(tx, job, args["repository"] or 0, version, made, result)


def unit_names(tx: Tx, units: list[UnitId]) -> list[str]:
    """The PRNs of units."""
    ids = installation.get_unit_ids(tx)
    return [prn(unit_model(u.kind), ids.uuid(u.kind, u.id, u.list)) for u in units]
