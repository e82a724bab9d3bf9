"""Check OpenPGP signatures; only the text that a signature covers comes out.

Sequoia does the cryptography and refuses weak digests and keys. What it does not refuse is refused
here: text around the signed block, and keys that have ended since they signed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pysequoia
from pysequoia.packet import Packet, PacketPile, SignatureType, Tag

from debfleet.errors import BadKey, MalformedFile, NotASignature


class Keyring:
    """The public keys that may sign a remote's Release files.

    Raises:
        BadKey: There is no key in it, or something that is no public key.
    """

    def __init__(self, keys: str | bytes) -> None:
        self.certs: tuple[pysequoia.Cert, ...] = tuple(_read_keys(keys))

    def only(self, key: str) -> Keyring:
        """Those of the keys that are, or have a subkey that is, ``v4:FINGERPRINT`` or ``keyid:ID``.

        There may be none.
        """
        kind, _, digits = key.lower().rpartition(":")
        found = copy(self)
        found.certs = tuple(
            cert
            for cert in self.certs
            if digits in {_key_id(f) if kind == "keyid" else f for f in fingerprints(cert)}
        )
        return found


def verify_inline(keyring: Keyring, data: bytes) -> bytes:
    """The signed text of a clear-signed file; one good signature by an accepted key suffices.

    Raises:
        NotASignature: It is no single clear-signed block, or none of its signatures is accepted.
    """
    try:
        block = _split_block(data)
    except MalformedFile as e:
        raise NotASignature(str(e)) from None
    certs, endings = _live(keyring.certs)
    try:
        verified = pysequoia.verify(bytes=block.whole, store=lambda _: list(certs))
    except RuntimeError:
        raise _not_accepted(keyring, _signatures(block.signature), endings) from None
    _check_signers(certs, verified.valid_sigs)
    text = verified.bytes or b""
    if _without_line_ends(text) != _without_line_ends(block.text):
        raise NotASignature("Two readers disagree on which text of it is signed.")
    return text


def verify_detached(keyring: Keyring, text: bytes | Path, signature: bytes) -> None:
    """Check a text, or a file, against signatures, armoured or binary; one good one suffices.

    Raises:
        NotASignature: There is no signature in it, or none is accepted.
    """
    packets = _signatures(_without_armour(signature))
    signed: Any = {"bytes": text} if isinstance(text, bytes) else {"file": str(text)}
    certs, endings = _live(keyring.certs)
    refusal: NotASignature | None = None
    for packet in packets:
        try:
            sig = pysequoia.Sig.from_bytes(bytes(packet))
            verified = pysequoia.verify(**signed, store=lambda _: list(certs), signature=sig)
        except RuntimeError:
            continue
        try:
            _check_signers(certs, verified.valid_sigs)
        except NotASignature as e:
            refusal = e
        else:
            return
    raise refusal or _not_accepted(keyring, packets, endings)


def fingerprints(cert: pysequoia.Cert) -> set[str]:
    """Of a key and its subkeys, lowercase."""
    packets = PacketPile.from_bytes(bytes(cert))
    return {str(p.fingerprint).lower() for p in packets if p.fingerprint is not None}


def _key_id(fingerprint: str) -> str:
    """RFC 9580, 5.5.4: of a key of version 4 the end of its fingerprint, of 6 the beginning."""
    return fingerprint[-16:] if len(fingerprint) == 40 else fingerprint[:16]


def unwrap_inline(data: bytes) -> bytes:
    """The text of a clear-signed file whose signature nobody wants to check.

    Raises:
        MalformedFile: It is not one clear-signed block, with nothing before and after it.
    """
    return _split_block(data).text


@dataclass(frozen=True, slots=True)
class _Block:
    whole: bytes  # the block alone
    text: bytes  # without dash-escapes, LF at the end of each line
    signature: bytes  # armoured


_MESSAGE = b"-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"
_END = b"-----END PGP SIGNATURE-----"
_ARMOUR = re.compile(
    r"-----BEGIN PGP ([A-Z ]+)-----[ \t\r]*\n.*?\n-----END PGP \1-----[ \t\r]*(?:\n|\Z)", re.DOTALL
)


def _split_block(data: bytes) -> _Block:
    """RFC 9580, 7: the one clear-signed block. CVE-2013-1051: nothing may stand beside it."""
    lines = [line.rstrip(b" \t\r") for line in data.strip(b" \t\r\n").split(b"\n")]
    if lines[0] != _MESSAGE:
        shown = lines[0][:60].decode("utf-8", "replace")
        raise MalformedFile(f"It does not begin with a clear-signed text, but with {shown!r}.")
    try:
        blank = lines.index(b"")
        signed_end = lines.index(_SIGNATURE, blank)
        end = lines.index(_END, signed_end)
    except ValueError:
        raise MalformedFile("Its clear-signed text is not complete.") from None
    if end != len(lines) - 1:
        raise MalformedFile("There is text after its signature.")
    if not all(line.startswith(b"Hash:") for line in lines[1:blank]):
        raise MalformedFile("Its clear-signed text has a header other than Hash.")
    text = lines[blank + 1 : signed_end]
    if any(line.startswith(b"-") and line != b"-" and line[1:2] != b" " for line in text):
        raise MalformedFile("Its clear-signed text has a line that is not dash-escaped.")
    plain = [line[2:] if line.startswith(b"-") else line for line in text]
    return _Block(
        whole=data.strip(b" \t\r\n") + b"\n",
        text=b"".join(line + b"\n" for line in plain),
        signature=b"\n".join(lines[signed_end:]) + b"\n",
    )


def _without_line_ends(text: bytes) -> list[bytes]:
    return [line.rstrip(b" \t\r") for line in text.rstrip(b" \t\r\n").split(b"\n")]


def _without_armour(signature: bytes) -> bytes:
    """Signature packets out of a binary file or of armoured blocks with nothing around them.

    Raises:
        NotASignature: Something else is in it (CVE-2019-3462: a file smuggled in Release.gpg).
    """
    if not signature.strip():
        raise NotASignature("The signature file is empty.")
    if signature[0] & 0x80:  # an OpenPGP packet; text begins with none of these bytes
        return signature
    text = signature.decode("latin-1").strip()
    if _ARMOUR.sub("", text).strip():
        raise NotASignature("The signature file holds something beside its signatures.")
    blocks = list(_ARMOUR.finditer(text))
    if any(block[1] != "SIGNATURE" for block in blocks):
        raise NotASignature("The signature file holds something that is no signature.")
    return b"".join(
        bytes(packet) for block in blocks for packet in _signatures(block[0].encode("latin-1"))
    )


def _signatures(data: bytes) -> list[Packet]:
    try:
        packets = list(PacketPile.from_bytes(data))
    except RuntimeError:
        raise NotASignature("Its signature cannot be read.") from None
    if not packets or any(packet.tag != Tag.Signature for packet in packets):
        raise NotASignature("It holds something that is no signature.")
    return packets


def _read_keys(keys: str | bytes) -> Iterable[pysequoia.Cert]:
    text = keys if isinstance(keys, str) else keys.decode("latin-1")
    if "-----BEGIN PGP" not in text:
        if isinstance(keys, str) or not keys:
            raise BadKey(
                "The text is no OpenPGP public key: it has no line "
                "'-----BEGIN PGP PUBLIC KEY BLOCK-----'."
            )
        return _certs(keys)
    blocks = [(block[1], block[0]) for block in _ARMOUR.finditer(text.strip() + "\n")]
    if len(blocks) != text.count("-----BEGIN PGP"):
        raise BadKey("An OpenPGP key block is cut off: it has no matching END line.")
    if any(kind == "PRIVATE KEY BLOCK" for kind, _ in blocks):
        raise BadKey("This is a secret key. Keep it, and give the public one.")
    for kind, _ in blocks:
        if kind != "PUBLIC KEY BLOCK":
            raise BadKey(f"The text is no OpenPGP public key, but a {kind.lower()}.")
    return [cert for _, block in blocks for cert in _certs(block.encode("utf-8", "replace"))]


def _certs(data: bytes) -> list[pysequoia.Cert]:
    try:
        if any(packet.tag == Tag.SecretKey for packet in PacketPile.from_bytes(data)):
            raise BadKey("This is a secret key. Keep it, and give the public one.")
        certs = pysequoia.Cert.split_bytes(data)
    except RuntimeError as e:
        reason = str(e).partition("\n")[0][:200]  # what follows is a backtrace
        raise BadKey(f"The OpenPGP public key cannot be read: {reason}") from None
    if not certs:
        raise BadKey("There is no OpenPGP public key in the text.")
    return certs


def _live(certs: Iterable[pysequoia.Cert]) -> tuple[list[pysequoia.Cert], dict[str, str]]:
    """The keys that may sign today; and of the others why not, by fingerprint.

    Sequoia judges a key at the time of the signature; gpg and apt judge it now, and so do we.
    """
    now = datetime.now(UTC)
    live, endings = [], {}
    for cert in certs:
        ending = _ending(cert, now)
        if ending is None:
            live.append(cert)
        else:
            endings[cert.fingerprint] = ending
    return live, endings


def _ending(cert: pysequoia.Cert, now: datetime) -> str | None:
    """Why a key may not sign any more; none where it may."""
    try:
        if cert.is_revoked:
            return "was revoked"
        if cert.expiration is not None and cert.expiration <= now:
            return f"expired on {cert.expiration:%Y-%m-%d}"
    except RuntimeError:  # a damaged key can be read, and has nothing that says so much
        return "has no valid signature of its own"
    return None


def _check_signers(certs: Sequence[pysequoia.Cert], valid: Sequence[object]) -> None:
    """At least one of the good signatures is by a key, or subkey, that has not ended."""
    by_fingerprint = {cert.fingerprint: cert for cert in certs}
    endings = []
    for signature in valid:
        cert = by_fingerprint[str(getattr(signature, "certificate", ""))]
        signer = str(getattr(signature, "signing_key", ""))
        ending = _subkey_ending(cert, signer)
        if ending is None:
            return
        endings.append(f"Key {signer.upper()} {ending}.")
    raise NotASignature(" ".join(endings) or "It has no good signature.")


def _subkey_ending(cert: pysequoia.Cert, signer: str) -> str | None:
    """Why a subkey may not sign any more; none where it may, or where it is no subkey."""
    key: Packet | None = None
    created: datetime | None = None
    bindings: list[Packet] = []
    for packet in PacketPile.from_bytes(bytes(cert)):
        if packet.tag == Tag.PublicSubkey:
            key = packet if packet.fingerprint == signer else None
        elif packet.tag == Tag.Signature and key is not None:
            if packet.signature_type == SignatureType.SubkeyRevocation:
                return "was revoked"
            if packet.signature_type == SignatureType.SubkeyBinding:
                bindings.append(packet)
                created = key.key_created
    if not bindings or created is None:
        return None
    newest = max(bindings, key=lambda packet: packet.signature_created or _LONG_AGO)
    if newest.key_validity_period is None:
        return None
    end = created + newest.key_validity_period
    return f"expired on {end:%Y-%m-%d}" if end <= datetime.now(UTC) else None


def _not_accepted(
    keyring: Keyring, packets: Sequence[Packet], endings: dict[str, str]
) -> NotASignature:
    """For each signature, by which key it is and why it does not count."""
    known = {
        packet.fingerprint: cert
        for cert in keyring.certs
        for packet in PacketPile.from_bytes(bytes(cert))
        if packet.fingerprint is not None
    }
    by_id = {fingerprint[-16:]: fingerprint for fingerprint in known}
    reasons = []
    for packet in packets:
        issuer = packet.issuer_fingerprint or by_id.get(packet.issuer_key_id or "", "")
        shown = (issuer or packet.issuer_key_id or "unknown").upper()
        cert = known.get(issuer)
        if cert is None:
            reasons.append(f"It is signed by key {shown}, which is not among the given keys.")
        elif ending := endings.get(cert.fingerprint) or _subkey_ending(cert, issuer):
            reasons.append(f"It is signed by key {shown}, which {ending}.")
        else:
            reasons.append(
                f"Its signature by key {shown} does not match the text, or uses a weak algorithm "
                f"({str(packet.hash_algorithm).rpartition('.')[2]})."
            )
    return NotASignature(" ".join(reasons))


_LONG_AGO = datetime.fromtimestamp(0, UTC)
