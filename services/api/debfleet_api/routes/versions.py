"""Repository versions: immutable sets of content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from flask import Blueprint, Response
from psycopg import sql

from debfleet.db import distributions, gone, holdings, repositories
from debfleet.db.connect import Tx
from debfleet.db.tasks import NewTask
from debfleet.db.upkeep import new_repair
from debfleet.model import Kind, Version, prn
from debfleet_api import asks
from debfleet_api.answers import answer, chosen_fields
from debfleet_api.bodies import Body, Flag, read_body
from debfleet_api.errors import Refusal, no_such, not_found
from debfleet_api.filters import (
    Condition,
    Filter,
    Selection,
    all_of,
    identity_filters,
    list_page,
    literal,
    number_filters,
    read_ref,
    read_selection,
    time_filters,
    words,
)
from debfleet_api.hrefs import (
    CONTENT,
    REPOSITORY,
    VERSION,
    href,
    list_href,
    version_href,
    wire_time,
)
from debfleet_api.openapi.operations import NO_TX, STARTED, Listing, Paged, operation
from debfleet_api.paging import page_answer, read_page
from debfleet_api.permissions import visible
from debfleet_api.references import read_units
from debfleet_api.routes.objects import path_uuid
from debfleet_api.routes.repositories import repository_row
from debfleet_api.shapes.repositories import Version as VersionShape
from debfleet_api.state import api

blueprint = Blueprint("versions", __name__)

_RESOURCE = "repositories/deb/apt/versions"
_PATH = "/repositories/deb/apt/<key>/versions/"
_SERVED = (
    "The repository version cannot be deleted because it (or its publications) are currently "
    "being used to distribute content. Please update the necessary distributions first."
)


class RepairBody(Body, title="Repair"):
    """Whether to read every file, or only to see that it is there."""

    verify_checksums: Flag = True


@blueprint.get(_PATH)
@operation(_RESOURCE, "list", {200: Paged(VersionShape)}, listing=lambda: _listing())
def list_versions(key: str) -> Response:
    """One page of a repository's versions, newest first."""
    row = repository_row(key)
    of_this = sql.SQL("v.repository = {}").format(literal(row["id"]))
    return _page(of_this, row["id"])


@blueprint.get("/repository_versions/")
@operation("repository_versions", "list", {200: Paged(VersionShape)}, listing=lambda: _listing())
def list_all_versions() -> Response:
    """One page of the versions of all repositories."""
    return _page(sql.SQL("true"), None)


@blueprint.get(f"{_PATH}<number>/")
@operation(_RESOURCE, "read", {200: VersionShape})
def read_version(key: str, number: str) -> Response:
    """One version with its counts."""
    where = sql.SQL("r.uuid = {} AND v.number = {}").format(
        literal(path_uuid(key)), literal(_number(number))
    )
    with api().db.single() as tx:
        found = _rendered(tx, _list_rows(tx, where))
    if not found:
        repository_row(key)  # 404 of its own where that is missing
        raise no_such("RepositoryVersion")
    return answer(chosen_fields(found[0]))


@blueprint.delete(f"{_PATH}<number>/")
@operation(_RESOURCE, "delete", STARTED)
def delete_version(key: str, number: str) -> Response:
    """202 and a task, which fails if there is no other version; 400 if clients are served it."""
    version = _version(key, number)
    with api().db.transaction() as tx:
        if distributions.list_users(tx, version.repository, version.number):
            raise Refusal(400, [_SERVED])
    return asks.ask(
        NewTask(
            kind="delete_version",
            name="pulpcore.app.tasks.repository.delete_version",
            args={"repository": version.repository, "number": version.number},
            exclusive=[prn(REPOSITORY, version.repository_uuid)],
        )
    )


@blueprint.post(f"{_PATH}<number>/repair/")
@operation(_RESOURCE, "repair", STARTED, body=RepairBody)
def repair_version(key: str, number: str) -> Response:
    """202 and a task."""
    version = _version(key, number)
    body = read_body(RepairBody)
    at = (version.repository, version.repository_uuid, version.number)
    return asks.ask(new_repair(*at, verify_checksums=body.verify_checksums))


def render_versions(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Versions by their own ids, as clients know them; without those that are gone."""
    rows = _list_rows(tx, sql.SQL("v.id = ANY({})").format(literal(list(ids))))
    return {r["id"]: body for r, body in zip(rows, _rendered(tx, rows), strict=True)}


_SELECTED = sql.SQL(
    "v.id, v.repository, v.number, v.created, r.uuid AS repository_uuid,"
    " b.number AS base_number, br.uuid AS base_repository_uuid,"
    " (SELECT coalesce(jsonb_agg(c ORDER BY c.kind), '[]') FROM version_counts c"
    "   WHERE c.repository = v.repository AND c.number = v.number) AS counts,"
    " EXISTS (SELECT FROM gone_files) AS may_miss_files"  # hardly ever: see count_in_versions
)
_SOURCE = sql.SQL(
    "repository_versions v JOIN repositories r ON r.id = v.repository"
    " LEFT JOIN repository_versions b ON b.id = v.base_version"
    " LEFT JOIN repositories br ON br.id = b.repository"
)
_ORDERINGS: dict[str, Condition] = {
    "number": sql.Identifier("v", "number"),
    "pulp_created": sql.Identifier("v", "created"),
    "pulp_last_updated": sql.Identifier("v", "created"),
    "pulp_id": sql.Identifier("v", "id"),
    "pk": sql.Identifier("v", "id"),
}


def _page(where: Condition, repository: int | None) -> Response:
    page = read_page()
    with api().db.transaction() as tx:
        newest = sql.SQL("v.number DESC" if repository else "v.created DESC, v.id")
        read = read_selection(_filters(tx, repository), _ORDERINGS, newest)
        seen = visible(tx, REPOSITORY, sql.Identifier("r", "uuid"))
        selection = Selection(all_of([where, read.where]), read.order).narrowed(seen)
        count, rows = list_page(tx, _SELECTED, _SOURCE, selection, page)
        rendered = _rendered(tx, rows)
    return page_answer(page, count, rendered)


def _listing() -> Listing:
    return Listing(_filters(NO_TX, None), _ORDERINGS)


def _filters(tx: Tx, repository: int | None) -> dict[str, Filter]:
    def holding(value: str) -> Condition:
        units = read_units(tx, words(value))
        found = holdings.find_versions(tx, units, repository=repository)
        pairs = sql.SQL(", ").join(
            [sql.SQL("({}, {})").format(literal(r), literal(n)) for r, n in found]
        )
        if not found:
            return sql.SQL("false")
        return sql.SQL("(v.repository, v.number) IN ({})").format(pairs)

    return {
        **number_filters("number", sql.Identifier("v", "number"), ne=False),
        **time_filters("pulp_created", sql.Identifier("v", "created")),
        "prn__in": identity_filters(VERSION, sql.Identifier("v", "id"))["prn__in"],
        "pulp_href__in": _by_href,
        "content": holding,
        "content__in": holding,
    }


def _by_href(value: str) -> Condition:
    refs = [read_ref(w, VERSION) for w in words(value)]
    pairs = [
        sql.SQL("({}, {})").format(literal(ref.uuid), literal(ref.number))
        for ref in refs
        if ref.number is not None
    ]
    own = [ref.uuid for ref in refs if ref.number is None]
    by_id = sql.SQL("v.id = ANY({})").format(literal(own))
    if not pairs:
        return by_id
    places = sql.SQL("(r.uuid, v.number) IN ({})").format(sql.SQL(", ").join(pairs))
    return sql.SQL("{} OR {}").format(places, by_id) if own else places


def _list_rows(tx: Tx, where: Condition) -> list[dict[str, Any]]:
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(_SELECTED, _SOURCE, where)
    return tx.execute(query).fetchall()


def _rendered(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    missing: dict[tuple[int, int], int] = {}
    if any(r["may_miss_files"] for r in rows):
        missing = gone.count_in_versions(tx, [(r["repository"], r["number"]) for r in rows])
    return [_render(r, missing.get((r["repository"], r["number"]), 0)) for r in rows]


def _render(row: Mapping[str, Any], missing: int) -> dict[str, Any]:
    counts = row["counts"]
    path = version_href(row["repository_uuid"], row["number"])
    name = prn(VERSION, row["id"])
    base = row["base_number"]
    return {
        "pulp_href": path,
        "prn": name,
        "pulp_created": wire_time(row["created"]),
        # A version never changes.
        "pulp_last_updated": wire_time(row["created"]),
        "number": row["number"],
        "repository": href(REPOSITORY, row["repository_uuid"]),
        "base_version": None if base is None else version_href(row["base_repository_uuid"], base),
        "content_summary": {
            "added": _summary(counts, "added", path),
            "removed": _summary(counts, "removed", path),
            "present": _summary(counts, "present", path),
        },
        "vuln_report": f"/pulp/api/v3/vuln_report/?repo_versions={name}",
        "missing_files": missing,
    }


def _summary(counts: Sequence[Mapping[str, Any]], which: str, path: str) -> dict[str, Any]:
    """By type of content; a type without any is absent, as tests of Pulp's compare it whole."""
    parameter = "repository_version" if which == "present" else f"repository_version_{which}"
    return {
        CONTENT[Kind(c["kind"])].name: {
            "count": c[which],
            "href": f"{list_href(Kind(c['kind']))}?{parameter}={path}",
        }
        for c in counts
        if c[which]
    }


def _version(key: str, number: str) -> Version:
    at = _number(number)
    row = repository_row(key)
    with api().db.single() as tx:
        version = repositories.find_version(tx, row["uuid"], at)
    if version is None:
        raise no_such("RepositoryVersion")
    return version


def _number(text: str) -> int:
    """The number in a path; answers 404 where it is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise not_found()
    return int(text)
