"""A .deb file: its control stanza, read within limits, and the stanza that an index has for it.

By hand, and not with python-debian and tarfile: what clients send is hostile, and these unpack
whatever they are given. Here at most ``LIMIT`` bytes are unpacked, all of them of the control
member; of the data member only the header is read.
"""

from __future__ import annotations

import lzma
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple, Protocol

from debfleet.deb.ar import MAGIC, ar_member, read_part
from debfleet.deb.packages import PackageStanza, StanzaRefused, parse_package
from debfleet.deb.paths import pool_prefix
from debfleet.deb.stanza import find_field, shown_text, split_stanzas, stanza_fields, to_text
from debfleet.errors import MalformedFile, UnsafePath

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 16 << 20
"""Bytes of a control member, packed or not."""

UDEB_SECTION = "debian-installer"


class Deb(NamedTuple):
    """What is needed to list a .deb in an index."""

    control: bytes  # its stanza, normalised as ``split_stanzas`` does
    fields: Mapping[str, str]


def read_deb(file: BinaryIO, size: int) -> Deb:
    """The control stanza of a .deb of so many bytes; only its first few blocks are read.

    Raises:
        MalformedFile: It is no .deb that dpkg would take, or its control member is too big.
    """
    name, packed = _control_member(file, size)
    text = _file_of(_unpacked(name, packed), "control")
    stanzas = list(split_stanzas([text], longest=LIMIT))
    if len(stanzas) != 1:
        raise MalformedFile(f"its control file holds {len(stanzas)} stanzas, and not one")
    control = stanzas[0][1]
    return Deb(control, stanza_fields(to_text(control)))


def index_stanza(
    deb: Deb, *, relative_path: str | None, size: int, sha256: bytes, suffix: str = "deb"
) -> PackageStanza:
    """The stanza of an index that lists it.

    Args:
        relative_path: Where it is to lie; none: ``default_path``.
        suffix: deb, or udeb for a package of the installer.

    Raises:
        MalformedFile: Its fields are none of a package, or the path is another package's.
    """
    default = default_path(deb, suffix)
    if relative_path is not None:
        _check_path(relative_path, default)
    return listed_stanza(
        deb.control, relative_path=relative_path or default, size=size, sha256=sha256
    )


def listed_stanza(stanza: bytes, *, relative_path: str, size: int, sha256: bytes) -> PackageStanza:
    """A stanza, whether of a file or of an index, as that of an index that lists this file.

    Raises:
        MalformedFile: Its fields are none of a package.
    """
    lines = [
        _without_file_fields(stanza),
        f"Filename: {relative_path}".encode(),
        f"Size: {size}".encode(),
        f"SHA256: {sha256.hex()}".encode(),
    ]
    try:
        return parse_package(b"\n".join(lines))
    except StanzaRefused as e:
        raise MalformedFile(f"its control file cannot be listed: {e.detail}") from None
    except UnsafePath as e:
        raise MalformedFile(str(e)) from None


def default_path(deb: Deb, suffix: str = "deb") -> str:
    """Where a package lies unless its maker says otherwise: ``pool/h/hello/hello_1.0_all.deb``.

    Raises:
        MalformedFile: A field that the path is made of is missing, or no name at all.
    """
    package = _part(deb, "Package", _NAME)
    version = _part(deb, "Version", _VERSION)
    architecture = _part(deb, "Architecture", _ARCHITECTURE)
    source = package
    if find_field(deb.fields, "Source"):
        source = _part(deb, "Source", _SOURCE).partition("(")[0].rstrip()
    return f"pool/{pool_prefix(source)}/{source}/{package}_{version}_{architecture}.{suffix}"


# --- the fields -----------------------------------------------------------------------------------

# What dpkg takes, with room: they become parts of paths.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._~-]{0,199}")
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._~-]{0,199}\s*(?:\([^()\n]*\))?")
_VERSION = re.compile(r"(?:[0-9]{1,9}:)?[A-Za-z0-9][A-Za-z0-9.+:~_-]{0,199}")
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_FILE_FIELDS = ("filename", "size", "md5sum", "sha1", "sha256", "sha512")


def _part(deb: Deb, field: str, allowed: re.Pattern[str]) -> str:
    value = find_field(deb.fields, field)
    if not value:
        raise MalformedFile(f"its control file has no field {field}")
    if not allowed.fullmatch(value):
        raise MalformedFile(f"its {field} is not allowed: {shown_text(value)[:100]!r}")
    return value


def _check_path(path: str, default: str) -> None:
    file = default.rpartition("/")[2]
    # Debian itself leaves the epoch of a version out of file names.
    without_epoch = re.sub(r"_[0-9]+:", "_", file, count=1)
    if path.rpartition("/")[2] not in (file, without_epoch):
        raise MalformedFile(f"the relative_path {path!r} must end in {file!r}")


def _without_file_fields(control: bytes) -> bytes:
    """What only an index says of a file is not taken from the file."""
    kept = []
    is_kept = True
    for line in control.split(b"\n"):
        if line[:1] not in (b" ", b"\t"):
            name = line.partition(b":")[0].strip().lower().decode("latin-1")
            is_kept = name not in _FILE_FIELDS
        if is_kept:
            kept.append(line)
    return b"\n".join(kept)


# --- ar: the file itself -------------------------------------------------------------------------

_DATA = ("data.tar", "data.tar.gz", "data.tar.xz", "data.tar.zst", "data.tar.bz2", "data.tar.lzma")


def _control_member(file: BinaryIO, size: int) -> tuple[str, bytes]:
    """Name and bytes of the control member; the file's other parts are where they belong."""
    file.seek(0)
    if read_part(file, min(size, 8), "its beginning") != MAGIC:
        raise MalformedFile("it does not begin as a .deb does, with !<arch>")
    name, length, at = ar_member(file, 8, size)
    if name != "debian-binary" or length > 100:
        raise MalformedFile(f"its first member is {name!r}, and not debian-binary")
    file.seek(at)
    if not read_part(file, length, name).startswith(b"2."):
        raise MalformedFile("it is of another format than 2.0, the only one that dpkg knows")
    name, length, at = ar_member(file, at + length + length % 2, size)
    if name not in _UNPACK:
        known = ", ".join(_UNPACK)
        raise MalformedFile(f"its second member is {name!r}, and none of {known}")
    if length > LIMIT:
        raise MalformedFile(f"its {name} has {length} bytes, more than {LIMIT}")
    file.seek(at)
    packed = read_part(file, length, name)
    data, _, _ = ar_member(file, at + length + length % 2, size)
    if data not in _DATA:
        raise MalformedFile(f"its third member is {data!r}, and not data.tar")
    return name, packed


# --- the control member --------------------------------------------------------------------------

_XZ_MEMORY = 128 << 20


def _unpacked(name: str, packed: bytes) -> bytes:
    """At most LIMIT bytes."""
    try:
        tar, is_whole = _UNPACK[name](packed)
    except (zlib.error, lzma.LZMAError, zstd.ZstdError, EOFError) as e:
        raise MalformedFile(f"its {name} cannot be unpacked: {e}") from None
    if len(tar) > LIMIT:
        raise MalformedFile(f"its {name} unpacks to more than {LIMIT} bytes")
    if not is_whole:
        raise MalformedFile(f"its {name} is cut off, or goes on after its end")
    return tar


def _plain(packed: bytes) -> tuple[bytes, bool]:
    return packed, True


def _gz(packed: bytes) -> tuple[bytes, bool]:
    stream = zlib.decompressobj(wbits=31)
    return stream.decompress(packed, LIMIT + 1), _is_whole(stream)


def _xz(packed: bytes) -> tuple[bytes, bool]:
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    return stream.decompress(packed, LIMIT + 1), _is_whole(stream)


def _zst(packed: bytes) -> tuple[bytes, bool]:
    stream = zstd.ZstdDecompressor()
    return stream.decompress(packed, LIMIT + 1), _is_whole(stream)


class _Stream(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


def _is_whole(stream: _Stream) -> bool:
    """What follows the end would be read by dpkg, and not by us: zeros alone may."""
    return stream.eof and not stream.unused_data.strip(b"\0")


_UNPACK = {
    "control.tar": _plain,
    "control.tar.gz": _gz,
    "control.tar.xz": _xz,
    "control.tar.zst": _zst,
}

_BLOCK = 512
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")


def _file_of(tar: bytes, wanted: str) -> bytes:
    """The regular file of that name at the top of a tar; nothing else of it is looked at."""
    found = [body for name, body in _regular_files(tar) if name == wanted]
    if len(found) != 1:
        # Of several, dpkg takes the last one, and others the first.
        many = "no file" if not found else f"{len(found)} files"
        raise MalformedFile(f"its control member has {many} {wanted!r}")
    return found[0]


def _regular_files(tar: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    long_name = None
    while at + _BLOCK <= len(tar):
        header = tar[at : at + _BLOCK]
        if not header.strip(b"\0"):
            return
        size, kind = _octal(header[124:136]), header[156:157]
        if _octal(header[148:156]) != sum(header[:148]) + 8 * 32 + sum(header[156:]):
            raise MalformedFile("its control member is damaged: the checksum of a header is wrong")
        if kind in _UNKNOWN:
            raise MalformedFile("its control member has pax headers, which dpkg does not know")
        body = tar[at + _BLOCK : at + _BLOCK + size]
        if len(body) != size:
            raise MalformedFile("its control member is cut off")
        if kind in _REGULAR:
            yield long_name or _name_in(header), body
        if kind != _LONG_LINK:
            long_name = _text(body).removeprefix("./") if kind == _LONG_NAME else None
        at += _BLOCK + -(-size // _BLOCK) * _BLOCK


_REGULAR = (b"0", b"\0", b"7")
_LONG_NAME, _LONG_LINK = b"L", b"K"  # GNU: of the member that follows
_UNKNOWN = (b"x", b"g", b"X")


def _name_in(header: bytes) -> str:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
        name = f"{prefix}/{name}"
    return name.removeprefix("./")


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("latin-1")


def _octal(field: bytes) -> int:
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise MalformedFile("its control member is damaged: a number in it is none")
    return int(match[1] or b"0", 8)
