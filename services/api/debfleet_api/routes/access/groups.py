"""Groups: users who share roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from flask import Blueprint, Response
from psycopg import sql
from pydantic import BeforeValidator

from debfleet.db import access
from debfleet.db.connect import Tx
from debfleet_api.answers import answer, chosen_fields, created, no_content
from debfleet_api.bodies import Body, read_body, read_text
from debfleet_api.errors import field_errors, no_such
from debfleet_api.filters import Filter, list_page, literal, read_selection, text_filters
from debfleet_api.hrefs import group_href, numbered_prn, read_number, user_href
from debfleet_api.openapi.operations import Listing, Paged, operation
from debfleet_api.paging import page_answer, read_page
from debfleet_api.shapes.access import Group, GroupUser
from debfleet_api.state import api

blueprint = Blueprint("groups", __name__)

_PATH = "/groups/"
_READ_ONLY = frozenset({"pulp_href", "prn", "id"})


class GroupBody(Body, title="Group"):
    """What a client may send."""

    name: Annotated[str, BeforeValidator(lambda v: read_text(v, 150))]


class MemberBody(Body, title="GroupUser"):
    """Whom to put into a group."""

    username: Annotated[str, BeforeValidator(lambda v: read_text(v, 150))]


@blueprint.get(_PATH)
@operation("groups", "list", {200: Paged(Group)}, listing=lambda: _listing())
def list_groups() -> Response:
    """One page of groups."""
    listing = _listing()
    selection = read_selection(listing.filters, listing.orderings, sql.SQL("groups.id DESC"))
    page = read_page()
    with api().db.transaction() as tx:
        count, rows = list_page(tx, sql.SQL("*"), sql.SQL("groups"), selection, page)
    return page_answer(page, count, [_render(row) for row in rows])


@blueprint.post(_PATH)
@operation("groups", "create", {201: Group}, body=GroupBody)
def add_group() -> Response:
    """201 with a new group."""
    body = read_body(GroupBody, read_only=_READ_ONLY)
    with api().db.transaction() as tx:
        return created(_render(access.add_group(tx, body.name)))


@blueprint.get(f"{_PATH}<key>/")
@operation("groups", "read", {200: Group})
def read_group(key: str) -> Response:
    """One group."""
    with api().db.transaction() as tx:
        return answer(chosen_fields(_render(group_row(tx, key))))


@blueprint.put(f"{_PATH}<key>/")
@operation("groups", "update", {200: Group}, body=GroupBody)
def replace_group(key: str) -> Response:
    """200 with the group as it is now."""
    return _update(key, read_body(GroupBody, read_only=_READ_ONLY).given())


@blueprint.patch(f"{_PATH}<key>/")
@operation("groups", "partial_update", {200: Group}, body=GroupBody)
def update_group(key: str) -> Response:
    """200 with the group as it is now."""
    return _update(key, read_body(GroupBody, partial=True, read_only=_READ_ONLY).given())


def _update(key: str, body: Mapping[str, Any]) -> Response:
    with api().db.transaction() as tx:
        row = group_row(tx, key)
        if "name" in body:
            row = access.update_group(tx, row["id"], body["name"]) or row
        return answer(_render(row))


@blueprint.delete(f"{_PATH}<key>/")
@operation("groups", "delete", {204: None})
def delete_group(key: str) -> Response:
    """204; its members stay users."""
    with api().db.transaction() as tx:
        access.delete_group(tx, group_row(tx, key)["id"])
    return no_content()


@blueprint.get(f"{_PATH}<key>/users/")
@operation("groups/users", "list", {200: Paged(GroupUser)}, listing=lambda: Listing({}))
def list_members(key: str) -> Response:
    """One page of a group's users."""
    page = read_page()
    with api().db.transaction() as tx:
        row = group_row(tx, key)
        source = sql.SQL("users u JOIN members m ON m.who = u.id AND m.in_group = {}").format(
            literal(row["id"])
        )
        selection = read_selection({}, {}, sql.SQL("u.username"))
        count, rows = list_page(tx, sql.SQL("u.id, u.username"), source, selection, page)
    return page_answer(page, count, [_render_member(row["id"], member) for member in rows])


@blueprint.post(f"{_PATH}<key>/users/")
@operation("groups/users", "create", {201: GroupUser}, body=MemberBody)
def add_member(key: str) -> Response:
    """201; whoever is in it already stays."""
    body = read_body(MemberBody, read_only=_READ_ONLY)
    with api().db.transaction() as tx:
        row = group_row(tx, key)
        users, _ = access.list_ids(tx, [body.username], [])
        if not users:
            raise field_errors({"username": ["This user does not exist."]})
        [(username, user)] = users.items()
        access.add_member(tx, row["id"], user)
    return answer(_render_member(row["id"], {"id": user, "username": username}), 201)


@blueprint.delete(f"{_PATH}<key>/users/<user>/")
@operation("groups/users", "delete", {204: None})
def remove_member(key: str, user: str) -> Response:
    """204."""
    number = read_number(user)
    with api().db.transaction() as tx:
        row = group_row(tx, key)
        if number is None or not access.remove_member(tx, row["id"], number):
            raise no_such("User")
    return no_content()


def group_row(tx: Tx, key: str) -> dict[str, Any]:
    """The group that a path names; answers 404 where there is none."""
    number = read_number(key)
    row = None if number is None else access.find_group(tx, number)
    if row is None:
        raise no_such("Group")
    return row


def _listing() -> Listing:
    name, id = sql.Identifier("groups", "name"), sql.Identifier("groups", "id")
    texts = text_filters("name", name)
    suffixes = ("", "__in", "__iexact", "__contains", "__icontains")
    filters: dict[str, Filter] = {f"name{s}": texts[f"name{s}"] for s in suffixes}
    return Listing(filters, {"name": name, "id": id})


def _render(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": row["name"],
        "pulp_href": group_href(row["id"]),
        "prn": numbered_prn("core.group", row["id"]),
        "id": row["id"],
    }


def _render_member(group: int, member: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "username": member["username"],
        # The one that a DELETE takes out of the group; the user's own is below users/.
        "pulp_href": user_href(member["id"]),
        "prn": numbered_prn("auth.user", member["id"]),
    }
