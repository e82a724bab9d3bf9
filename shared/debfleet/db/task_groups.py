"""Tasks that one call has started together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from debfleet.db import sql
from debfleet.db.connect import Tx

_q = sql.load("task_groups.sql")


def add_group(tx: Tx, description: str, tasks: Sequence[int]) -> None:
    """Make a group of tasks that were just asked for."""
    row = tx.execute(_q["add_group"], {"description": description}).fetchone()
    assert row is not None
    tx.execute(_q["put_into"], {"group": row["id"], "tasks": list(tasks)})


def find_group_of(tx: Tx, task: int) -> UUID | None:
    """The group that a task belongs to."""
    row = tx.execute(_q["find_group_of"], {"task": task}).fetchone()
    return None if row is None else row["uuid"]


def list_tasks(tx: Tx, groups: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """The rows of the tasks of some groups."""
    found: dict[int, list[dict[str, Any]]] = {group: [] for group in groups}
    for row in tx.execute(_q["list_tasks"], {"groups": list(groups)}):
        found[row["task_group"]].append(row)
    return found


def drop_empty(tx: Tx) -> None:
    """Forget the groups whose tasks are forgotten."""
    tx.execute(_q["drop_empty"])
