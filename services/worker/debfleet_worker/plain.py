"""The plain form of a fetched index: unpacked with a limit, digested, kept, and read again."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, cast

from debfleet.db.plans import WantedIndex
from debfleet.errors import DigestMismatch, MalformedFile, SizeMismatch
from debfleet.store import Receiver, Store
from debfleet_worker.growing import Growing

# lzma takes the lock of Python each time that its output grows: the fewer the blocks, the less
# often it waits for the thread that reads along, which lets it go on between two blocks of its own.
_BLOCK = 2 << 20
_READ_BLOCK = 256 << 10
UNPACKING_ERRORS = (lzma.LZMAError, EOFError, zlib.error, gzip.BadGzipFile)
_XZ_MEMORY = 128 << 20  # bytes; `xz -9` makes files that need 65 MiB

Reader = Callable[[Callable[[], Iterator[bytes]]], None]
"""Reads a file's blocks, from the start as often as it asks for them."""


class Plain:
    """An unpacked index whose size and digest are the signed ones; closes its file at the end."""

    def __init__(self, file: BinaryIO, sha256: bytes, size: int) -> None:
        self._file = file
        self.sha256 = sha256
        self.size = size

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def blocks(self) -> Iterator[bytes]:
        """Its bytes from the start; may be asked for again."""
        self._file.seek(0)
        while block := self._file.read(_BLOCK):
            yield block


def unpack(
    path: Path,
    form: str,
    wanted: WantedIndex,
    store: Store,
    check: Callable[[], None],
    read: Reader | None = None,
) -> Plain:
    """Unpack a fetched form into the store.

    Args:
        path: The fetched file, its own digest checked.
        form: Its name in the archive; the ending says how it is packed.
        check: Called between blocks; raises to stop.
        read: Called with the plain bytes while they are unpacked by another thread. They may be
            asked for again, and end only where they are what was promised: else they end in the
            error that is raised here too. So what is made of them before their end must not last.

    Raises:
        SizeMismatch: It unpacks to another size than the signed one; stopped one byte beyond.
        DigestMismatch: It unpacks to other bytes.
        MalformedFile: It is not packed as its name says.
    """
    expected = bytes.fromhex(wanted.sha256)
    with store.receive() as receiver:
        growing = Growing(receiver.path())
        if read is None:
            _unpack(path, form, wanted, receiver, growing, check)
        else:
            with ThreadPoolExecutor(1, "unpack") as thread:
                unpacked = thread.submit(_unpack, path, form, wanted, receiver, growing, check)
                try:
                    read(partial(growing.blocks, _READ_BLOCK))
                finally:
                    unpacked.result()  # what is wrong with the form goes before what came of it
        file = receiver.path().open("rb")
        try:
            receiver.keep(expected)
        except BaseException:
            file.close()
            raise
    return Plain(file, expected, receiver.size)


def _unpack(
    path: Path,
    form: str,
    wanted: WantedIndex,
    receiver: Receiver,
    growing: Growing,
    check: Callable[[], None],
) -> None:
    """Fill the receiver with what was promised, or raise."""
    with growing:
        size = _plain_size(wanted)
        try:
            with opened(path, form) as packed:
                # One byte more than promised is enough to know: a bomb is never unpacked.
                while block := packed.read(min(_BLOCK, size + 1 - receiver.size)):
                    check()
                    receiver.write(block)
                    growing.grew(receiver.size)
                    receiver.write_ahead()
        except UNPACKING_ERRORS as e:
            raise MalformedFile(f"{form} cannot be unpacked: {e}") from None
        if receiver.size != size:
            found = f"more than {size}" if receiver.size > size else receiver.size
            raise SizeMismatch(f"{form} unpacked", size, found)
        if receiver.sha256 != bytes.fromhex(wanted.sha256):
            raise DigestMismatch(f"{form} unpacked", wanted.sha256, receiver.sha256.hex())


def _plain_size(wanted: WantedIndex) -> int:
    """What Release says the plain form's size is; it always names the plain form."""
    name = wanted.path.removeprefix(f"{wanted.directory}/" if wanted.directory else "")
    return int(wanted.files[name]["size"])


def opened(path: Path, form: str) -> IO[bytes] | Xz:
    """A fetched form as its plain bytes, unpacked in bounded memory as they are read."""
    if form.endswith(".xz"):
        return Xz(path)
    if form.endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))  # typeshed calls it a reader of its own
    return path.open("rb")


class Xz:
    """An .xz file, unpacked in bounded memory: ``lzma.open`` takes what the file asks for."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._stream = self._new_stream()

    def __enter__(self) -> Xz:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """So many of the next bytes at most; none at its end.

        Raises:
            lzma.LZMAError: It is no such file.
            EOFError: It is cut off.
        """
        while size:
            packed = b""
            if self._stream.eof:
                # Another stream may follow, after zeros that pad the one before.
                packed = self._stream.unused_data.lstrip(b"\0") or self._file.read(_BLOCK)
                if not packed.strip(b"\0"):
                    return b""
                self._stream = self._new_stream()
            elif self._stream.needs_input:
                packed = self._file.read(_BLOCK)
                if not packed:
                    raise EOFError("it ends in the middle")
            if block := self._stream.decompress(packed, size):
                return block
        return b""

    def _new_stream(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
