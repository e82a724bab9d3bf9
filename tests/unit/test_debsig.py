"""The signature inside a .deb: found where it belongs, and nowhere else."""

from __future__ import annotations

import io

import pytest

from archive.debs import ar_member, make_deb
from archive.keys import SigningKey
from debfleet import pgp
from debfleet.deb.debfile import read_deb
from debfleet.deb.debsig import ORIGIN, find_origin
from debfleet.errors import MalformedFile, NotASignature

HELLO = make_deb("hello", "1.0", "amd64", payload_size=333)


def covered_text(deb: bytes) -> bytes:
    covered, _ = find_origin(io.BytesIO(deb), len(deb))
    return b"".join(deb[at : at + length] for at, length in covered)


def test_a_package_without_a_signature_has_none() -> None:
    assert find_origin(io.BytesIO(HELLO), len(HELLO)).signature is None


def test_a_signature_covers_the_three_members_without_their_headers() -> None:
    key = SigningKey.generate()
    text = covered_text(HELLO)
    signed = HELLO + ar_member("_other", b"x") + ar_member(ORIGIN, key.detach(text))

    assert text.startswith(b"2.0\n")
    assert len(text) < len(HELLO)
    assert covered_text(signed) == text
    signature = find_origin(io.BytesIO(signed), len(signed)).signature
    assert signature is not None
    pgp.verify_detached(pgp.Keyring(key.public), text, signature)
    assert read_deb(io.BytesIO(signed), len(signed)) == read_deb(io.BytesIO(HELLO), len(HELLO))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (ar_member(ORIGIN, b"a") * 2, "several members _gpgorigin"),
        (ar_member("data.tar", b"a") + ar_member(ORIGIN, b"a"), "'data.tar' after its data.tar"),
        (ar_member("_x", b"a") * 20, "more than 16 members"),
        (ar_member(ORIGIN, b"abcd")[:-2], "cut off"),
        (ar_member("_../../x", b"a"), "'_../../x' after its data.tar"),
        (ar_member("/0", b"a"), "'/0' after its data.tar"),
        (b"rubbish", "ends at byte"),
    ],
)
def test_what_makes_two_readers_disagree_is_refused(more: bytes, reason: str) -> None:
    with pytest.raises(MalformedFile, match=reason):
        find_origin(io.BytesIO(HELLO + more), len(HELLO + more))


def test_keys_are_picked_by_fingerprint_or_id() -> None:
    one, other = SigningKey.generate(), SigningKey.generate()
    keyring = pgp.Keyring(one.public + other.public)

    def picked(key: str) -> list[str]:
        return [cert.fingerprint for cert in keyring.only(key).certs]

    assert picked(f"v4:{one.fingerprint.upper()}") == [one.fingerprint]
    assert picked(f"keyid:{other.fingerprint[-16:]}") == [other.fingerprint]
    assert picked(f"v4:{one.fingerprint[:-1]}") == []
    assert picked(f"keyid:{one.fingerprint[:16]}") == []
    for subkey in pgp.fingerprints(keyring.certs[1]):
        assert picked(f"v4:{subkey}") == [other.fingerprint]
    assert len(keyring.certs) == 2


def test_a_file_is_verified_as_its_bytes_are(tmp_path_factory: pytest.TempPathFactory) -> None:
    key = SigningKey.generate()
    path = tmp_path_factory.mktemp("x") / "text"
    path.write_bytes(b"x" * 100_000)

    pgp.verify_detached(pgp.Keyring(key.public), path, key.detach(b"x" * 100_000))
    with pytest.raises(NotASignature):
        pgp.verify_detached(pgp.Keyring(key.public), path, key.detach(b"x" * 99_999))
