"""What upstream sends, broken at random: an error of ours or a sound result, and nothing else.

A fixed, small budget here; `make fuzz` looks for longer.
"""

from __future__ import annotations

import gzip
import io
import lzma
import random
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pysequoia
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive.keys import SigningKey
from debfleet import pgp
from debfleet.deb import paths
from debfleet.deb.packages import (
    StanzaRefused,
    metadata_sha256,
    package_attributes,
    parse_package,
)
from debfleet.deb.release import parse_release
from debfleet.deb.stanza import shown_text, split_stanzas, to_bytes
from debfleet.errors import (
    BadKey,
    MalformedFile,
    NotASignature,
    UnsafePath,
    UntrustedError,
)
from debfleet_worker.plain import UNPACKING_ERRORS, opened

calm = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
KEY = SigningKey.generate()
RELEASE = f"""Origin: Archive
Suite: stable
Codename: trixie
Date: Thu, 01 Jan 2026 00:00:00 UTC
Valid-Until: Thu, 08 Jan 2026 00:00:00 UTC
Architectures: amd64 all
Components: main updates/contrib
Acquire-By-Hash: yes
MD5Sum:
 {"0f" * 16} 12 main/binary-amd64/Packages
SHA256:
 {"ab" * 32} 12 main/binary-amd64/Packages
 {"cd" * 32} 34 main/binary-amd64/Packages.xz
""".encode()
INDEX = f"""Package: a
Version: 1:1.0-1+b2~x
Architecture: amd64
Installed-Size: 12
Filename: pool/main/a/a/a_1.0-1+b2~x_amd64.deb
Size: 1234
SHA256: {"ab" * 32}
Description: one
 two
 .
 three

Package: b
Version: 2
Architecture: all
Filename: pool/b.deb
Size: 1
SHA256: {"cd" * 32}
""".encode()
SIGNED = KEY.clearsign(RELEASE)
KEYRING = pgp.Keyring(KEY.public)
# What breaks parsers, put in anywhere.
SPICE = [
    *(b"\0", b"\r", b"\n", b"\n\n", b"\n ", b":", b" ", b"\t", b"..", b"../", b"//", b"%2e"),
    *(b"\xff\xfe", b"\xc3", b"\xe2\x80\xa8", b"-----BEGIN PGP SIGNATURE-----\n", b"- ", b"<html>"),
    *(b"SHA256:\n", b"Filename: /etc/passwd\n", b"Size: -1\n", b"9" * 40, b"A" * 5000, b"#"),
]


@st.composite
def broken(draw: st.DrawFn, text: bytes) -> bytes:
    """A text with a few bytes cut out, doubled, changed or put in."""
    data = bytearray(text)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["cut", "spice", "byte", "double"])):
            case "cut":
                del data[at : at + draw(st.integers(1, 60))]
            case "spice":
                data[at:at] = draw(st.sampled_from(SPICE))
            case "byte" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 200))]
    return bytes(data)


@calm
@given(broken(RELEASE) | st.binary(max_size=400), st.booleans())
def test_a_broken_release_is_read_soundly_or_refused(text: bytes, permissive: bool) -> None:
    try:
        release = parse_release(text, permissive=permissive)
    except (MalformedFile, UnsafePath):
        return

    for path, file in release.files.items():
        assert paths.safe_path(path) == path == file.path
        assert file.size >= 0
    for word in (*(release.components or ()), *(release.architectures or ())):
        assert ".." not in word.split("/")
        paths.in_directory("dists/x", paths.index_directory(word, "amd64"))


def test_a_carriage_return_within_a_line_of_release_is_refused() -> None:
    with pytest.raises(MalformedFile, match="cannot be read"):
        parse_release(RELEASE.replace(b" 0f", b" \r0f"))


@calm
@given(broken(INDEX) | st.binary(max_size=400), st.integers(1, 700))
def test_a_broken_index_is_read_soundly_or_refused(text: bytes, block: int) -> None:
    blocks = [text[i : i + block] for i in range(0, len(text), block)]
    try:
        stanzas = list(split_stanzas(blocks))
    except MalformedFile:
        return

    assert stanzas == list(split_stanzas([text]))  # borders of blocks change nothing
    for _, stanza in stanzas:
        try:
            package = parse_package(stanza)
        except (StanzaRefused, UnsafePath):
            continue
        assert paths.safe_path(package.relative_path) == package.relative_path
        assert len(package.sha256) == 32
        assert package.size >= 0
        assert to_bytes(package.stanza) == stanza  # given out as it came
        package.stanza.encode()
        assert package_attributes(package.stanza)["package"] == shown_text(package.name)
        assert len(metadata_sha256(package_attributes(package.stanza))) == 64


@calm
@given(broken(SIGNED))
def test_of_a_broken_inrelease_only_signed_text_comes_out(text: bytes) -> None:
    try:
        found = pgp.verify_inline(KEYRING, text)
    except UntrustedError:
        return

    assert found.split() == RELEASE.split()


@calm
@given(broken(RELEASE), broken(KEY.detach(RELEASE)))
def test_a_broken_detached_signature_signs_nothing_else(text: bytes, signature: bytes) -> None:
    try:
        pgp.verify_detached(KEYRING, text, signature)
    except UntrustedError:
        return

    assert text == RELEASE


def test_a_key_without_its_own_signature_signs_nothing() -> None:
    packets = pysequoia.packet.PacketPile.from_bytes(KEY.public_bytes)
    bare = b"".join(bytes(p) for p in packets if p.tag != pysequoia.packet.Tag.Signature)

    with pytest.raises((BadKey, NotASignature)):
        pgp.verify_inline(pgp.Keyring(bare), SIGNED)


@calm
@given(broken(KEY.public.encode()))
def test_a_broken_key_is_a_key_or_no_key(text: bytes) -> None:
    try:
        keyring = pgp.Keyring(text.decode("utf-8", errors="replace"))
    except BadKey:
        return

    try:
        pgp.verify_inline(keyring, SIGNED)
    except UntrustedError:
        return


@calm
@given(st.text(st.sampled_from("ab./\\%~+: \0\n#?@é"), max_size=30))
def test_a_path_from_upstream_stays_below_the_remotes_url(path: str) -> None:
    try:
        safe = paths.safe_path(path)
    except UnsafePath:
        return

    base = "http://host:1/some/base?token=x"
    url = urlsplit(paths.join_url(base, safe))
    assert url.netloc == "host:1"
    assert url.path.startswith("/some/base/")
    assert "/../" not in f"{url.path}/"
    assert (url.query, url.fragment) == ("token=x", "")


@calm
@given(st.sampled_from([".xz", ".gz"]), st.integers(0, 1 << 30), st.integers(1, 5))
def test_a_broken_form_of_an_index_ends_in_a_known_error(
    ending: str, seed: int, changes: int
) -> None:
    pack = {".xz": lzma.compress, ".gz": gzip.compress}[ending]
    packed = bytearray(pack(INDEX * 40))
    rng = random.Random(seed)
    for _ in range(changes):
        at = rng.randrange(len(packed))
        if rng.random() < 0.3:
            del packed[at : at + rng.randrange(1, 20)]
        else:
            packed[at] = rng.randrange(256)
        if not packed:
            break
    with tempfile.NamedTemporaryFile(suffix=ending) as file:
        file.write(packed)
        file.flush()
        try:
            with opened(Path(file.name), f"Packages{ending}") as plain:
                found = plain.read(len(INDEX) * 40 + 1)
        except UNPACKING_ERRORS:
            return

    assert len(io.BytesIO(found).read()) <= len(INDEX) * 40 + 1
