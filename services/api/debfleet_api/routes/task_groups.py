"""Task groups. Nothing makes one yet; the list is there for clients that look into it."""

from __future__ import annotations

from flask import Blueprint, Response

from debfleet_api.bodies import read_body
from debfleet_api.errors import no_such
from debfleet_api.filters import check_parameters
from debfleet_api.openapi.operations import Listing, Paged, operation
from debfleet_api.paging import page_answer, read_page
from debfleet_api.routes.objects import path_uuid
from debfleet_api.routes.tasks import CancelBody
from debfleet_api.shapes.tasks import TaskGroup

blueprint = Blueprint("task_groups", __name__)

_PATH = "/task-groups/"


@blueprint.get(_PATH)
@operation(
    "task-groups", "list", {200: Paged(TaskGroup)}, listing=lambda: Listing({}, is_bare=True)
)
def list_groups() -> Response:
    """One page of task groups."""
    check_parameters(("limit", "offset", "fields", "exclude_fields"))
    return page_answer(read_page(), 0, [])


@blueprint.get(f"{_PATH}<key>/")
@operation("task-groups", "read", {200: TaskGroup})
def read_group(key: str) -> Response:
    """One task group."""
    path_uuid(key)
    raise no_such("TaskGroup")


@blueprint.patch(f"{_PATH}<key>/")
@operation("task-groups", "cancel", {200: TaskGroup, 409: TaskGroup}, body=CancelBody)
def cancel_group(key: str) -> Response:
    """Cancel every task of a group."""
    path_uuid(key)
    read_body(CancelBody)
    raise no_such("TaskGroup")
