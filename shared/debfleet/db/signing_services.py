"""Rows of signing services: made on the server's machine, only read by the API."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID, uuid4

import psycopg

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.errors import NameTaken

_Q = sql.load("signing_services.sql")

RELEASES = "deb:AptReleaseSigningService"
PACKAGES = "deb:AptPackageSigningService"


@dataclass(frozen=True, slots=True)
class NewService:
    """A service that signs by a script, or with a key held here."""

    name: str
    public_key: str  # armoured
    fingerprint: str  # of the primary key, in capitals
    kind: str = RELEASES
    script: str | None = None
    gnupghome: str | None = None  # given to the script
    secret: bytes | None = None  # the armoured secret key, sealed
    uuid: UUID = field(default_factory=uuid4)


def add_service(tx: Tx, new: NewService) -> dict[str, Any]:
    """The new service's row.

    Raises:
        NameTaken: There is another of this name.
    """
    try:
        row = tx.execute(_Q["add_service"], asdict(new)).fetchone()
    except psycopg.errors.UniqueViolation:
        raise NameTaken("signing service", new.name) from None
    assert row is not None
    return row


def find_service(tx: Tx, name: str) -> dict[str, Any] | None:
    """Every column of a service, its secret still sealed, or nothing."""
    return tx.execute(_Q["find_service"], {"name": name}).fetchone()


def find_service_row(tx: Tx, uuid: UUID) -> dict[str, Any] | None:
    """The same by its UUID."""
    return tx.execute(_Q["find_service_row"], {"uuid": uuid}).fetchone()


def list_services(tx: Tx) -> list[dict[str, Any]]:
    """All, by name."""
    return tx.execute(_Q["list_services"]).fetchall()


def list_users(tx: Tx, name: str) -> list[str]:
    """Names of the repositories that sign with it; until this transaction ends it stays."""
    row = tx.execute(_Q["lock_service"], {"name": name}).fetchone()
    if row is None:
        return []
    return [str(r["name"]) for r in tx.execute(_Q["list_users"], {"uuid": row["uuid"]})]


def delete_service(tx: Tx, name: str) -> bool:
    """False: there is none of this name. What it signed stays signed."""
    return tx.execute(_Q["delete_service"], {"name": name}).fetchone() is not None
