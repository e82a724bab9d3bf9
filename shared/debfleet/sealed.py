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

from debfleet.config import Settings
from debfleet.errors import ConfigError

_CHECK = b"debfleet"


def new_key() -> str:
    """A fresh key in the form that DEBFLEET_SECRET_KEY takes."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def sealer_of(settings: Settings) -> Sealer:
    """What a process seals and opens with."""
    return Sealer(settings.secret_key, settings.secret_key_file)


def key_id(key: str) -> bytes:
    """How sealed values name a key."""
    return next(iter(_read_keys(key)))


def _read_keys(text: str) -> dict[bytes, AESGCM]:
    keys: dict[bytes, AESGCM] = {}
    for word in text.split(","):
        try:
            raw = base64.urlsafe_b64decode(word.strip())
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != 32:
            raise ConfigError(
                "DEBFLEET_SECRET_KEY must be base64 of 32 bytes; make one with: "
                "head -c 32 /dev/urandom | base64"
            )
        keys.setdefault(hashlib.sha256(raw).digest()[:4], AESGCM(raw))
    return keys


class Sealer:
    """Seals with the first key, opens with any.

    Keys of a file come before the others, and are read again when the file is another one: a key
    may be replaced while processes run.

    Raises:
        ConfigError: A key is not base64 of 32 bytes.
    """

    def __init__(self, secret_key: str, file: str = "") -> None:
        self._given = _read_keys(secret_key) if secret_key or not file else {}
        self._file = file
        self._seen: tuple[int, int] | None = None  # of the file: which one, and when written
        self._keys = self._given
        self._look_again()

    @property
    def first(self) -> bytes:
        """The id of the key that seals, as sealed values begin with it."""
        return next(iter(self._keys))

    def seal(self, text: str) -> bytes:
        """Encrypt; the same text gives another value each time."""
        self._look_again()
        nonce, (id, key) = os.urandom(12), next(iter(self._keys.items()))
        return id + nonce + key.encrypt(nonce, text.encode(), None)

    def open(self, value: bytes) -> str:
        """Decrypt.

        Raises:
            ConfigError: The value was sealed with a key that we do not have.
        """
        id = bytes(value[:4])
        if id not in self._keys:
            self._look_again()
        key = self._keys.get(id)
        try:
            if key is not None:
                return key.decrypt(bytes(value[4:16]), bytes(value[16:]), None).decode()
        except InvalidTag:
            pass  # the key id matched by chance: the same answer as for an unknown key
        raise ConfigError(
            "DEBFLEET_SECRET_KEY is not the key that this database's secrets were sealed with"
        )

    def _look_again(self) -> None:
        """Read the file if it is another one by now; one that is gone or unreadable is left."""
        if not self._file:
            return
        try:
            found = os.stat(self._file)
            seen = (found.st_ino, found.st_mtime_ns)
            if seen == self._seen:
                return
            with open(self._file, encoding="utf-8") as file:
                text = file.read()
        except OSError:
            if self._keys:
                return
            raise ConfigError(f"the file of the secret key, {self._file}, cannot be read") from None
        self._keys = {**_read_keys(text.strip()), **self._given}
        self._seen = seen

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
