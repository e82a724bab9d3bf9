"""A store in a directory of this machine, or of a file system that all machines share."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import threading
import time
from collections.abc import Sequence
from typing import BinaryIO

from debfleet.errors import NotFound, StoreError
from debfleet.store.receiver import Receiver

_libc = ctypes.CDLL(None, use_errno=True)
_quick_libc = ctypes.PyDLL(None)  # for calls so short that no other thread need run meanwhile
_quick_libc.syscall.restype = ctypes.c_long
_FEW = 8  # files that are flushed one by one
_AHEAD_BYTES = 8 << 20  # kept since the disk was last told to write
_OPENAT2 = 437  # the same number on all machines but Alpha
_HERE = -100  # AT_FDCWD
_RESOLVE_CACHED = 0x20


class DirectoryStore:
    """``<root>/ab/<the 64 digits>``, and ``<root>/temporary`` for what is on its way.

    One level of 256 folders: a second one costs a fresh store a third of its speed (a folder made
    for every file), and ten million artifacts are 40,000 a folder, which file systems with hashed
    folders do not feel. Nothing ever lists them.
    """

    is_local = True

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")
        self._temporary = f"{self._root}/temporary"
        self._keeping = threading.Lock()
        self._kept: list[str] = []  # since the last flush; one more than _FEW stand for all
        self._flushing = threading.Lock()
        self._unwritten = 0  # bytes
        self._writing = threading.Lock()
        self._write_error: OSError | None = None
        try:
            os.makedirs(self._root, mode=0o700, exist_ok=True)
            _make_folder(self._temporary)
        except OSError as e:
            raise StoreError(f"the store {root} cannot be made: {e.strerror}") from e

    def receive(self) -> Receiver:
        """See ``Store``."""
        return Receiver(self._temporary, self._place)

    def open(self, sha256: bytes) -> BinaryIO:
        """See ``Store``."""
        try:
            return open(self._path(sha256), "rb")
        except FileNotFoundError:
            raise NotFound("artifact", sha256.hex()) from None
        except OSError as e:
            raise StoreError(f"artifact {sha256.hex()} cannot be read: {e.strerror}") from e

    def open_at_once(self, sha256: bytes) -> BinaryIO | None:
        """See ``Store``."""
        fd = _open_known(self._path(sha256))
        return None if fd is None else open(fd, "rb")

    def size(self, sha256: bytes) -> int | None:
        """See ``Store``."""
        try:
            return os.stat(self._path(sha256)).st_size
        except FileNotFoundError:
            return None
        except OSError as e:
            raise StoreError(f"artifact {sha256.hex()} cannot be read: {e.strerror}") from e

    def missing(self, digests: Sequence[bytes]) -> set[bytes]:
        """See ``Store``."""
        return {sha256 for sha256 in digests if self.size(sha256) is None}

    def delete(self, sha256: bytes) -> None:
        """See ``Store``."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(sha256))
        except OSError as e:
            raise StoreError(f"artifact {sha256.hex()} cannot be deleted: {e.strerror}") from e

    def link(self, sha256: bytes, seconds: int) -> str | None:
        """See ``Store``."""
        return None

    def flush(self, found: Sequence[bytes] = ()) -> None:
        """See ``Store``; nothing when nothing was kept.

        Few files one by one: syncfs waits for all that anybody has written to the file system.
        """
        self._note_kept(*map(self._path, found[: _FEW + 1]))
        # Who finds nothing to do has waited for the one that did it.
        with self._flushing, self._writing:
            # Before the call: what another thread keeps meanwhile may not be part of it.
            with self._keeping:
                kept, self._kept = self._kept, []
            if not kept:
                return
            try:
                if len(kept) > _FEW:
                    _sync(self._root)
                else:
                    _sync_files(kept, self._root)
                if self._write_error is not None:
                    # The kernel tells an error once, this time to who wrote ahead.
                    error, self._write_error = self._write_error, None
                    raise error
            except OSError as e:
                self._note_kept(*kept)
                raise StoreError(f"{self._root} cannot be flushed: {e.strerror}") from e

    def check(self) -> str:
        """See ``Store``."""
        with self.receive() as receiver:
            receiver.write(b"debfleet")
        try:
            free = shutil.disk_usage(self._root).free
        except OSError as e:
            raise StoreError(f"the store {self._root} cannot be read: {e.strerror}") from e
        return f"directory {self._root}, {free / (1 << 30):.1f} GiB free"

    def sweep_temporary(self, older_seconds: float) -> int:
        """See ``Store``."""
        return sweep_folder(self._temporary, older_seconds)

    def _path(self, sha256: bytes) -> str:
        name = sha256.hex()
        return f"{self._root}/{name[:2]}/{name}"

    def _place(self, path: str, sha256: bytes, size: int) -> None:
        target = self._path(sha256)
        try:
            os.rename(path, target)
        except FileNotFoundError:
            _make_folder(os.path.dirname(target))
            os.rename(path, target)
        self._note_kept(target)
        self._unwritten += size
        if self._unwritten >= _AHEAD_BYTES and not self._writing.locked():
            self._unwritten = 0
            threading.Thread(target=self.write_ahead, name="store-writes", daemon=True).start()

    def _note_kept(self, *paths: str) -> None:
        with self._keeping:
            self._kept += paths[: _FEW + 1 - len(self._kept)]

    def write_ahead(self) -> None:
        """Let the disk write while the next files come, so that ``flush`` has little to wait for.

        What it fails with is for ``flush`` to say.
        """
        with self._writing:
            try:
                _sync(self._root)
            except OSError as e:
                self._write_error = e


def sweep_folder(folder: str, older_seconds: float) -> int:
    """Remove the files directly in a folder that were last written longer ago than that."""
    limit = time.time() - older_seconds
    count = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                # Gone meanwhile: its job has just ended.
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_mtime < limit:
                        os.unlink(entry.path)
                        count += 1
    except OSError as e:
        raise StoreError(f"{folder} cannot be swept: {e.strerror}") from e
    return count


class _How(ctypes.Structure):
    """``struct open_how`` of Linux."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_READ_KNOWN = _How(os.O_RDONLY | os.O_CLOEXEC, 0, _RESOLVE_CACHED)


def _open_known(path: str) -> int | None:
    """A descriptor, if the kernel finds the file without a disk; None for whatever other reason."""
    given = os.fsencode(path), ctypes.byref(_READ_KNOWN), ctypes.sizeof(_How)
    fd = _quick_libc.syscall(_OPENAT2, _HERE, *given)
    return None if fd < 0 else int(fd)


def _make_folder(path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)


def _sync_files(paths: Sequence[str], root: str) -> None:
    """Bytes first, then the names of the files in their folders, and of the folders in the root."""
    for path in dict.fromkeys((*paths, *map(os.path.dirname, paths), root)):
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def _sync(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
    finally:
        os.close(fd)
