"""What a stanza of Sources says of its source package, which are refused, and what we write."""

from __future__ import annotations

import pytest
from debian.deb822 import Sources
from hypothesis import given
from hypothesis import strategies as st

from archive.model import Source
from archive.source_files import make_source
from debfleet.deb.packages import StanzaRefused
from debfleet.deb.publish import Listing
from debfleet.deb.publish_sources import render_source, source_directories
from debfleet.deb.sources import parse_source, source_attributes
from debfleet.errors import UnsafePath

ORIG, TAR, DSC = "ab" * 32, "cd" * 32, "ef" * 32
SHA256 = (
    f"\n {ORIG} 10 foo_1.0.orig.tar.gz\n {TAR} 20 foo_1.0-1.debian.tar.xz\n {DSC} 30 foo_1.0-1.dsc"
)
GOOD = {
    "Package": "foo",
    "Binary": "foo, libfoo1",
    "Version": "1:1.0-1",
    "Maintainer": "Zoë <z@example.org>",
    "Vcs-Svn": "svn://example.org/foo",
    "Package-List": "\n foo deb net optional arch=any\n libfoo1 deb libs optional arch=any",
    "Directory": "pool/main/f/foo",
    "Section": "net",
    "Checksums-Sha256": SHA256,
    "Format": "3.0 (quilt)",
}


def stanza(**changes: str | None) -> bytes:
    """A good stanza with these fields changed; None leaves one out; _ stands for -."""
    fields: dict[str, str | None] = {**GOOD}
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{k}:{v}" if v[:1] == "\n" else f"{k}: {v}" for k, v in fields.items() if v]
    return "\n".join(lines).encode()


def test_a_good_stanza_is_read() -> None:
    source = parse_source(stanza())

    assert (source.name, source.version) == ("foo", "1:1.0-1")
    assert [(f.path, f.size, f.sha256.hex()) for f in source.files] == [
        ("pool/main/f/foo/foo_1.0.orig.tar.gz", 10, ORIG),
        ("pool/main/f/foo/foo_1.0-1.debian.tar.xz", 20, TAR),
        ("pool/main/f/foo/foo_1.0-1.dsc", 30, DSC),
    ]
    assert source.dsc == source.files[2]
    assert source.stanza.encode() == stanza()


@pytest.mark.parametrize("directory", [None, ".", "./"])
def test_a_source_package_may_lie_in_the_root_of_a_flat_archive(directory: str | None) -> None:
    assert parse_source(stanza(Directory=directory)).dsc.path == "foo_1.0-1.dsc"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"Package": None}, "no name: no Package"),
        ({"Version": None}, "foo: no Version"),
        ({"Checksums_Sha256": None}, "foo: no Checksums-Sha256"),
        ({"Checksums_Sha256": "\n "}, "foo: no Checksums-Sha256"),
        ({"Files": f"\n {'a' * 32} 7 foo_1.0.orig.tar.gz.asc"}, "Sha256 lacks foo_1.0.orig"),
    ],
)
def test_a_stanza_without_what_is_needed_is_incomplete(
    changes: dict[str, str | None], detail: str
) -> None:
    with pytest.raises(StanzaRefused) as caught:
        parse_source(stanza(**changes))

    assert caught.value.reason == "stanza_incomplete"
    assert detail in caught.value.detail


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"Package": "f oo"}, "bad Package"),
        ({"Package": "f/oo"}, "bad Package"),
        ({"Package": ".."}, "bad Package"),
        ({"Version": "1/2"}, "bad Package or Version"),
        ({"Checksums_Sha256": f"\n {ORIG} 10"}, "is no file"),
        ({"Checksums_Sha256": f"\n {ORIG} -1 a.dsc"}, "is no file"),
        ({"Checksums_Sha256": f"\n {ORIG[:-1]} 1 a.dsc"}, "is no file"),
        ({"Checksums_Sha256": f"\n {ORIG[:-1]}g 1 a.dsc"}, "is no file"),
        ({"Checksums_Sha256": f"\n {ORIG} 1 a.dsc\n {TAR} 1 a.dsc"}, "twice"),
        ({"Checksums_Sha256": f"\n {ORIG} 1 a.tar"}, "no .dsc"),
        ({"Checksums_Sha256": f"\n {ORIG} 1 a.dsc\n {TAR} 1 b.dsc"}, "2 .dsc"),
        ({"Checksums_Sha256": f"\n {ORIG} 1 sub/a.dsc"}, "no name of a file"),
        ({"Checksums_Sha256": f"\n {ORIG} 1 {'a' * 252}.dsc"}, "no name of a file"),
        ({"Files": f"\n {'a' * 32} 31 foo_1.0-1.dsc"}, "two sizes"),
        ({"directory": "pool/other"}, "twice, with two values"),
        ({"Homepage": "a\nno field here"}, "a line is no field"),
        ({"Homepage": "a\0b"}, "NUL"),
    ],
)
def test_a_malformed_stanza_is_refused(changes: dict[str, str | None], detail: str) -> None:
    with pytest.raises(StanzaRefused) as caught:
        parse_source(stanza(**changes))

    assert caught.value.reason == "stanza_malformed"
    assert detail in caught.value.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"Directory": "../etc"},
        {"Directory": "/etc"},
        {"Directory": "pool/\\x"},
        {"Checksums_Sha256": f"\n {ORIG} 1 ../../a.dsc"},
        {"Checksums_Sha256": f"\n {ORIG} 1 .."},
        {"Directory": None, "Checksums_Sha256": f"\n {ORIG} 1 /etc/a.dsc"},
    ],
)
def test_a_file_outside_the_archive_is_an_attack(changes: dict[str, str | None]) -> None:
    with pytest.raises(UnsafePath, match="source package foo"):
        parse_source(stanza(**changes))


@given(st.binary(max_size=400))
def test_whatever_comes_is_read_or_refused(noise: bytes) -> None:
    try:
        source = parse_source(stanza() + b"\n" + noise)
    except (StanzaRefused, UnsafePath):
        return
    assert source.name == "foo"


@given(st.sampled_from(["1.0-1", "2:3.0", "1.0~rc1+b2-0.1"]), st.booleans())
def test_it_reads_what_python_debian_reads(version: str, in_root: bool) -> None:
    made = make_source(Source("libfoo++", version, directory="." if in_root else None), "main")

    source = parse_source(made.stanza.rstrip("\n").encode())

    theirs = Sources(made.stanza)
    directory = theirs["Directory"]
    assert (source.name, source.version) == (theirs["Package"], theirs["Version"])
    assert {(f.path, f.size, f.sha256.hex()) for f in source.files} == {
        (f["name"] if in_root else f"{directory}/{f['name']}", int(f["size"]), f["sha256"])
        for f in theirs["Checksums-Sha256"]
    }
    assert {f.path for f in source.files} == set(made.files)


def test_pulps_attributes_are_those_of_the_stanza() -> None:
    attributes = source_attributes(stanza().decode())

    assert attributes["source"] == "foo"
    assert attributes["vcs_snv"] == "svn://example.org/foo"
    assert attributes["format"] == "3.0 (quilt)"
    assert (attributes["package_list"] or "").startswith("foo deb net")
    assert attributes["build_depends_arch"] is None
    assert len(attributes) == 27


def test_what_we_write_names_our_directory_and_keeps_the_rest() -> None:
    md5 = f"\n {'a' * 32} 30 foo_1.0-1.dsc"

    written = render_source(
        stanza(Files=md5).decode(), directory="pool/main/f/foo", how=Listing()
    ).decode()

    assert written.endswith("Directory: pool/main/f/foo\n\n")
    assert written.count("Directory:") == 1
    theirs = Sources(written)
    assert list(theirs)[:4] == ["Package", "Binary", "Version", "Maintainer"]
    assert theirs["Section"] == "net"
    assert "Files" not in theirs
    assert [f["name"] for f in theirs["Checksums-Sha256"]][-1] == "foo_1.0-1.dsc"
    again = parse_source(written.rstrip("\n").encode())
    assert again.files == parse_source(stanza()).files


def test_weak_digests_are_written_where_they_are_allowed() -> None:
    md5 = f"\n {'a' * 32} 30 foo_1.0-1.dsc"
    how = Listing(digests=("md5", "sha256"), excluded={"section"})

    written = Sources(render_source(stanza(Files=md5).decode(), directory="d", how=how))

    assert [f["md5sum"] for f in written["Files"]] == ["a" * 32]
    assert "Section" not in written


def test_the_pool_has_two_directories_for_a_source_package() -> None:
    places = source_directories("updates/main", "libfoo", bytes.fromhex(DSC))

    assert places.alphabetical == "pool/updates/main/libf/libfoo"
    assert places.by_digest == "pool/updates/main/libf/libfoo/by-digest/efefefefefef"
    assert places.directory("nested_alphabetically") == places.alphabetical
    assert places.directory("nested_by_both") == places.by_digest
