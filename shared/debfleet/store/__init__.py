"""Artifacts by SHA-256, in a directory or an S3 bucket.

Bytes come in through a ``Receiver``, which digests them as they come, and stand in the store only
under the digest that they have. What is kept is never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

from debfleet.errors import ConfigError
from debfleet.store.bucket import open_bucket
from debfleet.store.directory import DirectoryStore
from debfleet.store.receiver import Receiver

__all__ = ["DirectoryStore", "Receiver", "Store", "open_store"]


class Store(Protocol):
    """What every store can do; all of it may be called from several threads at once.

    All raise ``StoreError`` when the store refuses.
    """

    is_local: bool  # a Receiver's keep() is quick: it needs no network

    def receive(self) -> Receiver:
        """Take one file in: ``with store.receive() as receiver``."""

    def open(self, sha256: bytes) -> BinaryIO:
        """The bytes of one artifact; ``NotFound`` if it is not here."""

    def open_at_once(self, sha256: bytes) -> BinaryIO | None:
        """The same without waiting for a disk or a network; None: ask ``open``."""

    def size(self, sha256: bytes) -> int | None:
        """Bytes of one artifact, or nothing if it is not here."""

    def missing(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those of ``digests`` that are not here."""

    def delete(self, sha256: bytes) -> None:
        """Forget one artifact; nothing happens if it is not here."""

    def link(self, sha256: bytes, seconds: int) -> str | None:
        """A URL where anyone may get an artifact for so long; None: there is none."""

    def flush(self, found: Sequence[bytes] = ()) -> None:
        """On return, all that was kept before the call outlives a power loss.

        Args:
            found: Artifacts that others kept, who may not have come to flush them.
        """

    def check(self) -> str:
        """Write and remove a little; says what the store is and how much room it has."""

    def sweep_temporary(self, older_seconds: float) -> int:
        """Remove what jobs that were killed left behind; how many files that was."""


def open_store(url: str, work_directory: str = "") -> Store:
    """The store that DEBFLEET_STORE_URL names; made if it is a directory that is not there.

    Args:
        url: ``file:///directory``, or ``s3://bucket/prefix?endpoint=…&region=…``.
        work_directory: For the files of a bucket on their way; absent: the system's.

    Raises:
        ConfigError: The URL is neither, or has an option that is not known.
        StoreError: The directory cannot be made.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return DirectoryStore(parts.path)
    if parts.scheme == "s3" and parts.netloc:
        return open_bucket(url, work_directory)
    raise ConfigError(f"DEBFLEET_STORE_URL must be file:///directory or s3://bucket, not {url!r}")
