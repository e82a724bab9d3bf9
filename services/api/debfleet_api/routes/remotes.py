"""Remotes: where and what to sync from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response
from psycopg import sql
from pydantic import BeforeValidator, Field

from debfleet.changes import Change
from debfleet.db import repositories
from debfleet.db.repositories import REMOTE_COLUMNS, SEALED
from debfleet.guards import GUARDS, LEVELS
from debfleet.model import prn
from debfleet_api import asks
from debfleet_api.answers import answer, chosen_fields, created
from debfleet_api.bodies import (
    Body,
    Flag,
    Labels,
    Name,
    Natural,
    NoNames,
    OptionalText,
    Positive,
    Seconds,
    Text,
    choice,
    read_body,
)
from debfleet_api.errors import field_errors
from debfleet_api.filters import (
    Filter,
    identity_filters,
    list_page,
    read_selection,
    text_filters,
    time_filters,
    type_filters,
)
from debfleet_api.hrefs import REMOTE, href, wire_time
from debfleet_api.label_filter import label_filter
from debfleet_api.openapi.operations import Listing, Paged, changed, operation
from debfleet_api.paging import page_answer, read_page
from debfleet_api.permissions import owned, visible
from debfleet_api.remote_fields import (
    read_architectures,
    read_certificates,
    read_gpgkey,
    read_headers,
    read_proxy_url,
    read_url,
)
from debfleet_api.routes.objects import Objects, add_object_routes
from debfleet_api.shapes.repositories import BaseRemote, Remote
from debfleet_api.state import api

blueprint = Blueprint("remotes", __name__)

DEFAULT_CONCURRENCY = 20
_RESOURCE = "remotes/deb/apt"
_PATH = f"/{_RESOURCE}/"
_TYPES = type_filters("deb.apt-remote")
_GUARD_FIELDS = {f"guard_{name}": name for name in GUARDS}  # on the wire: the guard
_READ_ONLY = frozenset({"pulp_href", "prn", "pulp_created", "pulp_last_updated", "hidden_fields"})
_WIRE = {"labels": "pulp_labels"}  # where a column is called otherwise


def _or_null(check: Any) -> BeforeValidator:
    return BeforeValidator(lambda v: None if v is None else check(v))


Level = Annotated[str | None, _or_null(choice(*LEVELS).func)]  # null: the guard's default


class RemoteBody(Body, title="deb.AptRemote"):
    """What a client may send."""

    name: Name
    url: Annotated[str, BeforeValidator(read_url)]
    distributions: Text
    components: OptionalText = None
    architectures: Annotated[str | None, _or_null(read_architectures)] = None
    policy: Annotated[str, choice("immediate", "on_demand", "streamed")] = "immediate"
    sync_sources: Flag = False
    sync_udebs: Flag = False
    sync_installer: Flag = False
    gpgkey: Annotated[str | None, _or_null(read_gpgkey)] = None
    ignore_missing_package_indices: Flag = False
    pulp_labels: Labels = Field(default_factory=dict)
    tls_validation: Flag = True
    ca_cert: Annotated[str | None, _or_null(read_certificates)] = None
    client_cert: Annotated[str | None, _or_null(read_certificates)] = None
    client_key: OptionalText = None
    username: OptionalText = None
    password: OptionalText = None
    proxy_url: Annotated[str | None, _or_null(read_proxy_url)] = None
    proxy_username: OptionalText = None
    proxy_password: OptionalText = None
    max_retries: Natural = None
    total_timeout: Seconds = None
    connect_timeout: Seconds = None
    sock_connect_timeout: Seconds = None
    sock_read_timeout: Seconds = None
    headers: Annotated[list[dict[str, str]] | None, _or_null(read_headers)] = None
    download_concurrency: Positive = None
    rate_limit: Positive = None
    excluded_package_metadata_fields: NoNames = Field(default_factory=list)
    vanishing: Annotated[str, choice("leave", "fetch")] = "leave"
    guard_replay: Level = None
    guard_expired: Level = None
    guard_future: Level = None
    guard_renamed: Level = None
    guard_shrink: Level = None
    guard_weak_digests: Level = None
    guard_missing_files: Level = None


@blueprint.get(_PATH)
@operation(_RESOURCE, "list", {200: Paged(Remote)}, listing=lambda: _listing({}))
def list_remotes() -> Response:
    """One page of remotes."""
    return _page({}, render_remote)


@blueprint.get("/remotes/")
@operation("remotes", "list", {200: Paged(BaseRemote)}, listing=lambda: _listing(_TYPES))
def list_all_remotes() -> Response:
    """One page of remotes of every type; there is one type."""
    return _page(_TYPES, _render_base)


@blueprint.post(_PATH)
@operation(_RESOURCE, "create", {201: Remote}, body=RemoteBody)
def add_remote() -> Response:
    """201 with the new remote."""
    body = read_body(RemoteBody, read_only=_READ_ONLY)
    values = _columns(dict(body))
    _check_proxy(values)
    row = api().db.run(lambda tx: owned(tx, REMOTE, repositories.add_remote(tx, _sealed(values))))
    return created(render_remote(row))


@blueprint.get(f"{_PATH}<key>/")
@operation(_RESOURCE, "read", {200: Remote})
def read_remote(key: str) -> Response:
    """One remote."""
    return answer(chosen_fields(render_remote(_row(key))))


@blueprint.put(f"{_PATH}<key>/")
@operation(_RESOURCE, "update", changed(Remote), body=RemoteBody)
def replace_remote(key: str) -> Response:
    """As a PATCH that names the required fields; only ``policy`` goes back to its default."""
    row = _row(key)
    body = read_body(RemoteBody, read_only=_READ_ONLY)
    return _change(row, {"policy": "immediate"} | body.given())


@blueprint.patch(f"{_PATH}<key>/")
@operation(_RESOURCE, "partial_update", changed(Remote), body=RemoteBody)
def update_remote(key: str) -> Response:
    """200 if nothing would change, else 202 and a task."""
    row = _row(key)
    return _change(row, read_body(RemoteBody, partial=True, read_only=_READ_ONLY).given())


def render_remote(row: Mapping[str, Any]) -> dict[str, Any]:
    """A remote as clients know it; what is sealed is only told to be set."""
    hidden = ("client_key", "proxy_username", "proxy_password", "username", "password")
    return {
        "pulp_href": href(REMOTE, row["uuid"]),
        "prn": prn(REMOTE, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["updated"]),
        "name": row["name"],
        "url": row["url"],
        "pulp_labels": row["labels"],
        "policy": row["policy"],
        "hidden_fields": [{"name": n, "is_set": bool(row[n])} for n in hidden],
        **{n: row[n] for n in (*_BASE, *_OF_DEBIAN)},
        **{f"guard_{n}": row["guards"].get(n) for n in GUARDS},
    }


def _render_base(row: Mapping[str, Any]) -> dict[str, Any]:
    """What remotes of every type have."""
    hidden = {*_OF_DEBIAN, *_GUARD_FIELDS}
    return {n: value for n, value in render_remote(row).items() if n not in hidden}


_BASE = (
    "ca_cert", "client_cert", "tls_validation", "proxy_url", "max_retries", "total_timeout",
    "connect_timeout", "sock_connect_timeout", "sock_read_timeout", "headers",
    "download_concurrency", "rate_limit",
)  # fmt: skip
_OF_DEBIAN = (
    "distributions", "components", "architectures", "sync_sources", "sync_udebs",
    "sync_installer", "gpgkey", "ignore_missing_package_indices",
    "excluded_package_metadata_fields", "vanishing",
)  # fmt: skip


def _page(
    more: Mapping[str, Filter], render: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Response:
    asked = _listing(more)
    selection = read_selection(asked.filters, asked.orderings, sql.SQL("remotes.id DESC"))
    page = read_page()
    with api().db.transaction() as tx:
        selection = selection.narrowed(visible(tx, REMOTE, sql.Identifier("remotes", "uuid")))
        count, rows = list_page(tx, sql.SQL("*"), sql.SQL("remotes"), selection, page)
    return page_answer(page, count, [render(r) for r in rows])


def _listing(more: Mapping[str, Filter]) -> Listing:
    column = {c: sql.Identifier("remotes", c) for c in (*REMOTE_COLUMNS, "created", "updated")}
    uuid = sql.Identifier("remotes", "uuid")
    filters = {
        **text_filters("name", column["name"]),
        **time_filters("pulp_last_updated", column["updated"]),
        **identity_filters(REMOTE, uuid),
        "pulp_label_select": label_filter(column["labels"]),
        **more,
    }
    plain = set(REMOTE_COLUMNS) - set(SEALED) - {"labels", "headers", "guards"}
    orderings = {c: column[c] for c in plain} | {
        "pulp_type": sql.SQL("1 + 0"),  # there is one
        "pulp_labels": column["labels"],
        "headers": column["headers"],
        "pulp_created": column["created"],
        "pulp_last_updated": column["updated"],
        "pulp_id": uuid,
        "pk": uuid,
    }
    return Listing(filters, orderings)


def _row(key: str) -> Mapping[str, Any]:
    return _OBJECTS.row(key)


def _find_row(uuid: UUID) -> dict[str, Any] | None:
    with api().db.single() as tx:
        return repositories.find_remote_row(tx, uuid)


_OBJECTS = Objects(_PATH, "remotes", "AptRemote", _find_row)
add_object_routes(blueprint, _OBJECTS)


def _columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """Wire names to columns; a concurrency that is not given is the one we use."""
    values = {c: given[w] for c in REMOTE_COLUMNS if (w := _WIRE.get(c, c)) in given}
    if "download_concurrency" in values and values["download_concurrency"] is None:
        values["download_concurrency"] = DEFAULT_CONCURRENCY
    guards = {name: given[field] for field, name in _GUARD_FIELDS.items() if field in given}
    if guards:
        values["guards"] = guards
    return values


def _sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    seal = api().sealer.seal
    return {n: seal(v) if n in SEALED and v is not None else v for n, v in values.items()}


def _opened(row: Mapping[str, Any]) -> dict[str, Any]:
    reveal = api().sealer.open
    return {c: reveal(row[c]) if c in SEALED and row[c] else row[c] for c in REMOTE_COLUMNS}


def _change(row: Mapping[str, Any], given: Mapping[str, Any]) -> Response:
    held = _opened(row)
    changed = {c: v for c, v in _columns(given).items() if v != held[c]}
    levels = held["guards"]
    guards = {n: v for n, v in changed.pop("guards", {}).items() if v != levels.get(n)}
    if guards:
        changed["guards"] = guards
    if not changed:
        return answer(render_remote(row))
    _check_proxy(held | changed)
    return asks.change(Change("remotes", "update", row["uuid"], _sealed(changed)))


def _check_proxy(values: Mapping[str, Any]) -> None:
    name, password = values["proxy_username"], values["proxy_password"]
    if (name is None) != (password is None):
        text = "proxy_username and proxy_password must be given together."
    elif name is not None and values["proxy_url"] is None:
        text = "proxy_username and proxy_password need a proxy_url."
    else:
        return
    raise field_errors({"non_field_errors": [text]})
