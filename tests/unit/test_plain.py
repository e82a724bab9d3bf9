"""Indices unpacked within bounds."""

from __future__ import annotations

import gzip
import hashlib
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from debfleet.db.plans import WantedIndex
from debfleet.errors import DigestMismatch, MalformedFile, SizeMismatch
from debfleet.store import Store
from debfleet.store.directory import DirectoryStore
from debfleet_worker.plain import Plain, Reader, unpack

TEXT = b"Package: a\n" * 300_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return DirectoryStore(str(tmp_path / "store"))


def unpacked(
    folder: Path,
    store: Store,
    ending: str,
    packed: bytes,
    text: bytes = TEXT,
    read: Reader | None = None,
) -> Plain:
    """As the index of a Release that promises ``text``."""
    file = folder / "packed"
    file.write_bytes(packed)
    digest = hashlib.sha256(text).hexdigest()
    promised: dict[str, Any] = {"size": len(text), "sha256": digest}
    wanted = WantedIndex(
        0, "x", "dists/x", "main", "amd64", "dists/x/main/binary-amd64/Packages",
        {"main/binary-amd64/Packages": promised}, False, digest, None, False,
    )  # fmt: skip
    return unpack(file, f"{wanted.path}{ending}", wanted, store, lambda: None, read)


def xz(text: bytes, dictionary: int = 1 << 20) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": dictionary}]
    return lzma.compress(text, format=lzma.FORMAT_XZ, filters=filters)


@pytest.mark.parametrize(
    ("ending", "packed"),
    [
        ("", TEXT),
        (".gz", gzip.compress(TEXT)),
        (".gz", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
        (".xz", xz(TEXT)),
        (".xz", lzma.compress(TEXT, preset=9)),
        (".xz", xz(TEXT[:1000]) + bytes(8) + xz(TEXT[1000:])),
        (".xz", xz(TEXT) + bytes(4)),
    ],
    ids=["plain", "gz", "gz of two", "xz", "xz -9", "xz of two", "xz with padding"],
)
def test_an_index_comes_out_as_it_was(
    tmp_path: Path, store: Store, ending: str, packed: bytes
) -> None:
    with unpacked(tmp_path, store, ending, packed) as plain:
        assert b"".join(plain.blocks()) == TEXT
    assert store.size(hashlib.sha256(TEXT).digest()) == len(TEXT)


@pytest.mark.parametrize(
    ("ending", "packed", "error"),
    [
        (".xz", xz(TEXT * 2), SizeMismatch),
        (".gz", gzip.compress(TEXT * 2), SizeMismatch),
        (".xz", xz(TEXT[:-1]), SizeMismatch),
        (".xz", xz(TEXT[:-1] + b"x"), DigestMismatch),
        (".xz", xz(TEXT)[:-20], MalformedFile),
        (".gz", gzip.compress(TEXT)[:-4], MalformedFile),
        (".xz", b"", MalformedFile),
        (".gz", b"", SizeMismatch),
        (".xz", b"no xz at all", MalformedFile),
        (".gz", b"no gzip at all", MalformedFile),
        (".xz", lzma.compress(TEXT, format=lzma.FORMAT_ALONE), MalformedFile),
    ],
)
def test_what_is_not_as_promised_is_refused(
    tmp_path: Path, store: Store, ending: str, packed: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        unpacked(tmp_path, store, ending, packed)

    assert store.size(hashlib.sha256(TEXT).digest()) is None


def test_an_xz_that_wants_much_memory_is_refused(tmp_path: Path, store: Store) -> None:
    with pytest.raises(MalformedFile, match="cannot be unpacked: Memory usage limit"):
        unpacked(tmp_path, store, ".xz", xz(TEXT, dictionary=1 << 29))


def test_who_reads_along_gets_every_byte_as_often_as_asked(tmp_path: Path, store: Store) -> None:
    read: list[bytes] = []

    def reader(blocks: Callable[[], Iterator[bytes]]) -> None:
        read.extend(b"".join(blocks()) for _ in range(2))

    unpacked(tmp_path, store, ".xz", xz(TEXT), read=reader).close()

    assert read == [TEXT, TEXT]


@pytest.mark.parametrize(
    ("packed", "error"),
    [
        (xz(TEXT[:-1] + b"x"), DigestMismatch),
        (xz(TEXT * 2), SizeMismatch),
        (xz(TEXT)[:-20], MalformedFile),
        (b"no xz at all", MalformedFile),
    ],
)
def test_who_reads_along_never_comes_to_the_end_of_what_is_wrong(
    tmp_path: Path, store: Store, packed: bytes, error: type[Exception]
) -> None:
    ended: list[bool] = []

    def reader(blocks: Callable[[], Iterator[bytes]]) -> None:
        with pytest.raises(error):
            for _ in blocks():
                pass
        ended.append(True)

    with pytest.raises(error):
        unpacked(tmp_path, store, ".xz", packed, read=reader)

    assert ended == [True]
    assert store.size(hashlib.sha256(TEXT).digest()) is None


def test_what_the_reader_fails_with_is_raised_and_nothing_is_kept(
    tmp_path: Path, store: Store
) -> None:
    def reader(blocks: Callable[[], Iterator[bytes]]) -> None:
        raise LookupError(len(next(blocks())))

    with pytest.raises(LookupError):
        unpacked(tmp_path, store, ".xz", xz(TEXT), read=reader)

    assert store.size(hashlib.sha256(TEXT).digest()) is None
