"""What stands in Postgres, as metrics show it: a few set-based looks, each with its values.

A look answers {metric: {label values: value}}; its labels stand in ``debfleet.metrics``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from debfleet import metrics
from debfleet.db import gone, sql
from debfleet.db.connect import Tx
from debfleet.measure import Metric
from debfleet.model import KINDS

_q = sql.load("observations.sql")

MOST_REPOSITORIES = 5_000
_LONGEST_NAME = 100
_PROCESSES = ("api", "content", "worker", "sweep")

Values = Mapping[Metric, Mapping[tuple[str, ...], float]]


def look_at_queues(tx: Tx) -> Values:
    """Open jobs, open tasks, live processes; 0 where there is none."""
    jobs = {row["kind"]: row for row in tx.execute(_q["count_jobs"])}
    none: dict[str, float] = dict.fromkeys((*metrics.JOB_STATES, "oldest"), 0.0)
    tasks = {row["state"]: row["tasks"] for row in tx.execute(_q["count_tasks"])}
    alive = {row["kind"]: row["processes"] for row in tx.execute(_q["count_processes"])}
    return {
        metrics.QUEUE_JOBS: {
            (kind, state): jobs.get(kind, none)[state]
            for kind in KINDS
            for state in metrics.JOB_STATES
        },
        metrics.QUEUE_AGE: {(kind,): jobs.get(kind, none)["oldest"] for kind in KINDS},
        metrics.TASKS: {(state,): tasks.get(state, 0) for state in ("waiting", "running")},
        metrics.PROCESSES: {(kind,): alive.get(kind, 0) for kind in _PROCESSES},
    }


def look_at_repositories(tx: Tx) -> Values:
    """Of each of the first 5,000: when it was synced, how often in vain, how much it holds."""
    count = tx.execute(_q["count_repositories"]).fetchone()
    assert count is not None
    rows = tx.execute(_q["list_repositories"], {"most": MOST_REPOSITORIES}).fetchall()
    return {
        metrics.REPOSITORIES: {(): count["repositories"]},
        metrics.SYNCED: _by_repository(rows, "succeeded"),
        metrics.FAILED_SYNCS: _by_repository(rows, "failures"),
        metrics.PACKAGES: _by_repository(rows, "packages"),
    }


def look_at_upstream(tx: Tx) -> Values:
    """What the Release files say that the latest versions were made from."""
    rows = tx.execute(_q["list_upstream_dates"], {"most": MOST_REPOSITORIES}).fetchall()
    return {
        metrics.UPSTREAM_DATE: _by_repository(rows, "date"),
        metrics.VALID_UNTIL: _by_repository(rows, "valid_until"),
    }


def look_at_store(tx: Tx) -> Values:
    """How many files the store holds, and how long they are."""
    row = tx.execute(_q["measure_store"]).fetchone()
    assert row is not None
    return {
        metrics.ARTIFACTS: {(): row["artifacts"]},
        metrics.ARTIFACT_BYTES: {(): row["bytes"]},
    }


def look_at_gone_files(tx: Tx) -> Values:
    """How many files nobody has any more."""
    return {metrics.GONE_FILES: {(): gone.count_held(tx)}}


LOOKS: tuple[Callable[[Tx], Values], ...] = (
    look_at_queues,
    look_at_repositories,
    look_at_upstream,
    look_at_store,
    look_at_gone_files,
)


def look(tx: Tx, what: Callable[[Tx], Values]) -> Values:
    """One of ``LOOKS``, within a time limit.

    Raises:
        psycopg.errors.QueryCanceled: It took too long.
    """
    tx.execute(_q["bound"])
    return what(tx)


def _by_repository(rows: list[dict[str, Any]], column: str) -> dict[tuple[str, ...], float]:
    return {
        (repository_label(row["name"], row["uuid"]),): float(row[column])
        for row in rows
        if row[column] is not None
    }


def repository_label(name: str, uuid: UUID) -> str:
    """A repository's name; a very long one is cut, and told apart from others by its id."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 10]}… {uuid.hex[:8]}"
