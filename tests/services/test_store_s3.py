"""The bucket store and the content service on a real S3 server."""

from __future__ import annotations

import hashlib
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import obstore
import pytest

from archive.build import write_archive
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db.artifacts import Artifact
from debfleet.db.connect import Database
from debfleet.errors import DigestMismatch, NotFound, StoreError
from debfleet.store import Store, open_store
from debfleet.store.migrate import copy_artifacts
from debfleet_cli import main as cli
from publish_flow import publish
from serving import add_distribution, serving
from sync_flow import Flow, add_repository, crew_of

BIG = os.urandom(1 << 20) * 20 + b"end"  # three parts


@pytest.fixture
def s3(s3_url: str, tmp_path: Path) -> Store:
    return open_store(s3_url, str(tmp_path))


def put(store: Store, body: bytes, expected: bytes | None = None) -> bytes:
    with store.receive() as receiver:
        receiver.write(body)
        return receiver.keep(expected)


def read(store: Store, digest: bytes) -> bytes:
    with store.open(digest) as stored:
        return stored.read()


@pytest.mark.parametrize("option", ["", "&checksum_algorithm=sha256"])
@pytest.mark.parametrize("body", [b"", b"a few bytes", BIG], ids=["empty", "small", "parts"])
def test_what_is_put_comes_back(s3_url: str, tmp_path: Path, body: bytes, option: str) -> None:
    s3 = open_store(s3_url + option, str(tmp_path))

    digest = put(s3, body)

    assert digest == hashlib.sha256(body).digest()
    assert s3.size(digest) == len(body)
    assert read(s3, digest) == body
    with s3.open(digest) as stored:
        stored.seek(max(len(body) - 3, 0))
        assert stored.read() == body[-3:]
    s3.delete(digest)
    assert s3.missing([digest]) == {digest}
    s3.delete(digest)


def test_an_object_is_seen_whole_or_not_at_all_while_it_is_written_and_written_again(
    s3: Store,
) -> None:
    digest = hashlib.sha256(BIG).digest()
    over, sizes = threading.Event(), set[int | None]()

    def look() -> None:
        while not over.is_set():
            sizes.add(s3.size(digest))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        writers = [threading.Thread(target=put, args=(s3, BIG)) for _ in range(2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    finally:
        over.set()
        looking.join()

    assert sizes <= {None, len(BIG)}
    assert hashlib.sha256(read(s3, digest)).digest() == digest


def test_what_has_not_the_expected_digest_never_becomes_an_object(
    s3: Store, tmp_path: Path
) -> None:
    expected = hashlib.sha256(b"right").digest()

    with pytest.raises(DigestMismatch):
        put(s3, b"wrong", expected)

    assert s3.missing([expected, hashlib.sha256(b"wrong").digest()]) == {
        expected,
        hashlib.sha256(b"wrong").digest(),
    }
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with pytest.raises(NotFound):
        s3.open(expected)


def test_a_link_opens_one_object_for_reading_and_nothing_else(s3: Store) -> None:
    digest, other = put(s3, b"one"), put(s3, b"other")
    link = s3.link(digest, 60)
    assert link is not None

    with urllib.request.urlopen(link) as answer:
        assert answer.read() == b"one"
    assert _status(link.replace(digest.hex(), other.hex())) == 403
    assert _status(link.partition("?")[0]) == 403
    assert _status(link, "DELETE") == 403
    expired = s3.link(digest, 0)
    assert expired is not None
    assert _status(expired) in (400, 403)
    assert read(s3, digest) == b"one"


def test_a_wrong_secret_is_told_in_a_line_and_not_shown(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    refused = open_store(s3_url, str(tmp_path))

    with pytest.raises(StoreError, match="SignatureDoesNotMatch") as caught:
        refused.check()

    assert "\n" not in str(caught.value)
    assert "wrong-secret" not in str(caught.value)


@pytest.mark.parametrize("redirects", [True, False], ids=["redirect", "stream"])
def test_what_was_synced_into_a_bucket_is_served_from_it(
    settings: Settings, db: Database, s3_url: str, tmp_path: Path, redirects: bool
) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    write_archive(folder, [Dist("stable", {"main": [Pkg("a", payload_size=9_000_000)]})])
    settings = replace(settings, store_url=s3_url, redirect_to_object_storage=redirects)
    with (
        crew_of(settings, db, open_store(s3_url, str(tmp_path))) as crew,
        Upstream(folder) as upstream,
    ):
        flow = Flow(db, crew, add_repository(db))
        flow.set_remote(upstream)
        assert flow.sync().state == "completed"
        made = publish(flow)
    add_distribution(db, "debian", repository=flow.repository["id"])
    stanza = made.stanzas("dists/stable/main/binary-amd64/Packages")["a"]

    with serving(settings) as site:
        indices = {path: site.get(f"debian/{path}").body for path in made.files}
        package = site.get(f"debian/{stanza['Filename']}")
        part = site.get(f"debian/{stanza['Filename']}", Range="bytes=8000000-8000099")
        body, few = package.body, part.body
        if redirects:
            assert (package.status, part.status) == (302, 302)
            with urllib.request.urlopen(package.headers["location"]) as answer:
                body = answer.read()
            few = body[8000000:8000100]

    assert indices == made.files
    assert hashlib.sha256(body).hexdigest() == stanza["SHA256"]
    assert few == body[8000000:8000100]


def _status(url: str, method: str = "GET") -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as e:
        return e.code


# --- migrate ----------------------------------------------------------------------------------


@pytest.fixture
def bodies() -> list[bytes]:
    return [b"%d" % n * (n + 1) for n in range(30)] + [BIG]


@pytest.fixture
def known(db: Database, store: Store, bodies: list[bytes]) -> list[bytes]:
    """The digests of artifacts that the directory store and the database know."""
    digests = [put(store, body) for body in bodies]
    store.flush()
    with db.transaction() as tx, tx.cursor() as cursor:
        cursor.executemany(
            "insert into artifacts (sha256, size) values (%s, %s)",
            [(d, len(b)) for d, b in zip(digests, bodies, strict=True)],
        )
    return digests


def migrate(settings: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setenv("DEBFLEET_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("DEBFLEET_STORE_URL", settings.store_url)
    monkeypatch.setenv("DEBFLEET_SECRET_KEY", settings.secret_key)
    monkeypatch.setenv("DEBFLEET_WORK_DIRECTORY", settings.work_directory)
    return cli.main(["store", "migrate", *words])


def test_a_store_moves_to_a_bucket_and_back(
    settings: Settings, known: list[bytes], bodies: list[bytes], s3: Store, s3_url: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert migrate(settings, monkeypatch, "--to", s3_url) == 0
    assert "31 copied" in capsys.readouterr().out
    back = f"file://{tmp_path}/back"
    assert migrate(settings, monkeypatch, "--from", s3_url, "--to", back) == 0

    assert [read(s3, d) for d in known] == bodies
    assert [read(open_store(back), d) for d in known] == bodies


def test_a_migration_that_is_started_again_copies_what_is_lacking_or_wrong(
    settings: Settings, known: list[bytes], s3: Store, s3_url: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    migrate(settings, monkeypatch, "--to", s3_url)
    s3.delete(known[3])
    _spoil(s3, known[5], b"")  # another size
    _spoil(s3, known[7], b"x" * 8)  # the same size
    capsys.readouterr()

    assert migrate(settings, monkeypatch, "--to", s3_url) == 0
    again = capsys.readouterr().out
    assert migrate(settings, monkeypatch, "--to", s3_url, "--verify") == 0
    verified = capsys.readouterr().out

    assert "29 were there, 2 copied" in again
    assert "30 were there, 1 copied" in verified
    assert all(hashlib.sha256(read(s3, d)).digest() == d for d in known)


def test_what_the_old_store_lacks_or_holds_wrongly_is_named_and_not_copied(
    settings: Settings, db: Database, store: Store, known: list[bytes], s3: Store, s3_url: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    root = Path(settings.store_url.removeprefix("file://"))
    store.delete(known[1])
    (root / known[2].hex()[:2] / known[2].hex()).write_bytes(b"garbage")

    status = migrate(settings, monkeypatch, "--to", s3_url)

    said = capsys.readouterr().out
    assert status == 1
    assert f"missing in the source: {known[1].hex()}" in said
    assert f"damaged in the source: {known[2].hex()}" in said
    assert s3.missing(known) == {known[1], known[2]}
    db.run(lambda tx: tx.execute("delete from artifacts where sha256 = any(%s)", (known[1:3],)))
    assert migrate(settings, monkeypatch, "--to", s3_url) == 0


def test_what_comes_while_a_migration_runs_is_part_of_it(
    db: Database, store: Store, s3: Store
) -> None:
    late = put(store, b"late")

    def batches() -> Iterator[list[Artifact]]:
        yield []
        yield [Artifact(1, late, 4)]

    counts = list(copy_artifacts(store, s3, batches(), parallel=2))[-1]

    assert (counts.copied, read(s3, late)) == (1, b"late")


@pytest.mark.parametrize(
    "words", [["--to", "{own}"], ["--to", "ftp://x"], ["--to", "{s3}", "--parallel", "0"]]
)
def test_a_migration_that_makes_no_sense_is_refused(
    settings: Settings, s3_url: str, monkeypatch: pytest.MonkeyPatch, words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    filled = [w.format(own=settings.store_url, s3=s3_url) for w in words]

    assert migrate(settings, monkeypatch, *filled) == 2

    assert "debfleet: " in capsys.readouterr().err


def _spoil(store: Store, digest: bytes, body: bytes) -> None:
    """As if somebody had written other bytes under the name."""
    objects = store._objects  # type: ignore[attr-defined]  # no way of the store's own does this
    obstore.put(objects, digest.hex(), body)
