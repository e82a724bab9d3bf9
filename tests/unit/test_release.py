"""Release files: their fields and their table of signed files."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from archive.build import render_release
from archive.model import Dist
from debfleet.deb.release import SignedFile, parse_release, release_digest
from debfleet.errors import MalformedFile, UnsafePath

SHA256 = "ab" * 32
RELEASE = f"""\
Origin: Debian
Label: Debian
Suite: stable
Version: 12.5
Codename: bookworm
Changelogs: https://example.org/@CHANGEPATH@_changelog
Date: Sat, 10 Feb 2024 11:07:25 UTC
Valid-Until: Sat, 17 Feb 2024 11:07:25 +0000
NotAutomatic: yes
ButAutomaticUpgrades: yes
Acquire-By-Hash: yes
No-Support-for-Architecture-all: Packages
Architectures: all amd64 arm64
Components: main contrib non-free-firmware non-free
Description: Debian 12.5 Released 10 February 2024
MD5Sum:
 0ed6d4c8891eb86358b94bb35d9e4da4  1484322 contrib/Contents-all
SHA256:
 {SHA256}  1484322 main/binary-amd64/Packages
 {SHA256.upper()}        0 ./main//binary-arm64/Packages.xz
 {SHA256}   12 with blank/Packages
"""


def test_a_release_is_read() -> None:
    release = parse_release(RELEASE.encode())

    assert (release.codename, release.suite, release.version) == ("bookworm", "stable", "12.5")
    assert (release.origin, release.label) == ("Debian", "Debian")
    assert release.description == "Debian 12.5 Released 10 February 2024"
    assert release.architectures == ("all", "amd64", "arm64")
    assert release.architectures_text == "all amd64 arm64"
    assert release.components == ("main", "contrib", "non-free-firmware", "non-free")
    assert release.components_text == "main contrib non-free-firmware non-free"
    assert release.date == datetime(2024, 2, 10, 11, 7, 25, tzinfo=UTC)
    assert release.valid_until == datetime(2024, 2, 17, 11, 7, 25, tzinfo=UTC)
    assert release.acquire_by_hash is True
    assert release.no_support_for_architecture_all == "Packages"
    assert (release.not_automatic, release.but_automatic_upgrades) == ("yes", "yes")
    assert release.lists_sha256


def test_the_table_of_signed_files_is_read() -> None:
    assert parse_release(RELEASE.encode()).files == {
        file.path: file
        for file in (
            SignedFile("main/binary-amd64/Packages", 1484322, SHA256),
            SignedFile("main/binary-arm64/Packages.xz", 0, SHA256),
            SignedFile("with blank/Packages", 12, SHA256),
        )
    }


def test_what_is_absent_is_none_or_empty() -> None:
    release = parse_release(f"SHA256:\n {SHA256} 1 Packages\n".encode())

    assert (release.codename, release.suite) == ("", "")
    assert (release.version, release.origin, release.label) == (None, None, None)
    assert (release.components, release.architectures) == (None, None)
    assert (release.not_automatic, release.but_automatic_upgrades) == (None, None)
    assert (release.components_text, release.architectures_text) == ("", "")
    assert (release.date, release.valid_until) == (None, None)
    assert release.acquire_by_hash is False
    assert release.no_support_for_architecture_all is None
    assert list(release.files) == ["Packages"]


def test_empty_fields_are_there_and_empty() -> None:
    release = parse_release(b"Suite: x\nComponents:\nArchitectures: \n")

    assert (release.components, release.architectures) == ((), ())


def test_singular_fields_count_where_we_are_permissive() -> None:
    text = b"Suite: x\nComponent: main\nArchitecture: amd64\n"

    assert parse_release(text).components is None
    assert parse_release(text, permissive=True).components == ("main",)
    assert parse_release(text, permissive=True).architectures == ("amd64",)


def test_names_of_fields_are_not_case_sensitive() -> None:
    assert parse_release(b"SUITE: x\ncomponents: main").components == ("main",)


def test_folded_lists_are_read() -> None:
    release = parse_release(b"Suite: x\nArchitectures: all\n amd64\n arm64\nComponents: a a b\n")

    assert release.architectures == ("all", "amd64", "arm64")
    assert release.components == ("a", "b")


@pytest.mark.parametrize("value", ["yes", "Yes", "true", "1"])
def test_by_hash_is_offered_by_any_word_that_apt_takes(value: str) -> None:
    assert parse_release(f"Suite: x\nAcquire-By-Hash: {value}".encode()).acquire_by_hash


@pytest.mark.parametrize("value", ["no", "", "0", "false"])
def test_by_hash_is_not_offered_by_any_other(value: str) -> None:
    assert not parse_release(f"Suite: x\nAcquire-By-Hash: {value}".encode()).acquire_by_hash


@pytest.mark.parametrize("zone", ["UTC", "GMT", "+0000", "-0000", "Z"])
def test_dates_are_read_in_all_their_spellings(zone: str) -> None:
    release = parse_release(f"Date: Sat, 10 Feb 2024 11:07:25 {zone}".encode())

    assert release.date == datetime(2024, 2, 10, 11, 7, 25, tzinfo=UTC)


@pytest.mark.parametrize("date", ["yesterday", "", "Sat, 99 Feb 2024 11:07:25 UTC", "0"])
def test_a_date_that_cannot_be_read_counts_as_absent(date: str) -> None:
    assert parse_release(f"Suite: x\nDate: {date}".encode()).date is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n \n",
        b"# nothing\n",
        b"<!DOCTYPE html>\n<html><body>Suite: x</body></html>",
        b"\n<html>",
        b"hello world",
        b"Package: foo\nVersion: 1\n",
        b"\x1f\x8b\x08\x00",
        b"Suite: x\0y\n",
        b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSuite: x\n",
    ],
)
def test_what_is_no_release_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedFile, match="Release"):
        parse_release(text)


def test_a_page_for_browsers_is_named_as_such() -> None:
    with pytest.raises(MalformedFile, match="page for browsers"):
        parse_release(b"<html>\n<title>Please log in</title>")


@pytest.mark.parametrize(
    "row",
    [
        f"{SHA256} 12",
        SHA256,
        f"{SHA256} -1 a",
        f"{SHA256} 1e3 a",
        f"{SHA256[:-1]} 12 a",
        f"{SHA256[:-1]}g 12 a",
        "d41d8cd98f00b204e9800998ecf8427e 12 a",
    ],
)
def test_a_row_that_cannot_be_read_is_refused(row: str) -> None:
    with pytest.raises(MalformedFile, match="list SHA256"):
        parse_release(f"Suite: x\nSHA256:\n {row}\n".encode())


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "a\\b"])
def test_a_row_that_leaves_the_tree_is_refused(path: str) -> None:
    with pytest.raises(UnsafePath, match="Release file's list SHA256"):
        parse_release(f"Suite: x\nSHA256:\n {SHA256} 1 {path}\n".encode())


@pytest.mark.parametrize("word", ["..", "../main", "/main", "a/../b", "a\\b", "a\x01"])
@pytest.mark.parametrize("field", ["Components", "Architectures"])
def test_a_component_or_architecture_that_leads_elsewhere_is_refused(field: str, word: str) -> None:
    with pytest.raises(UnsafePath, match=field):
        parse_release(f"Suite: x\n{field}: good {word}\n".encode())


def test_a_row_may_stand_there_twice() -> None:
    rows = f" {SHA256} 1 a\n {SHA256} 1 ./a\n"

    assert list(parse_release(f"SHA256:\n{rows}".encode()).files) == ["a"]


def test_a_row_that_contradicts_another_is_refused() -> None:
    rows = f" {SHA256} 1 a\n {SHA256} 2 a\n"

    with pytest.raises(MalformedFile, match="twice"):
        parse_release(f"SHA256:\n{rows}".encode())


def test_only_weak_digests_are_noticed() -> None:
    weak = "Suite: x\nMD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 a\n"

    assert not parse_release(weak.encode()).lists_sha256
    assert parse_release(weak.encode()).others["a"].digests.keys() == {"md5"}
    both = parse_release(f"{weak}SHA512:\n {'ab' * 64} 0 a\n".encode())
    assert (both.lists_sha256, both.others["a"].digests.keys()) == (False, {"md5", "sha512"})
    with pytest.raises(MalformedFile, match="list SHA1"):
        parse_release(weak.replace("MD5Sum", "SHA1").encode())
    assert not parse_release(b"Suite: x\n").lists_sha256
    assert parse_release(b"Suite: x\nSHA256:\n").lists_sha256


def test_windows_line_ends_comments_and_a_byte_order_mark_do_no_harm() -> None:
    text = b"\xef\xbb\xbf# made by hand\n" + RELEASE.encode()

    assert parse_release(text.replace(b"\n", b"\r\n")) == parse_release(RELEASE.encode())


def test_only_the_first_stanza_counts() -> None:
    assert parse_release(b"Suite: x\n\nCodename: y\n").codename == ""


def test_bytes_that_are_no_utf8_do_no_harm() -> None:
    release = parse_release(b"Suite: x\nDescription: caf\xe9\n")

    assert release.description is not None
    release.description.encode("utf-8")


def test_a_generated_release_is_read() -> None:
    dist = Dist("stable/x", {"updates/main": []}, architectures=("amd64",), version="1", label="L")
    files = {"main/binary-amd64/Packages": b"x"}

    release = parse_release(render_release(dist, files))

    assert release.components == ("updates/main",)
    assert release.files == {
        path: SignedFile(path, len(content), hashlib.sha256(content).hexdigest())
        for path, content in files.items()
    }


def test_the_digest_of_a_release_covers_the_files_that_exist_in_their_order() -> None:
    digests = {"Release.gpg": "cc", "InRelease": "bb"}

    assert release_digest(digests) == hashlib.sha256(b"InRelease,bb\nRelease.gpg,cc\n").digest()
    assert release_digest(digests | {"Release": "aa"}) == (
        hashlib.sha256(b"Release,aa\nInRelease,bb\nRelease.gpg,cc\n").digest()
    )


@pytest.mark.parametrize(
    "date",
    [
        f"Thu, {'9' * 40} Jan 2026 00:00:00 UTC",
        "Thu, 01 Jan 2026 00:00:00 +99999999999999999999",
    ],
)
def test_a_date_beyond_every_calendar_is_no_date(date: str) -> None:
    text = f"Suite: s\nDate: {date}\nSHA256:\n {'ab' * 32} 12 main/binary-amd64/Packages\n"

    assert parse_release(text.encode()).date is None
