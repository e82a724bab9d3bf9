"""The store: in a directory, and in a bucket (obstore's own stores stand for S3)."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore

from debfleet.errors import ConfigError, DigestMismatch, NotFound, StoreError
from debfleet.store import DirectoryStore, Receiver, Store, open_store
from debfleet.store.bucket import BucketStore, open_bucket

BODY = b"some bytes" * 1000
DIGEST = hashlib.sha256(BODY).digest()


@pytest.fixture(params=["directory", "bucket in memory", "bucket on disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "directory":
        return DirectoryStore(str(tmp_path / "store"))
    work = str(tmp_path / "work")
    if request.param == "bucket in memory":
        return BucketStore(MemoryStore(), "bucket", work)
    return BucketStore(LocalStore(tmp_path / "bucket", mkdir=True), "bucket", work)


def put(store: Store, body: bytes) -> bytes:
    with store.receive() as receiver:
        for start in range(0, len(body), 4096):
            receiver.write(body[start : start + 4096])
        return receiver.keep()


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_what_was_kept_can_be_read_under_its_digest(store: Store) -> None:
    sha256 = put(store, BODY)

    assert sha256 == DIGEST
    assert store.size(sha256) == len(BODY)
    with store.open(sha256) as stored:
        assert stored.read() == BODY


def test_what_the_kernel_knows_is_opened_at_once_and_what_is_not_there_is_nothing(
    tmp_path: Path,
) -> None:
    major, minor = (int(number) for number in os.uname().release.split(".")[:2])
    if (major, minor) < (5, 12):
        pytest.skip(
            "openat2 with RESOLVE_CACHED came with Linux 5.12; without it there is no haste"
        )
    store = DirectoryStore(str(tmp_path / "store"))
    put(store, BODY)

    opened = store.open_at_once(DIGEST)

    assert opened is not None
    with opened:
        assert opened.read() == BODY
        assert not os.get_inheritable(opened.fileno())
    assert store.open_at_once(bytes(32)) is None


def test_a_bucket_opens_nothing_at_once(tmp_path: Path) -> None:
    store = BucketStore(MemoryStore(), "bucket", str(tmp_path / "work"))
    put(store, BODY)

    assert store.open_at_once(DIGEST) is None


def test_a_stored_file_can_be_read_in_parts(store: Store) -> None:
    sha256 = put(store, BODY)

    with store.open(sha256) as stored:
        stored.seek(5000)
        assert stored.read(10) == BODY[5000:5010]
        assert stored.tell() == 5010
        stored.seek(-10, os.SEEK_END)
        assert stored.read() == BODY[-10:]


def test_a_file_bigger_than_one_part_is_stored_whole(store: Store) -> None:
    body = os.urandom(1 << 20) * 20

    sha256 = put(store, body)

    with store.open(sha256) as stored:
        assert hashlib.file_digest(stored, "sha256").digest() == sha256


def test_an_empty_file_can_be_kept(store: Store) -> None:
    with store.receive() as receiver:
        sha256 = receiver.keep()

    assert sha256 == hashlib.sha256(b"").digest()
    assert store.size(sha256) == 0


def test_nothing_is_stored_under_a_digest_that_it_does_not_have(
    store: Store, tmp_path: Path
) -> None:
    with store.receive() as receiver:
        receiver.write(b"other bytes")
        with pytest.raises(DigestMismatch, match=DIGEST.hex()):
            receiver.keep(DIGEST)

    assert store.size(DIGEST) is None
    assert store.size(hashlib.sha256(b"other bytes").digest()) is None
    assert list(files(tmp_path)) == []


def test_a_receiver_that_is_left_without_keeping_leaves_nothing(
    store: Store, tmp_path: Path
) -> None:
    with store.receive() as receiver:
        receiver.write(BODY)

    assert store.missing([DIGEST]) == {DIGEST}
    assert list(files(tmp_path)) == []


def test_a_receiver_without_a_byte_makes_no_file(store: Store, tmp_path: Path) -> None:
    with store.receive():
        assert list(files(tmp_path)) == []


def test_the_same_file_can_be_kept_twice(store: Store) -> None:
    put(store, BODY)

    put(store, BODY)

    assert store.size(DIGEST) == len(BODY)


def test_keeping_a_file_again_mends_a_damaged_copy(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path))
    put(store, BODY)
    [stored] = files(tmp_path)
    stored.write_bytes(b"")

    put(store, BODY)

    assert store.size(DIGEST) == len(BODY)


def test_a_file_can_be_read_before_it_is_kept(store: Store) -> None:
    with store.receive() as receiver:
        receiver.write(BODY)

        assert receiver.path().read_bytes() == BODY
        assert receiver.size == len(BODY)
        assert receiver.sha256 == DIGEST
        receiver.keep(DIGEST)

    assert store.size(DIGEST) == len(BODY)


def test_a_receiver_that_starts_over_forgets_what_came_before(store: Store) -> None:
    with store.receive() as receiver:
        receiver.write(b"the wrong file, longer than what follows" * 1000)
        receiver.restart()
        receiver.write(BODY)

        assert receiver.size == len(BODY)
        assert receiver.keep(DIGEST) == DIGEST

    assert store.size(DIGEST) == len(BODY)


def test_missing_names_those_that_are_not_there(store: Store) -> None:
    here = [put(store, bytes([n])) for n in range(5)]
    gone = [hashlib.sha256(f"gone {n}".encode()).digest() for n in range(5)]

    assert store.missing([*here, *gone]) == set(gone)
    assert store.missing([]) == set()


def test_a_deleted_file_is_gone_and_deleting_it_again_is_no_error(store: Store) -> None:
    put(store, BODY)

    store.delete(DIGEST)
    store.delete(DIGEST)

    assert store.size(DIGEST) is None
    with pytest.raises(NotFound):
        store.open(DIGEST)


def test_an_error_of_writing_ahead_is_said_by_the_next_flush_and_once(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path / "store"))
    put(store, BODY)
    (tmp_path / "store").rename(tmp_path / "away")
    store.write_ahead()
    (tmp_path / "away").rename(tmp_path / "store")

    with pytest.raises(StoreError, match="cannot be flushed"):
        store.flush()

    store.flush()


def test_many_bytes_are_written_while_more_come_and_flush_ends_it(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path / "store"))
    bodies = [bytes([n]) * (1 << 20) for n in range(20)]

    digests = [put(store, body) for body in bodies]
    store.flush()

    assert store.missing(digests) == set()


def test_few_files_are_flushed_one_by_one_and_what_others_kept_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[str] = set()
    fsync = os.fsync

    def seen(fd: int) -> None:
        flushed.add(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", seen)
    other, store = (DirectoryStore(str(tmp_path / "store")) for _ in range(2))
    digests = [put(other, BODY), put(store, BODY[:5])]

    store.flush([digests[0]])

    files = {str(tmp_path / "store" / digest.hex()[:2] / digest.hex()) for digest in digests}
    folders = {os.path.dirname(path) for path in files} | {str(tmp_path / "store")}
    assert flushed == files | folders
    flushed.clear()
    store.flush()
    assert not flushed


def test_flush_and_check_of_a_good_store_succeed(store: Store, tmp_path: Path) -> None:
    put(store, BODY)

    store.flush()

    assert store.check()
    assert store.missing([DIGEST]) == set()


def test_sweeping_removes_what_is_old_and_leaves_what_is_on_its_way(
    store: Store, tmp_path: Path
) -> None:
    with store.receive() as old, store.receive() as young:
        old.write(BODY)
        young.write(BODY)
        an_hour_ago = time.time() - 3600
        os.utime(old.path(), (an_hour_ago, an_hour_ago))

        count = store.sweep_temporary(1800)

        assert count == 1
        assert not old.path().exists()
        assert young.keep() == DIGEST


def test_a_directory_store_is_readable_by_its_user_alone(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path / "store"))
    put(store, BODY)

    for path in [tmp_path / "store", *(tmp_path / "store").rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_a_directory_store_that_cannot_be_made_says_which(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=f"{tmp_path}/file/store cannot be made"):
        open_store(f"file://{tmp_path}/file/store")


def test_a_directory_store_that_went_away_says_so(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path / "store"))
    (tmp_path / "store").rename(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match="No such file"), store.receive() as receiver:
        receiver.write(BODY)
    with pytest.raises(StoreError):
        store.check()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_how_much_there_was_to_write() -> None:
    with Receiver("/dev", lambda path, sha256, size: None) as receiver:
        receiver._fd = os.open("/dev/full", os.O_WRONLY)

        with pytest.raises(StoreError, match=f"No space left on device; {len(BODY)} more bytes"):
            receiver.write(BODY)


def test_many_threads_may_keep_the_same_file_at_once(store: Store) -> None:
    threads = [threading.Thread(target=put, args=(store, BODY)) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.size(DIGEST) == len(BODY)


@pytest.mark.parametrize(
    "url", ["", "/store", "file://host/store", "file:store", "s3://", "http://bucket", "gs://b"]
)
def test_a_store_url_of_no_known_kind_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="DEBFLEET_STORE_URL must be"):
        open_store(url)


def test_a_bucket_url_names_its_options() -> None:
    store = open_bucket("s3://bucket/some/prefix?endpoint=http://127.0.0.1:1&region=eu-central-1")

    assert store._objects.prefix == "some/prefix"  # type: ignore[union-attr]  # it is an S3Store
    assert store._objects.config["bucket"] == "bucket"  # type: ignore[union-attr]


def test_an_unknown_option_of_a_bucket_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="no option 'secret_access_key'"):
        open_bucket("s3://bucket?secret_access_key=x")
