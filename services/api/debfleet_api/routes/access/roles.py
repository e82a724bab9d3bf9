"""Roles: named sets of permissions; ours are locked, others may be made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Blueprint, Response
from psycopg import sql
from pydantic import Field

from debfleet.db import access
from debfleet.db.connect import Tx
from debfleet.model import prn
from debfleet_api.answers import answer, chosen_fields, created, no_content
from debfleet_api.bodies import Body, Name, Names, OptionalText, read_body
from debfleet_api.errors import Refusal, field_errors, no_such, not_found
from debfleet_api.filters import (
    Condition,
    flag,
    identity_filters,
    list_page,
    literal,
    read_selection,
    text_filters,
    words,
)
from debfleet_api.hrefs import ROLE, find_uuid, href, wire_time
from debfleet_api.openapi.operations import Listing, Paged, operation
from debfleet_api.paging import page_answer, read_page
from debfleet_api.shapes.access import Role
from debfleet_api.state import api

blueprint = Blueprint("roles", __name__)

_PATH = "/roles/"
_READ_ONLY = frozenset({"pulp_href", "prn", "pulp_created", "pulp_last_updated", "locked"})


class RoleBody(Body, title="Role"):
    """What a client may send."""

    name: Name
    permissions: Names
    description: OptionalText = Field(default=None)


@blueprint.get(_PATH)
@operation("roles", "list", {200: Paged(Role)}, listing=lambda: _listing())
def list_roles() -> Response:
    """One page of roles."""
    listing = _listing()
    selection = read_selection(listing.filters, listing.orderings, sql.SQL("roles.id DESC"))
    page = read_page()
    with api().db.transaction() as tx:
        count, rows = list_page(tx, sql.SQL("*"), sql.SQL("roles"), selection, page)
    return page_answer(page, count, [_render(row) for row in rows])


@blueprint.post(_PATH)
@operation("roles", "create", {201: Role}, body=RoleBody)
def add_role() -> Response:
    """201 with a new role."""
    body = read_body(RoleBody, read_only=_READ_ONLY)
    with api().db.transaction() as tx:
        return created(_render(access.add_role(tx, _checked(tx, dict(body)))))


@blueprint.get(f"{_PATH}<key>/")
@operation("roles", "read", {200: Role})
def read_role(key: str) -> Response:
    """One role."""
    with api().db.transaction() as tx:
        return answer(chosen_fields(_render(_row(tx, key))))


@blueprint.put(f"{_PATH}<key>/")
@operation("roles", "update", {200: Role}, body=RoleBody)
def replace_role(key: str) -> Response:
    """200 with the role as it is now; 400 for a locked one."""
    return _update(key, dict(read_body(RoleBody, read_only=_READ_ONLY)))


@blueprint.patch(f"{_PATH}<key>/")
@operation("roles", "partial_update", {200: Role}, body=RoleBody)
def update_role(key: str) -> Response:
    """200 with the role as it is now; 400 for a locked one."""
    return _update(key, read_body(RoleBody, partial=True, read_only=_READ_ONLY).given())


@blueprint.delete(f"{_PATH}<key>/")
@operation("roles", "delete", {204: None})
def delete_role(key: str) -> Response:
    """204; whoever had it has it no more. 400 for a locked one."""
    with api().db.transaction() as tx:
        row = _row(tx, key)
        if not access.delete_role(tx, row["uuid"]):
            raise _locked(row)
    return no_content()


def _listing() -> Listing:
    column = {
        c: sql.Identifier("roles", c) for c in ("name", "description", "created", "updated", "uuid")
    }
    held = sql.Identifier("roles", "permissions")

    def containing(value: str) -> Condition:
        return sql.SQL("{} && {}::text[]").format(held, literal(words(value)))

    filters = {
        **text_filters("name", column["name"]),
        **text_filters("description", column["description"]),
        **identity_filters(ROLE, column["uuid"]),
        "locked": flag(sql.Identifier("roles", "is_locked")),
        "contains_permission": containing,
    }
    orderings: dict[str, Condition] = {
        "name": column["name"],
        "description": column["description"],
        "locked": sql.Identifier("roles", "is_locked"),
        "pulp_created": column["created"],
        "pulp_last_updated": column["updated"],
        "pulp_id": column["uuid"],
        "pk": column["uuid"],
    }
    return Listing(filters, orderings)


def _update(key: str, given: Mapping[str, Any]) -> Response:
    with api().db.transaction() as tx:
        row = _row(tx, key)
        changed = access.update_role(tx, row["uuid"], _checked(tx, {**row, **given}))
        if changed is None:
            raise _locked(row)
        return answer(_render(changed))


def _checked(tx: Tx, values: dict[str, Any]) -> dict[str, Any]:
    """Only permissions that mean something, each once."""
    known = set(access.list_known_permissions(tx))
    for name in values["permissions"]:
        if name not in known:
            raise field_errors({"permissions": [f"Permission '{name}' does not exist."]})
    return values | {"permissions": sorted(set(values["permissions"]))}


def _locked(row: Mapping[str, Any]) -> Refusal:
    return Refusal(400, {"non_field_errors": [f"The role '{row['name']}' is locked."]})


def _row(tx: Tx, key: str) -> dict[str, Any]:
    uuid: UUID | None = find_uuid(key)
    if uuid is None:
        raise not_found()
    row = access.find_role(tx, uuid)
    if row is None:
        raise no_such("Role")
    return row


def _render(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pulp_href": href(ROLE, row["uuid"]),
        "prn": prn(ROLE, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["updated"]),
        "name": row["name"],
        "description": row["description"],
        "permissions": row["permissions"],
        "locked": row["is_locked"],
    }
