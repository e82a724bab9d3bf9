"""Repositories: named series of versions; sync and modify make the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response
from psycopg import sql
from pydantic import BeforeValidator, Field

from debfleet.changes import Change
from debfleet.db import holdings, repositories
from debfleet.db.connect import Tx
from debfleet.db.repositories import REPOSITORY_COLUMNS
from debfleet.model import prn
from debfleet_api import asks
from debfleet_api.answers import answer, chosen_fields, created
from debfleet_api.bodies import (
    Body,
    Checked,
    Flag,
    Labels,
    Name,
    Names,
    OptionalText,
    Positive,
    read_body,
    read_text,
    refuse,
)
from debfleet_api.filters import (
    Condition,
    Filter,
    identity_filters,
    list_page,
    literal,
    number_filters,
    read_ref,
    read_selection,
    text_filters,
    type_filters,
)
from debfleet_api.hrefs import (
    REMOTE,
    REPOSITORY,
    SIGNING_SERVICE,
    href,
    version_href,
    wire_time,
)
from debfleet_api.label_filter import label_filter
from debfleet_api.openapi.operations import NO_TX, Listing, Paged, changed, operation
from debfleet_api.package_signing import (
    KEY,
    KEYS,
    LONGEST,
    SERVICE,
    check_keys,
    read_key,
    read_keys,
)
from debfleet_api.paging import page_answer, read_page
from debfleet_api.permissions import owned, visible
from debfleet_api.references import (
    find_package_service,
    find_remote,
    find_signing_service,
    read_units,
)
from debfleet_api.routes.objects import Objects, add_object_routes
from debfleet_api.shapes.repositories import BaseRepository, Repository
from debfleet_api.state import api

blueprint = Blueprint("repositories", __name__)

_RESOURCE = "repositories/deb/apt"
_PATH = f"/{_RESOURCE}/"
_TYPES = type_filters("deb.deb")
_READ_ONLY = frozenset(
    {"pulp_href", "prn", "pulp_created", "pulp_last_updated", "versions_href",
     "latest_version_href"}
)  # fmt: skip
_SIGNERS = "signing_service_release_overrides"
_OVERRIDES = (_SIGNERS, KEYS)


def _read_overrides(value: Any) -> dict[str, UUID | None]:
    """By distribution the service that signs it; none where null or "" takes one away."""
    if not isinstance(value, dict):
        refuse(f'Expected a dictionary of items but got type "{type(value).__name__}".')
    return {read_text(k): find_signing_service(v or None) for k, v in value.items()}


class RepositoryBody(Body, title="deb.AptRepository"):
    """What a client may send."""

    name: Name
    description: OptionalText = None
    pulp_labels: Labels = Field(default_factory=dict)
    retain_repo_versions: Positive = None
    remote: Annotated[UUID | None, BeforeValidator(find_remote)] = None
    retain_checkpoints: Positive = None
    autopublish: Flag = False
    publish_upstream_release_fields: Flag = True
    signing_service: Annotated[UUID | None, BeforeValidator(find_signing_service)] = None
    signing_service_release_overrides: Annotated[
        dict[str, UUID | None],
        BeforeValidator(_read_overrides),
        Field(json_schema_extra={"type": "object"}),
    ] = Field(default_factory=dict)
    package_signing_service: Annotated[UUID | None, BeforeValidator(find_package_service)] = None
    package_signing_fingerprint: Annotated[
        str | None, Checked(read_key, {"minLength": 1, "maxLength": LONGEST})
    ] = None
    package_signing_fingerprint_release_overrides: Annotated[
        dict[str, str | None],
        BeforeValidator(read_keys),
        Field(json_schema_extra={"type": "object"}),
    ] = Field(default_factory=dict)
    excluded_package_metadata_fields: Names = Field(default_factory=list)


@blueprint.get(_PATH)
@operation(_RESOURCE, "list", {200: Paged(Repository)}, listing=lambda: _listing({}))
def list_repositories() -> Response:
    """One page of repositories."""
    return _page({}, render_repository)


@blueprint.get("/repositories/")
@operation("repositories", "list", {200: Paged(BaseRepository)}, listing=lambda: _listing(_TYPES))
def list_all_repositories() -> Response:
    """One page of repositories of every type; there is one type."""
    return _page(_TYPES, _render_base)


@blueprint.post(_PATH)
@operation(_RESOURCE, "create", {201: Repository}, body=RepositoryBody)
def add_repository() -> Response:
    """201 with the new repository, which has its empty version 0."""
    values = _columns(dict(read_body(RepositoryBody, read_only=_READ_ONLY)))
    check_keys(values)
    row = api().db.run(lambda tx: owned(tx, REPOSITORY, repositories.add_repository(tx, values)))
    return created(render_repository(row))


@blueprint.get(f"{_PATH}<key>/")
@operation(_RESOURCE, "read", {200: Repository})
def read_repository(key: str) -> Response:
    """One repository."""
    return answer(chosen_fields(render_repository(repository_row(key))))


@blueprint.put(f"{_PATH}<key>/")
@operation(_RESOURCE, "update", changed(Repository), body=RepositoryBody)
def replace_repository(key: str) -> Response:
    """As a PATCH that names the required field; always a change, as with Pulp.

    ``autopublish`` goes back to its default.
    """
    row = repository_row(key)
    body = read_body(RepositoryBody, read_only=_READ_ONLY)
    return _change(row, {"autopublish": False} | body.given(), is_change=True)


@blueprint.patch(f"{_PATH}<key>/")
@operation(_RESOURCE, "partial_update", changed(Repository), body=RepositoryBody)
def update_repository(key: str) -> Response:
    """200 if nothing would change, else 202 and a task."""
    row = repository_row(key)
    given = read_body(RepositoryBody, partial=True, read_only=_READ_ONLY).given()
    return _change(row, given, is_change=not given.keys().isdisjoint(_OVERRIDES))


def render_repository(row: Mapping[str, Any]) -> dict[str, Any]:
    """A repository as clients know it."""
    path = href(REPOSITORY, row["uuid"])
    remote, service = row["remote_uuid"], row["signing_service"]
    packages = row["package_signing_service"]
    return {
        "pulp_href": path,
        "prn": prn(REPOSITORY, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["updated"]),
        "versions_href": f"{path}versions/",
        "pulp_labels": row["labels"],
        "latest_version_href": version_href(row["uuid"], row["latest"]),
        "name": row["name"],
        "description": row["description"],
        "retain_repo_versions": row["retain_repo_versions"],
        "retain_checkpoints": row["retain_checkpoints"],
        "remote": None if remote is None else href(REMOTE, remote),
        "autopublish": row["autopublish"],
        "publish_upstream_release_fields": row["publish_upstream_release_fields"],
        "signing_service": None if service is None else href(SIGNING_SERVICE, service),
        "signing_service_release_overrides": {
            dist: href(SIGNING_SERVICE, UUID(uuid))
            for dist, uuid in row["signing_service_release_overrides"].items()
        },
        "package_signing_fingerprint_release_overrides": row[
            "package_signing_fingerprint_release_overrides"
        ],
        "package_signing_service": None if packages is None else href(SIGNING_SERVICE, packages),
        "package_signing_fingerprint": row["package_signing_fingerprint"],
        "excluded_package_metadata_fields": row["excluded_package_metadata_fields"],
    }


def _render_base(row: Mapping[str, Any]) -> dict[str, Any]:
    """What repositories of every type have."""
    whole = render_repository(row)
    return {name: whole[name] for name in _BASE}


_BASE = (
    "pulp_href", "prn", "pulp_created", "pulp_last_updated", "versions_href", "pulp_labels",
    "latest_version_href", "name", "description", "retain_repo_versions", "retain_checkpoints",
    "remote",
)  # fmt: skip


def repository_row(key: str) -> Mapping[str, Any]:
    """The repository that a path names; answers 404 where there is none."""
    return _OBJECTS.row(key)


def _find_row(uuid: UUID) -> dict[str, Any] | None:
    with api().db.single() as tx:
        return repositories.find_repository_row(tx, uuid)


_OBJECTS = Objects(_PATH, "repositories", "AptRepository", _find_row)
add_object_routes(blueprint, _OBJECTS)
_COLUMNS: dict[str, Condition] = {
    c: sql.Identifier("r", c)
    for c in ("name", "description", "retain_repo_versions", "retain_checkpoints", "autopublish")
}
_ORDERINGS: dict[str, Condition] = _COLUMNS | {
    "pulp_type": sql.SQL("1 + 0"),  # there is one
    "pulp_labels": sql.Identifier("r", "labels"),
    "pulp_created": sql.Identifier("r", "created"),
    "pulp_last_updated": sql.Identifier("r", "updated"),
    "pulp_id": sql.Identifier("r", "uuid"),
    "pk": sql.Identifier("r", "uuid"),
}
_SELECTED = sql.SQL(
    "r.*, m.uuid AS remote_uuid,"
    " (SELECT max(v.number) FROM repository_versions v WHERE v.repository = r.id) AS latest"
)
_SOURCE = sql.SQL("repositories r LEFT JOIN remotes m ON m.id = r.remote")


def _page(
    filters: Mapping[str, Filter], render: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Response:
    page = read_page()
    with api().db.transaction() as tx:
        selection = read_selection({**_filters(tx), **filters}, _ORDERINGS, sql.SQL("r.id DESC"))
        selection = selection.narrowed(visible(tx, REPOSITORY, sql.Identifier("r", "uuid")))
        count, rows = list_page(tx, _SELECTED, _SOURCE, selection, page)
    return page_answer(page, count, [render(r) for r in rows])


def _listing(more: Mapping[str, Filter]) -> Listing:
    return Listing({**_filters(NO_TX), **more}, _ORDERINGS)


def _filters(tx: Tx) -> dict[str, Filter]:
    remote = sql.Identifier("m", "uuid")

    def of_remote(value: str) -> Condition:
        if value == "null":
            return sql.SQL("{} IS NULL").format(remote)
        return sql.SQL("{} = {}").format(remote, literal(read_ref(value, REMOTE).uuid))

    def holding(*, latest: bool) -> Filter:
        def make(value: str) -> Condition:
            found = holdings.find_repositories(tx, read_units(tx, [value]), latest=latest)
            return sql.SQL("r.id = ANY({})").format(literal(found))

        return make

    return {
        **text_filters("name", _COLUMNS["name"]),
        **number_filters("retain_repo_versions", _COLUMNS["retain_repo_versions"]),
        **number_filters("retain_checkpoints", _COLUMNS["retain_checkpoints"]),
        **identity_filters(REPOSITORY, sql.Identifier("r", "uuid")),
        "pulp_label_select": label_filter(sql.Identifier("r", "labels")),
        "remote": of_remote,
        "with_content": holding(latest=False),
        "latest_with_content": holding(latest=True),
    }


def _columns(given: Mapping[str, Any], held: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Wire names to columns; overrides are merged into those of the row that is ``held``."""
    wire = {"labels": "pulp_labels"}
    values = {c: given[w] for c in REPOSITORY_COLUMNS if (w := wire.get(c, c)) in given}
    for name in _OVERRIDES:
        if (overrides := values.get(name)) is not None:
            merged = {**(held or {}).get(name, {}), **overrides}
            values[name] = {dist: str(of) for dist, of in merged.items() if of is not None}
    return values


def _change(row: Mapping[str, Any], given: Mapping[str, Any], *, is_change: bool) -> Response:
    held = {**row, "remote": row["remote_uuid"]}
    changed = {c: v for c, v in _columns(given, row).items() if v != held[c]}
    if not changed.keys().isdisjoint((SERVICE, KEY, KEYS)):
        check_keys({**held, **changed})
    if not changed and not is_change:
        return answer(render_repository(row))
    return asks.change(Change("repositories", "update", row["uuid"], changed))
