"""One file on its way into the store."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from debfleet.errors import DigestMismatch, StoreError

_FROM_START, _TO_END = ctypes.c_int64(0), ctypes.c_int64(0)
_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)  # musl has none


class Receiver:
    """Digests bytes as they come, into a temporary file that ``keep`` turns into an artifact.

    Used as a context manager; on leaving, the temporary file is gone unless it was kept. The file
    is made by the first byte, so that an answer of 404 costs nothing.
    """

    size: int  # bytes received so far

    def __init__(
        self, folder: str, place: Callable[[str, bytes, int], None], *, stays: bool = True
    ) -> None:
        """``place(path, sha256, size)`` takes the file at ``path`` away into the store.

        Args:
            stays: It is the file itself that the store keeps.
        """
        self._name = f"{folder}/{secrets.token_hex(12)}"
        self._place = place
        self._stays = stays
        self._fd = -1
        self._is_kept = False
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, block: bytes) -> None:
        """Add bytes at the end."""
        if self._fd < 0:
            self._open()
        self._hash.update(block)
        self.size += len(block)
        written = 0
        try:
            written = os.write(self._fd, block)
            while written < len(block):  # the kernel may take a part: a signal, a full disk
                written += os.write(self._fd, memoryview(block)[written:])
        except OSError as e:
            raise _refused(e, self._name, len(block) - written) from e

    def write_ahead(self) -> None:
        """Let the disk write what came so far, so that the store's flush has less to wait for.

        What it fails with is for that to say. Nothing where no flush will wait for this file.
        """
        if self._stays and self._fd >= 0 and _sync_file_range is not None:
            _sync_file_range(self._fd, _FROM_START, _TO_END, _SYNC_FILE_RANGE_WRITE)

    @property
    def sha256(self) -> bytes:
        """Of the bytes received so far."""
        return self._hash.digest()

    def restart(self) -> None:
        """Forget all bytes: they were not the right ones."""
        self._hash = hashlib.sha256()
        self.size = 0
        if self._fd >= 0:
            with _guarded(self._name):
                os.ftruncate(self._fd, 0)
                os.lseek(self._fd, 0, os.SEEK_SET)

    def path(self) -> Path:
        """The bytes received so far as a file, to be read before it is kept."""
        if self._fd < 0 and not self._is_kept:
            self._open()
        return Path(self._name)

    def keep(self, expected_sha256: bytes | None = None) -> bytes:
        """Put the file into the store under its digest, which is returned.

        Keeping what the store has already is no error, and the store's copy is replaced.

        Raises:
            DigestMismatch: It is not what was expected; nothing is kept.
            StoreError: The store refused.
        """
        sha256 = self.sha256
        if expected_sha256 is not None and sha256 != expected_sha256:
            raise DigestMismatch("received file", expected_sha256.hex(), sha256.hex())
        if self._fd < 0:
            self._open()
        with _guarded(self._name):
            self._close()
            self._place(self._name, sha256, self.size)
        self._is_kept = True
        return sha256

    def abort(self) -> None:
        """Remove the temporary file, unless it was kept."""
        if self._is_kept:
            return
        self._is_kept = True
        if self._fd >= 0:
            self._close()
        with contextlib.suppress(OSError):  # never made, or swept: gone is what we want
            os.unlink(self._name)

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()

    def _open(self) -> None:
        if self._is_kept:
            raise StoreError("this file was kept or given up already")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with _guarded(self._name):
            self._fd = os.open(self._name, flags, 0o600)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)


@contextlib.contextmanager
def _guarded(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise _refused(e, name) from e


def _refused(error: OSError, name: str, wanted: int = 0) -> StoreError:
    room = f"; {wanted} more bytes were to be written" if error.errno == errno.ENOSPC else ""
    return StoreError(f"the store refused {name}: {error.strerror}{room}")
