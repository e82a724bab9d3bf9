"""Artifacts: the files that are stored."""

from __future__ import annotations

from flask import Blueprint, Response, request
from psycopg import sql

from debfleet.db import contents
from debfleet.db.contents import ArtifactSelection
from debfleet.identity import UnitIds
from debfleet.model import Kind
from debfleet_api.answers import answer, chosen_fields
from debfleet_api.errors import Refusal, field_errors, no_such, not_found
from debfleet_api.filters import (
    FALSE,
    TRUE,
    Condition,
    Filter,
    read_number,
    read_ref,
    read_selection,
    words,
)
from debfleet_api.hrefs import ARTIFACT, find_uuid
from debfleet_api.paging import page_answer, read_page
from debfleet_api.routes.content.filters import GIVEN, is_digest, read_place
from debfleet_api.routes.content.shown import show_artifact
from debfleet_api.state import api

blueprint = Blueprint("artifacts", __name__)

_NEWEST = sql.SQL("u.id DESC")
_DIGEST = sql.Identifier("u", "sha256")
_ORDERINGS: dict[str, Condition] = {
    **{name: sql.SQL("u.id") for name in ("pulp_created", "pulp_last_updated", "pulp_id", "pk")},
    "size": sql.Identifier("u", "size"),
    "file": _DIGEST,
    "sha256": _DIGEST,
    "timestamp_of_interest": sql.Identifier("u", "last_wanted"),
}
_NOT_KEPT = ("md5", "sha1", "sha224", "sha384", "sha512")


@blueprint.get("/artifacts/")
def list_artifacts() -> Response:
    """One page of artifacts, newest first."""
    page = read_page()
    with api().db.transaction() as tx:
        filters: dict[str, Filter] = {
            "sha256": is_digest,
            **dict.fromkeys(_NOT_KEPT, lambda _: FALSE),
            **{name: _ids(api().unit_ids(tx), name) for name in GIVEN},
        }
        extra = ("repository_version", "orphaned_for")
        asked = read_selection(filters, _ORDERINGS, _NEWEST, extra)
        versions = request.args.getlist("repository_version")
        if len(versions) > 1:
            raise field_errors({"repository_version": ["Only one version can be given."]})
        selection = ArtifactSelection(
            version=read_place(tx, versions[0]) if versions else None,
            where=None if asked.where is TRUE else asked.where,
            order=asked.order if request.args.get("ordering") else None,
            orphaned_for=_minutes(),
        )
        found = contents.list_artifacts(tx, selection, page.limit, page.offset)
        shown = [show_artifact(api().unit_ids(tx), row) for row in found.rows]
    return page_answer(page, found.count, shown)


@blueprint.get("/artifacts/<key>/")
def read_artifact(key: str) -> Response:
    """One artifact."""
    uuid = find_uuid(key)
    if uuid is None:
        raise not_found()
    with api().db.transaction() as tx:
        ids = api().unit_ids(tx)
        unit = ids.read(uuid)
        if unit is not None and unit.kind == Kind.ARTIFACT:
            where = sql.SQL("u.id = {}").format(sql.Literal(unit.id))
            found = contents.list_artifacts(tx, ArtifactSelection(where=where), 1, 0)
            if found.rows:
                return answer(chosen_fields(show_artifact(ids, found.rows[0])))
    raise no_such("Artifact")


def _ids(ids: UnitIds, name: str) -> Filter:
    def make(value: str) -> Condition:
        found = []
        for word in words(value):
            uuid = find_uuid(word) if name == "pulp_id__in" else read_ref(word, ARTIFACT).uuid
            if uuid is None:
                raise ValueError("Enter a valid UUID.")
            unit = ids.read(uuid)
            if unit is not None and unit.kind == Kind.ARTIFACT:
                found.append(unit.id)
        return sql.SQL("u.id = ANY({}::bigint[])").format(sql.Literal(found))

    return make


def _minutes() -> int | None:
    values = request.args.getlist("orphaned_for")
    try:
        return max((read_number(v) for v in values), default=None)
    except ValueError as e:
        raise Refusal(400, {"orphaned_for": [str(e)]}) from None
