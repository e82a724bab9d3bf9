"""Task groups: tasks that one call has started together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response
from psycopg import sql

from debfleet.db import task_groups
from debfleet.db.connect import Tx
from debfleet.model import prn
from debfleet_api.answers import answer, chosen_fields
from debfleet_api.bodies import read_body
from debfleet_api.errors import field_errors, no_such
from debfleet_api.filters import TRUE, Selection, check_parameters, list_page, literal
from debfleet_api.hrefs import TASK_GROUP, href, wire_time
from debfleet_api.openapi.operations import Listing, Paged, operation
from debfleet_api.paging import PARAMETERS, Page, page_answer, read_page
from debfleet_api.routes.objects import path_uuid
from debfleet_api.routes.tasks import CancelBody, cancel_by_uuid, render_minimal
from debfleet_api.shapes.tasks import TaskGroup
from debfleet_api.state import api

blueprint = Blueprint("task_groups", __name__)

_PATH = "/task-groups/"
_SOURCE = sql.SQL("task_groups")
_NEWEST = sql.SQL("task_groups.id DESC")
_STATES = ("waiting", "skipped", "running", "completed", "canceled", "failed", "canceling")


@blueprint.get(_PATH)
@operation(
    "task-groups", "list", {200: Paged(TaskGroup)}, listing=lambda: Listing({}, is_bare=True)
)
def list_groups() -> Response:
    """One page of task groups."""
    check_parameters(PARAMETERS)
    page = read_page()
    with api().db.transaction() as tx:
        count, rows = list_page(tx, sql.SQL("*"), _SOURCE, Selection(TRUE, _NEWEST), page)
        shown = _rendered(tx, rows)
    return page_answer(page, count, shown)


@blueprint.get(f"{_PATH}<key>/")
@operation("task-groups", "read", {200: TaskGroup})
def read_group(key: str) -> Response:
    """One task group."""
    with api().db.transaction() as tx:
        return answer(chosen_fields(_rendered(tx, [_row(tx, key)])[0]))


@blueprint.patch(f"{_PATH}<key>/")
@operation("task-groups", "cancel", {200: TaskGroup, 409: TaskGroup}, body=CancelBody)
def cancel_group(key: str) -> Response:
    """Cancel every task of a group; 409 if all of them had ended by themselves."""
    with api().db.transaction() as tx:
        row = _row(tx, key)
        tasks = task_groups.list_tasks(tx, [row["id"]])[row["id"]]
    if read_body(CancelBody).state != "canceled":
        text = "The only acceptable value for 'state' is 'canceled'."
        raise field_errors({"state": [text]})
    outcomes = [cancel_by_uuid(task["uuid"]) for task in tasks]
    with api().db.transaction() as tx:
        after = _rendered(tx, [row])[0]
    return answer(after, 200 if "canceled" in outcomes else 409)


def _row(tx: Tx, key: str) -> Mapping[str, Any]:
    where = sql.SQL("task_groups.uuid = {}").format(literal(path_uuid(key)))
    _, rows = list_page(tx, sql.SQL("*"), _SOURCE, Selection(where, _NEWEST), Page(1, 0))
    if not rows:
        raise no_such("TaskGroup")
    return rows[0]


def _rendered(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    tasks = task_groups.list_tasks(tx, [row["id"] for row in rows])
    return [_render(row, tasks[row["id"]]) for row in rows]


def _render(row: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts = Counter(task["state"] for task in tasks)
    return {
        "pulp_href": href(TASK_GROUP, row["uuid"]),
        "prn": prn(TASK_GROUP, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["updated"]),
        "description": row["description"],
        "all_tasks_dispatched": True,
        **{state: counts[state] for state in _STATES},
        "group_progress_reports": [],
        "tasks": [render_minimal(task) for task in tasks],
    }
