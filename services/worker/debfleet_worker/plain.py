"""The plain form of a fetched index: unpacked with a limit, digested, kept, and read again."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from debfleet.db.plans import WantedIndex
from debfleet.errors import DigestMismatch, MalformedFile, SizeMismatch
from debfleet.store import Store

_BLOCK = 1 << 20
UNPACKING_ERRORS = (lzma.LZMAError, EOFError, zlib.error, gzip.BadGzipFile)
_XZ_MEMORY = 128 << 20  # bytes; `xz -9` makes files that need 65 MiB


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
    path: Path, form: str, wanted: WantedIndex, store: Store, check: Callable[[], None]
) -> Plain:
    """Unpack a fetched form into the store.

    Args:
        path: The fetched file, its own digest checked.
        form: Its name in the archive; the ending says how it is packed.
        check: Called between blocks; raises to stop.

    Raises:
        SizeMismatch: It unpacks to another size than the signed one; stopped one byte beyond.
        DigestMismatch: It unpacks to other bytes.
        MalformedFile: It is not packed as its name says.
    """
    expected, size = bytes.fromhex(wanted.sha256), _plain_size(wanted)
    with store.receive() as receiver:
        try:
            with opened(path, form) as packed:
                # One byte more than promised is enough to know: a bomb is never unpacked.
                while block := packed.read(min(_BLOCK, size + 1 - receiver.size)):
                    check()
                    receiver.write(block)
        except UNPACKING_ERRORS as e:
            raise MalformedFile(f"{form} cannot be unpacked: {e}") from None
        if receiver.size != size:
            found = f"more than {size}" if receiver.size > size else receiver.size
            raise SizeMismatch(f"{form} unpacked", size, found)
        if receiver.sha256 != expected:
            raise DigestMismatch(f"{form} unpacked", wanted.sha256, receiver.sha256.hex())
        file = receiver.path().open("rb")
        try:
            receiver.keep(expected)
        except BaseException:
            file.close()
            raise
    return Plain(file, expected, size)


def _plain_size(wanted: WantedIndex) -> int:
    """What Release says the plain form's size is; it always names the plain form."""
    name = wanted.path.removeprefix(f"{wanted.directory}/" if wanted.directory else "")
    return int(wanted.files[name]["size"])


def opened(path: Path, form: str) -> IO[bytes]:
    """A fetched form as its plain bytes, unpacked in bounded memory as they are read."""
    if form.endswith(".xz"):
        return cast(IO[bytes], io.BufferedReader(_Xz(path), _BLOCK))
    if form.endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))  # typeshed calls it a reader of its own
    return path.open("rb")


class _Xz(io.RawIOBase):
    """An .xz file, unpacked in bounded memory: ``lzma.open`` takes what the file asks for."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._stream = self._new_stream()

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Raises ``lzma.LZMAError``, and ``EOFError`` where the file is cut off."""
        while True:
            packed = b""
            if self._stream.eof:
                # Another stream may follow, after zeros that pad the one before.
                packed = self._stream.unused_data.lstrip(b"\0") or self._file.read(_BLOCK)
                if not packed.strip(b"\0"):
                    return 0
                self._stream = self._new_stream()
            elif self._stream.needs_input:
                packed = self._file.read(_BLOCK)
                if not packed:
                    raise EOFError("it ends in the middle")
            if block := self._stream.decompress(packed, len(buffer)):
                buffer[: len(block)] = block
                return len(block)

    def _new_stream(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
