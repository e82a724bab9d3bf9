"""What a stanza says of its package, and which stanzas are refused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from debian.deb822 import Deb822
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive.model import Dist
from archive.synthetic import make_packages
from debfleet.deb.packages import StanzaRefused, package_attributes, parse_package
from debfleet.deb.stanza import render_stanza, to_bytes
from debfleet.errors import UnsafePath
from debfleet_api.routes.content.shown import metadata_sha256

SHA256 = "0123456789abcdef" * 4
GOOD = {
    "Package": "foo",
    "Version": "1:2.0-1",
    "Architecture": "amd64",
    "Maintainer": "Zoë <z@example.org>",
    "Description": "a thing\n with more\n .\n to say",
    "Filename": "pool/main/f/foo/foo_2.0-1_amd64.deb",
    "Size": "1234",
    "SHA256": SHA256,
}


def stanza(**changes: str | None) -> bytes:
    """A good stanza with these fields changed; None leaves one out; _ stands for -."""
    fields = GOOD | {name.replace("_", "-"): value for name, value in changes.items()}  # type: ignore[operator]  # dict of str or None
    return "\n".join(f"{k}: {v}" for k, v in fields.items() if v is not None).encode()


def refusal(data: bytes) -> StanzaRefused:
    with pytest.raises(StanzaRefused) as caught:
        parse_package(data)
    return caught.value


def test_a_good_stanza_is_read() -> None:
    data = stanza(Source="bar (1.0)", Section="net", Priority="optional", Multi_Arch="same")

    package = parse_package(data)

    assert package.name == "foo"
    assert package.version == "1:2.0-1"
    assert package.architecture == "amd64"
    assert package.architecture_variant == ""
    assert package.source == "bar (1.0)"
    assert package.section == "net"
    assert package.priority == "optional"
    assert package.multi_arch == "same"
    assert package.relative_path == "pool/main/f/foo/foo_2.0-1_amd64.deb"
    assert package.size == 1234
    assert package.sha256 == bytes.fromhex(SHA256)
    assert package.stanza == data.decode()


def test_what_is_absent_is_none() -> None:
    package = parse_package(stanza(Section="", Maintainer=None, Description=None))

    assert (package.source, package.section, package.priority) == (None, None, None)
    assert package.multi_arch is None


def test_names_of_fields_are_not_case_sensitive() -> None:
    data = stanza().replace(b"Package", b"PACKAGE").replace(b"Size", b"size")

    assert parse_package(data.replace(b"SHA256", b"Sha256")).size == 1234


def test_names_are_folded_as_ascii_only() -> None:
    data = stanza().replace(b"Size", "\u017fize".encode())

    assert refusal(data).reason == "stanza_incomplete"


def test_blanks_around_a_value_do_not_count() -> None:
    package = parse_package(stanza(Package="  foo \t", Size="\t12 ", SHA256=f" {SHA256} \r"))

    assert (package.name, package.size) == ("foo", 12)


def test_an_architecture_variant_is_read() -> None:
    assert parse_package(stanza(Architecture_Variant="amd64v3")).architecture_variant == "amd64v3"


@pytest.mark.parametrize(
    "name", ["Package", "Version", "Architecture", "Filename", "Size", "SHA256"]
)
def test_a_stanza_that_lacks_a_needed_field_is_incomplete(name: str) -> None:
    for value in (None, "", " "):
        caught = refusal(stanza(**{name: value}))

        assert caught.reason == "stanza_incomplete"
        assert name in caught.detail
        assert name == "Package" or "foo" in caught.detail


@pytest.mark.parametrize(
    "data",
    [
        stanza(Size="12x"),
        stanza(Size="-1"),
        stanza(Size="1_000"),
        stanza(Size="9" * 19),
        stanza(Size="\u0661\u0662"),
        stanza(SHA256=SHA256[:-1]),
        stanza(SHA256=SHA256[:-1] + "g"),
        stanza(SHA256=SHA256[:-2] + " 0"),
        stanza(Package="foo bar"),
        stanza(Package="../foo"),
        stanza(Version="1/2"),
        stanza(Architecture="a/b"),
        stanza(Architecture="../../x"),
        stanza(Architecture_Variant="../x"),
        stanza(Filename="pool/a.deb\n pool/b.deb"),
        stanza(Package="\n foo"),
        stanza() + b"\nno colon here",
        stanza() + b"\n: no name",
        stanza() + b"\nA B: a blank in the name",
        b" continued from nowhere\n" + stanza(),
        stanza(Description="a\0b"),
        stanza() + b"\nPackage: bar",
        stanza() + b"\nfilename: pool/other.deb",
    ],
)
def test_a_stanza_that_apt_could_not_use_is_malformed(data: bytes) -> None:
    assert refusal(data).reason == "stanza_malformed"


def test_a_repeated_field_with_one_value_is_harmless() -> None:
    assert parse_package(stanza() + b"\nPackage: foo\nSection: a\nSection: b").section == "a"


@pytest.mark.parametrize("path", ["./pool/a.deb", "pool//a.deb", ".//pool/./a.deb"])
def test_odd_paths_are_normalised(path: str) -> None:
    assert parse_package(stanza(Filename=path)).relative_path == "pool/a.deb"


@pytest.mark.parametrize(
    "path",
    ["../a.deb", "/pool/a.deb", "pool/../../a.deb", "pool/\x01.deb", "a\\..\\b.deb", "pool/"],
)
def test_a_path_that_leaves_the_tree_fails(path: str) -> None:
    with pytest.raises(UnsafePath, match=r"package foo: the path .* is refused"):
        parse_package(stanza(Filename=path))


def test_bytes_that_are_no_utf8_come_back() -> None:
    data = stanza() + b"\nX-Odd: \xff\xc3("

    package = parse_package(data)

    assert to_bytes(package.stanza) == data
    package.stanza.encode("utf-8")  # what Postgres is given


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["Source", "Section", "Priority", "Multi-Arch", "X-Other", "Tag"]),
        st.text("abc :.\u00e9,-", min_size=1, max_size=8).map(str.strip).filter(bool),
    ),
    st.permutations(sorted(GOOD)),
)
def test_stanzas_are_read_as_python_debian_reads_them(
    extra: dict[str, str], order: list[str]
) -> None:
    text = render_stanza([*((name, GOOD[name]) for name in order), *extra.items()])

    package = parse_package(text.encode())

    theirs = Deb822(text.split("\n"))
    assert package.name == theirs["Package"]
    assert package.relative_path == theirs["Filename"]
    assert package.size == int(theirs["Size"])
    assert (package.source, package.section) == (theirs.get("Source"), theirs.get("Section"))
    assert (package.priority, package.multi_arch) == (
        theirs.get("Priority"),
        theirs.get("Multi-Arch"),
    )


def test_attributes_are_those_of_pulp() -> None:
    attributes = package_attributes(
        stanza(
            Installed_Size="12",
            Essential="yes",
            Pre_Depends="a, b",
            Homepage="",
            X_Custom="kept",
            Auto_Built_Package="custom",
            MD5sum="d" * 32,
        ).decode()
    )

    assert len(attributes) == 31
    assert attributes["package"] == "foo"
    assert attributes["installed_size"] == 12
    assert attributes["essential"] == "yes"
    assert attributes["pre_depends"] == "a, b"
    assert attributes["description"] == "a thing\n with more\n .\n to say"
    assert attributes["homepage"] is None
    assert attributes["custom_fields"] == {"X-Custom": "kept", "Auto-Built-Package": "custom"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Installed-Size", "12 kB"),
        ("Installed-Size", "-1"),
        ("Essential", "maybe"),
        ("Build-Essential", "1"),
        ("Multi-Arch", "sometimes"),
    ],
)
def test_values_that_a_field_does_not_allow_are_dropped(field: str, value: str) -> None:
    attributes = package_attributes(stanza(**{field: value}).decode())

    assert attributes[field.lower().replace("-", "_")] is None


def digest_of(text: str) -> str:
    return metadata_sha256(package_attributes(text))


def compact_digest(attributes: dict[str, Any]) -> str:
    text = json.dumps(attributes, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_metadata_digest_covers_all_attributes_as_compact_json() -> None:
    text = stanza(Installed_Size="12").decode()

    assert digest_of(text) == compact_digest(package_attributes(text))
    assert digest_of(text) != digest_of(text + "\nPhased-Update-Percentage: 10")
    assert digest_of(text) == digest_of(text.replace("Size: 1234", "Size: 1"))


@pytest.mark.parametrize("character", [*map(chr, range(128)), "\xad", "\u2028", "\U0010ff80"])
def test_the_metadata_digest_is_over_json_that_escapes_what_is_not_printable_ascii(
    character: str,
) -> None:
    text = f"a{character}b"
    attributes = {"tag": text, "bugs": None, "custom_fields": {text: "c", "a": text, "Z": ""}}

    assert metadata_sha256(attributes) == compact_digest(attributes)


def test_the_metadata_digest_is_the_one_that_pulp_computes() -> None:
    recorded = "1826d11750281dd639811f00fca82e30bc51ee259ab7b2e4631e4e6b9137573e"
    text = (
        "Package: frigg\nVersion: 1.0\nArchitecture: ppc64\nSection: misc\nPriority: optional\n"
        "Installed-Size: 9\nMaintainer: root <root@b81c8887d23b>\nMulti-Arch: foreign\n"
        "Description: Frigg\n Frigg is described as the wife of the god Odin.\n"
        "Filename: pool/f/frigg/frigg_1.0_ppc64.deb\nSize: 1\nSHA256: " + SHA256
    )

    assert digest_of(text) == recorded
    assert package_attributes(text)["custom_fields"] == {}


def test_the_generators_packages_are_distinct() -> None:
    packages = make_packages(200, ("amd64", "arm64"))

    assert len({(p.name, p.architecture) for p in packages}) == len(packages) == 380
    assert Dist("stable", {"main": packages}).directory == "dists/stable"
