"""How a task ends: one place for completed, failed and canceled.

An ending never waits for the rows of the task's other jobs (they may be in the middle of a long
outcome that wants the task's row next): the task's own row takes their right away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from debfleet import reports
from debfleet.db import slots, sql
from debfleet.db.connect import Tx

_q = sql.load("endings.sql")
_REPORTS = {"completed": "completed", "failed": "canceled", "canceled": "canceled"}


def end_task(
    tx: Tx,
    task: int,
    state: str,
    *,
    round: int | None = None,
    job: int = 0,
    error: dict[str, Any] | None = None,
    result: Any = None,
    created: Sequence[str] = (),
    failed_report: str | None = None,
) -> bool:
    """End a task with all that hangs on it; false if it was over, or in another round.

    Args:
        round: The round that the caller believes in; none: any, also before the task ran.
        job: The caller's own job, which it ends itself.
        failed_report: The code of the report that becomes ``failed``.
    """
    row = tx.execute(
        _q["end_task"],
        {
            "task": task,
            "state": state,
            "round": round,
            "error": None if error is None else Jsonb(error),
            "result": None if result is None else Jsonb(result),
            "created": list(created),
        },
    ).fetchone()
    if row is None:
        return False
    tx.execute(_q["end_reports"], {"task": task, "state": _REPORTS[state], "failed": failed_report})
    tx.execute(_q["drop_claims"], {"task": task})
    cancel_others(tx, task, job)
    forget_work(tx, task)
    return True


def cancel_others(tx: Tx, task: int, job: int = 0) -> None:
    """Cancel a task's open jobs but ``job``, where their rows are free, and drop their slots."""
    for row in tx.execute(_q["cancel_jobs"], {"task": task, "except": job}).fetchall():
        if row["scope"] is not None:
            slots.drop(tx, row["scope"], [slots.holder(row["id"])])


def forget_work(tx: Tx, task: int) -> None:
    """What a task decided and found so far: of use to nobody once it has ended."""
    for what in ("forget_files", "forget_units", "forget_indices", "forget_publications"):
        tx.execute(_q[what], {"task": task})


def forget_round(tx: Tx, task: int) -> None:
    """The same before the sync is planned anew: nothing of the old round is left."""
    for what in ("forget_all_files", "forget_all_units", "forget_all_indices", "forget_tolerances"):
        tx.execute(_q[what], {"task": task})
    kept = [reports.DOWNLOADS.code]  # what was fetched was fetched
    tx.execute(_q["forget_counts"], {"task": task, "kept": kept})


def list_scopes(tx: Tx, task: int) -> list[str]:
    """The scopes whose slots the task's jobs needed."""
    return [row["scope"] for row in tx.execute(_q["list_scopes"], {"task": task})]
