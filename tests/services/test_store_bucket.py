"""A bucket behind HTTP: what is sent where, and what becomes of a server's refusal.

The server here only keeps what it is given; it does not check signatures.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.upstream import Upstream
from bucket import Bucket
from debfleet.errors import NotFound, StoreError
from debfleet.fetch import fetch_files
from debfleet.store import Store, open_store
from fetching import Allowance, access, write_files

BODY = b"some bytes" * 1000
DIGEST = hashlib.sha256(BODY).digest()


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    server = Bucket()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def s3(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return open_store(bucket.url("/some/prefix"), str(tmp_path))


def put(store: Store, body: bytes) -> bytes:
    with store.receive() as receiver:
        receiver.write(body)
        return receiver.keep()


def test_an_artifact_is_an_object_below_the_prefix(bucket: Bucket, s3: Store) -> None:
    put(s3, BODY)

    assert bucket.objects == {f"/bucket/some/prefix/{DIGEST.hex()}": BODY}
    assert s3.size(DIGEST) == len(BODY)
    with s3.open(DIGEST) as stored:
        stored.seek(10)
        assert stored.read(20) == BODY[10:30]


def test_what_is_not_in_the_bucket_is_missing(bucket: Bucket, s3: Store) -> None:
    other = hashlib.sha256(b"other").digest()
    put(s3, BODY)

    assert s3.missing([DIGEST, other]) == {other}
    with pytest.raises(NotFound):
        s3.open(other)
    s3.delete(DIGEST)
    assert bucket.objects == {}


def test_a_bucket_in_trouble_is_asked_again(bucket: Bucket, s3: Store) -> None:
    bucket.refusals = [503, 500]

    put(s3, BODY)

    assert len(bucket.objects) == 1


def test_a_bucket_that_refuses_is_a_store_that_refuses(
    bucket: Bucket, s3: Store, tmp_path: Path
) -> None:
    bucket.refuses = 403

    for ask in (lambda: put(s3, BODY), s3.check, lambda: s3.size(DIGEST)):
        with pytest.raises(StoreError, match="bucket bucket/some/prefix: ") as caught:
            ask()
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_files_from_upstream_are_fetched_into_a_bucket(
    bucket: Bucket, s3: Store, tmp_path: Path
) -> None:
    wanted = write_files(tmp_path / "www", 40)
    with Upstream(tmp_path / "www") as upstream:
        got = fetch_files(access(upstream.url), wanted, s3, Allowance())

    assert all(g.error is None for g in got)
    assert len(bucket.objects) == 40
    assert s3.missing([w.sha256 for w in wanted if w.sha256]) == set()


def test_a_bucket_that_is_not_there_is_told_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    store = open_store("s3://bucket?endpoint=http://127.0.0.1:1", str(tmp_path))
    started = time.monotonic()

    with pytest.raises(StoreError):
        store.check()

    assert time.monotonic() - started < 30
