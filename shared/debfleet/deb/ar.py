"""The ar archive that a .deb is: its members, found by their headers alone."""

from __future__ import annotations

import re
from typing import BinaryIO

from debfleet.errors import MalformedFile

MAGIC = b"!<arch>\n"

_HEADER = 60
_NUMBER = re.compile(rb"[0-9]{1,10} *")


def ar_member(file: BinaryIO, at: int, size: int) -> tuple[str, int, int]:
    """Name, length and place of the member whose header stands there.

    Raises:
        MalformedFile: None does, or it does not end within the file.
    """
    if at + _HEADER > size:
        raise MalformedFile(f"it ends at byte {size}, where another member must follow")
    file.seek(at)
    header = read_part(file, _HEADER, "the header of a member")
    if header[58:] != b"`\n" or not _NUMBER.fullmatch(header[48:58]):
        raise MalformedFile(f"at byte {at} there is no header of a member")
    name = header[:16].decode("latin-1").rstrip(" ").removesuffix("/")
    length = int(header[48:58])
    if at + _HEADER + length > size:
        raise MalformedFile(f"it is cut off: its member {name!r} goes beyond its end")
    return name, length, at + _HEADER


def read_part(file: BinaryIO, length: int, what: str) -> bytes:
    """The next bytes, all of them.

    Raises:
        MalformedFile: There are not so many.
    """
    body = file.read(length)
    if len(body) != length:
        raise MalformedFile(f"it is cut off in {what}")
    return body
