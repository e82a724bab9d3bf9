"""Alternate content sources: remotes that are tried before others for the files that they offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response
from psycopg import sql
from pydantic import BeforeValidator, Field

from debfleet.changes import Change
from debfleet.db import alternates, repositories
from debfleet.db.slots import scope_of
from debfleet.db.tasks import NewTask
from debfleet.errors import NotFound
from debfleet.model import REMOTE, prn
from debfleet.reports import FROM_THE_START
from debfleet_api import asks
from debfleet_api.answers import answer, chosen_fields, created
from debfleet_api.bodies import Body, Name, Text, read_body, refuse
from debfleet_api.errors import field_errors, no_such
from debfleet_api.filters import (
    Condition,
    identity_filters,
    list_page,
    read_selection,
    text_filters,
)
from debfleet_api.hrefs import ALTERNATE, href, wire_time
from debfleet_api.openapi.operations import STARTED, Listing, Paged, changed, operation
from debfleet_api.paging import page_answer, read_page
from debfleet_api.references import find_remote
from debfleet_api.routes.objects import path_uuid
from debfleet_api.shapes.base import TaskGroupOperation
from debfleet_api.shapes.repositories import AlternateSource
from debfleet_api.state import api

blueprint = Blueprint("alternates", __name__)

_RESOURCE = "acs/deb/deb"
_PATH = f"/{_RESOURCE}/"
_READ_ONLY = frozenset({"pulp_href", "prn", "pulp_created", "pulp_last_updated", "last_refreshed"})
_NO_REMOTE = "Invalid hyperlink - Object does not exist."


def _read_paths(value: Any) -> list[str]:
    if value not in (None, []):
        refuse("Paths are not supported: the remote's distributions say what is looked into.")
    return []


class SourceBody(Body, title="deb.AptAlternateContentSource"):
    """What a client may send."""

    name: Name
    remote: Text  # read by the routes: a PATCH may leave it out
    paths: Annotated[list[str], BeforeValidator(_read_paths)] = Field(default_factory=list)


_COLUMN: dict[str, Condition] = {
    name: sql.Identifier("a", name)
    for name in ("name", "last_refreshed", "created", "updated", "uuid")
}
_FILTERS = {
    **text_filters("name", _COLUMN["name"]),
    **identity_filters(ALTERNATE, _COLUMN["uuid"]),
}
_ORDERINGS = {
    "name": _COLUMN["name"],
    "last_refreshed": _COLUMN["last_refreshed"],
    "pulp_type": sql.SQL("1 + 0"),  # there is one
    "pulp_created": _COLUMN["created"],
    "pulp_last_updated": _COLUMN["updated"],
    "pulp_id": _COLUMN["uuid"],
    "pk": _COLUMN["uuid"],
}
_SELECTED = sql.SQL("a.*, r.uuid AS remote_uuid")
_SOURCE = sql.SQL("alternate_sources a JOIN remotes r ON r.id = a.remote")


@blueprint.get(_PATH)
@operation(
    _RESOURCE,
    "list",
    {200: Paged(AlternateSource)},
    listing=lambda: Listing(_FILTERS, _ORDERINGS),
)
def list_sources() -> Response:
    """One page of alternate content sources."""
    selection = read_selection(_FILTERS, _ORDERINGS, sql.SQL("a.id DESC"))
    page = read_page()
    with api().db.transaction() as tx:
        count, rows = list_page(tx, _SELECTED, _SOURCE, selection, page)
    return page_answer(page, count, [render_source(r) for r in rows])


@blueprint.post(_PATH)
@operation(_RESOURCE, "create", {201: AlternateSource}, body=SourceBody)
def add_source() -> Response:
    """201 with the new one; nothing is known of it until it is refreshed."""
    body = read_body(SourceBody, read_only=_READ_ONLY)
    remote = _remote(body.remote)
    try:
        row = api().db.run(lambda tx: alternates.add_source(tx, body.name, remote))
    except NotFound:
        raise field_errors({"remote": [_NO_REMOTE]}) from None
    return created(render_source(row))


@blueprint.get(f"{_PATH}<key>/")
@operation(_RESOURCE, "read", {200: AlternateSource})
def read_source(key: str) -> Response:
    """One alternate content source."""
    return answer(chosen_fields(render_source(_row(key))))


@blueprint.put(f"{_PATH}<key>/")
@operation(_RESOURCE, "update", changed(AlternateSource), body=SourceBody)
def replace_source(key: str) -> Response:
    """As a PATCH that names the required fields."""
    row = _row(key)
    return _change(row, read_body(SourceBody, read_only=_READ_ONLY).given())


@blueprint.patch(f"{_PATH}<key>/")
@operation(_RESOURCE, "partial_update", changed(AlternateSource), body=SourceBody)
def update_source(key: str) -> Response:
    """200 if nothing would change, else 202 and a task."""
    row = _row(key)
    return _change(row, read_body(SourceBody, partial=True, read_only=_READ_ONLY).given())


@blueprint.delete(f"{_PATH}<key>/")
@operation(_RESOURCE, "delete", STARTED)
def delete_source(key: str) -> Response:
    """202 and a task; the remote stays."""
    return asks.change(Change("alternate_sources", "delete", _row(key)["uuid"]))


@blueprint.post(f"{_PATH}<key>/refresh/")
@operation(_RESOURCE, "refresh", {202: TaskGroupOperation})
def refresh_source(key: str) -> Response:
    """202 and a group of one task, which reads the remote's indices."""
    row = _row(key)
    args = {"repository": None, "remote": row["remote"], "alternate": row["id"]}
    new = NewTask(
        kind="refresh",
        name="pulp_deb.app.tasks.synchronizing.synchronize",
        args=args | {"mirror": False, "optimize": False},
        exclusive=[prn(ALTERNATE, row["uuid"])],
        shared=[prn(REMOTE, row["remote_uuid"])],
        scope=scope_of(row["remote"]),
        reports=FROM_THE_START,
        job_kind="plan",
    )
    return asks.ask_group(new, f"Refreshing {href(ALTERNATE, row['uuid'])}")


def render_source(row: Mapping[str, Any]) -> dict[str, Any]:
    """An alternate content source as clients know it."""
    return {
        "pulp_href": href(ALTERNATE, row["uuid"]),
        "prn": prn(ALTERNATE, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["updated"]),
        "name": row["name"],
        "last_refreshed": wire_time(row["last_refreshed"]),
        "paths": [],
        "remote": href(REMOTE, row["remote_uuid"]),
    }


def _row(key: str) -> dict[str, Any]:
    with api().db.transaction() as tx:
        row = alternates.find_row(tx, path_uuid(key))
    if row is None:
        raise no_such("AptAlternateContentSource")
    return row


def _change(row: Mapping[str, Any], given: Mapping[str, Any]) -> Response:
    values: dict[str, Any] = {}
    if given.get("name", row["name"]) != row["name"]:
        values["name"] = given["name"]
    if "remote" in given and (remote := _remote(given["remote"])) != row["remote_uuid"]:
        values["remote_uuid"] = str(remote)
    if not values:
        return answer(render_source(row))
    return asks.change(Change("alternate_sources", "update", row["uuid"], values))


def _remote(value: str) -> UUID:
    """The remote of a body; one whose packages are fetched one by one."""
    try:
        uuid = find_remote(value)
    except ValueError as e:
        raise field_errors({"remote": [str(e)]}) from None
    with api().db.transaction() as tx:
        row = None if uuid is None else repositories.find_remote_row(tx, uuid)
    if row is None:
        raise field_errors({"remote": [_NO_REMOTE]})
    if row["policy"] != "on_demand":
        text = "The remote of an alternate content source must have the policy on_demand."
        raise field_errors({"remote": [text]})
    found: UUID = row["uuid"]
    return found
