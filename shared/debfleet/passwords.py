"""Check passwords: slowly once, then from memory for a minute."""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from debfleet.db.users import User
from debfleet.errors import TooManyLogins

_REMEMBERED_SECONDS = 60.0
_MOST_REMEMBERED = 1024
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Known:
    version: int  # of the password: another one is void
    until: float


class Passwords:
    """Remembers which password was right, as an HMAC under a key of this process.

    A hash takes tens of milliseconds and 64 MiB on purpose; two run at a time, so that a flood of
    wrong passwords costs neither the memory nor every core.
    """

    def __init__(
        self,
        *,
        remembered_seconds: float = _REMEMBERED_SECONDS,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._key = secrets.token_bytes(32)
        self._hasher = hasher or PasswordHasher()
        self._nobody = _of_no_password(self._hasher)
        self._slots = BoundedSemaphore(2)
        self._lock = Lock()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._seconds = remembered_seconds
        self.hashed = 0  # how many hashes were computed

    def is_right(self, user: User | None, password: str) -> bool:
        """Whether this is the user's password.

        Raises:
            TooManyLogins: Too many hashes wait.
        """
        if user is None:
            self._verify(self._nobody, password)  # so that no name is told by time
            return False
        digest = hmac.digest(self._key, f"{user.id}:{password}".encode(), "sha256")
        if self._is_known(digest, user.password_version):
            return True
        if not self._verify(user.password_hash, password):
            return False
        self._remember(digest, user.password_version)
        return True

    def hash(self, password: str) -> str:
        """The hash of a new password."""
        return self._hasher.hash(password)

    def _is_known(self, digest: bytes, version: int) -> bool:
        with self._lock:
            known = self._known.get(digest)
            if known is None:
                return False
            if known.version == version and time.monotonic() < known.until:
                return True
            del self._known[digest]
            return False

    def _remember(self, digest: bytes, version: int) -> None:
        with self._lock:
            self._known[digest] = _Known(version, time.monotonic() + self._seconds)
            while len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)

    def _verify(self, hashed: str, password: str) -> bool:
        if not self._slots.acquire(timeout=_PATIENCE_SECONDS):
            raise TooManyLogins
        try:
            self.hashed += 1
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False
        finally:
            self._slots.release()


def _of_no_password(hasher: PasswordHasher) -> str:
    """What hashes of this hasher look like; checking it costs the same, making it nothing."""
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    parts = (secrets.token_bytes(length) for length in (hasher.salt_len, hasher.hash_len))
    salt, digest = (base64.b64encode(part).decode().rstrip("=") for part in parts)
    return f"$argon2id$v=19${cost}${salt}${digest}"
