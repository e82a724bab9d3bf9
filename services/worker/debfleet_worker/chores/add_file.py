"""Add a file as a unit: a package, by its own control data, or any file at a path."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from debfleet.db import (
    additions,
    installation,
    jobs,
    labels,
    placements,
    seen_files,
    signings,
    uploads,
    versions,
)
from debfleet.db.additions import Added
from debfleet.db.connect import Tx
from debfleet.db.placements import Placed
from debfleet.deb.debfile import UDEB_SECTION, index_stanza, read_deb
from debfleet.deb.packages import PackageStanza
from debfleet.errors import DebfleetError, MalformedFile
from debfleet.identity import UnitId
from debfleet.model import Job, Kind, Ring, prn, unit_model
from debfleet_worker.autopublish import end_with_version
from debfleet_worker.incoming import Incoming, incoming_file, record
from debfleet_worker.lease import Lease
from debfleet_worker.sign_packages import Signer
from debfleet_worker.signed_files import signed_file
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Take the file in and end the task; what is not what it should be is not stored.

    Raises:
        MalformedFile: It is no package that dpkg and apt would take.
        FinalError: The file cannot be had or signed, or the repository cannot take the unit.
    """
    args = job.task_args
    kind = Kind(args["kind"])
    try:
        with incoming_file(worker, job, lease, args["source"]) as file:
            package = None if kind == Kind.GENERIC else _read_package(kind, file, args)
            signer = _find_signer(worker, kind, args)
            kept = file
            if signer is not None:
                kept = signed_file(worker, job, lease, signer, file)
                package = _read_package(kind, kept, args)
            kept.keep()

            def finish(tx: Tx) -> list[Ring]:
                rings = _finish(worker, tx, job, kept, package)
                if signer is not None and kept.sha256 != file.sha256:
                    signings.add_signed(tx, file.sha256, signer.key, kept.sha256)
                return rings

            with lease.busy():
                worker.commit(finish)
    except DebfleetError as e:
        e.add_note(args["name"])
        raise
    log.info("file.added", extra={"unit_kind": kind.name.lower(), "bytes": file.size})


def _find_signer(worker: Worker, kind: Kind, args: Mapping[str, Any]) -> Signer | None:
    """Who signs it for the repository that it is to lie in."""
    if kind != Kind.PACKAGE or args["repository"] is None:
        return None
    with worker.db.transaction() as tx:
        signing = signings.find_signing(tx, args["repository"])
    if signing is None:
        return None
    return Signer(signing.service, signing.key_for(args["distribution"]))


def _read_package(kind: Kind, file: Incoming, args: Mapping[str, Any]) -> PackageStanza:
    is_udeb = kind == Kind.INSTALLER_PACKAGE
    with file.open() as opened:
        deb = read_deb(opened, file.size)
    package = index_stanza(
        deb,
        relative_path=args["relative_path"],
        size=file.size,
        sha256=file.sha256,
        suffix="udeb" if is_udeb else "deb",
    )
    if (package.section == UDEB_SECTION) != is_udeb:
        what = "no installer package" if is_udeb else "an installer package, and no package"
        raise MalformedFile(f"its Section is {package.section or 'not there'}: it is {what}")
    return package


def _finish(
    worker: Worker, tx: Tx, job: Job, file: Incoming, package: PackageStanza | None
) -> list[Ring]:
    args = job.task_args
    kind, repository = Kind(args["kind"]), args["repository"]
    jobs.hold(tx, job)
    record(worker, tx, file)
    if package is None:
        added = additions.add_generic(tx, args["relative_path"], file.sha256, file.size)
    else:
        added = additions.add_package(tx, worker.stanza_key, package, kind)
    give_labels(tx, added, args)
    if "upload" in args["source"]:
        uploads.delete_upload(tx, UUID(args["source"]["upload"]))
    placed = Placed([], [])
    version = None
    if repository is not None:
        seen_files.forget_unseen(tx, repository, [file.sha256])
        if kind == Kind.PACKAGE:
            where = (args["distribution"], args["component"])
            placed = placements.place_packages(tx, [added.unit], *where)
        version = versions.modify(
            tx,
            repository=repository,
            task=job.task,
            add=[added.unit, *placed.links, *(s.unit for s in placed.structure)],
            remove=[],
            overwrite=args["overwrite"],
        )
    made, result = what_was_made(tx, added, placed.structure)
    return end_with_version(tx, job, repository or 0, version, made, result)


def give_labels(tx: Tx, added: Added, args: Mapping[str, Any]) -> None:
    """The labels that a unit was asked for with.

    A unit that was there may be others' too: its own labels stay, unless who asks may change them.
    """
    if args.get("labels") and (added.is_new or args["may_label"]):
        labels.replace_labels(tx, added.unit, args["labels"])


def what_was_made(tx: Tx, added: Added, others: list[Added]) -> tuple[list[str], dict[str, Any]]:
    """PRNs of a unit, new or not, and of the new ones beside it; and the task's result."""
    units: list[UnitId] = [added.unit, *(other.unit for other in others if other.is_new)]
    ids = installation.get_unit_ids(tx)
    names = [prn(unit_model(u.kind), ids.uuid(u.kind, u.id, u.list)) for u in units]
    return names, {"unit": [int(added.unit.kind), added.unit.id, added.unit.list]}
