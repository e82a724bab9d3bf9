"""Who may use the API."""

from __future__ import annotations

from dataclasses import dataclass

from argon2 import PasswordHasher

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.errors import NotFound

_q = sql.load("users.sql")


@dataclass(frozen=True, slots=True)
class User:
    """One user; the hash is argon2id in its own text form."""

    id: int
    username: str
    password_hash: str
    password_version: int  # goes up with each change
    is_superuser: bool  # may do everything


def find_user(tx: Tx, username: str) -> User | None:
    """The active user of that name, or nothing."""
    row = tx.execute(_q["find_user"], {"username": username}).fetchone()
    return None if row is None else User(**row)


def add_user(tx: Tx, username: str, password: str) -> bool:
    """A new administrator; False: there is one of that name, and its password stays."""
    hashed = PasswordHasher().hash(password)
    row = tx.execute(_q["add_user"], {"username": username, "hash": hashed}).fetchone()
    return row is not None


def set_password(tx: Tx, username: str, password: str) -> None:
    """Give a user another password; every API process refuses the old one from then on.

    Raises:
        NotFound: There is no such user.
    """
    hashed = PasswordHasher().hash(password)
    row = tx.execute(_q["set_password"], {"username": username, "hash": hashed}).fetchone()
    if row is None:
        raise NotFound("user", username)
