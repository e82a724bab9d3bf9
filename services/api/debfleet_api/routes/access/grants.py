"""Roles given to users and groups: on one object, by its path; on one or all, by the holder's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import psycopg
from flask import Blueprint, Response
from psycopg import sql
from pydantic import BeforeValidator, Field

from debfleet.db import access
from debfleet.db.access import HEADER_GUARD, RBAC_GUARD, Holders
from debfleet.db.connect import Tx
from debfleet.model import DISTRIBUTION, prn
from debfleet_api.answers import answer, chosen_fields, created, no_content
from debfleet_api.bodies import Body, Name, Names, read_body, read_text
from debfleet_api.errors import field_errors, no_such, not_found
from debfleet_api.filters import (
    Condition,
    Filter,
    all_of,
    list_page,
    literal,
    read_selection,
    text_filters,
)
from debfleet_api.hrefs import (
    BASE,
    DOMAIN,
    PUBLICATION,
    REMOTE,
    REPOSITORY,
    TASK,
    VERBATIM,
    find_href,
    find_ref,
    find_uuid,
    group_href,
    user_href,
    wire_time,
)
from debfleet_api.openapi.operations import Answer, Listing, Operation, Paged, operations
from debfleet_api.paging import page_answer, read_page
from debfleet_api.permissions import list_held
from debfleet_api.routes.access.groups import group_row
from debfleet_api.routes.access.users import user_row
from debfleet_api.shapes.access import (
    GroupRole,
    MyPermissions,
    NestedRole,
    ObjectRoles,
    UserRole,
)
from debfleet_api.state import api, current_user

blueprint = Blueprint("grants", __name__)

# Where the objects are that roles are granted on.
_OBJECTS = {
    "repositories/deb/apt": REPOSITORY,
    "remotes/deb/apt": REMOTE,
    "distributions/deb/apt": DISTRIBUTION,
    "publications/deb/apt": PUBLICATION,
    "publications/deb/verbatim": VERBATIM,
    "contentguards/core/rbac": RBAC_GUARD,
    "contentguards/core/header": HEADER_GUARD,
    "tasks": TASK,
}


class ObjectGrantBody(Body, title="NestedRole"):
    """Which role, and whose."""

    role: Name
    users: Names = Field(default_factory=list)
    groups: Names = Field(default_factory=list)


class HolderGrantBody(Body):
    """Which role, and on what: an object, or null for all."""

    role: Name
    content_object: Annotated[str | None, BeforeValidator(lambda v: v and read_text(v))] = None
    content_object_prn: Annotated[str | None, BeforeValidator(lambda v: v and read_text(v))] = None
    domain: Annotated[str | None, BeforeValidator(lambda v: v and read_text(v))] = None


class UserGrantBody(HolderGrantBody, title="UserRole"):
    """A role for a user."""


class GroupGrantBody(HolderGrantBody, title="GroupRole"):
    """A role for a group."""


def _on_each(
    action: str, answers: Mapping[int, Answer], body: type[Body] | None = None
) -> list[Operation]:
    """The operation on every resource that roles are granted on."""
    return [
        Operation(of, action, answers, body=body, values={"model": model})
        for of, model in _OBJECTS.items()
    ]


# --- on one object -----------------------------------------------------------------------------


@operations(_on_each("add_role", {201: NestedRole}, ObjectGrantBody))
def add_role(model: str, key: str) -> Response:
    """201 with what was granted."""
    body = read_body(ObjectGrantBody)
    with api().db.transaction() as tx:
        name = _object(tx, model, key)
        role, holders = _role(tx, body.role, model), _holders(tx, body)
        if access.count_grants(tx, role["id"], holders, name):
            raise field_errors({"role": [f"Some of them have the role '{body.role}' already."]})
        access.add_grants(tx, role["id"], holders, name)
    return answer(dict(body), 201)


@operations(_on_each("remove_role", {201: NestedRole}, ObjectGrantBody))
def remove_role(model: str, key: str) -> Response:
    """201 with what was taken away."""
    body = read_body(ObjectGrantBody)
    with api().db.transaction() as tx:
        name = _object(tx, model, key)
        role, holders = _role(tx, body.role, model), _holders(tx, body)
        wanted = len(holders.users) + len(holders.groups)
        if access.count_grants(tx, role["id"], holders, name) < wanted:
            raise field_errors({"role": [f"Not all of them have the role '{body.role}'."]})
        access.remove_grants(tx, role["id"], holders, name)
    return answer(dict(body), 201)


@operations(_on_each("list_roles", {200: ObjectRoles}))
def list_roles(model: str, key: str) -> Response:
    """The roles granted on just this object."""
    with api().db.transaction() as tx:
        rows = access.list_roles_on(tx, _object(tx, model, key))
    return answer({"roles": [{n: r[n] for n in ("role", "users", "groups")} for r in rows]})


@operations(_on_each("my_permissions", {200: MyPermissions}))
def my_permissions(model: str, key: str) -> Response:
    """What the user who asks may do to this object."""
    user = current_user()
    with api().db.transaction() as tx:
        name = _object(tx, model, key)
        if user.is_superuser:
            word = model.partition(".")[2]
            held = [
                p
                for p in access.list_known_permissions(tx)
                if p.endswith((f"_{word}", f"_{word}_version")) and not p.startswith("deb.add_")
            ]
        else:
            held = sorted(list_held(tx, model, UUID(name.rpartition(":")[2])))
    return answer({"permissions": held})


for _path, _model in _OBJECTS.items():
    for _view, _method in (
        (add_role, "POST"), (remove_role, "POST"), (list_roles, "GET"), (my_permissions, "GET")
    ):  # fmt: skip
        blueprint.add_url_rule(
            f"/{_path}/<key>/{_view.__name__}/",
            view_func=_view, methods=[_method], defaults={"model": _model},
        )  # fmt: skip


def _object(tx: Tx, model: str, key: str) -> str:
    uuid = find_uuid(key)
    if uuid is None or not access.has_object(tx, model, uuid):
        raise not_found()
    return prn(model, uuid)


def _holders(tx: Tx, body: ObjectGrantBody) -> Holders:
    users, groups = access.list_ids(tx, body.users, body.groups)
    errors: dict[str, list[str]] = {}
    for field, names, found, word in (
        ("users", body.users, users, "username"),
        ("groups", body.groups, groups, "name"),
    ):
        missing = [name for name in names if name not in found]
        if missing:
            errors[field] = [f"Object with {word}={missing[0]} does not exist."]
    if errors:
        raise field_errors(errors)
    if not users and not groups:
        raise field_errors({"non_field_errors": ["Name users or groups."]})
    return Holders(sorted(users.values()), sorted(groups.values()))


def _role(tx: Tx, name: str, model: str | None) -> dict[str, Any]:
    """The role; with a model, it must hold a permission on objects of it."""
    row = access.find_role_named(tx, name)
    if row is None:
        raise field_errors({"role": [f"Object with name={name} does not exist."]})
    if model is not None:
        word = model.partition(".")[2]
        if not any(p.endswith((f"_{word}", f"_{word}_version")) for p in row["permissions"]):
            text = f"The role '{name}' does not carry any permission for that object."
            raise field_errors({"non_field_errors": [text]})
    return row


# --- of one user or group ----------------------------------------------------------------------


@blueprint.get("/<any(users,groups):whose>/<number>/roles/")
@operations(
    [
        Operation(
            "users/roles",
            "list",
            {200: Paged(UserRole)},
            values={"whose": "users"},
            listing=lambda: _listing(),
        ),
        Operation(
            "groups/roles",
            "list",
            {200: Paged(GroupRole)},
            values={"whose": "groups"},
            listing=lambda: _listing(),
        ),
    ]
)
def list_holder_grants(whose: str, number: str) -> Response:
    """One page of the roles of a user (not those of their groups) or of a group."""
    page = read_page()
    with api().db.transaction() as tx:
        condition = _of_holder(tx, whose, number)
        listing = _listing()
        read = read_selection(listing.filters, listing.orderings, sql.SQL("g.id DESC"))
        selection = read.narrowed(condition)
        count, rows = list_page(tx, _SELECTED, _SOURCE, selection, page)
    return page_answer(page, count, [_render(whose, row) for row in rows])


@blueprint.post("/<any(users,groups):whose>/<number>/roles/")
@operations(
    [
        Operation(
            "users/roles", "create", {201: UserRole}, values={"whose": "users"}, body=UserGrantBody
        ),
        Operation(
            "groups/roles",
            "create",
            {201: GroupRole},
            values={"whose": "groups"},
            body=GroupGrantBody,
        ),
    ]
)
def add_holder_grant(whose: str, number: str) -> Response:
    """201 with the new grant."""
    body = read_body(HolderGrantBody)
    with api().db.transaction() as tx:
        row = _holder(tx, whose, number)
        name = _object_named(tx, body)
        model = None if name is None else name.split(":")[1]
        role = _role(tx, body.role, model)
        holders = Holders([row["id"]], []) if whose == "users" else Holders([], [row["id"]])
        try:
            with tx.transaction():
                [added] = access.add_grants(tx, role["id"], holders, name)
        except psycopg.errors.UniqueViolation:
            text = f"They have the role '{body.role}' there already."
            raise field_errors({"non_field_errors": [text]}) from None
        return created(_read(tx, whose, number, added["uuid"]))


@blueprint.get("/<any(users,groups):whose>/<number>/roles/<key>/")
@operations(
    [
        Operation("users/roles", "read", {200: UserRole}, values={"whose": "users"}),
        Operation("groups/roles", "read", {200: GroupRole}, values={"whose": "groups"}),
    ]
)
def read_holder_grant(whose: str, number: str, key: str) -> Response:
    """One grant."""
    with api().db.transaction() as tx:
        return answer(chosen_fields(_read(tx, whose, number, _uuid(key))))


@blueprint.delete("/<any(users,groups):whose>/<number>/roles/<key>/")
@operations(
    [
        Operation("users/roles", "delete", {204: None}, values={"whose": "users"}),
        Operation("groups/roles", "delete", {204: None}, values={"whose": "groups"}),
    ]
)
def delete_holder_grant(whose: str, number: str, key: str) -> Response:
    """204; they have the role there no more."""
    with api().db.transaction() as tx:
        uuid = _uuid(key)
        _read(tx, whose, number, uuid)
        access.delete_grant(tx, uuid)
    return no_content()


def _listing() -> Listing:
    texts = text_filters("role", sql.Identifier("r", "name"))
    suffixes = ("", "__in", "__contains", "__icontains", "__startswith")
    filters: dict[str, Filter] = {f"role{s}": texts[f"role{s}"] for s in suffixes}
    filters["content_object"] = _on_object
    orderings: dict[str, Condition] = {
        "role": sql.Identifier("r", "name"),
        "description": sql.Identifier("r", "description"),
        "pulp_created": sql.Identifier("g", "created"),
        "pk": sql.Identifier("g", "uuid"),
    }
    return Listing(filters, orderings)


_SELECTED = sql.SQL("g.*, r.name, r.description, r.permissions")
_SOURCE = sql.SQL("grants g JOIN roles r ON r.id = g.role")


def _on_object(value: str) -> Condition:
    if value == "null":
        return sql.SQL("g.object IS NULL")
    ref = find_ref(value)
    if ref is None:
        raise ValueError(f"URI not valid: {value}")
    return sql.SQL("g.object = {}").format(literal(prn(ref.model, ref.uuid)))


def _object_named(tx: Tx, body: HolderGrantBody) -> str | None:
    """The PRN that the body names by path or PRN; None: all objects of the one domain."""
    value = body.content_object or body.content_object_prn
    if body.domain is not None and body.domain not in (DOMAIN, _DOMAIN_HREF):
        raise field_errors({"domain": ["Invalid hyperlink - Object does not exist."]})
    if not value:
        return None
    ref = find_ref(value)
    field = "content_object" if body.content_object else "content_object_prn"
    if ref is None or ref.model not in _OBJECTS.values():
        raise field_errors({field: [f"Roles cannot be granted on this: {value}"]})
    if not access.has_object(tx, ref.model, ref.uuid):
        raise field_errors({field: ["Invalid hyperlink - Object does not exist."]})
    return prn(ref.model, ref.uuid)


_DOMAIN_HREF = f"{BASE}domains/{DOMAIN.rpartition(':')[2]}/"


def _holder(tx: Tx, whose: str, number: str) -> dict[str, Any]:
    return user_row(tx, number) if whose == "users" else group_row(tx, number)


def _of_holder(tx: Tx, whose: str, number: str) -> Condition:
    row = _holder(tx, whose, number)
    column = sql.Identifier("g", "who" if whose == "users" else "in_group")
    return sql.SQL("{} = {}").format(column, literal(row["id"]))


def _uuid(key: str) -> UUID:
    uuid = find_uuid(key)
    if uuid is None:
        raise not_found()
    return uuid


def _read(tx: Tx, whose: str, number: str, uuid: UUID) -> dict[str, Any]:
    one = sql.SQL("g.uuid = {}").format(literal(uuid))
    where = all_of([one, _of_holder(tx, whose, number)])
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(_SELECTED, _SOURCE, where)
    row = tx.execute(query).fetchone()
    if row is None:
        raise no_such("UserRole" if whose == "users" else "GroupRole")
    return _render(whose, row)


def _render(whose: str, row: Mapping[str, Any]) -> dict[str, Any]:
    holder = user_href(row["who"]) if whose == "users" else group_href(row["in_group"])
    model = "core.userrole" if whose == "users" else "core.grouprole"
    name = row["object"]
    return {
        "pulp_href": f"{holder}roles/{row['uuid']}/",
        "prn": prn(model, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["created"]),
        "role": row["name"],
        "content_object": None if name is None else find_href(name),
        "content_object_prn": name,
        "description": row["description"],
        "permissions": row["permissions"],
        "domain": None,
    }
