"""The signature inside a .deb, as debsigs makes it: the member _gpgorigin after the others.

It covers what stands in debian-binary, control.tar and data.tar, one after the other.
"""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

from debfleet.deb.ar import MAGIC, ar_member, read_part
from debfleet.errors import MalformedFile

ORIGIN = "_gpgorigin"

# What dpkg passes over; and scripts that unpack it write no file elsewhere.
_MORE = re.compile(r"_[A-Za-z0-9_.+-]*")
_COVERED = 3  # debian-binary, control, data: what every .deb begins with
_LONGEST = 1 << 20  # bytes of a signature
_MOST = 16  # members


class Origin(NamedTuple):
    """What a signature of a .deb covers, and the signature."""

    covered: tuple[tuple[int, int], ...]  # place and length, in order
    signature: bytes | None  # None: it is not signed


def find_origin(file: BinaryIO, size: int) -> Origin:
    """The signature of a .deb that ``read_deb`` took; its bytes may come from anybody.

    Raises:
        MalformedFile: There are several, or members that neither dpkg nor the signature looks at.
    """
    covered: list[tuple[int, int]] = []
    signature = None
    at, members = len(MAGIC), 0
    while at < size:
        name, length, place = ar_member(file, at, size)
        at, members = place + length + length % 2, members + 1
        if members <= _COVERED:
            covered.append((place, length))
        elif not _MORE.fullmatch(name):
            raise MalformedFile(f"it has a member {name!r} after its data.tar")
        elif members > _MOST:
            raise MalformedFile(f"it has more than {_MOST} members")
        elif name == ORIGIN and signature is not None:
            raise MalformedFile(f"it has several members {ORIGIN}")
        elif name == ORIGIN:
            file.seek(place)
            signature = read_part(file, min(length, _LONGEST), ORIGIN)
    return Origin(tuple(covered), signature)
