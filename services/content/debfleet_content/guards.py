"""Content guards: whether a request may fetch what a distribution serves."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from debfleet.db import access
from debfleet.db.access import DOWNLOAD, RBAC_GUARD
from debfleet.db.connect import Database, Tx
from debfleet.db.users import User, find_user
from debfleet.model import prn
from debfleet.passwords import Passwords


@dataclass(frozen=True, slots=True)
class Denied:
    """Not without a login (401), or not for this one (403)."""

    status: int


class Guards:
    """Asks the database for each request: what an administrator changes holds from the next on."""

    def __init__(self, db: Database, passwords: Passwords) -> None:
        self._db = db
        self._passwords = passwords

    def check(self, guard: UUID, headers: Mapping[str, str]) -> Denied | None:
        """Blocks; for a thread. None: it may.

        Args:
            guard: The one of the distribution.
            headers: Of the request, whatever the case of their names.
        """
        with self._db.transaction() as tx:
            row = access.find_guard(tx, guard)
        if row is None:
            return Denied(403)  # it was deleted a moment ago: the next request sees what is now
        if row["kind"] == "header":
            given = headers.get(row["header_name"], "").encode("utf-8", "surrogateescape")
            is_right = hmac.compare_digest(given, row["header_value"].encode())
            return None if is_right else Denied(403)
        user = self._find_user(headers.get("Authorization", ""))
        if user is None:
            return Denied(401)
        with self._db.transaction() as tx:
            return None if _may_fetch(tx, user, guard) else Denied(403)

    def _find_user(self, authorization: str) -> User | None:
        """Who asks, if name and password are right."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            text = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
        username, found, password = text.partition(":")
        if not found or "\0" in username:
            return None
        with self._db.transaction() as tx:
            user = find_user(tx, username)
        return user if self._passwords.is_right(user, password) else None


def _may_fetch(tx: Tx, user: User, guard: UUID) -> bool:
    held = access.list_permissions(tx, user.id, prn(RBAC_GUARD, guard))
    return user.is_superuser or DOWNLOAD in held
