"""Make .deb files that dpkg takes, without dpkg."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterable, Mapping

_MEMBER_SUFFIX = {"xz": ".xz", "gz": ".gz", "zst": ".zst", "none": ""}
_ZSTD_BLOCK = 128 << 10  # bytes; the longest that the format allows


def make_deb(
    name: str,
    version: str,
    architecture: str,
    *,
    fields: Mapping[str, str] | None = None,
    payload_size: int = 1000,
    encoding: str = "xz",
) -> bytes:
    """The bytes of a .deb with one file of ``payload_size`` random-looking bytes in it.

    ``fields`` add to or replace those of its control file; ``encoding`` is that of control.tar:
    xz, gz, zst or none. The same arguments make the same bytes.
    """
    payload = random_bytes(f"{name} {version} {architecture}", payload_size)
    path = f"usr/share/{name}/payload"
    control = {
        "Package": name,
        "Version": version,
        "Architecture": architecture,
        "Maintainer": "Archive Generator <archive@example.org>",
        "Installed-Size": str(-(-payload_size // 1024)),
        "Description": f"package {name} of a made-up archive",
    } | dict(fields or {})
    text = "".join(f"{key}: {value}\n" for key, value in control.items() if value)
    sums = f"{hashlib.md5(payload).hexdigest()}  {path}\n"
    members = [
        ("debian-binary", b"2.0\n"),
        (
            f"control.tar{_MEMBER_SUFFIX[encoding]}",
            encode(tar_of({"control": text.encode(), "md5sums": sums.encode()}), encoding),
        ),
        ("data.tar", tar_of({path: payload})),
    ]
    return ar_of(members)


def ar_of(members: Iterable[tuple[str, bytes]]) -> bytes:
    """An ar archive, which a .deb is."""
    return b"!<arch>\n" + b"".join(ar_member(*member) for member in members)


def random_bytes(seed: str, size: int) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def encode(content: bytes, encoding: str) -> bytes:
    """Compress: xz, gz, bz2-free zst (stored, not squeezed) or none; the same bytes each time."""
    match encoding:
        case "xz":
            return lzma.compress(content, preset=1)
        case "gz":
            return gzip.compress(content, compresslevel=6, mtime=0)
        case "zst":
            return _stored_zstd(content)
        case "none":
            return content
        case _:
            raise ValueError(f"no encoding {encoding}")


def _stored_zstd(content: bytes) -> bytes:
    """A Zstandard frame of raw blocks (RFC 8878, 3.1.1)."""
    frame = [b"\x28\xb5\x2f\xfd", bytes([0b11100000]), len(content).to_bytes(8, "little")]
    starts = range(0, len(content), _ZSTD_BLOCK) or range(1)
    for start in starts:
        block = content[start : start + _ZSTD_BLOCK]
        is_last = start + _ZSTD_BLOCK >= len(content)
        frame += [(len(block) << 3 | is_last).to_bytes(3, "little"), block]
    return b"".join(frame)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar as dpkg-deb makes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for directory in _directories(files):
            member = tarfile.TarInfo(f"./{directory}")
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for path, content in files.items():
            member = tarfile.TarInfo(f"./{path}")
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _directories(files: Mapping[str, bytes]) -> list[str]:
    found: dict[str, None] = {}
    for path in files:
        parts = path.split("/")[:-1]
        for n in range(len(parts) + 1):
            found["/".join(parts[:n])] = None
    return list(found)


def ar_member(name: str, content: bytes) -> bytes:
    """One member with its header."""
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
    return header.encode("ascii") + content + b"\n" * (len(content) % 2)
