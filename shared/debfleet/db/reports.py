"""What the API shows of tasks beside their own rows: progress, children, what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from debfleet.db import sql
from debfleet.db.connect import Tx

_q = sql.load("reports.sql")


def list_progress(tx: Tx, tasks: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """By task: its progress reports in the order they were made."""
    found: dict[int, list[dict[str, Any]]] = {t: [] for t in tasks}
    for row in tx.execute(_q["list_progress"], {"tasks": list(tasks)}):
        found[row.pop("task")].append(row)
    return found


def list_children(tx: Tx, tasks: Sequence[int]) -> dict[int, list[UUID]]:
    """By task: the tasks that it asked for."""
    found: dict[int, list[UUID]] = {t: [] for t in tasks}
    for row in tx.execute(_q["list_children"], {"tasks": list(tasks)}):
        found[row["parent"]].append(row["uuid"])
    return found


def list_tolerances(
    tx: Tx, uuid: UUID, limit: int, offset: int
) -> tuple[int, list[dict[str, Any]]]:
    """How many were kept, and a page of them: reason, file, line, detail."""
    values = {"uuid": uuid, "limit": limit, "offset": offset}
    counted = tx.execute(_q["count_tolerances"], values).fetchone()
    return (counted["n"] if counted else 0), tx.execute(_q["list_tolerances"], values).fetchall()


def delete_task(tx: Tx, uuid: UUID) -> bool:
    """Forget a task that is over; False: it is not."""
    return tx.execute(_q["delete_task"], {"uuid": uuid}).fetchone() is not None
