"""Signatures: who may sign, and which text comes out."""

from __future__ import annotations

import pytest
from pysequoia import ArmorKind, Sig, armor

from archive import old_keys
from archive.keys import SigningKey
from debfleet.errors import BadKey, MalformedFile, NotASignature
from debfleet.pgp import Keyring, unwrap_inline, verify_detached, verify_inline

TEXT = b"Origin: Test\nSuite: stable\nDescription: a\n - dash\n-----BEGIN nothing\n- dashed\n-\n"
OURS = SigningKey.generate("Ours <ours@example.org>")
OTHERS = SigningKey.generate("Others <others@example.org>")


def lines(text: bytes) -> list[bytes]:
    return text.rstrip(b"\n").split(b"\n")


def signatures(*files: bytes) -> bytes:
    """One armoured block that holds the signatures of these files."""
    start = b"-----BEGIN PGP SIGNATURE-----"
    packets = b"".join(bytes(Sig.from_bytes(file[file.index(start) :])) for file in files)
    return armor(packets, ArmorKind.Signature).encode()


def with_signatures(inline: bytes, block: bytes) -> bytes:
    return inline[: inline.index(b"-----BEGIN PGP SIGNATURE-----")] + block


def test_the_signed_text_of_a_good_file_comes_out() -> None:
    text = verify_inline(Keyring(OURS.public), OURS.clearsign(TEXT))

    assert lines(text) == lines(TEXT)


def test_a_file_by_another_key_names_that_key() -> None:
    with pytest.raises(NotASignature, match=r"signed by key [0-9A-F]{40}, which is not among"):
        verify_inline(Keyring(OURS.public), OTHERS.clearsign(TEXT))


def test_changed_text_is_refused() -> None:
    inline = OURS.clearsign(TEXT).replace(b"stable", b"stabel")

    with pytest.raises(NotASignature, match="does not match the text"):
        verify_inline(Keyring(OURS.public), inline)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Suite: evil\n", b""),
        (b"Suite: evil\n\n", b""),
        (b"\xef\xbb\xbf", b""),
        (b"", b"Suite: evil\n"),
        (b"", b"\n\nSuite: evil\n"),
        (b"", b"-----BEGIN PGP SIGNATURE-----\n"),
    ],
)
def test_text_beside_the_signed_block_is_refused(before: bytes, after: bytes) -> None:
    inline = before + OURS.clearsign(TEXT) + after

    with pytest.raises(NotASignature):
        verify_inline(Keyring(OURS.public), inline)
    with pytest.raises(MalformedFile):
        unwrap_inline(inline)


def test_blank_lines_around_the_block_do_no_harm() -> None:
    inline = b"\n" + OURS.clearsign(TEXT) + b"\n\n"

    assert lines(verify_inline(Keyring(OURS.public), inline)) == lines(TEXT)


def test_two_blocks_are_refused() -> None:
    inline = OURS.clearsign(b"Suite: one\n") + OURS.clearsign(b"Suite: two\n")

    with pytest.raises(NotASignature, match="after its signature"):
        verify_inline(Keyring(OURS.public), inline)


def test_a_block_within_a_block_is_refused() -> None:
    inner = OURS.clearsign(b"Suite: old\n")
    inline = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nSuite: evil\n" + inner

    with pytest.raises(NotASignature, match="not dash-escaped"):
        verify_inline(Keyring(OURS.public), inline)


@pytest.mark.parametrize(
    "cut", ["-----BEGIN PGP SIGNATURE-----", "-----END PGP SIGNATURE-----", "Hash:"]
)
def test_an_incomplete_block_is_refused(cut: str) -> None:
    inline = OURS.clearsign(TEXT)
    inline = inline[: inline.index(cut.encode())]

    with pytest.raises(NotASignature, match="not complete"):
        verify_inline(Keyring(OURS.public), inline)


def test_an_unknown_header_of_the_block_is_refused() -> None:
    inline = OURS.clearsign(TEXT).replace(b"Hash: SHA512\n", b"Hash: SHA512\nSuite: evil\n", 1)

    with pytest.raises(NotASignature, match="header"):
        verify_inline(Keyring(OURS.public), inline)


@pytest.mark.parametrize("data", [b"", b"\n", b"<html></html>", b"Suite: stable\n", b"\x00\xff"])
def test_what_is_no_signed_file_is_refused(data: bytes) -> None:
    with pytest.raises(NotASignature):
        verify_inline(Keyring(OURS.public), data)
    with pytest.raises(MalformedFile):
        unwrap_inline(data)


def test_windows_line_ends_are_accepted() -> None:
    inline = OURS.clearsign(TEXT).replace(b"\n", b"\r\n")

    assert b"Suite: stable" in verify_inline(Keyring(OURS.public), inline)


def test_one_good_signature_of_several_suffices() -> None:
    ours, others = OURS.clearsign(TEXT), OTHERS.clearsign(TEXT)

    for block in (signatures(ours, others), signatures(others, ours)):
        assert verify_inline(Keyring(OURS.public), with_signatures(ours, block))


def test_several_keys_may_be_given() -> None:
    for keys in (OURS.public + OTHERS.public, f"# ours\n{OURS.public}\n# theirs\n{OTHERS.public}"):
        keyring = Keyring(keys)

        assert len(keyring.certs) == 2
        assert verify_inline(keyring, OTHERS.clearsign(TEXT))


def test_binary_keys_may_be_given() -> None:
    keyring = Keyring(OURS.public_bytes + OTHERS.public_bytes)

    assert verify_inline(keyring, OTHERS.clearsign(TEXT))


def test_a_key_with_windows_line_ends_may_be_given() -> None:
    assert Keyring(OURS.public.replace("\n", "\r\n")).certs


def test_a_big_keyring_works() -> None:
    keys = "".join([OTHERS.public] * 1000 + [OURS.public])

    assert verify_inline(Keyring(keys), OURS.clearsign(TEXT))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", "no OpenPGP public key"),
        ("not a key", "no OpenPGP public key"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n", "cut off"),
        (
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n",
            "cannot be read",
        ),
        (OURS.secret, "secret key"),
        (OURS.detach(TEXT).decode(), "but a signature"),
        (b"\x99\x01", "cannot be read"),
        (b"", "no OpenPGP public key"),
    ],
)
def test_what_is_no_public_key_is_refused_in_one_clear_line(
    keys: str | bytes, message: str
) -> None:
    with pytest.raises(BadKey, match=message) as caught:
        Keyring(keys)

    assert "backtrace" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_expired_since_it_signed_is_refused() -> None:
    with pytest.raises(NotASignature, match=r"4DF4DFED.* expired on 2021-01-01"):
        verify_inline(Keyring(old_keys.EXPIRED_KEY), old_keys.EXPIRED_INRELEASE.encode())


def test_a_subkey_that_expired_since_it_signed_is_refused() -> None:
    with pytest.raises(NotASignature, match="expired on 2021-01-01"):
        verify_inline(Keyring(old_keys.EXPIRED_SUBKEY), old_keys.EXPIRED_SUBKEY_INRELEASE.encode())


def test_a_subkey_that_was_revoked_since_it_signed_is_refused() -> None:
    with pytest.raises(NotASignature, match="was revoked"):
        verify_inline(Keyring(old_keys.REVOKED_SUBKEY), old_keys.REVOKED_SUBKEY_INRELEASE.encode())


def test_a_key_without_an_end_signs_for_ever() -> None:
    assert verify_inline(Keyring(old_keys.RSA_KEY), old_keys.RSA_INRELEASE.encode())


def test_a_signature_over_sha1_is_refused() -> None:
    with pytest.raises(NotASignature, match="SHA1"):
        verify_inline(Keyring(old_keys.RSA_KEY), old_keys.SHA1_INRELEASE.encode())


def test_a_revoked_key_is_refused() -> None:
    with pytest.raises(NotASignature, match="was revoked"):
        verify_inline(Keyring(OURS.revoked()), OURS.clearsign(TEXT))


def test_a_good_key_beside_an_ended_one_suffices() -> None:
    keyring = Keyring(old_keys.EXPIRED_KEY + OURS.public)

    assert verify_inline(keyring, OURS.clearsign(TEXT))


def test_a_detached_signature_is_checked() -> None:
    keyring = Keyring(OURS.public)

    verify_detached(keyring, TEXT, OURS.detach(TEXT))
    with pytest.raises(NotASignature, match="does not match"):
        verify_detached(keyring, TEXT + b"x", OURS.detach(TEXT))
    with pytest.raises(NotASignature, match="not among"):
        verify_detached(keyring, TEXT, OTHERS.detach(TEXT))


def test_a_detached_signature_may_be_binary() -> None:
    verify_detached(Keyring(OURS.public), TEXT, bytes(Sig.from_bytes(OURS.detach(TEXT))))


def test_a_detached_file_may_hold_several_signatures() -> None:
    ours, others = OURS.detach(TEXT), OTHERS.detach(TEXT)

    for file in (signatures(ours, others), signatures(others, ours), others + ours):
        verify_detached(Keyring(OURS.public), TEXT, file)


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b" \n",
        b"<html>not found</html>",
        b"\xff\xff\xff",
        b"junk\n" + OURS.detach(TEXT),
        OURS.detach(TEXT) + b"junk\n",
        OURS.public.encode(),
        OURS.detach(TEXT)[:100],
    ],
    ids=["empty", "blank", "page", "noise", "junk before", "junk after", "key", "cut"],
)
def test_a_detached_file_that_is_no_signature_is_refused(signature: bytes) -> None:
    with pytest.raises(NotASignature):
        verify_detached(Keyring(OURS.public), TEXT, signature)


def test_text_comes_out_unverified_without_a_key() -> None:
    assert lines(unwrap_inline(OTHERS.clearsign(TEXT))) == lines(TEXT)
