"""Users: who may log in."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from flask import Blueprint, Response
from psycopg import sql
from pydantic import BeforeValidator

from debfleet.db import access
from debfleet.db.connect import Tx
from debfleet_api.answers import answer, chosen_fields, created, no_content
from debfleet_api.bodies import Body, Flag, read_body, read_text, refuse
from debfleet_api.errors import Refusal, field_errors, no_such
from debfleet_api.filters import Condition, flag, list_page, read_selection, text_filters
from debfleet_api.hrefs import group_href, numbered_prn, read_number, user_href, wire_time
from debfleet_api.openapi.operations import Listing, Paged, operation
from debfleet_api.paging import page_answer, read_page
from debfleet_api.shapes.access import User
from debfleet_api.state import api, current_user

blueprint = Blueprint("users", __name__)

_PATH = "/users/"
_READ_ONLY = frozenset({"pulp_href", "prn", "id", "date_joined", "groups", "hidden_fields"})
_LAST = "This is the last administrator: nobody could do everything without them."


def _read_username(value: Any) -> str:
    name = read_text(value, 150)
    if any(c.isspace() or c == ":" for c in name):
        refuse("A username holds neither spaces nor colons.")
    return name


def _read_maybe_blank(value: Any) -> str:
    return "" if value == "" else read_text(value, 150)


def _read_password(value: Any) -> str | None:
    # Spaces at its ends belong to it.
    if value is not None and (not isinstance(value, str) or not value or len(value) > 1000):
        refuse("A password is a text of 1 to 1000 characters; null: no login.")
    return value


_Name = Annotated[str, BeforeValidator(_read_maybe_blank)]


class UserBody(Body, title="User"):
    """What a client may send."""

    username: Annotated[str, BeforeValidator(_read_username)]
    password: Annotated[str | None, BeforeValidator(_read_password)] = None
    first_name: _Name = ""
    last_name: _Name = ""
    email: _Name = ""
    is_staff: Flag = False
    is_active: Flag = True


@blueprint.get(_PATH)
@operation("users", "list", {200: Paged(User)}, listing=lambda: _listing())
def list_users() -> Response:
    """One page of users."""
    listing = _listing()
    selection = read_selection(listing.filters, listing.orderings, sql.SQL("users.id DESC"))
    page = read_page()
    with api().db.transaction() as tx:
        count, rows = list_page(tx, sql.SQL("*"), sql.SQL("users"), selection, page)
        shown = _render(tx, rows)
    return page_answer(page, count, shown)


@blueprint.post(_PATH)
@operation("users", "create", {201: User}, body=UserBody)
def add_user() -> Response:
    """201 with a new user, who may do nothing yet."""
    body = read_body(UserBody, read_only=_READ_ONLY)
    # Without a password: one that nobody knows.
    hashed = api().passwords.hash(body.password or secrets.token_urlsafe(32))
    with api().db.transaction() as tx:
        values = {**dict(body), "password_hash": hashed}
        row = access.add_user_row(tx, values)
        return created(_render(tx, [row])[0])


@blueprint.get(f"{_PATH}<key>/")
@operation("users", "read", {200: User})
def read_user(key: str) -> Response:
    """One user."""
    with api().db.transaction() as tx:
        return answer(chosen_fields(_render(tx, [user_row(tx, key)])[0]))


@blueprint.put(f"{_PATH}<key>/")
@operation("users", "update", {200: User}, body=UserBody)
def replace_user(key: str) -> Response:
    """200; fields that are left out go back to their defaults, the password stays."""
    body = read_body(UserBody, read_only=_READ_ONLY)
    return _update(key, dict(body), has_password="password" in body.given())


@blueprint.patch(f"{_PATH}<key>/")
@operation("users", "partial_update", {200: User}, body=UserBody)
def update_user(key: str) -> Response:
    """200 with the user as they are now."""
    given = read_body(UserBody, partial=True, read_only=_READ_ONLY).given()
    return _update(key, given, has_password="password" in given)


@blueprint.delete(f"{_PATH}<key>/")
@operation("users", "delete", {204: None})
def delete_user(key: str) -> Response:
    """204; what they made stays."""
    with api().db.transaction() as tx:
        row = user_row(tx, key)
        if row["is_superuser"] and access.is_last_superuser(tx, row["id"]):
            raise Refusal(400, {"non_field_errors": [_LAST]})
        if row["id"] == current_user().id:
            raise Refusal(400, {"non_field_errors": ["You cannot delete yourself."]})
        access.delete_user(tx, row["id"])
    return no_content()


def user_row(tx: Tx, key: str) -> dict[str, Any]:
    """The user that a path names; answers 404 where there is none."""
    number = read_number(key)
    row = None if number is None else access.find_user_row(tx, number)
    if row is None:
        raise no_such("User")
    return row


_TEXTS = ("username", "first_name", "last_name", "email")


def _listing() -> Listing:
    column = {c: sql.Identifier("users", c) for c in (*_TEXTS, "is_active", "is_staff", "id")}
    suffixes = ("", "__in", "__iexact", "__contains", "__icontains")
    filters = {
        f"{name}{suffix}": text_filters(name, column[name])[f"{name}{suffix}"]
        for name in _TEXTS
        for suffix in suffixes
    }
    filters |= {name: flag(column[name]) for name in ("is_active", "is_staff")}
    orderings: dict[str, Condition] = {**column, "date_joined": sql.Identifier("users", "created")}
    return Listing(filters, orderings)


def _update(key: str, given: Mapping[str, Any], *, has_password: bool) -> Response:
    password = given.get("password")
    hashed = api().passwords.hash(password or secrets.token_urlsafe(32)) if has_password else None
    with api().db.transaction() as tx:
        row = user_row(tx, key)
        is_active = given.get("is_active", row["is_active"])
        if row["is_superuser"] and not is_active and access.is_last_superuser(tx, row["id"]):
            raise field_errors({"is_active": [_LAST]})
        values = {**row, **given, "password_hash": hashed}
        changed = access.update_user_row(tx, row["id"], values)
        assert changed is not None
        return answer(_render(tx, [changed])[0])


def _render(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    groups = access.list_groups_of(tx, [row["id"] for row in rows])
    return [
        {
            "pulp_href": user_href(row["id"]),
            "prn": numbered_prn("auth.user", row["id"]),
            "id": row["id"],
            **{name: row[name] for name in (*_TEXTS, "is_staff", "is_active")},
            "date_joined": wire_time(row["created"]),
            "groups": [
                {"name": g["name"], "pulp_href": group_href(g["id"]),
                 "prn": numbered_prn("core.group", g["id"])}
                for g in groups[row["id"]]
            ],
            "hidden_fields": [{"name": "password", "is_set": True}],
        }
        for row in rows
    ]  # fmt: skip
