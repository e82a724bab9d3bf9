"""Artifacts: the files that are stored, by syncs or by a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request
from psycopg import sql

from debfleet.db import contents, plans, uploads
from debfleet.db.contents import ArtifactSelection
from debfleet.identity import UnitIds
from debfleet.model import Kind
from debfleet_api.answers import answer, chosen_fields, created
from debfleet_api.bodies import Body, Digest, Size, read_body
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
from debfleet_api.openapi.operations import Listing, Paged, operation
from debfleet_api.paging import page_answer, read_page
from debfleet_api.receiving import FormFile, ReceivedFile, is_stored, recorded
from debfleet_api.routes.content.filters import GIVEN, NO_IDS, SCOPE_SCHEMAS, is_digest, read_place
from debfleet_api.routes.content.shown import show_artifact
from debfleet_api.shapes.content import Artifact
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


_READ_ONLY = frozenset({"pulp_href", "prn", "pulp_created", "pulp_last_updated"})


class ArtifactBody(Body, title="Artifact"):
    """A file, and what it is said to be."""

    file: FormFile | None = None
    size: Size | None = None
    md5: Digest = None
    sha1: Digest = None
    sha224: Digest = None
    sha256: Digest = None
    sha384: Digest = None
    sha512: Digest = None


@blueprint.post("/artifacts/")
@operation("artifacts", "create", {201: Artifact}, body=ArtifactBody)
def create_artifact() -> Response:
    """201 with the new artifact, which is stored by then; 400 where it was there already."""
    body = read_body(ArtifactBody, read_only=_READ_ONLY)
    if body.file is None:
        raise field_errors({"file": ["No file was submitted."]})
    check_file(body.file, body.given())
    digest = body.file.peek_sha256()
    with api().db.transaction() as tx:
        known = plans.list_stored(tx, [digest])
    if known and is_stored(digest):
        text = f"Artifact with checksum of '{digest.hex()}' already exists."
        raise field_errors({"non_field_errors": [text]})
    size = body.file.size
    body.file.keep()
    row = recorded(lambda tx: uploads.record_file(tx, digest, size, lambda: is_stored(digest)))
    with api().db.transaction() as tx:
        return created(show_artifact(api().unit_ids(tx), row))


def check_file(file: ReceivedFile, said: Mapping[str, Any]) -> None:
    """Compare a file with the size and the checksums that the client gave.

    Raises:
        Refusal: 400; the file is another one.
    """
    if said.get("size") is not None and said["size"] != file.size:
        raise field_errors({"size": ["The size did not match actual size of file."]})
    for name in ("sha256", *_NOT_KEPT):
        digest = said.get(name)
        if digest is None:
            continue
        actual = file.peek_sha256().hex() if name == "sha256" else file.digest(name)
        if digest != actual:
            raise field_errors({"non_field_errors": [f"The {name} checksum did not match."]})


@blueprint.get("/artifacts/")
@operation("artifacts", "list", {200: Paged(Artifact)}, listing=lambda: _listing())
def list_artifacts() -> Response:
    """One page of artifacts, newest first."""
    page = read_page()
    with api().db.transaction() as tx:
        filters = _filters(api().unit_ids(tx))
        asked = read_selection(filters, _ORDERINGS, _NEWEST, [*_EXTRA])
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
@operation("artifacts", "read", {200: Artifact})
def read_artifact(key: str) -> Response:
    """One artifact."""
    return answer(chosen_fields(_shown(key)))


@blueprint.delete("/artifacts/<key>/")
@operation("artifacts", "delete", {204: None})
def delete_artifact(key: str) -> Response:
    """403, as by Pulp's default policy: cleanup removes what nobody needs."""
    _shown(key)
    raise Refusal(403, {"detail": "You do not have permission to perform this action."})


def _shown(key: str) -> dict[str, Any]:
    uuid = find_uuid(key)
    if uuid is None:
        raise not_found()
    with api().db.transaction() as tx:
        ids = api().unit_ids(tx)
        unit = ids.read(uuid)
        if unit is not None and unit.kind == Kind.ARTIFACT:
            row = contents.find_artifact(tx, unit.id)
            if row is not None:
                return show_artifact(ids, row)
    raise no_such("Artifact")


_EXTRA = {name: SCOPE_SCHEMAS[name] for name in ("repository_version", "orphaned_for")}


def _listing() -> Listing:
    return Listing(_filters(NO_IDS), _ORDERINGS, _EXTRA)


def _filters(ids: UnitIds) -> dict[str, Filter]:
    return {
        "sha256": is_digest,
        **dict.fromkeys(_NOT_KEPT, lambda _: FALSE),
        **{name: _ids(ids, name) for name in GIVEN},
    }


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
