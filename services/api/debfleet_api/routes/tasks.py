"""Tasks: what was asked for, how far it is, what came of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from flask import Blueprint, Response, request
from psycopg import sql
from pydantic import BeforeValidator, Field

from debfleet.db import distributions, reports, repositories
from debfleet.db import tasks as task_rows
from debfleet.db.connect import Tx
from debfleet.db.tasks import NewTask
from debfleet.model import DISTRIBUTION, FINAL_STATES, prn
from debfleet_api import asks
from debfleet_api.answers import answer, chosen_fields, no_content
from debfleet_api.bodies import Body, read_body, refuse
from debfleet_api.errors import Refusal, field_errors, no_such, not_found
from debfleet_api.filters import (
    Selection,
    list_page,
    literal,
    read_flag,
    read_selection,
    read_time,
)
from debfleet_api.hrefs import (
    PUBLICATION,
    TASK,
    TASK_GROUP,
    VERBATIM,
    VERSION,
    WORKER,
    Ref,
    find_href,
    find_ref,
    find_uuid,
    href,
    user_href,
    version_href,
    wire_time,
)
from debfleet_api.openapi.operations import NO_TX, STARTED, Listing, Paged, operation
from debfleet_api.paging import Page, page_answer, read_page
from debfleet_api.permissions import visible_tasks
from debfleet_api.results import render_result
from debfleet_api.routes.task_filters import ORDERINGS, task_filters
from debfleet_api.shapes.tasks import MinimalTask, ProfileArtifacts, Task, Tolerance
from debfleet_api.state import api

blueprint = Blueprint("tasks", __name__)

_PATH = "/tasks/"
_WRONG_TIME = (
    "Datetime has wrong format. Use one of these formats instead: "
    "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
)


def _month_ago() -> datetime:
    today = datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC)
    return today - timedelta(days=30)


def _read_time(value: Any) -> datetime:
    if not isinstance(value, str):
        refuse(_WRONG_TIME)
    try:
        return read_time(value)
    except ValueError:
        refuse(_WRONG_TIME)


def _read_states(value: Any) -> list[str]:
    if not isinstance(value, list):
        refuse(f'Expected a list of items but got type "{type(value).__name__}".')
    for state in value:
        if not isinstance(state, str) or state not in FINAL_STATES:
            refuse(f'"{state}" is not a valid choice.')
    return sorted(set(value))


class PurgeBody(Body, title="Purge"):
    """Which finished tasks to forget."""

    finished_before: Annotated[datetime, BeforeValidator(_read_time)] = Field(
        default_factory=_month_ago
    )
    states: Annotated[
        list[str], BeforeValidator(_read_states), Field(json_schema_extra={"type": "array"})
    ] = Field(default_factory=lambda: ["completed"])


class CancelBody(Body, title="PatchedTaskCancel"):
    """The one thing that can be done to a task."""

    state: Any


@blueprint.get(_PATH)
@operation("tasks", "list", {200: Paged(Task)}, listing=lambda: _listing())
def list_tasks() -> Response:
    """One page of tasks, newest first."""
    page = read_page()
    with api().db.transaction() as tx:
        selection = read_selection(task_filters(tx), ORDERINGS, sql.SQL("t.id DESC"))
        selection = selection.narrowed(visible_tasks(tx))
        count, rows = list_page(tx, _SELECTED, _SOURCE, selection, page)
        rendered = _rendered(tx, rows)
    if read_flag(request.args.get("minimal", "false")):
        rendered = [{k: v for k, v in r.items() if k in MinimalTask.model_fields} for r in rendered]
    return page_answer(page, count, rendered)


@blueprint.get(f"{_PATH}<key>/")
@operation("tasks", "read", {200: Task})
def read_task(key: str) -> Response:
    """One task."""
    with api().db.transaction() as tx:
        return answer(chosen_fields(_task(tx, _uuid(key))))


@blueprint.patch(f"{_PATH}<key>/")
@operation("tasks", "cancel", {200: Task, 409: Task}, body=CancelBody)
def cancel_task(key: str) -> Response:
    """End a task at once; 409 if it had ended by itself."""
    uuid = _uuid(key)
    with api().db.transaction() as tx:
        before = _task(tx, uuid)
    state = read_body(CancelBody).state
    if state != "canceled":
        text = "The only acceptable value for 'state' is 'canceled'."
        raise field_errors({"state": [text]})
    outcome = cancel_by_uuid(uuid)
    with api().db.transaction() as tx:
        after = _task(tx, uuid)
    is_conflict = outcome == "final" and before["state"] != "canceled"
    return answer(after, 409 if is_conflict else 200)


@blueprint.delete(f"{_PATH}<key>/")
@operation("tasks", "delete", {204: None, 409: Task})
def delete_task(key: str) -> Response:
    """Forget a task that is over; 409 while it is not."""
    uuid = _uuid(key)
    with api().db.transaction() as tx:
        found = _task(tx, uuid)
        if not reports.delete_task(tx, uuid):
            raise Refusal(409, found)
    return no_content()


@blueprint.get(f"{_PATH}<key>/profile_artifacts/")
@operation("tasks", "profile_artifacts", {200: ProfileArtifacts})
def read_profiles(key: str) -> Response:
    """The profiles of a task; there are none."""
    with api().db.transaction() as tx:
        _task(tx, _uuid(key))
    return answer({"urls": {}})


@blueprint.get(f"{_PATH}<key>/report/")
@operation("tasks", "report", {200: Paged(Tolerance)}, listing=lambda: Listing({}, is_bare=True))
def read_report(key: str) -> Response:
    """What was listed upstream and left out: of each reason at most the first 1,000."""
    uuid = _uuid(key)
    page = read_page()
    with api().db.transaction() as tx:
        _task(tx, uuid)
        count, rows = reports.list_tolerances(tx, uuid, page.limit, page.offset)
    return page_answer(page, count, rows)


@blueprint.post(f"{_PATH}purge/")
@operation("tasks", "purge", STARTED, body=PurgeBody)
def purge() -> Response:
    """202 and a task that forgets others."""
    body = read_body(PurgeBody)
    args = {"finished_before": body.finished_before.isoformat(), "states": body.states}
    return asks.ask(NewTask(kind="purge", name="pulpcore.app.tasks.purge.purge", args=args))


def cancel_by_uuid(uuid: UUID) -> Literal["canceled", "final"]:
    """End a task, and let those begin that waited for it."""
    outcome = api().db.run(lambda tx: task_rows.cancel(tx, uuid))
    if outcome == "canceled":
        asks.ring(api().db.run(lambda tx: _start_waiting(tx, uuid)))
    return outcome


def _listing() -> Listing:
    return Listing(task_filters(NO_TX), ORDERINGS)


_SELECTED = sql.SQL("t.*, p.uuid AS parent_uuid, g.uuid AS group_uuid")
_SOURCE = sql.SQL(
    "tasks t LEFT JOIN tasks p ON p.id = t.parent LEFT JOIN task_groups g ON g.id = t.task_group"
)


def _start_waiting(tx: Tx, uuid: UUID) -> list[Any]:
    row = tx.execute("SELECT id FROM tasks WHERE uuid = %s", (uuid,)).fetchone()
    return [] if row is None else task_rows.start_waiting(tx, row["id"])


def _uuid(key: str) -> UUID:
    uuid = find_uuid(key)
    if uuid is None:
        raise not_found()
    return uuid


def _task(tx: Tx, uuid: UUID) -> dict[str, Any]:
    where = sql.SQL("t.uuid = {}").format(literal(uuid))
    _, rows = list_page(tx, _SELECTED, _SOURCE, Selection(where, sql.SQL("t.id")), Page(1, 0))
    if not rows:
        raise no_such("Task")
    return _rendered(tx, rows)[0]


def _rendered(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tasks with what belongs to them, in four statements for a whole page."""
    ids = [r["id"] for r in rows]
    progress = reports.list_progress(tx, ids)
    children = reports.list_children(tx, ids)
    created = [name for r in rows for name in r["created_resources"]]
    places = repositories.list_version_places(tx, _version_ids(created))
    present = distributions.list_present(tx, _other_ids(created))
    return [
        _render(
            r,
            progress=progress[r["id"]],
            children=children[r["id"]],
            created=[_created_href(name, places, present) for name in r["created_resources"]],
            result=render_result(tx, r),
        )
        for r in rows
    ]


_LOOKED_FOR = (PUBLICATION, VERBATIM, DISTRIBUTION)  # of what may be gone when a task is read


def _version_ids(names: Iterable[str]) -> list[UUID]:
    refs = (_version_ref(n) for n in names)
    return [ref.uuid for ref in refs if ref is not None]


def _version_ref(name: str) -> Ref | None:
    uuid = find_uuid(name.removeprefix(f"prn:{VERSION}:"))
    return Ref(VERSION, uuid) if uuid is not None else None


def _other_ids(names: Iterable[str]) -> list[UUID]:
    refs = (find_ref(n) for n in names)
    return [ref.uuid for ref in refs if ref is not None and ref.model in _LOOKED_FOR]


def _created_href(
    name: str, places: Mapping[UUID, tuple[UUID, int]], present: Collection[UUID]
) -> str:
    ref = _version_ref(name)
    if ref is None:
        other = find_ref(name)
        if other is not None and other.model in _LOOKED_FOR and other.uuid not in present:
            return "<unavailable>"
        return find_href(name) or "<unavailable>"
    return version_href(*places[ref.uuid]) if ref.uuid in places else "<unavailable>"


def _render(
    row: Mapping[str, Any],
    *,
    progress: Sequence[dict[str, Any]],
    children: Sequence[UUID],
    created: Sequence[str],
    result: Any,
) -> dict[str, Any]:
    by, parent, group = row["created_by"], row["parent_uuid"], row["group_uuid"]
    return {
        **render_minimal(row),
        "logging_cid": row["logging_cid"],
        "created_by": None if by is None else user_href(by),
        "error": row["error"],
        "parent_task": None if parent is None else href(TASK, parent),
        "child_tasks": [href(TASK, c) for c in children],
        "task_group": None if group is None else href(TASK_GROUP, group),
        "progress_reports": list(progress),
        "created_resources": list(created),
        "created_resource_prns": row["created_resources"],
        "reserved_resources_record": row["reserved"],
        "result": result,
    }


def render_minimal(row: Mapping[str, Any]) -> dict[str, Any]:
    """A task's row without what came of it."""
    worker = row["worker"]
    return {
        "pulp_href": href(TASK, row["uuid"]),
        "prn": prn(TASK, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["updated"]),
        "state": row["state"],
        "name": row["name"],
        "unblocked_at": wire_time(row["unblocked"]),
        "started_at": wire_time(row["started"]),
        "finished_at": wire_time(row["finished"]),
        "worker": None if worker is None else href(WORKER, worker),
        "pulp_api_version": "v3",
    }
