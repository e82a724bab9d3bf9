"""Alternate content sources: remotes that are tried before others for files that they offer too.

What one offers is known from its indices (``offers``), which a refresh reads as a sync does, but
into no repository.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.db.repairs import Source
from debfleet.errors import NotFound

_q = sql.load("alternates.sql")

COLUMNS = ("name", "remote_uuid")


def add_source(tx: Tx, name: str, remote: UUID) -> dict[str, Any]:
    """A new one.

    Raises:
        NotFound: The remote was deleted.
    """
    row = tx.execute(_q["add_source"], {"name": name, "remote": remote}).fetchone()
    if row is None:
        raise NotFound("remote", remote)
    return _get(tx, row["uuid"])


def find_row(tx: Tx, uuid: UUID) -> dict[str, Any] | None:
    """One by its id, with its remote's (``remote_uuid``)."""
    return tx.execute(_q["find_row"], {"uuid": uuid}).fetchone()


def update_source(tx: Tx, uuid: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """Change its name or its remote.

    Raises:
        NotFound: It or the remote was deleted.
    """
    held = _get(tx, uuid)
    changed = {name: values.get(name, held[name]) for name in COLUMNS}
    if tx.execute(_q["update_source"], {**changed, "uuid": uuid}).fetchone() is None:
        raise NotFound("alternate content source", uuid)
    return _get(tx, uuid)


def delete_source(tx: Tx, uuid: UUID) -> bool:
    """False: it was gone already. What its remote was seen to offer is still known."""
    return tx.execute(_q["delete_source"], {"uuid": uuid}).fetchone() is not None


def note_refreshed(tx: Tx, id: int, remote: int) -> None:
    """Its indices were read just now, unless it has another remote by now."""
    tx.execute(_q["note_refreshed"], {"id": id, "remote": remote})


def are_there(tx: Tx) -> bool:
    """Is there any alternate source?"""
    return tx.execute(_q["find_any"]).fetchone() is not None


def list_places(tx: Tx, digests: Sequence[bytes], remote: int) -> list[Source]:
    """Where files can be had instead of at a remote, in the order in which that is tried."""
    rows = tx.execute(_q["list_places"], {"digests": list(digests), "remote": remote})
    return [Source(bytes(row["sha256"]), row["remote"], row["path"]) for row in rows]


def _get(tx: Tx, uuid: UUID) -> dict[str, Any]:
    row = find_row(tx, uuid)
    if row is None:
        raise NotFound("alternate content source", uuid)
    return row
