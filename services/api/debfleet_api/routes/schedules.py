"""Schedules: syncs at set times. A resource of our own, which ``task-schedules`` shows too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response
from psycopg import sql
from pydantic import BeforeValidator, Field

from debfleet.cron import list_runs, read_cron, read_zone
from debfleet.db import repositories, schedules
from debfleet.db.connect import Tx
from debfleet.errors import BadSchedule, NotFound
from debfleet.model import REPOSITORY, prn
from debfleet_api.answers import answer, chosen_fields, created, no_content
from debfleet_api.bodies import Body, Flag, Name, read_body, read_flag, read_text, refuse
from debfleet_api.errors import field_errors, no_such, not_found
from debfleet_api.filters import (
    Condition,
    Filter,
    Selection,
    flag,
    identity_filters,
    list_page,
    literal,
    read_ref,
    read_selection,
    text_filters,
    time_filters,
)
from debfleet_api.hrefs import SCHEDULE, TASK, TASK_SCHEDULE, find_uuid, href, wire_time
from debfleet_api.openapi.operations import Listing, Paged, operation
from debfleet_api.paging import Page, page_answer, read_page
from debfleet_api.references import find_repository
from debfleet_api.shapes.schedules import Schedule, TaskSchedule
from debfleet_api.state import api, current_user

blueprint = Blueprint("schedules", __name__)

_RESOURCE = "schedules"
_PATH = f"/{_RESOURCE}/"
_TASKS = "task-schedules"
_TASKS_PATH = f"/{_TASKS}/"
_READ_ONLY = frozenset(
    {"pulp_href", "prn", "pulp_created", "pulp_last_updated", "next_run", "last_run", "last_task",
     "skipped_runs", "last_error"}
)  # fmt: skip
_OPTIONS = {"mirror": False, "optimize": True, "publish": False, "checkpoint": False}


def _checked(check: Any) -> BeforeValidator:
    """A text that names what is wrong with it as a schedule's field."""

    def read(value: Any) -> str:
        try:
            return str(check(read_text(value, 1000)))
        except BadSchedule as e:
            refuse(e.text)

    return BeforeValidator(read)


def _read_options(value: Any) -> dict[str, bool]:
    """All options, those that were not given at their defaults."""
    if not isinstance(value, dict):
        refuse(f'Expected a dictionary of items but got type "{type(value).__name__}".')
    for name in value:
        if name not in _OPTIONS:
            refuse(f"{name!s:.100}: Unexpected field; there are: {', '.join(_OPTIONS)}.")
    found = _OPTIONS | {name: read_flag(v, f"{name}: ") for name, v in value.items()}
    if found["checkpoint"] and not found["publish"]:
        refuse("checkpoint: Only what is published can be a checkpoint; set publish too.")
    return found


def _required_repository(value: Any) -> UUID:
    found = find_repository(value)
    if found is None:
        refuse("This field may not be null.")
    return found


_Repository = Annotated[UUID, BeforeValidator(_required_repository)]
_Cron = Annotated[str, _checked(read_cron)]


class ChangeBody(Body, title="debfleet.ScheduleChange"):
    """What a client may change; the first three have no default, and count only where given."""

    name: Name = ""
    repository: _Repository = UUID(int=0)
    cron: _Cron = ""
    time_zone: Annotated[str, _checked(read_zone)] = "UTC"
    options: Annotated[
        dict[str, bool],
        BeforeValidator(_read_options),
        Field(json_schema_extra={"type": "object"}),
    ] = Field(default_factory=lambda: dict(_OPTIONS))
    enabled: Flag = True


class ScheduleBody(ChangeBody, title="debfleet.Schedule"):
    """What a new one needs."""

    name: Name
    repository: _Repository
    cron: _Cron


@blueprint.get(_PATH)
@operation(
    _RESOURCE,
    "list",
    {200: Paged(Schedule)},
    listing=lambda: Listing(_filters(SCHEDULE), _ORDERINGS),
)
def list_schedules() -> Response:
    """One page of schedules, the last made first."""
    count, page, rows = _page()
    return page_answer(page, count, [_render(r) for r in rows])


@blueprint.post(_PATH)
@operation(_RESOURCE, "create", {201: Schedule}, body=ScheduleBody)
def add_schedule() -> Response:
    """201; its first run is the first that its expression names after now."""
    body = read_body(ScheduleBody, read_only=_READ_ONLY)
    with api().db.transaction() as tx:
        row = repositories.find_repository_row(tx, body.repository)
    if row is not None and row["remote_uuid"] is None:
        text = "The repository has no remote to sync from; set one first."
        raise field_errors({"repository": [text]})
    values = _columns(dict(body)) | {"created_by": current_user().id}
    try:
        uuid = api().db.run(lambda tx: schedules.add_schedule(tx, values))
    except NotFound:
        text = "Invalid hyperlink - Object does not exist."
        raise field_errors({"repository": [text]}) from None
    except BadSchedule as e:
        raise field_errors({e.field: [e.text]}) from None
    return created(_render(_row(str(uuid))))


@blueprint.get(f"{_PATH}<key>/")
@operation(_RESOURCE, "read", {200: Schedule})
def read_schedule(key: str) -> Response:
    """One schedule."""
    return answer(chosen_fields(_render(_row(key))))


@blueprint.put(f"{_PATH}<key>/")
@operation(_RESOURCE, "update", {200: Schedule}, body=ScheduleBody)
def replace_schedule(key: str) -> Response:
    """200, at once; what is not given goes back to its default."""
    row = _row(key)
    return _change(row, dict(read_body(ScheduleBody, read_only=_READ_ONLY)))


@blueprint.patch(f"{_PATH}<key>/")
@operation(_RESOURCE, "partial_update", {200: Schedule}, body=ScheduleBody)
def update_schedule(key: str) -> Response:
    """200, at once."""
    row = _row(key)
    return _change(row, read_body(ChangeBody, read_only=_READ_ONLY).given())


@blueprint.delete(f"{_PATH}<key>/")
@operation(_RESOURCE, "delete", {204: None})
def delete_schedule(key: str) -> Response:
    """204; a sync that it started goes on."""
    uuid = _row(key)["uuid"]
    if not api().db.run(lambda tx: schedules.delete_schedule(tx, uuid)):
        raise no_such("Schedule")
    return no_content()


@blueprint.get(_TASKS_PATH)
@operation(
    _TASKS,
    "list",
    {200: Paged(TaskSchedule)},
    listing=lambda: Listing(_filters(TASK_SCHEDULE), _ORDERINGS),
)
def list_task_schedules() -> Response:
    """The same schedules as Pulp shows its own."""
    count, page, rows = _page(TASK_SCHEDULE)
    return page_answer(page, count, [_render_as_pulp(r) for r in rows])


@blueprint.get(f"{_TASKS_PATH}<key>/")
@operation(_TASKS, "read", {200: TaskSchedule})
def read_task_schedule(key: str) -> Response:
    """One of them."""
    return answer(chosen_fields(_render_as_pulp(_row(key, "TaskSchedule"))))


_SELECTED = sql.SQL("s.*, r.uuid AS repository_uuid, t.uuid AS task_uuid")
_SOURCE = sql.SQL(
    "schedules s JOIN repositories r ON r.id = s.repository LEFT JOIN tasks t ON t.id = s.last_task"
)
_COLUMN = {
    c: sql.Identifier("s", c)
    for c in ("name", "uuid", "created", "updated", "next_run", "last_run", "is_enabled")
}
_ORDERINGS: dict[str, Condition] = {
    "name": _COLUMN["name"],
    "next_run": _COLUMN["next_run"],
    "last_run": _COLUMN["last_run"],
    "next_dispatch": _COLUMN["next_run"],
    "pulp_created": _COLUMN["created"],
    "pulp_last_updated": _COLUMN["updated"],
    "pulp_id": _COLUMN["uuid"],
    "pk": _COLUMN["uuid"],
}


def _filters(model: str) -> dict[str, Filter]:
    return {
        **text_filters("name", _COLUMN["name"]),
        **time_filters("next_run", _COLUMN["next_run"]),
        **time_filters("last_run", _COLUMN["last_run"]),
        **identity_filters(model, _COLUMN["uuid"]),
        "repository": lambda v: sql.SQL("r.uuid = {}").format(
            literal(read_ref(v, REPOSITORY).uuid)
        ),
        "enabled": flag(_COLUMN["is_enabled"]),
    }


def _page(model: str = SCHEDULE) -> tuple[int, Page, list[dict[str, Any]]]:
    selection = read_selection(_filters(model), _ORDERINGS, sql.SQL("s.id DESC"))
    page = read_page()
    with api().db.transaction() as tx:
        count, rows = list_page(tx, _SELECTED, _SOURCE, selection, page)
    return count, page, rows


def _row(key: str, word: str = "Schedule") -> dict[str, Any]:
    uuid = find_uuid(key)
    if uuid is None:
        raise not_found()
    selection = Selection(sql.SQL("s.uuid = {}").format(literal(uuid)), sql.SQL("s.id"))
    with api().db.transaction() as tx:
        _, rows = list_page(tx, _SELECTED, _SOURCE, selection, Page(1, 0))
    if not rows:
        raise no_such(word)
    return rows[0]


def _change(row: Mapping[str, Any], given: Mapping[str, Any]) -> Response:
    if "repository" in given and given["repository"] != row["repository_uuid"]:
        text = "A schedule stays with its repository; make another one."
        raise field_errors({"repository": [text]})
    values = {k: v for k, v in _columns(given).items() if k != "repository"}

    def change(tx: Tx) -> None:
        schedules.update_schedule(tx, row["uuid"], values)

    try:
        api().db.run(change)
    except NotFound:
        raise no_such("Schedule") from None
    except BadSchedule as e:
        raise field_errors({e.field: [e.text]}) from None
    return answer(_render(_row(str(row["uuid"]))))


def _columns(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"is_enabled" if k == "enabled" else k: v for k, v in given.items()}


def _render(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pulp_href": href(SCHEDULE, row["uuid"]),
        "prn": prn(SCHEDULE, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["updated"]),
        "name": row["name"],
        "repository": href(REPOSITORY, row["repository_uuid"]),
        "cron": row["cron"],
        "time_zone": row["time_zone"],
        "options": _OPTIONS | row["options"],
        "enabled": row["is_enabled"],
        "next_run": wire_time(row["next_run"]),
        "last_run": wire_time(row["last_run"]),
        "last_task": None if row["task_uuid"] is None else href(TASK, row["task_uuid"]),
        "skipped_runs": row["skipped"],
        "last_error": row["last_error"],
    }


def _render_as_pulp(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pulp_href": href(TASK_SCHEDULE, row["uuid"]),
        "prn": prn(TASK_SCHEDULE, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["updated"]),
        "name": row["name"],
        "task_name": "pulp_deb.app.tasks.synchronizing.synchronize",
        "dispatch_interval": _interval(row),
        "next_dispatch": wire_time(row["next_run"]),
        "last_task": None if row["task_uuid"] is None else href(TASK, row["task_uuid"]),
    }


def _interval(row: Mapping[str, Any]) -> str | None:
    """From the next run to the one after: Pulp's schedules know nothing but an even pause."""
    if row["next_run"] is None:
        return None
    try:
        after = list_runs(row["cron"], row["time_zone"], row["next_run"], 1)[0]
    except BadSchedule:  # a zone that this machine does not know
        return None
    pause: timedelta = after - row["next_run"]
    hours, seconds = divmod(pause.seconds, 3600)
    days = f"{pause.days} " if pause.days else ""
    return f"{days}{hours:02}:{seconds // 60:02}:{seconds % 60:02}"
