"""Which files a version should have, and where they can be had again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from debfleet.db import sql
from debfleet.db.connect import Tx

_q = sql.load("repairs.sql")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One artifact's row."""

    id: int
    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Source:
    """A place where a file can be fetched."""

    sha256: bytes
    remote: int
    path: str  # below the remote's URL


def list_files(
    tx: Tx, repository: int, number: int, *, after: int = 0, limit: int = 256
) -> list[StoredFile]:
    """The next stored files of a version, by id from the one after ``after``."""
    where = {"repository": repository, "number": number, "after": after, "limit": limit}
    rows = tx.execute(_q["list_files"], where)
    return [StoredFile(row["id"], bytes(row["sha256"]), row["size"]) for row in rows]


def list_all_files(tx: Tx, *, after: int = 0, limit: int = 256) -> list[StoredFile]:
    """The next of all stored files, by id from the one after ``after``."""
    rows = tx.execute(_q["list_all_files"], {"after": after, "limit": limit})
    return [StoredFile(row["id"], bytes(row["sha256"]), row["size"]) for row in rows]


def list_sources(tx: Tx, repository: int | None, digests: Sequence[bytes]) -> list[Source]:
    """Where the files are offered, each at most once a remote."""
    rows = tx.execute(_q["list_sources"], {"repository": repository, "digests": list(digests)})
    return [Source(bytes(row["sha256"]), row["remote"], row["path"]) for row in rows]


def drop_artifacts(tx: Tx, digests: Sequence[bytes]) -> None:
    """These files are lost: say no longer that they are stored, and let cleanup remove the rest."""
    tx.execute(_q["drop_artifacts"], {"digests": list(digests)})
    tx.execute(_q["doom_files"], {"digests": list(digests)})


def restart_reports(tx: Tx, task: int) -> None:
    """Count from nothing."""
    tx.execute(_q["restart_reports"], {"task": task})
