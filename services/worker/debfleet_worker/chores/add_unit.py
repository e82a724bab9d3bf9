"""Add a unit that is no file: a release, an architecture or a component of a distribution."""

from __future__ import annotations

import logging
from typing import Any

from debfleet.db import additions, jobs, versions
from debfleet.db.connect import Tx
from debfleet.deb.paths import base_architecture
from debfleet.model import Job, Kind, Ring
from debfleet_worker.autopublish import end_with_version
from debfleet_worker.chores.add_file import give_labels, what_was_made
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Make the unit, unless it is there, give it to the repository, and end the task."""
    with lease.busy():
        worker.commit(lambda tx: _finish(tx, job))


def _finish(tx: Tx, job: Job) -> list[Ring]:
    args = job.task_args
    jobs.hold(tx, job)
    kind, fields = Kind(args["unit"]["kind"]), dict(args["unit"]["fields"])
    added = additions.add_unit(tx, kind, _columns(kind, fields))
    give_labels(tx, added, args)
    others = [
        additions.add_unit(tx, Kind.RELEASE_ARCHITECTURE, _columns(Kind.RELEASE_ARCHITECTURE, f))
        for f in _each(fields, "architectures", "architecture")
    ] + [
        additions.add_unit(tx, Kind.RELEASE_COMPONENT, f)
        for f in _each(fields, "components", "component")
    ]
    version = None
    if args["repository"] is not None:
        version = versions.modify(
            tx,
            repository=args["repository"],
            task=job.task,
            add=[added.unit, *(o.unit for o in others)],
            remove=[],
            overwrite=args["overwrite"],
        )
    made, result = what_was_made(tx, added, others)
    log.info("unit.added", extra={"unit_kind": kind.name.lower(), "is_new": added.is_new})
    return end_with_version(tx, job, args["repository"] or 0, version, made, result)


def _columns(kind: Kind, fields: dict[str, Any]) -> dict[str, Any]:
    if kind != Kind.RELEASE_ARCHITECTURE:
        return fields
    base, variant = base_architecture(fields["architecture"])
    return fields | {"base_architecture": base, "variant_architecture": variant}


def _each(fields: dict[str, Any], names: str, name: str) -> list[dict[str, Any]]:
    """What a release names beside itself; its own fields do not hold it any more."""
    distribution = fields["distribution"]
    return [{"distribution": distribution, name: one} for one in fields.pop(names, None) or []]
