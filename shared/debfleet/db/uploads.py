"""Files that clients bring: whole, or in chunks that a task puts together.

The file and its row, as in ``db.fetches``: a file is announced, stored, and then recorded under the
content lock, after another look whether it is still there. A chunk is an object of the store too;
its row keeps it, and when the row goes, cleanup deletes the file unless somebody else names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from debfleet.db import fetches, sql
from debfleet.db.connect import Tx
from debfleet.db.units import lock_content
from debfleet.errors import FinalError, NotFound

_q = sql.load("uploads.sql")

UPLOAD = "core.upload"


class ChunkOverlaps(FinalError):
    """A chunk that covers a part of another one, and not just that one."""

    def __init__(self, start: int, size: int) -> None:
        super().__init__(
            f"The chunk overlaps the one of bytes {start}-{start + size - 1}, which is there "
            "already; send that range again as it was, or begin a new upload."
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of an upload."""

    start: int  # in the whole file
    size: int
    sha256: bytes


def add_upload(tx: Tx, size: int, owner: int | None) -> dict[str, Any]:
    """A new upload without a byte; its row."""
    row = tx.execute(_q["add_upload"], {"size": size, "owner": owner}).fetchone()
    assert row is not None
    return row


def find_upload(tx: Tx, uuid: UUID) -> dict[str, Any] | None:
    """The row of an upload, or nothing."""
    return tx.execute(_q["find_upload"], {"uuid": uuid}).fetchone()


def list_chunks(tx: Tx, upload: int) -> list[Chunk]:
    """What of an upload has come, in the order of the file."""
    return [Chunk(**row) for row in tx.execute(_q["list_chunks"], {"upload": upload})]


def add_chunk(tx: Tx, uuid: UUID, chunk: Chunk, is_there: Callable[[], bool]) -> dict[str, Any]:
    """Record a chunk that the store has; the upload's row.

    Args:
        is_there: Looks into the store.

    Raises:
        NotFound: There is no such upload, or no such file any more.
        ChunkOverlaps: It covers a part of another chunk.
    """
    lock_content(tx)
    upload = tx.execute(_q["lock_upload"], {"uuid": uuid}).fetchone()
    if upload is None:
        raise NotFound("upload", uuid)
    if not is_there():
        raise NotFound("file", chunk.sha256.hex())
    values = {
        "upload": upload["id"],
        "start": chunk.start,
        "size": chunk.size,
        "sha256": chunk.sha256,
    }
    tx.execute(_q["drop_same_chunk"], values)
    overlap = tx.execute(_q["find_overlap"], values).fetchone()
    if overlap is not None:
        raise ChunkOverlaps(overlap["start"], overlap["size"])
    tx.execute(_q["add_chunk"], values)
    tx.execute(_q["forgive_file"], values)
    touched = tx.execute(_q["touch_upload"], values).fetchone()
    assert touched is not None
    return touched


def what_is_missing(size: int, chunks: Sequence[Chunk]) -> tuple[int, int] | None:
    """The first gap of an upload, as first and last byte; nothing if it is whole."""
    at = 0
    for chunk in chunks:
        if chunk.start > at:
            return at, chunk.start - 1
        at = chunk.start + chunk.size
    return (at, size - 1) if at < size else None


def delete_upload(tx: Tx, uuid: UUID) -> bool:
    """Forget an upload and its chunks; false if there was none."""
    return tx.execute(_q["delete_upload"], {"uuid": uuid}).rowcount > 0


def expire_uploads(tx: Tx, minutes: int) -> list[UUID]:
    """Forget those that nobody went on with for so long, and that no task waits to use."""
    return [row["uuid"] for row in tx.execute(_q["expire_uploads"], {"minutes": minutes})]


def record_file(tx: Tx, sha256: bytes, size: int, is_there: Callable[[], bool]) -> dict[str, Any]:
    """Say that a file is stored; the row of its artifact.

    Raises:
        NotFound: Cleanup deleted it meanwhile: the client is to send it again.
    """
    if not fetches.record(tx, sha256, size, is_there):
        raise NotFound("file", sha256.hex())
    return get_artifact(tx, sha256)


def get_artifact(tx: Tx, sha256: bytes) -> dict[str, Any]:
    """The row of a stored file, which is wanted again.

    Raises:
        NotFound: There is none.
    """
    lock_content(tx)
    row = tx.execute(_q["find_artifact"], {"sha256": sha256}).fetchone()
    if row is None:
        raise NotFound("artifact", sha256.hex())
    return row


def list_holders(tx: Tx, sha256: bytes) -> list[int]:
    """Ids of the repositories that have a file, in any version."""
    return [row["repository"] for row in tx.execute(_q["list_holders"], {"sha256": sha256})]


def claim_stored(tx: Tx, task: int, sha256: bytes, size: int) -> None:
    """Keep a stored file from cleanup as long as a task needs it."""
    tx.execute(_q["claim_stored"], {"task": task, "sha256": sha256, "size": size})
