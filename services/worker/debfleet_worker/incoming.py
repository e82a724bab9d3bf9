"""A file that a task is to take in: stored already, in an upload's chunks, or at a URL.

It can be read before it is kept, so that what is refused is never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import UUID

from debfleet.db import orphans, uploads
from debfleet.db.connect import Tx
from debfleet.errors import DigestMismatch, FinalError, MalformedFile, NotFound, UnsupportedUrl
from debfleet.fetch import Wanted, access_of, fetch_one
from debfleet.model import Job, Remote
from debfleet.store import Receiver
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

_BLOCK = 1 << 20
_NOBODY = UUID(int=0)


@dataclass(frozen=True)
class Incoming:
    """One file."""

    sha256: bytes
    size: int
    open: Callable[[], BinaryIO]
    keep: Callable[[], None]  # into the store, durably; its row is the caller's


@contextmanager
def incoming_file(
    worker: Worker, job: Job, lease: Lease, source: Mapping[str, Any]
) -> Iterator[Incoming]:
    """The file of a task's args: ``artifact`` (hex) with ``size``, ``upload``, or ``url``.

    Raises:
        FinalError: It cannot be had.
        DebfleetError: As ``debfleet.fetch``.
    """
    if "artifact" in source:
        digest, size = bytes.fromhex(source["artifact"]), int(source["size"])
        yield Incoming(digest, size, lambda: worker.store.open(digest), lambda: None)
        return
    if "upload" in source:
        receiver = _joined(worker, lease, UUID(source["upload"]))
    else:
        receiver = _fetched(worker, lease, source["url"])
    with receiver:
        digest, size = receiver.sha256, receiver.size

        def keep() -> None:
            path = f"incoming/{digest.hex()}"
            worker.commit(lambda tx: orphans.claim_files(tx, job, [(digest, size, path)]))
            with lease.busy():
                receiver.keep()
                worker.store.flush()

        yield Incoming(digest, size, lambda: receiver.path().open("rb"), keep)


def record(worker: Worker, tx: Tx, file: Incoming) -> int:
    """Say in the task's last transaction that the file is stored; its artifact's id.

    The task's claim on the file kept it since before it was stored.
    """
    return int(
        uploads.record_file(
            tx, file.sha256, file.size, lambda: not worker.store.missing([file.sha256])
        )["id"]
    )


def check_digest(file: Incoming, expected: str) -> None:
    """Compare with what the client says.

    Raises:
        MalformedFile: It is another file.
    """
    if file.sha256.hex() != expected:
        mismatch = DigestMismatch("the uploaded file", expected, file.sha256.hex())
        raise MalformedFile(str(mismatch))


def _joined(worker: Worker, lease: Lease, uuid: UUID) -> Receiver:
    with worker.db.transaction() as tx:
        row = uploads.find_upload(tx, uuid)
        chunks = [] if row is None else uploads.list_chunks(tx, row["id"])
    if row is None:
        raise FinalError(f"the upload {uuid} is gone: it was deleted, used, or has expired")
    gap = uploads.what_is_missing(row["size"], chunks)
    if gap is not None:
        raise FinalError(f"the upload is not finished: its bytes {gap[0]}-{gap[1]} are missing")
    receiver = worker.store.receive()
    try:
        for chunk in chunks:
            with worker.store.open(chunk.sha256) as stored:
                while block := stored.read(_BLOCK):
                    lease.check()
                    lease.progress(len(block))
                    receiver.write(block)
    except NotFound as e:
        receiver.abort()
        raise FinalError(f"a chunk of the upload is not in the store any more: {e}") from None
    except BaseException:
        receiver.abort()
        raise
    return receiver


def _fetched(worker: Worker, lease: Lease, url: str) -> Receiver:
    """By the rules of a remote that has no limits of its own."""
    parts = urlsplit(url)
    folder, _, name = parts.path.rpartition("/")
    if not name:
        raise UnsupportedUrl(f"{url} names no file")
    remote = _remote(urlunsplit((parts.scheme, parts.netloc, folder, parts.query, "")))
    wanted = Wanted(unquote(name), None, None, limit=worker.settings.largest_file_bytes)
    access = access_of(remote, worker.sealer, worker.settings)
    return fetch_one(access, wanted, worker.store, lease.traffic(remote))


def _remote(url: str) -> Remote:
    fields: dict[str, Any] = dict.fromkeys(Remote.__dataclass_fields__)
    fields |= {"id": 0, "uuid": _NOBODY, "name": "file_url", "url": url, "distributions": ""}
    fields |= {"policy": "immediate", "sync_sources": False, "sync_udebs": False}
    fields |= {"sync_installer": False, "ignore_missing_package_indices": False}
    return Remote(**fields | {"tls_validation": True})
