"""Make the signatures of a Release file: by a key held here, or by an operator's script.

Whatever signs, what comes out is checked with the service's public key before it is published.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pysequoia

from debfleet import pgp
from debfleet.db.publications import SigningService
from debfleet.errors import BadKey, NotASignature, SigningFailed
from debfleet.sealed import Sealer
from debfleet_worker.scripts import run_script

INLINE, DETACHED = "InRelease", "Release.gpg"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key that may sign."""

    secret: str  # armoured
    public: str  # armoured
    fingerprint: str  # of the primary key, in capitals


def make_key(user: str) -> KeyPair:
    """A fresh key that does not expire; ``user`` as in ``Archive <archive@example.org>``."""
    return _pair(pysequoia.Tsk.generate(user))


def read_key(armoured: str) -> KeyPair:
    """A secret key that somebody brings.

    Raises:
        BadKey: It is none, it is locked by a password, or it cannot sign.
    """
    try:
        secret = pysequoia.Tsk.from_bytes(armoured.encode())
        _sign(secret.signer(), b"test\n", pysequoia.SignatureMode.DETACHED)
    except (RuntimeError, TypeError) as e:
        reason = str(e).partition("\n")[0][:200]
        raise BadKey(f"The text is no OpenPGP secret key that can sign: {reason}") from None
    return _pair(secret)


def sign_release(
    service: SigningService, sealer: Sealer, release: bytes, *, correlation_id: str = ""
) -> dict[str, bytes]:
    """The signatures of a Release file, by the names that they are published under.

    Raises:
        SigningFailed: The script failed, or its signatures are not good.
    """
    if service.script is None:
        assert service.secret is not None
        signed = _sign_here(sealer.open(service.secret), release)
    else:
        signed = _sign_by_script(service, release, correlation_id)
    _check(service, release, signed)
    return signed


def _pair(secret: Any) -> KeyPair:
    cert = secret.extract_certificate()
    return KeyPair(str(secret), str(cert), str(cert.fingerprint).upper())


def _sign_here(armoured: str, release: bytes) -> dict[str, bytes]:
    signer = pysequoia.Tsk.from_bytes(armoured.encode()).signer()
    return {
        INLINE: _sign(signer, release, pysequoia.SignatureMode.CLEAR),
        DETACHED: _sign(signer, release, pysequoia.SignatureMode.DETACHED),
    }


def _sign(signer: Any, text: bytes, mode: pysequoia.SignatureMode) -> bytes:
    sign: Callable[..., bytes] = pysequoia.sign
    return bytes(sign(signer, text, mode=mode))


def _check(service: SigningService, release: bytes, signed: Mapping[str, bytes]) -> None:
    keyring = pgp.Keyring(service.public_key)
    try:
        if INLINE in signed and pgp.verify_inline(keyring, signed[INLINE]).strip() != (
            release.strip()
        ):
            raise SigningFailed(service.name, "its InRelease holds another text than Release")
        if DETACHED in signed:
            pgp.verify_detached(keyring, release, signed[DETACHED])
    except NotASignature as e:
        raise SigningFailed(service.name, f"what it made is not accepted: {e}") from None


def _sign_by_script(
    service: SigningService, release: bytes, correlation_id: str
) -> dict[str, bytes]:
    """Pulp's protocol: one argument, the path of Release; the answer is JSON on stdout."""
    with tempfile.TemporaryDirectory(prefix="debfleet-sign-") as folder:
        path = Path(folder) / "Release"
        path.write_bytes(release)
        answer = run_script(service, path, service.fingerprint, correlation_id)
        try:
            named = json.loads(answer)["signatures"]
            files = {Path(named[form]).name: Path(named[form]) for form in _FORMS if form in named}
            signed = {name: (Path(folder) / file).read_bytes() for name, file in files.items()}
        except (ValueError, KeyError, TypeError, OSError) as e:
            raise SigningFailed(service.name, f"its answer cannot be used: {e}") from None
    if not signed or not signed.keys() <= {INLINE, DETACHED}:
        found = ", ".join(sorted(signed)) or "no file"
        raise SigningFailed(service.name, f"it names {found}, not {INLINE} or {DETACHED}")
    return signed


_FORMS = ("inline", "detached")
