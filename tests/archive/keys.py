"""Keys that sign archives, made and used without gpg."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pysequoia


class SigningKey:
    """An OpenPGP key pair whose signing subkey signs Release files."""

    def __init__(self, secret: pysequoia.Tsk) -> None:
        self._secret = secret
        self._cert = secret.extract_certificate()

    @classmethod
    def generate(
        cls, user: str = "Archive <archive@example.org>", *, validity_seconds: int | None = None
    ) -> SigningKey:
        """A new key; without ``validity_seconds`` it does not expire."""
        return cls(pysequoia.Tsk.generate(user, validity_seconds=validity_seconds))

    @classmethod
    def load(cls, armoured: str) -> SigningKey:
        """The key that ``secret`` gave."""
        return cls(pysequoia.Tsk.from_bytes(armoured.encode()))

    @property
    def secret(self) -> str:
        """Armoured secret key."""
        return str(self._secret)

    @property
    def public(self) -> str:
        """Armoured public key: what a remote's gpgkey holds."""
        return str(self._cert)

    @property
    def public_bytes(self) -> bytes:
        """Binary public key."""
        return bytes(self._cert)

    @property
    def fingerprint(self) -> str:
        """Of the primary key, lowercase hex digits."""
        return self._cert.fingerprint

    def expired(self, when: datetime) -> str:
        """The armoured public key as it is with this time as its end."""
        return str(self._cert.set_expiration(when, self._secret.certifier()))

    def revoked(self) -> str:
        """The armoured public key with its own revocation."""
        revocation = self._cert.revoke(self._secret.certifier())
        return str(pysequoia.Cert.from_bytes(bytes(self._cert) + bytes(revocation)))

    def clearsign(self, text: bytes) -> bytes:
        """An InRelease of this text."""
        return self._sign(text, pysequoia.SignatureMode.CLEAR)

    def detach(self, text: bytes) -> bytes:
        """An armoured Release.gpg of this text."""
        return self._sign(text, pysequoia.SignatureMode.DETACHED)

    def _sign(self, text: bytes, mode: pysequoia.SignatureMode) -> bytes:
        sign: Callable[..., bytes] = pysequoia.sign
        return bytes(sign(self._secret.signer(), text, mode=mode))
