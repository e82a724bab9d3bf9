"""Files that upstream is about to drop: fetched before a sync ends, where its remote says so.

What upstream lists now is known when the last index is read. So the last job of a sync's looking
and fetching does not open assemble but one job more, which compares what is listed with what was,
and opens downloads; the last of those opens assemble. They fail no sync: what is gone already, or
cannot be had for as long as upstream is waited for, is reported.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from debfleet.db import guards, jobs, tasks, units, vanishing
from debfleet.db.connect import Tx
from debfleet.db.jobs import NewJob
from debfleet.errors import may_pass
from debfleet.fetch import Got
from debfleet.guards import SHRINK
from debfleet.model import Job, Remote, Ring, Tolerance
from debfleet_worker.downloads import count_downloads, open_downloads
from debfleet_worker.guards import Watch, check_counts
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_FETCH = "fetch"  # as a remote says it
_REASON = "vanished_files"


def last_job(job: Job, remote: Remote) -> NewJob | str:
    """What the last of a sync's jobs before assemble opens."""
    if remote.vanishing != _FETCH or job.task_args["repository"] is None or is_about_them(job):
        return "assemble"
    return NewJob("index", {"vanishing": True})


def is_about_them(job: Job) -> bool:
    """Whether a job looks for such files, or downloads them."""
    return bool(job.args.get("vanishing"))


def run(worker: Worker, job: Job, remote: Remote, lease: Lease) -> None:
    """Look for such files, and open their downloads."""
    with lease.busy():
        worker.commit(lambda tx: _finish(tx, worker, job, remote))


def _finish(tx: Tx, worker: Worker, job: Job, remote: Remote) -> list[Ring]:
    jobs.hold(tx, job)
    units.lock_content(tx)
    repository, mirror = job.task_args["repository"], bool(job.task_args["mirror"])
    watch = Watch(remote, mirror)
    if watch.level(SHRINK) == "refuse":
        # Nothing is fetched for a sync that assemble would refuse.
        seen = guards.list_seen(tx, remote.id, remote.url)
        check_counts(watch, guards.count_listed(tx, job.task), seen)
    files = vanishing.list_files(tx, job.task, repository, remote.id, mirror=mirror)
    opens = open_downloads(tx, worker.settings, job, remote) if files else []
    log.info("vanishing.listed", extra={"files": files})
    return jobs.finish(tx, job, opens, then=last_job(job, remote))


def wait_for_upstream(worker: Worker, job: Job, failed: Sequence[Got]) -> None:
    """Raise what may pass, for as long as upstream is waited for."""
    for got in failed:
        if may_pass(got.error) and job.age < worker.settings.upstream_patience_seconds:
            assert got.error is not None
            raise got.error


def report_failed(tx: Tx, job: Job, failed: Sequence[Got]) -> None:
    """These could not be had: the sync goes on without them, and says so."""
    passing = sum(may_pass(got.error) for got in failed)  # given up, and not counted before
    if passing:
        count_downloads(tx, job.task, passing)
    items = [Tolerance(_REASON, got.wanted.path, None, str(got.error)) for got in failed]
    tasks.add_tolerances(tx, job.task, items, {_REASON: len(items)})
