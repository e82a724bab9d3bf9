"""The installer's list of files: SHA256SUMS, or MD5SUMS where an archive has nothing better."""

from __future__ import annotations

import re
from collections.abc import Iterator

from debfleet.deb.paths import safe_path
from debfleet.errors import MalformedFile, UnsafePath

SHA256SUMS = "SHA256SUMS"
MD5SUMS = "MD5SUMS"
SUMS = (SHA256SUMS, MD5SUMS)  # the better one first

MOST_FILES = 20_000  # that one list may name; Debian's largest has 1,100
LARGEST_SUMS = 8 << 20  # bytes; Debian's largest has 120 KB
LARGEST_FILE = 4 << 30  # bytes that a file of the installer may have: no list tells its size

_DIGITS = {SHA256SUMS: 64, MD5SUMS: 32}


def parse_sums(name: str, text: bytes) -> dict[str, bytes]:
    """The digests of a list of files, by path below the list's own directory.

    The lists themselves are left out where one names them: their digests stand in Release.

    Args:
        name: Whose text it is; its last part says which digests: SHA256SUMS or MD5SUMS.

    Raises:
        MalformedFile: A line cannot be read, one file has two digests or lies below another, or
            there are more files than we believe, or none.
        UnsafePath: A file would lie outside the list's directory.
    """
    digits = _DIGITS[name.rpartition("/")[2]]
    found: dict[str, bytes] = {}
    for number, digest, path in _lines(name, text, digits):
        try:
            path = safe_path(path)
        except UnsafePath as e:
            raise UnsafePath(e.path, e.reason, f"Line {number} of {name}") from None
        if path in SUMS:
            continue
        if found.setdefault(path, digest) != digest:
            raise MalformedFile(f"{name} lists {path!r} twice, with two digests.")
        if len(found) > MOST_FILES:
            raise MalformedFile(f"{name} lists more than {MOST_FILES} files: taken for a mistake.")
    if not found:
        raise MalformedFile(f"{name} lists no file.")
    for path in found:
        for folder in _folders(path):
            if folder in found:
                raise MalformedFile(f"{name} lists {folder!r} as a file and {path!r} below it.")
    return found


def _lines(name: str, text: bytes, digits: int) -> Iterator[tuple[int, bytes, str]]:
    """Number, digest and path of each line, as ``sha256sum`` writes them."""
    line = re.compile(rf"([0-9A-Fa-f]{{{digits}}})[ \t]+\*?(\S.*)")
    for number, row in enumerate(text.split(b"\n"), 1):
        if not row.strip():
            continue
        try:
            match = line.fullmatch(row.rstrip(b"\r").decode())
        except UnicodeDecodeError:
            match = None
        if match is None:
            shown = ascii(row[:60].decode(errors="replace"))
            raise MalformedFile(f"Line {number} of {name} is no digest and path: {shown}")
        yield number, bytes.fromhex(match[1]), match[2]


def _folders(path: str) -> Iterator[str]:
    while folder := path.rpartition("/")[0]:
        yield folder
        path = folder
