"""Workers: who is alive and at what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response
from psycopg import sql

from debfleet.model import prn
from debfleet_api.answers import answer, chosen_fields
from debfleet_api.errors import no_such, not_found
from debfleet_api.filters import (
    Condition,
    Filter,
    Selection,
    flag,
    identity_filters,
    list_page,
    literal,
    read_selection,
    text_filters,
    time_filters,
)
from debfleet_api.hrefs import TASK, WORKER, find_uuid, href, wire_time
from debfleet_api.openapi.operations import Listing, Paged, operation
from debfleet_api.paging import Page, page_answer, read_page
from debfleet_api.routes.status import wire_versions
from debfleet_api.shapes.tasks import Worker
from debfleet_api.state import api

blueprint = Blueprint("workers", __name__)

_ID = sql.Identifier("w", "id")
_NAME = sql.Identifier("w", "name")
_SEEN = sql.Identifier("w", "last_heartbeat")
_SELECTED = sql.SQL(
    "w.*, (SELECT t.uuid FROM jobs j JOIN tasks t ON t.id = j.task"
    " WHERE j.worker = w.id AND j.state = 'running' ORDER BY j.id LIMIT 1) AS task_uuid"
)
_SOURCE = sql.SQL("(SELECT * FROM processes WHERE kind = 'worker') w")
_LATE = sql.SQL("w.last_heartbeat <= clock_timestamp() - interval '30 s'")
_FILTERS: dict[str, Filter] = {
    **text_filters("name", _NAME),
    **time_filters("last_heartbeat", _SEEN),
    **identity_filters(WORKER, _ID),
    "online": flag(sql.SQL("w.ended IS NULL AND NOT {}").format(_LATE)),
    "missing": flag(sql.SQL("w.ended IS NULL AND {}").format(_LATE)),
}
_ORDERINGS: dict[str, Condition] = {
    "name": _NAME,
    "last_heartbeat": _SEEN,
    "pulp_created": sql.Identifier("w", "started"),
    "pulp_last_updated": _SEEN,
    "pulp_id": _ID,
    "pk": _ID,
}


@blueprint.get("/workers/")
@operation("workers", "list", {200: Paged(Worker)}, listing=lambda: Listing(_FILTERS, _ORDERINGS))
def list_workers() -> Response:
    """One page of workers, the last started first."""
    selection = read_selection(_FILTERS, _ORDERINGS, sql.SQL("w.started DESC, w.id"))
    page = read_page()
    with api().db.transaction() as tx:
        count, rows = list_page(tx, _SELECTED, _SOURCE, selection, page)
    return page_answer(page, count, [_render(r) for r in rows])


@blueprint.get("/workers/<key>/")
@operation("workers", "read", {200: Worker})
def read_worker(key: str) -> Response:
    """One worker."""
    uuid = find_uuid(key)
    if uuid is None:
        raise not_found()
    selection = Selection(sql.SQL("w.id = {}").format(literal(uuid)), _ID)
    with api().db.transaction() as tx:
        _, rows = list_page(tx, _SELECTED, _SOURCE, selection, Page(1, 0))
    if not rows:
        raise no_such("AppStatus")
    return answer(chosen_fields(_render(rows[0])))


def _render(row: Mapping[str, Any]) -> dict[str, Any]:
    task = row["task_uuid"]
    return {
        "pulp_href": href(WORKER, row["id"]),
        "prn": prn(WORKER, row["id"]),
        "pulp_created": wire_time(row["started"]),
        "pulp_last_updated": wire_time(row["last_heartbeat"]),
        "name": row["name"],
        "last_heartbeat": wire_time(row["last_heartbeat"]),
        "versions": wire_versions(row["versions"]),
        "current_task": None if task is None else href(TASK, task),
    }
