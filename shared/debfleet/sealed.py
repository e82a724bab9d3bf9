"""Encrypt and decrypt what is write-only: a remote's passwords and keys.

A sealed value is ``key id (4 bytes) | nonce (12) | AES-256-GCM ciphertext``; the key id is the
start of the key's SHA-256, so that several keys may be in use while one replaces another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from debfleet.errors import ConfigError

_CHECK = b"debfleet"


def new_key() -> str:
    """A fresh key in the form that DEBFLEET_SECRET_KEY takes."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


class Sealer:
    """Seals with the first key, opens with any.

    Raises:
        ConfigError: A key is not base64 of 32 bytes.
    """

    def __init__(self, secret_key: str) -> None:
        self._keys: dict[bytes, AESGCM] = {}
        for word in secret_key.split(","):
            try:
                raw = base64.urlsafe_b64decode(word.strip())
            except (binascii.Error, ValueError):
                raw = b""
            if len(raw) != 32:
                raise ConfigError(
                    "DEBFLEET_SECRET_KEY must be base64 of 32 bytes; make one with: "
                    "head -c 32 /dev/urandom | base64"
                )
            self._keys.setdefault(hashlib.sha256(raw).digest()[:4], AESGCM(raw))
        self._first = next(iter(self._keys))

    def seal(self, text: str) -> bytes:
        """Encrypt; the same text gives another value each time."""
        nonce = os.urandom(12)
        return self._first + nonce + self._keys[self._first].encrypt(nonce, text.encode(), None)

    def open(self, value: bytes) -> str:
        """Decrypt.

        Raises:
            ConfigError: The value was sealed with a key that we do not have.
        """
        key = self._keys.get(bytes(value[:4]))
        try:
            if key is not None:
                return key.decrypt(bytes(value[4:16]), bytes(value[16:]), None).decode()
        except InvalidTag:
            pass  # the key id matched by chance: the same answer as for an unknown key
        raise ConfigError(
            "DEBFLEET_SECRET_KEY is not the key that this database's secrets were sealed with"
        )

    def check(self, stored: bytes | None) -> bytes | None:
        """Prove the key against ``installation.secret_check``.

        Returns what to store there if it was null.

        Raises:
            ConfigError: It is another key.
        """
        if stored is None:
            return self.seal(_CHECK.decode())
        self.open(stored)
        return None
