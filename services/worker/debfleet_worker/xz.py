"""One .xz file of several blocks, which are compressed side by side.

``lzma`` makes files of one block, by one thread. A file of several blocks is no more than those of
several such files, with one list of them at the end (the .xz file format, sections 2 to 4); apt and
xz read it as any other. Several files one after the other would be simpler, but apt reads only the
first. The bytes depend on the input alone.
"""

from __future__ import annotations

import lzma
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

BLOCK = 2 << 20  # bytes of input: twice the window of the preset that is set unless told otherwise
_AT_ONCE = 2
_LARGEST_PRESET = 6  # two of a larger one take too much memory

_FLAGS = bytes((0, lzma.CHECK_CRC64))
_HEADER = b"\xfd7zXZ\0" + _FLAGS + zlib.crc32(_FLAGS).to_bytes(4, "little")
_FOOTER_SIZE = 12


@dataclass(frozen=True, slots=True)
class _Block:
    body: bytes  # with its padding
    record: bytes  # what the list at the end says of it: two numbers


def xz_compressed(parts: Iterable[bytes], preset: int) -> Iterator[bytes]:
    """An .xz file of what comes in parts of any size; memory follows the block, not the whole."""
    records = []
    yield _HEADER
    for block in _in_order(_joined(parts), preset):
        records.append(block.record)
        yield block.body
    index = b"\0" + _number(len(records)) + b"".join(records)
    index += bytes(-len(index) % 4)
    index += zlib.crc32(index).to_bytes(4, "little")
    ending = (len(index) // 4 - 1).to_bytes(4, "little") + _FLAGS
    yield index + zlib.crc32(ending).to_bytes(4, "little") + ending + b"YZ"


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, so many at a time that they make a block; the borders are always the same."""
    pending = bytearray()
    for part in parts:
        pending += part
        while len(pending) >= BLOCK:
            yield bytes(pending[:BLOCK])
            del pending[:BLOCK]
    if pending:
        yield bytes(pending)


def _in_order(inputs: Iterable[bytes], preset: int) -> Iterator[_Block]:
    threads = _AT_ONCE if preset <= _LARGEST_PRESET else 1
    waiting: deque[Future[_Block]] = deque()
    with ThreadPoolExecutor(threads, "xz") as pool:
        for one in inputs:
            if len(waiting) == threads:
                yield waiting.popleft().result()
            waiting.append(pool.submit(_compress, one, preset))
        while waiting:
            yield waiting.popleft().result()


def _compress(block: bytes, preset: int) -> _Block:
    """The one block of a file of its own, taken out of it."""
    file = lzma.compress(block, lzma.FORMAT_XZ, lzma.CHECK_CRC64, preset)
    index_size = 4 * (int.from_bytes(file[-8:-4], "little") + 1)
    index = file[-_FOOTER_SIZE - index_size : -_FOOTER_SIZE]
    end = 2  # the list begins with a zero, and a one: so many blocks
    for _ in range(2):
        while index[end] & 0x80:
            end += 1
        end += 1
    return _Block(file[len(_HEADER) : -_FOOTER_SIZE - index_size], index[2:end])


def _number(value: int) -> bytes:
    """As the format writes numbers: seven bits a byte, the lowest first, the last below 0x80."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
