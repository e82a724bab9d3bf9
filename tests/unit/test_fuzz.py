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

import pysequoia
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debfleet import pgp
from debfleet.deb.release import parse_release
from debfleet.errors import BadKey, MalformedFile, NotASignature
from debfleet_worker.plain import UNPACKING_ERRORS, opened
from fuzz.targets import (
    DETACHED,
    INDEX,
    KEY,
    RELEASE,
    SIGNED,
    SOURCES,
    SUMS,
    TARGETS,
    check_deb,
    check_detached,
    check_index,
    check_inline,
    check_key,
    check_path,
    check_release,
    check_sources,
    check_sums,
)

calm = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
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
    check_release(text, permissive)


def test_a_carriage_return_within_a_line_of_release_is_refused() -> None:
    with pytest.raises(MalformedFile, match="cannot be read"):
        parse_release(RELEASE.replace(b" 0f", b" \r0f"))


@calm
@given(broken(INDEX) | st.binary(max_size=400), st.integers(1, 700))
def test_a_broken_index_is_read_soundly_or_refused(text: bytes, block: int) -> None:
    check_index(text, block)


@calm
@given(broken(SOURCES))
def test_a_broken_index_of_sources_is_read_soundly_or_refused(text: bytes) -> None:
    check_sources(text)


@calm
@given(broken(SUMS))
def test_a_broken_list_of_installer_files_is_read_soundly_or_refused(text: bytes) -> None:
    check_sums(text)


@calm
@given(broken(TARGETS["deb"].examples[0]))
def test_a_broken_deb_has_a_sound_stanza_or_is_refused(body: bytes) -> None:
    check_deb(body)


@calm
@given(broken(SIGNED))
def test_of_a_broken_inrelease_only_signed_text_comes_out(text: bytes) -> None:
    check_inline(text)


@calm
@given(broken(RELEASE), broken(DETACHED))
def test_a_broken_detached_signature_signs_nothing_else(text: bytes, signature: bytes) -> None:
    check_detached(text, signature)


def test_a_key_without_its_own_signature_signs_nothing() -> None:
    packets = pysequoia.packet.PacketPile.from_bytes(KEY.public_bytes)
    bare = b"".join(bytes(p) for p in packets if p.tag != pysequoia.packet.Tag.Signature)

    with pytest.raises((BadKey, NotASignature)):
        pgp.verify_inline(pgp.Keyring(bare), SIGNED)


@calm
@given(broken(KEY.public.encode()))
def test_a_broken_key_is_a_key_or_no_key(text: bytes) -> None:
    check_key(text.decode("utf-8", errors="replace"))


def test_a_key_with_what_is_no_character_in_it_is_read_or_refused() -> None:
    check_key(KEY.public.replace("=", "\udcff=", 1))
    check_key("\ud800" + KEY.public)


@calm
@given(st.text(st.sampled_from("ab./\\%~+: \0\n#?@é"), max_size=30))
def test_a_path_from_upstream_stays_below_the_remotes_url(path: str) -> None:
    check_path(path)


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
