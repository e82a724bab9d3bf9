"""Assemble: make one complete repository version of what the sync found, in one transaction.

Reads the units that plan and index left; leaves a version, or none where nothing changed, and
ends the task, or opens publish where the repository publishes by itself. It never asks upstream.
"""

from __future__ import annotations

import logging

from debfleet import reports
from debfleet.db import jobs, plans, repositories, tasks, units, versions
from debfleet.db.connect import Tx
from debfleet.model import Job, Kind, Ring, Tolerance
from debfleet_worker.autopublish import end_with_version
from debfleet_worker.lease import Lease
from debfleet_worker.selection import sync_options
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_UPSTREAMS_OWN = (Kind.RELEASE_FILE, Kind.PACKAGE_INDEX)


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Build the version and end the task."""
    with lease.busy():
        worker.commit(lambda tx: _finish(tx, job))


def _finish(tx: Tx, job: Job) -> list[Ring]:
    jobs.hold(tx, job)
    repository, mirror = job.task_args["repository"], bool(job.task_args["mirror"])
    remote = repositories.get_remote(tx, job.task_args["remote"])
    options = sync_options(remote, mirror)
    units.lock_content(tx)
    plans.add_flat_structure(tx, job.task)
    version = versions.assemble(
        tx, repository=repository, task=job.task, mirror=mirror, options=options
    )
    plans.add_offers(tx, job.task, remote.id)
    _report_tolerances(tx, job)
    counts = {} if version is None else version.counts
    # Upstream's own files are taken out of every version first, and put in anew.
    own = plans.count_upstream_files(tx, job.task)
    others = [c for kind, c in counts.items() if kind not in _UPSTREAMS_OWN]
    added = own + sum(c.added for c in others)
    tasks.add_progress(tx, job.task, *reports.ASSOCIATED, done=added)
    if mirror:
        removed = sum(c.removed for c in others)
        tasks.add_progress(tx, job.task, *reports.UNASSOCIATED, done=removed)
    if version is None:
        plans.renew_options(tx, repository, options)
        log.info("version.unchanged")
    else:
        log.info("version.made", extra={"number": version.number, "added": added})
    return end_with_version(tx, job, repository, version)


def _report_tolerances(tx: Tx, job: Job) -> None:
    """What the indices list and this version leaves out."""
    items, counts = plans.list_own_tolerances(tx, job.task)
    for foreign in versions.list_foreign(tx, job.task):
        reason = "architecture_foreign"
        counts[reason] = counts.get(reason, 0) + foreign.count
        detail = f"{foreign.count} packages for '{foreign.architecture}'"
        items.append(Tolerance(reason, foreign.path, None, detail))
    tasks.add_tolerances(tx, job.task, items, counts)
