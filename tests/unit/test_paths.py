"""Which paths are accepted, and where things lie."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debfleet.deb.paths import (
    DistPlace,
    base_architecture,
    by_hash_path,
    dist_place,
    in_directory,
    index_directory,
    join_url,
    plain_component,
    pool_prefix,
    safe_path,
)
from debfleet.errors import UnsafePath


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("pool/main/a/a_1.0-1+b2~x%3a_amd64.deb", "pool/main/a/a_1.0-1+b2~x%3a_amd64.deb"),
        ("./a.deb", "a.deb"),
        ("././/a//b/./c", "a/b/c"),
        ("a..b/...c/.hidden", "a..b/...c/.hidden"),
        ("with blank/and é (1).deb", "with blank/and é (1).deb"),
        ("%2e%2e/a", "%2e%2e/a"),
        ("a" * 4096, "a" * 4096),
    ],
)
def test_safe_paths_are_normalised(path: str, safe: str) -> None:
    assert safe_path(path) == safe


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "./", "/", "/a", "//a", "..", "../a", "a/..", "a/../b", "./../a", "a/", "a/."),
        *("a\\b", "a\0b", "a\nb", "a\x7fb", "a\x85b", "a\u2028b", "a" * 4097, "é" * 2049),
    ],
)
def test_unsafe_paths_are_refused(path: str) -> None:
    with pytest.raises(UnsafePath) as caught:
        safe_path(path)

    assert caught.value.code == "PLP0001"
    assert len(str(caught.value)) < 1500


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text("ab./\\ \0\n~%", max_size=12))
def test_a_safe_path_never_leaves_its_tree_and_is_safe_again(path: str) -> None:
    try:
        safe = safe_path(path)
    except UnsafePath:
        return

    assert safe
    assert all(part not in ("", ".", "..") for part in safe.split("/"))
    assert safe_path(safe) == safe


@pytest.mark.parametrize(
    ("dist", "place"),
    [
        ("bookworm", DistPlace("dists/bookworm", False, "bookworm")),
        ("stable/updates", DistPlace("dists/stable/updates", False, "stable/updates")),
        ("./", DistPlace("", True, "flat-repo")),
        ("/", DistPlace("", True, "flat-repo")),
        ("binary/", DistPlace("binary", True, "flat-repo")),
        ("./binary/", DistPlace("binary", True, "flat-repo")),
        ("a/b/", DistPlace("a/b", True, "flat-repo")),
    ],
)
def test_a_dist_has_its_place(dist: str, place: DistPlace) -> None:
    assert dist_place(dist) == place


@pytest.mark.parametrize("dist", ["..", "../", "a/../../b", "../../etc/", "/bookworm", ""])
def test_a_dist_that_leaves_the_archive_is_refused(dist: str) -> None:
    with pytest.raises(UnsafePath):
        dist_place(dist)


def test_directories_use_the_plain_component() -> None:
    assert plain_component("updates/main") == "main"
    assert plain_component("main") == "main"
    assert index_directory("updates/main", "amd64") == "main/binary-amd64"
    assert index_directory("main", "amd64v3") == "main/binary-amd64v3"
    assert index_directory("main", "amd64", udeb=True) == "main/debian-installer/binary-amd64"
    assert index_directory("", "") == ""
    assert in_directory("", "Packages") == "Packages"
    assert in_directory("dists/x", "Packages") == "dists/x/Packages"


def test_by_hash_lies_beside_the_plain_name() -> None:
    assert by_hash_path("main/binary-amd64/Packages.xz", "ab") == (
        "main/binary-amd64/by-hash/SHA256/ab"
    )
    assert by_hash_path("Packages", "ab") == "by-hash/SHA256/ab"


@pytest.mark.parametrize(
    ("architecture", "base"),
    [
        ("amd64", ("amd64", None)),
        ("amd64v2", ("amd64", "v2")),
        ("amd64v3", ("amd64", "v3")),
        ("amd64v4", ("amd64", "v4")),
        ("amd64v5", ("amd64v5", None)),
        ("all", ("all", None)),
        ("arm64v8", ("arm64v8", None)),
    ],
)
def test_variants_have_a_base(architecture: str, base: tuple[str, str | None]) -> None:
    assert base_architecture(architecture) == base


def test_pools_are_split_by_prefix() -> None:
    assert pool_prefix("bash") == "b"
    assert pool_prefix("libfoo") == "libf"
    assert pool_prefix("lib") == "l"


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("http://h", "a/b.deb", "http://h/a/b.deb"),
        ("http://h/", "a/b.deb", "http://h/a/b.deb"),
        ("http://h:80/x//", "a", "http://h:80/x/a"),
        ("https://u@h/x?t=1&s=%2F", "a b", "https://u@h/x/a%20b?t=1&s=%2F"),
        ("http://h/x#part", "a", "http://h/x/a"),
        ("http://h/a%20b", "c", "http://h/a%20b/c"),
        ("http://h", "a+b~c_1%3a2:3.deb", "http://h/a%2Bb~c_1%253a2:3.deb"),
        ("http://h", "é?#&;", "http://h/%C3%A9%3F%23%26%3B"),
        ("file:///srv/archive", "dists/x/Release", "file:///srv/archive/dists/x/Release"),
    ],
)
def test_urls_are_joined(base: str, path: str, url: str) -> None:
    assert join_url(base, path) == url


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_a_server_reads_back_the_path_that_was_quoted(path: str) -> None:
    parts = urlsplit(join_url("http://h/base/?q=1", path))

    assert unquote(parts.path) == f"/base/{path}"
    assert parts.query == "q=1"
