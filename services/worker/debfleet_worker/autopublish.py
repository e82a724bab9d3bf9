"""The end of a task that made a version: where its repository wants that, it publishes it too."""

from __future__ import annotations

from debfleet.db import jobs, publications, tasks
from debfleet.db.connect import Tx
from debfleet.db.jobs import NewJob
from debfleet.db.versions import NewVersion
from debfleet.model import Job, Ring, prn


def end_with_version(tx: Tx, job: Job, repository: int, version: NewVersion | None) -> list[Ring]:
    """End the task, or let it go on with publish; the last call of the step's transaction."""
    if version is None:
        tasks.complete(tx, job)
        return []
    if not publications.get_origin(tx, repository, version.number).autopublish:
        tasks.complete(tx, job, created=[prn("core.repositoryversion", version.id)])
        return []
    ask = {"repository": repository, "number": version.number, "structured": True}
    return jobs.finish(tx, job, [NewJob("publish", {"ask": ask})], then=None)
