"""What publish writes, as values: stanzas, paths in the pool, Release files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from debfleet.deb.publish import (
    ALPHABETICAL,
    BY_BOTH,
    BY_DIGEST,
    Listing,
    PublishedFile,
    ReleaseFields,
    pool_paths,
    render_legacy_release,
    render_package,
    render_release,
)
from debfleet.deb.stanza import stanza_fields, to_text

DIGEST = bytes(range(32))
DATE = datetime(2026, 11, 23, 7, 31, 7, tzinfo=UTC)


def rendered(stanza: str, how: Listing | None = None) -> str:
    body = render_package(
        stanza, filename="pool/x.deb", size=5, sha256=DIGEST, how=how or Listing()
    )
    return body.decode("utf-8", "surrogateescape")


def release(description: str | None = None, **fields: str) -> dict[str, str]:
    said = ReleaseFields(("all",), ("main",), description=description, **fields)  # type: ignore[arg-type]  # texts only
    return stanza_fields(render_release(said, [], DATE).decode())


# --- the pool -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        (None, "pool/main/libf/libfoo"),
        ("bar", "pool/main/b/bar"),
        ("bar (1:2.0)", "pool/main/b/bar"),
        ("bar(1)", "pool/main/b/bar"),
        ("lib", "pool/main/l/lib"),
        ("../../etc", "pool/main/libf/libfoo"),
        ("..", "pool/main/libf/libfoo"),
        ("a b", "pool/main/libf/libfoo"),
        ("(1)", "pool/main/libf/libfoo"),
    ],
)
def test_a_package_lies_with_its_source(source: str | None, folder: str) -> None:
    paths = pool_paths("main", "libfoo", source, "pool/x/libfoo_1%3a2_amd64.deb", DIGEST)

    assert paths.alphabetical == f"{folder}/libfoo_1%3a2_amd64.deb"
    assert paths.by_digest == f"{folder}/by-digest/000102-libfoo_1%3a2_amd64.deb"


@pytest.mark.parametrize("name", [".", ".."])
def test_a_package_named_like_a_way_out_stays_in_the_pool(name: str) -> None:
    assert pool_paths("main", name, None, "x/y.deb", DIGEST).alphabetical == "pool/main/_/_/y.deb"


def test_a_layout_chooses_the_path_that_the_index_names() -> None:
    paths = pool_paths("updates/main", "a", None, "a.deb", DIGEST)

    assert paths.filename(ALPHABETICAL) == "pool/updates/main/a/a/a.deb"
    assert paths.filename(BY_DIGEST) == paths.filename(BY_BOTH) == paths.by_digest


# --- stanzas --------------------------------------------------------------------------------------


def test_a_stanza_is_put_in_order_and_gets_the_path_and_digest_of_its_file() -> None:
    text = rendered(
        "Filename: elsewhere\nversion: 1\nDepends: x\nPackage: a\nX-Other: y\nSHA512: 00\n"
        "Size: 7\nMD5sum: 11\nTag:\n one,\n two\nArchitecture: all"
    )

    assert text == (
        "Package: a\nVersion: 1\nArchitecture: all\nTag:\n one,\n two\nDepends: x\nX-Other: y\n"
        f"SHA256: {DIGEST.hex()}\nSize: 5\nFilename: pool/x.deb\n\n"
    )


def test_empty_and_repeated_fields_are_left_out() -> None:
    text = rendered("Package: a\nVersion: 1\nSource:\nversion: 2\nX-A: 1\nx-a: 2")

    assert text.startswith("Package: a\nVersion: 1\nX-A: 1\nSHA256:")


def test_weak_digests_are_kept_where_they_are_allowed() -> None:
    stanza = "Package: a\nMD5sum: 11\nSHA1: 22"

    assert "MD5sum: 11\nSHA1: 22\nSHA256:" in rendered(stanza, Listing(("md5", "sha1", "sha256")))
    assert "SHA1" not in rendered(stanza, Listing(("md5", "sha256")))


def test_bytes_that_are_no_text_come_out_as_they_came_in() -> None:
    raw = b"Package: a\nMaintainer: \xe9\xff <x@example.org>"

    body = render_package(to_text(raw), filename="p", size=1, sha256=DIGEST, how=Listing())

    assert body.startswith(raw)


@pytest.mark.parametrize(
    ("written", "published"),
    [
        ("X-A:1", "X-A: 1"),
        ("X-A : 1", "X-A: 1"),
        ("X-A:\t 1 \t", "X-A: 1"),
        ("X-A:1: 2", "X-A: 1: 2"),
        ("X-A: 1: 2", "X-A: 1: 2"),
        ("X-A:  1\n two: 2\n\tthree:", "X-A: 1\n two: 2\n\tthree:"),
        ("X-A: \n 1", "X-A:\n 1"),
        ("X-A: 100 %s", "X-A: 100 %s"),
        ("X-%s: 1", "X-%s: 1"),
        ("#X-A: 1\n-X-B: 2\nno field", ""),
        ("X-A:\n\nX-B: 2", "X-B: 2"),
    ],
)
def test_a_field_comes_out_the_same_however_it_was_written(written: str, published: str) -> None:
    text = rendered(f"Package: a\n{written}\nVersion: 1")

    lines = ["Package: a", "Version: 1", *([published] if published else []), "SHA256: "]
    assert text.startswith("\n".join(lines))


def test_stanzas_of_the_same_fields_do_not_take_each_others_values() -> None:
    how = Listing()

    texts = [rendered(f"Version: {n}\nX: {n}\nPackage: p{n}", how) for n in range(3)]

    for n, text in enumerate(texts):
        assert text.startswith(f"Package: p{n}\nVersion: {n}\nX: {n}\nSHA256:")


@pytest.mark.parametrize("stanza", ["", "Package: a", "no field", " goes on", "Depends"])
def test_what_has_hardly_a_field_is_published_with_those_of_its_file(stanza: str) -> None:
    fields = stanza_fields(rendered(stanza).strip())

    assert [*fields][-3:] == ["SHA256", "Size", "Filename"]


def test_what_is_remembered_of_stanzas_is_bounded() -> None:
    how = Listing()

    for n in range(6000):
        rendered(f"Package: a\nX-{n}: 1", how)
    rendered("Package: a\n" + "\n".join(f"X-{n}: 1" for n in range(1000)), how)

    assert len(how.arrangements) <= 5000
    assert max(len(names) for names in how.arrangements) == 2


def test_excluded_fields_are_those_that_no_attribute_is_made_for() -> None:
    text = rendered("Package: a\nX-A: 1\nX-B: 2\nDepends: c", Listing(excluded={"x-a", "depends"}))

    assert "X-A" not in text
    assert "X-B: 2" in text
    assert "Depends: c" in text


# --- Release --------------------------------------------------------------------------------------


def test_a_release_file_lists_its_files_by_every_digest() -> None:
    files = [
        PublishedFile("main/b", 10, {"sha256": b"\x02" * 32, "sha512": b"\x03" * 64}),
        PublishedFile("main/a", 0, {"sha256": b"\x00" * 32, "sha512": b"\x01" * 64, "md5": b"x"}),
    ]
    fields = ReleaseFields(("all", "amd64"), ("main", "contrib"), codename="bookworm")

    text = render_release(fields, files, DATE).decode()

    assert text.splitlines() == [
        "Codename: bookworm",
        "Date: Mon, 23 Nov 2026 07:31:07 +0000",
        "Architectures: all amd64",
        "Components: main contrib",
        "Acquire-By-Hash: yes",
        "SHA256:",
        f" {'00' * 32}        0 main/a",
        f" {'02' * 32}       10 main/b",
        "SHA512:",
        f" {'01' * 64}        0 main/a",
        f" {'03' * 64}       10 main/b",
    ]


def test_a_date_is_told_in_utc() -> None:
    date = DATE.astimezone(timezone(timedelta(hours=5)))

    text = render_release(ReleaseFields(("all",), ("main",)), [], date).decode()

    assert "Date: Mon, 23 Nov 2026 07:31:07 +0000\n" in text


@pytest.mark.parametrize(
    "text", ["one\nSHA256:\n x", "one\r\n\r\nOrigin: evil", "one\n\nSuite: evil", "\n\none\x00\x0b"]
)
def test_no_description_can_end_its_field(text: str) -> None:
    said = release(description=text, origin="us")

    assert list(said) == [
        *("Origin", "Date", "Architectures", "Components", "Description", "Acquire-By-Hash"),
        *("SHA256", "SHA512"),
    ]
    assert said["Origin"] == "us"


def test_a_legacy_release_file_says_where_it_lies() -> None:
    body = render_legacy_release(
        archive="stable", origin="us", label="us", component="main", architecture="amd64"
    )

    assert body.decode() == (
        "Archive: stable\nOrigin: us\nLabel: us\nComponent: main\nArchitecture: amd64\n"
        "Acquire-By-Hash: yes\n"
    )
