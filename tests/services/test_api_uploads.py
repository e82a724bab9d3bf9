"""Artifacts and uploads: files that clients bring."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from api_client import V3, ApiClient, made, opened_api, refused
from debfleet.config import Settings
from debfleet.db import uploads
from debfleet.db.connect import Database
from debfleet.store import Store
from sync_flow import crew_of
from uploading import ARTIFACTS, UPLOADS, Desk

BODY = bytes(range(256)) * 40


@pytest.fixture
def desk(api: ApiClient, settings: Settings, db: Database, store: Store) -> Iterator[Desk]:
    with crew_of(settings, db, store) as crew:
        yield Desk(api, db, crew)


def files(store_url: str) -> set[str]:
    """Every file in the store, temporary ones too."""
    root = Path(store_url.removeprefix("file://"))
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_an_artifact_is_stored_and_digested_when_the_api_answers(desk: Desk, store: Store) -> None:
    digest = hashlib.sha256(BODY)

    shown = made(desk.form(ARTIFACTS, BODY, size=str(len(BODY)), md5=hashlib.md5(BODY).hexdigest()))

    assert shown["sha256"] == digest.hexdigest()
    assert shown["size"] == len(BODY)
    with store.open(digest.digest()) as stored:
        assert stored.read() == BODY
    assert desk.api.get(shown["pulp_href"]).json == shown


def test_an_artifact_that_is_there_is_refused_with_its_checksum(desk: Desk) -> None:
    made(desk.form(ARTIFACTS, BODY))

    again = refused(desk.form(ARTIFACTS, BODY))

    digest = hashlib.sha256(BODY).hexdigest()
    text = f"Artifact with checksum of '{digest}' already exists."
    assert again == {"non_field_errors": [text]}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"sha256": "0" * 64}, {"non_field_errors": ["The sha256 checksum did not match."]}),
        ({"sha512": "0" * 128}, {"non_field_errors": ["The sha512 checksum did not match."]}),
        ({"size": "7"}, {"size": ["The size did not match actual size of file."]}),
        ({"sha1": "no"}, {"sha1": ["A checksum is written in hex digits."]}),
        ({"colour": "red"}, {"colour": ["Unexpected field"]}),
    ],
)
def test_an_artifact_that_is_not_what_it_is_said_to_be_leaves_nothing(
    desk: Desk, store_url: str, fields: dict[str, str], error: dict[str, list[str]]
) -> None:
    assert refused(desk.form(ARTIFACTS, BODY, **fields)) == error

    assert files(store_url) == set()


def test_an_artifact_needs_a_file(desk: Desk) -> None:
    assert refused(desk.form(ARTIFACTS)) == {"file": ["No file was submitted."]}
    not_a_file = {
        "file": ["The submitted data was not a file. Check the encoding type on the form."]
    }
    assert refused(desk.api.post(ARTIFACTS, {"file": "text"})) == not_a_file


def test_an_artifact_is_not_read_before_the_login(desk: Desk, store_url: str) -> None:
    answer = desk.api.plain.post(ARTIFACTS, data={"file": (io.BytesIO(BODY), "x")})

    assert answer.status_code == 401
    assert files(store_url) == set()


def test_a_body_beyond_the_limit_is_413_with_the_way_out(
    desk: Desk, settings: Settings, store_url: str
) -> None:
    for limits in ({"largest_body_bytes": 5000}, {"largest_file_bytes": 5000}):
        with opened_api(replace(settings, **limits)) as client:
            small = Desk(client, desk.db, desk.crew)

            answer = refused(small.form(ARTIFACTS, BODY), 413)

            assert "5000" in answer["detail"]
            assert "uploads/" in answer["detail"]
            assert files(store_url) == set()


def test_an_upload_in_chunks_becomes_an_artifact(desk: Desk) -> None:
    upload = desk.upload(BODY, 3000)
    shown = desk.api.get(upload).json or {}
    assert shown["chunks"] == [
        {"offset": start, "size": min(3000, len(BODY) - start)} for start in range(0, 10240, 3000)
    ]

    task = desk.done(
        desk.api.post(f"{upload}commit/", {"sha256": hashlib.sha256(BODY).hexdigest()})
    )

    [artifact] = task["created_resources"]
    assert (desk.api.get(artifact).json or {})["size"] == len(BODY)
    assert desk.api.get(upload).status_code == 404
    assert (desk.api.get(UPLOADS).json or {})["count"] == 0


def test_chunks_may_come_in_any_order_and_twice(desk: Desk) -> None:
    upload = made(desk.api.post(UPLOADS, {"size": len(BODY)}))["pulp_href"]
    for start, end in ((5000, 10240), (0, 5000), (5000, 10240)):
        said = f"bytes {start}-{end - 1}/*"
        sent = desk.put(
            upload, BODY[start:end], said, sha256=hashlib.sha256(BODY[start:end]).hexdigest()
        )
        assert sent.status_code == 200

    desk.done(desk.api.post(f"{upload}commit/", {"sha256": hashlib.sha256(BODY).hexdigest()}))


@pytest.mark.parametrize(
    ("content_range", "fields", "error"),
    [
        (None, {}, "Invalid or missing content range header."),
        ("bytes 0-/10240", {}, "Invalid or missing content range header."),
        ("bytes 0-8/10240", {}, "Chunk size does not match content range."),
        ("bytes 10236-10245/10240", {}, "End byte is greater than upload size."),
        ("bytes 0-9/10", {}, "The size in the content range is not the upload's size."),
        ("bytes 0-9/10240", {"sha256": "0" * 64}, "Checksum does not match chunk upload."),
        ("bytes 95-104/10240", {}, "The chunk overlaps the one of bytes 100-199"),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused(
    desk: Desk, content_range: str | None, fields: dict[str, str], error: str
) -> None:
    upload = made(desk.api.post(UPLOADS, {"size": len(BODY)}))["pulp_href"]
    assert desk.put(upload, b"x" * 100, "bytes 100-199/10240").status_code == 200

    [text] = refused(desk.put(upload, b"0123456789", content_range, **fields))

    assert text.startswith(error)


def test_a_commit_of_something_else_or_of_a_part_fails_and_keeps_the_upload(desk: Desk) -> None:
    upload = desk.upload(BODY)
    other = desk.failure(desk.api.post(f"{upload}commit/", {"sha256": "0" * 64}))
    assert "expected SHA-256 0000" in other

    part = made(desk.api.post(UPLOADS, {"size": 100}))["pulp_href"]
    assert desk.put(part, b"x" * 10, "bytes 20-29/100").status_code == 200
    missing = desk.failure(desk.api.post(f"{part}commit/", {"sha256": "0" * 64}))

    assert "its bytes 0-19 are missing" in missing
    assert desk.api.get(upload).status_code == 200
    assert refused(desk.api.post(f"{part}commit/", {})) == {"sha256": ["Checksum not supplied."]}


def test_cleanup_leaves_the_chunks_of_an_upload_and_takes_those_of_a_deleted_one(
    desk: Desk, store_url: str
) -> None:
    kept, dropped = desk.upload(BODY, 5000), desk.upload(BODY[::-1], 5000)
    assert len(files(store_url)) == 6

    assert desk.api.delete(dropped).status_code == 204
    desk.clean_up()

    assert len(files(store_url)) == 3
    desk.done(desk.api.post(f"{kept}commit/", {"sha256": hashlib.sha256(BODY).hexdigest()}))
    desk.clean_up()
    assert files(store_url) == set()  # an artifact that nothing names is an orphan too


def test_an_upload_that_nobody_goes_on_with_expires(desk: Desk) -> None:
    old, new, wanted = desk.upload(BODY), desk.upload(BODY), desk.upload(BODY)
    with desk.db.transaction() as tx:
        for href in (old, wanted):
            tx.execute(
                "update uploads set updated = now() - interval '2 hours' where uuid = %s",
                (href.rstrip("/").rpartition("/")[2],),
            )
    asked = desk.api.post(f"{wanted}commit/", {"sha256": hashlib.sha256(BODY).hexdigest()})

    expired = desk.db.run(lambda tx: uploads.expire_uploads(tx, 60))

    assert [str(uuid) for uuid in expired] == [old.rstrip("/").rpartition("/")[2]]
    assert desk.api.get(new).status_code == 200
    desk.done(asked)


def test_uploads_are_listed_and_filtered_by_size(desk: Desk) -> None:
    for size in (10, 20, 30):
        made(desk.api.post(UPLOADS, {"size": size}))

    sizes = [u["size"] for u in (desk.api.get(f"{UPLOADS}?size__gt=10").json or {})["results"]]

    assert sizes == [30, 20]
    assert refused(desk.api.post(UPLOADS, {"size": -1}))["size"]
    assert refused(desk.api.post(UPLOADS, {"size": 1 << 50}))["size"]
    assert refused(desk.api.get(f"{V3}uploads/x/"), 404)
