"""Uploads: files that come in chunks. A task makes an artifact or a content unit of one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, request
from psycopg import sql

from debfleet.db import uploads
from debfleet.db.connect import Tx
from debfleet.db.tasks import NewTask
from debfleet.db.uploads import UPLOAD, Chunk, ChunkOverlaps
from debfleet.errors import NotFound
from debfleet.model import prn
from debfleet_api import asks
from debfleet_api.answers import answer, chosen_fields, created, no_content
from debfleet_api.bodies import Body, Digest, Size, read_body
from debfleet_api.errors import Refusal, field_errors, no_such, not_found
from debfleet_api.filters import (
    Condition,
    Filter,
    Selection,
    all_of,
    identity_filters,
    list_page,
    literal,
    number_filters,
    read_selection,
)
from debfleet_api.hrefs import REPOSITORY, find_uuid, href, wire_time
from debfleet_api.openapi.operations import STARTED, Listing, Paged, operation
from debfleet_api.paging import page_answer, read_page
from debfleet_api.permissions import is_own, require_somewhere
from debfleet_api.receiving import FormFile, is_stored, recorded
from debfleet_api.shapes.content import Upload, WholeUpload
from debfleet_api.state import api, current_user

blueprint = Blueprint("uploads", __name__)

_PATH = "/uploads/"
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_READ_ONLY = frozenset({"pulp_href", "prn", "pulp_created", "pulp_last_updated", "completed"})
_COLUMN: dict[str, Condition] = {
    c: sql.Identifier("uploads", c) for c in ("size", "created", "updated", "uuid")
}
_ORDERINGS = {
    "size": _COLUMN["size"],
    "pulp_created": _COLUMN["created"],
    "pulp_last_updated": _COLUMN["updated"],
    "pulp_id": _COLUMN["uuid"],
    "pk": _COLUMN["uuid"],
}
_SIZES = ("size", "size__lt", "size__gt", "size__range")


class UploadBody(Body, title="Upload"):
    """How long the whole file is."""

    size: Size


class ChunkBody(Body, title="UploadChunk"):
    """A part of it; which one says the header Content-Range."""

    file: FormFile | None = None
    sha256: Digest = None


class CommitBody(Body, title="UploadCommit"):
    """What the whole file is to be."""

    sha256: Digest = None


@blueprint.get(_PATH)
@operation("uploads", "list", {200: Paged(Upload)}, listing=lambda: Listing(_filters(), _ORDERINGS))
def list_uploads() -> Response:
    """One page of the uploads that are on their way."""
    selection = read_selection(_filters(), _ORDERINGS, sql.SQL("uploads.id DESC"))
    page = read_page()
    if not current_user().is_superuser:
        own = sql.SQL("uploads.owner = {}").format(literal(current_user().id))
        selection = Selection(all_of([selection.where, own]), selection.order)
    with api().db.transaction() as tx:
        count, rows = list_page(tx, sql.SQL("*"), sql.SQL("uploads"), selection, page)
    return page_answer(page, count, [_render(r) for r in rows])


@blueprint.post(_PATH)
@operation("uploads", "create", {201: Upload}, body=UploadBody)
def add_upload() -> Response:
    """201 with an upload that has no chunk yet."""
    body = read_body(UploadBody, read_only=_READ_ONLY)
    most = api().settings.largest_file_bytes
    if body.size > most:
        raise field_errors({"size": [f"Ensure this value is less than or equal to {most}."]})
    with api().db.transaction() as tx:
        require_somewhere(tx, REPOSITORY, "modify_content")
        return created(_render(uploads.add_upload(tx, body.size, current_user().id)))


@blueprint.get(f"{_PATH}<key>/")
@operation("uploads", "read", {200: WholeUpload})
def read_upload(key: str) -> Response:
    """One upload with its chunks."""
    with api().db.transaction() as tx:
        row = _row(tx, key)
        chunks = uploads.list_chunks(tx, row["id"])
    return answer(chosen_fields(_render(row) | {"chunks": _shown(chunks)}))


@blueprint.put(f"{_PATH}<key>/")
@operation("uploads", "update", {200: Upload}, body=ChunkBody, headers=("Content-Range",))
def put_chunk(key: str) -> Response:
    """200 with the upload; the chunk is stored by then."""
    with api().db.transaction() as tx:
        row = _row(tx, key)
    body = read_body(ChunkBody)
    if body.file is None:
        raise field_errors({"file": ["No file was submitted."]})
    start = _start_of(row, body.file.size)
    digest = body.file.peek_sha256()
    if body.sha256 is not None and body.sha256 != digest.hex():
        raise Refusal(400, ["Checksum does not match chunk upload."])
    chunk = Chunk(start, body.file.size, digest)
    body.file.keep()
    try:
        row = recorded(
            lambda tx: uploads.add_chunk(tx, row["uuid"], chunk, lambda: is_stored(digest))
        )
    except ChunkOverlaps as e:
        raise Refusal(400, [str(e)]) from None
    except NotFound:
        raise no_such("Upload") from None
    return answer(_render(row))


@blueprint.post(f"{_PATH}<key>/commit/")
@operation("uploads", "commit", STARTED, body=CommitBody)
def commit_upload(key: str) -> Response:
    """202 and a task, which makes an artifact of the chunks."""
    body = read_body(CommitBody)
    with api().db.transaction() as tx:
        row = _row(tx, key)
    if body.sha256 is None or len(body.sha256) != 64:
        raise field_errors({"sha256": ["Checksum not supplied."]})
    return asks.ask(
        NewTask(
            kind="commit",
            name="pulpcore.app.tasks.upload.commit",
            args={"upload": str(row["uuid"]), "sha256": body.sha256},
            exclusive=[prn(UPLOAD, row["uuid"])],
        )
    )


@blueprint.delete(f"{_PATH}<key>/")
@operation("uploads", "delete", {204: None})
def delete_upload(key: str) -> Response:
    """204, at once; its chunks go with the next cleanup."""
    with api().db.transaction() as tx:
        row = _row(tx, key)
        uploads.delete_upload(tx, row["uuid"])
    return no_content()


def find_whole_upload(tx: Tx, uuid: UUID) -> dict[str, Any] | str:
    """An upload that a content unit can be made of, or what stands against it."""
    row = uploads.find_upload(tx, uuid)
    if row is None or not is_own(row["owner"]):
        return "Invalid hyperlink - Object does not exist."
    gap = uploads.what_is_missing(row["size"], uploads.list_chunks(tx, row["id"]))
    if gap is not None:
        return f"The upload is not finished: bytes {gap[0]}-{gap[1]} are missing."
    return row


def _start_of(row: Mapping[str, Any], size: int) -> int:
    """Where a chunk of this size begins, as the request's header says it."""
    match = _RANGE.fullmatch(request.headers.get("Content-Range", "").strip())
    if match is None:
        raise Refusal(400, ["Invalid or missing content range header."])
    start, end = int(match[1]), int(match[2])
    if size == 0 or end - start + 1 != size:
        raise Refusal(400, ["Chunk size does not match content range."])
    if end >= row["size"]:
        raise Refusal(400, ["End byte is greater than upload size."])
    if match[3] != "*" and int(match[3]) != row["size"]:
        raise Refusal(400, ["The size in the content range is not the upload's size."])
    return start


def _row(tx: Tx, key: str) -> dict[str, Any]:
    uuid = find_uuid(key)
    if uuid is None:
        raise not_found()
    row = uploads.find_upload(tx, uuid)
    if row is None or not is_own(row["owner"]):
        raise no_such("Upload")
    return row


def _filters() -> dict[str, Filter]:
    sizes = number_filters("size", _COLUMN["size"])
    return {name: sizes[name] for name in _SIZES} | identity_filters(UPLOAD, _COLUMN["uuid"])


def _render(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pulp_href": href(UPLOAD, row["uuid"]),
        "prn": prn(UPLOAD, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["updated"]),
        "size": row["size"],
        # An upload that has become something is gone.
        "completed": None,
    }


def _shown(chunks: Sequence[Chunk]) -> list[dict[str, int]]:
    return [{"offset": chunk.start, "size": chunk.size} for chunk in chunks]
