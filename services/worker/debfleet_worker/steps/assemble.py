"""Assemble: make one complete repository version of what the sync found, in one transaction.

Reads the units that plan and index left; leaves a version, or none where nothing changed, and
ends the task, or opens publish where the repository publishes by itself. It never asks upstream. A
refresh of an alternate content source makes no version.
"""

from __future__ import annotations

import logging

from debfleet import reports
from debfleet.db import (
    alternates,
    generics,
    gone,
    guards,
    jobs,
    plans,
    repositories,
    seen_files,
    tasks,
    units,
    versions,
)
from debfleet.db.connect import Tx
from debfleet.guards import MISSING_FILES, guard_level
from debfleet.model import Job, Kind, Remote, Ring, Tolerance
from debfleet_worker.autopublish import end_with_version
from debfleet_worker.guards import Watch, check_counts, taken_by
from debfleet_worker.lease import Lease
from debfleet_worker.selection import sync_options
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_UPSTREAMS_OWN = (
    Kind.RELEASE_FILE,
    Kind.PACKAGE_INDEX,
    Kind.SOURCE_INDEX,
    Kind.INSTALLER_FILE_INDEX,
)


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Build the version and end the task."""
    with lease.busy():
        worker.commit(lambda tx: _finish(tx, job))


def _finish(tx: Tx, job: Job) -> list[Ring]:
    jobs.hold(tx, job)
    repository, mirror = job.task_args["repository"], bool(job.task_args["mirror"])
    remote = repositories.get_remote(tx, job.task_args["remote"])
    if repository is None:
        return _finish_refresh(tx, job, remote)
    options = sync_options(remote, mirror)
    units.lock_content(tx)
    plans.add_flat_structure(tx, job.task)
    counts_by_dist, findings = _check_counts(tx, job, remote, mirror)
    keeps_missing = guard_level(remote.guards, MISSING_FILES) == "off"
    missing, count_missing = guards.list_refused_files(tx, job.task, MISSING_FILES)
    if count_missing:
        # The next sync finds other options and looks again, though upstream says the same.
        options |= {MISSING_FILES: count_missing}
    version = versions.assemble(
        tx,
        repository=repository,
        task=job.task,
        mirror=mirror,
        options=options,
        without_refused=not keeps_missing,
    )
    generics.note_sizes(tx, job.task)
    gone.forget_listed(tx, job.task)
    seen_files.settle(tx, job.task, repository, remote.id)
    plans.add_offers(tx, job.task, remote.id)
    guards.see_counts(tx, remote.id, remote.url, taken_by(remote), counts_by_dist)
    _report_tolerances(tx, job)
    tasks.add_findings(tx, job.task, findings)
    if count_missing:
        report = tasks.add_findings if keeps_missing else tasks.add_tolerances
        report(tx, job.task, missing, {MISSING_FILES: count_missing})
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


def _finish_refresh(tx: Tx, job: Job, remote: Remote) -> list[Ring]:
    """Of an alternate content source: what it offers is all that is kept."""
    plans.add_offers(tx, job.task, remote.id)
    alternates.note_refreshed(tx, job.task_args["alternate"], remote.id)
    tasks.complete(tx, job)
    log.info("alternate.refreshed", extra={"remote": remote.id})
    return []


def _check_counts(
    tx: Tx, job: Job, remote: Remote, mirror: bool
) -> tuple[dict[str, int], list[Tolerance]]:
    """Packages by dist, and the dists that shrank and are let through."""
    counts = guards.count_listed(tx, job.task)
    seen = guards.list_seen(tx, remote.id, remote.url)
    return counts, check_counts(Watch(remote, mirror), counts, seen)


def _report_tolerances(tx: Tx, job: Job) -> None:
    """What the indices list and this version leaves out."""
    items, counts = plans.list_own_tolerances(tx, job.task)
    for foreign in versions.list_foreign(tx, job.task):
        reason = "architecture_foreign"
        counts[reason] = counts.get(reason, 0) + foreign.count
        detail = f"{foreign.count} packages for '{foreign.architecture}'"
        items.append(Tolerance(reason, foreign.path, None, detail))
    tasks.add_tolerances(tx, job.task, items, counts)
