"""Content guards: who may fetch what a distribution serves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

import psycopg
from flask import Blueprint, Response
from psycopg import sql
from pydantic import BeforeValidator

from debfleet.db import access
from debfleet.db.access import GUARD_MODELS, RBAC_GUARD
from debfleet.db.connect import Tx
from debfleet.model import prn
from debfleet_api.answers import answer, chosen_fields, created, no_content
from debfleet_api.bodies import Body, Name, OptionalText, not_built, read_body, read_text, refuse
from debfleet_api.errors import Refusal, no_such, not_found
from debfleet_api.filters import (
    Condition,
    all_of,
    choice_filters,
    identity_filters,
    list_page,
    literal,
    read_selection,
    text_filters,
)
from debfleet_api.hrefs import find_uuid, group_href, href, numbered_prn, user_href, wire_time
from debfleet_api.openapi.operations import Answer, Listing, Operation, Paged, operation, operations
from debfleet_api.paging import page_answer, read_page
from debfleet_api.permissions import owned, visible
from debfleet_api.shapes.access import BaseGuard, HeaderGuard, RbacGuard
from debfleet_api.state import api, current_user

blueprint = Blueprint("guards", __name__)

_PATH = "/contentguards/core/<any(rbac,header):kind>/"
_READ_ONLY = frozenset({"pulp_href", "prn", "pulp_created", "pulp_last_updated", "users", "groups"})
_WORDS = {"rbac": "RBACContentGuard", "header": "HeaderContentGuard"}
_TYPES = {"rbac": "core.rbac", "header": "core.header"}
_DOWNLOADER = "core.rbaccontentguard_downloader"


def _read_header_name(value: Any) -> str:
    name = read_text(value, 256)
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):  # RFC 9110, 5.1
        refuse("This is no name of an HTTP header.")
    return name


class RbacBody(Body, title="RBACContentGuard"):
    """A guard that asks for a login and for the downloader role on it."""

    name: Name
    description: OptionalText = None


class HeaderBody(RbacBody, title="HeaderContentGuard"):
    """A guard that asks for a header with just this value."""

    header_name: Annotated[str, BeforeValidator(_read_header_name)]
    header_value: Annotated[str, BeforeValidator(lambda v: read_text(v, 4096))]
    jq_filter: Annotated[str | None, not_built(None)] = None


_BODIES: dict[str, type[RbacBody]] = {"rbac": RbacBody, "header": HeaderBody}


_SHAPES: dict[str, type[RbacGuard | HeaderGuard]] = {"rbac": RbacGuard, "header": HeaderGuard}


def _on_each(action: str, status: int = 200, *, has_body: bool = False) -> list[Operation]:
    """The operation on the guards of each kind."""

    def one(kind: str, shape: type[RbacGuard | HeaderGuard]) -> Operation:
        answer: Answer = Paged(shape) if action == "list" else shape
        return Operation(
            f"contentguards/core/{kind}",
            action,
            {status: None if status == 204 else answer},
            body=_BODIES[kind] if has_body else None,
            listing=(lambda: _listing(kind)) if action == "list" else None,
            values={"kind": kind},
        )

    return [one(kind, shape) for kind, shape in _SHAPES.items()]


@blueprint.get("/contentguards/")
@operation("contentguards", "list", {200: Paged(BaseGuard)}, listing=lambda: _listing(None))
def list_all_guards() -> Response:
    """One page of guards of both kinds."""
    return _page(None)


@blueprint.get(_PATH)
@operations(_on_each("list"))
def list_guards(kind: str) -> Response:
    """One page of guards of a kind."""
    return _page(kind)


@blueprint.post(_PATH)
@operations(_on_each("create", 201, has_body=True))
def add_guard(kind: str) -> Response:
    """201 with the new guard."""
    body = read_body(_BODIES[kind], read_only=_READ_ONLY)
    with api().db.transaction() as tx:
        row = access.add_guard(tx, {**_NONE, **dict(body), "kind": kind})
        owned(tx, GUARD_MODELS[kind], row)
        return created(_render(tx, row))


@blueprint.get(f"{_PATH}<key>/")
@operations(_on_each("read"))
def read_guard(kind: str, key: str) -> Response:
    """One guard."""
    with api().db.transaction() as tx:
        return answer(chosen_fields(_render(tx, _row(tx, kind, key))))


@blueprint.put(f"{_PATH}<key>/")
@operations(_on_each("update", has_body=True))
def replace_guard(kind: str, key: str) -> Response:
    """200 with the guard as it is now."""
    return _update(kind, key, dict(read_body(_BODIES[kind], read_only=_READ_ONLY)))


@blueprint.patch(f"{_PATH}<key>/")
@operations(_on_each("partial_update", has_body=True))
def update_guard(kind: str, key: str) -> Response:
    """200 with the guard as it is now."""
    body = read_body(_BODIES[kind], partial=True, read_only=_READ_ONLY)
    return _update(kind, key, body.given())


@blueprint.delete(f"{_PATH}<key>/")
@operations(_on_each("delete", 204))
def delete_guard(kind: str, key: str) -> Response:
    """204; 400 while a distribution has it, which would be open to everybody then."""
    with api().db.transaction() as tx:
        row = _row(tx, kind, key)
        try:
            with tx.transaction():
                access.delete_guard(tx, row["uuid"])
        except psycopg.errors.ForeignKeyViolation:
            names = ", ".join(access.list_guarded(tx, row["uuid"]))
            text = f"It guards distributions; give them another guard, or none, first: {names}"
            raise Refusal(400, {"non_field_errors": [text]}) from None
    return no_content()


_NONE = {"header_name": None, "header_value": None}


def _update(kind: str, key: str, given: Mapping[str, Any]) -> Response:
    with api().db.transaction() as tx:
        row = _row(tx, kind, key)
        changed = access.update_guard(tx, row["uuid"], {**row, **given})
        assert changed is not None
        return answer(_render(tx, changed))


def _row(tx: Tx, kind: str, key: str) -> dict[str, Any]:
    uuid: UUID | None = find_uuid(key)
    if uuid is None:
        raise not_found()
    row = access.find_guard(tx, uuid)
    if row is None or row["kind"] != kind:
        raise no_such(_WORDS[kind])
    return row


_UUID = sql.Identifier("content_guards", "uuid")
_KIND = sql.Identifier("content_guards", "kind")


def _page(kind: str | None) -> Response:
    listing = _listing(kind)
    selection = read_selection(
        listing.filters, listing.orderings, sql.SQL("content_guards.id DESC")
    )
    page = read_page()
    with api().db.transaction() as tx:
        selection = selection.narrowed(_visible(tx, [kind] if kind else list(GUARD_MODELS)))
        count, rows = list_page(tx, sql.SQL("*"), sql.SQL("content_guards"), selection, page)
        shown = [_render(tx, row, is_base=kind is None) for row in rows]
    return page_answer(page, count, shown)


def _listing(kind: str | None) -> Listing:
    name = sql.Identifier("content_guards", "name")
    filters = text_filters("name", name) | identity_filters(GUARD_MODELS[kind or "rbac"], _UUID)
    if kind is None:
        of_type = sql.SQL("('core.' || {})").format(_KIND)
        chosen = choice_filters("pulp_type", of_type, list(_TYPES.values()))
        filters |= {n: chosen[n] for n in ("pulp_type", "pulp_type__in")}
    orderings: dict[str, Condition] = {
        "name": name,
        "description": sql.Identifier("content_guards", "description"),
        "pulp_type": _KIND,
        "pulp_created": sql.Identifier("content_guards", "created"),
        "pulp_last_updated": sql.Identifier("content_guards", "updated"),
        "pulp_id": _UUID,
        "pk": _UUID,
    }
    return Listing(filters, orderings)


def _visible(tx: Tx, kinds: Sequence[str]) -> Condition:
    seen = [
        all_of(
            [
                sql.SQL("{} = {}").format(_KIND, literal(kind)),
                visible(tx, GUARD_MODELS[kind], _UUID),
            ]
        )
        for kind in kinds
    ]
    return sql.SQL(" OR ").join([sql.SQL("({})").format(c) for c in seen])


def _render(tx: Tx, row: Mapping[str, Any], *, is_base: bool = False) -> dict[str, Any]:
    model = GUARD_MODELS[row["kind"]]
    shown = {
        "pulp_href": href(model, row["uuid"]),
        "prn": prn(model, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["updated"]),
        "name": row["name"],
        "description": row["description"],
    }
    if is_base:
        return shown
    if row["kind"] == "rbac":
        return shown | _downloaders(tx, prn(RBAC_GUARD, row["uuid"]))
    header = {"header_name": row["header_name"], "jq_filter": None}
    # Whoever knows the value may fetch: it is for those who may change the guard.
    held = access.list_permissions(tx, current_user().id, shown["prn"])
    may_change = current_user().is_superuser or "core.change_headercontentguard" in held
    return shown | header | {"header_value": row["header_value"] if may_change else ""}


def _downloaders(tx: Tx, name: str) -> dict[str, list[dict[str, Any]]]:
    """Who has the downloader role on a guard."""
    roles = [r for r in access.list_roles_on(tx, name) if r["role"] == _DOWNLOADER]
    users, groups = (
        access.list_ids(tx, roles[0]["users"], roles[0]["groups"]) if roles else ({}, {})
    )
    return {
        "users": [
            {"username": n, "pulp_href": user_href(i), "prn": numbered_prn("auth.user", i)}
            for n, i in users.items()
        ],
        "groups": [
            {"name": n, "pulp_href": group_href(i), "prn": numbered_prn("core.group", i), "id": i}
            for n, i in groups.items()
        ],
    }
