"""The end of a task that made a version: where its repository wants that, it publishes it too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from debfleet.db import jobs, publications, tasks
from debfleet.db.connect import Tx
from debfleet.db.jobs import NewJob
from debfleet.db.versions import NewVersion
from debfleet.model import Job, Ring, prn


def end_with_version(
    tx: Tx,
    job: Job,
    repository: int,
    version: NewVersion | None,
    made: Sequence[str] = (),
    result: Any = None,
) -> list[Ring]:
    """End the task, or let it go on with publish; the last call of the step's transaction.

    Args:
        made: PRNs of what it made beside the version.
        result: What the task's result is to be.
    """
    if version is None:
        tasks.complete(tx, job, created=made, result=result)
        return []
    if not publications.get_origin(tx, repository, version.number).autopublish:
        created = [prn("core.repositoryversion", version.id), *made]
        tasks.complete(tx, job, created=created, result=result)
        return []
    if made or result is not None:
        tasks.note_made(tx, job, made, result)
    ask = {"repository": repository, "number": version.number, "structured": True}
    return jobs.finish(tx, job, [NewJob("publish", {"ask": ask})], then=None)
