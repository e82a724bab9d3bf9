"""The installer's list of files."""

from __future__ import annotations

import hashlib

import pytest

from debfleet.deb.sums import MOST_FILES, parse_sums
from debfleet.errors import MalformedFile, UnsafePath

SUMS = "dists/bookworm/main/installer-amd64/current/images/SHA256SUMS"
MD5 = SUMS.replace("SHA256SUMS", "MD5SUMS")
ONE, TWO = hashlib.sha256(b"1"), hashlib.sha256(b"2")


def test_a_list_is_read_as_sha256sum_writes_it() -> None:
    text = (
        f"{ONE.hexdigest()}  ./MANIFEST\n"
        f"{TWO.hexdigest().upper()} *netboot//mini.iso\r\n"
        f"\n{ONE.hexdigest()}  ./cdrom/debian-cd_info.tar.gz"
    )

    assert parse_sums(SUMS, text.encode()) == {
        "MANIFEST": ONE.digest(),
        "netboot/mini.iso": TWO.digest(),
        "cdrom/debian-cd_info.tar.gz": ONE.digest(),
    }


def test_md5sums_has_digests_of_32_digits() -> None:
    digest = hashlib.md5(b"1")

    assert parse_sums(MD5, f"{digest.hexdigest()}  a\n".encode()) == {"a": digest.digest()}
    with pytest.raises(MalformedFile, match=r"Line 1 of .*MD5SUMS"):
        parse_sums(MD5, f"{ONE.hexdigest()}  a\n".encode())


def test_a_list_that_names_itself_does_not_count() -> None:
    text = f"{ONE.hexdigest()}  ./SHA256SUMS\n{ONE.hexdigest()}  MD5SUMS\n{TWO.hexdigest()}  a\n"

    assert list(parse_sums(SUMS, text.encode())) == ["a"]


@pytest.mark.parametrize(
    "path", ["../../../../Release", "/etc/passwd", "a/../b", "a\\b", "a\tb", "dir/", "a" * 5000]
)
def test_a_path_that_leads_elsewhere_is_refused_with_its_line(path: str) -> None:
    text = f"{ONE.hexdigest()}  fine\n{TWO.hexdigest()}  {path}\n"

    with pytest.raises(UnsafePath, match=r"Line 2 of .*SHA256SUMS"):
        parse_sums(SUMS, text.encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n \n",
        b"<html><body>not here</body></html>",
        b"abcd  short\n",
        ONE.hexdigest().encode(),
        ONE.hexdigest().encode() + b"  \xff\xfe\n",
        b"\\" + ONE.hexdigest().encode() + b"  a\\nb\n",
        f"{ONE.hexdigest()}  a\n{TWO.hexdigest()}  ./a\n".encode(),
        f"{ONE.hexdigest()}  a\n{TWO.hexdigest()}  a/b/c\n".encode(),
    ],
)
def test_what_is_no_such_list_is_refused_by_name(text: bytes) -> None:
    with pytest.raises(MalformedFile, match="SHA256SUMS"):
        parse_sums(SUMS, text)


def test_absurdly_many_files_are_refused() -> None:
    rows = (f"{ONE.hexdigest()}  f{n}\n" for n in range(MOST_FILES + 1))

    with pytest.raises(MalformedFile, match="more than 20000 files"):
        parse_sums(SUMS, "".join(rows).encode())
