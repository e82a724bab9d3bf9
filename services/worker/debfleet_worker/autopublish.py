"""The end of a task that made a version: where its repository wants that, it publishes it too.

So does a task that says so itself: a sync of a schedule with ``publish``.
"""

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
    number = _to_publish(tx, job, repository, version)
    if number is None:
        created = [] if version is None else [prn("core.repositoryversion", version.id)]
        tasks.complete(tx, job, created=[*created, *made], result=result)
        return []
    if made or result is not None:
        tasks.note_made(tx, job, made, result)
    wanted = job.task_args.get("publish") or {}
    ask = {"repository": repository, "number": number, "structured": True, **wanted}
    return jobs.finish(tx, job, [NewJob("publish", {"ask": ask})], then=None)


def _to_publish(tx: Tx, job: Job, repository: int, version: NewVersion | None) -> int | None:
    """The number of the version to publish; a task that was asked to leaves none unpublished."""
    wanted = job.task_args.get("publish")
    if wanted is not None:
        checkpoint = bool(wanted.get("checkpoint"))
        return publications.find_unpublished(tx, repository, checkpoint=checkpoint)
    if version is None or not publications.get_origin(tx, repository, version.number).autopublish:
        return None
    return version.number
