"""Ids of content units on the wire: computed, not stored.

A UUIDv8 that packs kind (8 bits), list (26; 0 but for package links), id (48) and a check (40)
keyed by ``installation.href_key``. Reading one needs no lookup, and a forged one is not found.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

from debfleet.model import Kind

_BLOCK = 128  # bytes that BLAKE2b takes at once


@dataclass(frozen=True, slots=True)
class UnitId:
    """What a unit's UUID says."""

    kind: Kind
    id: int
    list: int = 0  # the content list of a package link


class UnitIds:
    """Makes and reads the UUIDs of units under one key."""

    def __init__(self, href_key: bytes) -> None:
        # HMAC by hand: Python's own costs twice as much, and hmac.digest lets other threads run.
        key = href_key if len(href_key) <= _BLOCK else hashlib.blake2b(href_key).digest()
        key = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.blake2b(bytes(byte ^ 0x36 for byte in key))
        self._outer = hashlib.blake2b(bytes(byte ^ 0x5C for byte in key))

    def uuid(self, kind: Kind, id: int, list: int = 0) -> str:
        """The UUID of a unit, as text. ``id`` is below 2**48, ``list`` below 2**26."""
        packed = (int(kind) << 74) | (list << 48) | id
        if id >> 48 or list >> 26:
            raise ValueError(f"unit id {id} or list {list} is out of range")
        value = (packed << 40) | self._check(packed)  # 122 bits
        high, middle, low = value >> 74, (value >> 62) & 0xFFF, value & ((1 << 62) - 1)
        text = f"{(high << 80) | (8 << 76) | (middle << 64) | (2 << 62) | low:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def read(self, uuid: UUID) -> UnitId | None:
        """What the UUID stands for, or nothing if we did not make it."""
        whole = uuid.int
        if (whole >> 76) & 0xF != 8 or (whole >> 62) & 3 != 2:
            return None
        value = ((whole >> 80) << 74) | (((whole >> 64) & 0xFFF) << 62) | (whole & ((1 << 62) - 1))
        packed = value >> 40
        if value & ((1 << 40) - 1) != self._check(packed):
            return None
        try:
            kind = Kind(packed >> 74)
        except ValueError:
            return None
        return UnitId(kind, packed & ((1 << 48) - 1), (packed >> 48) & ((1 << 26) - 1))

    def _check(self, packed: int) -> int:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(packed.to_bytes(11, "big"))
        outer.update(inner.digest())
        return int.from_bytes(outer.digest()[:5], "big")
