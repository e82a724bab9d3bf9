"""Files that look like a .deb and are none, or that want more than they may have."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Mapping

from archive.debs import ar_of, encode, make_deb, tar_of

_GOOD = {
    "Package": "hello",
    "Version": "1.0",
    "Architecture": "amd64",
    "Maintainer": "Somebody <s@example.org>",
    "Description": "greets",
}


def deb_of(control: bytes, *, name: str = "control.tar", data: str = "data.tar") -> bytes:
    """A .deb with such a control member."""
    return ar_of([("debian-binary", b"2.0\n"), (name, control), (data, tar_of({"x": b"x"}))])


def with_text(text: bytes) -> bytes:
    """A .deb with such a control file."""
    return deb_of(tar_of({"control": text}))


def with_fields(**fields: str) -> bytes:
    """A good one but for these fields; an empty one is left out."""
    values = _GOOD | {name.replace("_", "-"): value for name, value in fields.items()}
    return with_text("".join(f"{k}: {v}\n" for k, v in values.items() if v).encode())


def _bomb(size: int) -> bytes:
    control = "".join(f"{k}: {v}\n" for k, v in _GOOD.items()).encode()
    return tar_of({"control": control, "postinst": bytes(size)})


def _damaged(tar: bytes) -> bytes:
    return tar[:520] + b"?" + tar[521:]


def broken_debs() -> Mapping[str, tuple[bytes, str]]:
    """By what is wrong: the file, and what its refusal says."""
    good = make_deb("hello", "1.0", "amd64")
    control = tar_of({"control": "".join(f"{k}: {v}\n" for k, v in _GOOD.items()).encode()})
    many = 20 << 20
    return {
        "empty": (b"", "cut off in its beginning|does not begin"),
        "text": (b"this is no package at all", "does not begin as a .deb does"),
        "wrong magic": (b"!<thin>\n" + good[8:], "does not begin as a .deb does"),
        "only the magic": (good[:8], "another member must follow"),
        "cut in a header": (good[:100], "another member must follow"),
        "cut in control": (good[:200], "goes beyond its end"),
        "cut in data": (good[:-500], "'data.tar' goes beyond its end"),
        "wrong header": (good[:8] + b"x" * 60 + good[68:], "no header of a member"),
        "negative length": (
            good.replace(f"{4:<10}`".encode(), f"{-4:<10}`".encode(), 1),
            "no header of a member",
        ),
        "other first member": (ar_of([("readme", b"2.0\n")]), "not debian-binary"),
        "other format": (ar_of([("debian-binary", b"9.0\n")]), "another format"),
        "control in bzip2": (deb_of(b"BZh", name="control.tar.bz2"), "none of control.tar"),
        "no data": (
            ar_of([("debian-binary", b"2.0\n"), ("control.tar", control)]),
            "another member must follow",
        ),
        "other third member": (deb_of(control, data="payload"), "not data.tar"),
        "gz that is none": (deb_of(b"no gzip", name="control.tar.gz"), "cannot be unpacked"),
        "xz that is none": (
            deb_of(b"this is no xz stream", name="control.tar.xz"),
            "cannot be unpacked",
        ),
        "zst that is none": (deb_of(b"no zst", name="control.tar.zst"), "cannot be unpacked"),
        "gz cut off": (deb_of(gzip.compress(control)[:-9], name="control.tar.gz"), "is cut off"),
        "gz goes on": (
            deb_of(gzip.compress(control) + gzip.compress(b"x"), name="control.tar.gz"),
            "goes on after its end",
        ),
        "xz cut off": (deb_of(encode(control, "xz")[:-9], name="control.tar.xz"), "is cut off"),
        "zst cut off": (deb_of(encode(control, "zst")[:-9], name="control.tar.zst"), "is cut off"),
        "gz bomb": (
            deb_of(gzip.compress(_bomb(many)), name="control.tar.gz"),
            "unpacks to more than 16777216 bytes",
        ),
        "xz bomb": (
            deb_of(lzma.compress(_bomb(many), preset=0), name="control.tar.xz"),
            "unpacks to more than 16777216 bytes",
        ),
        "zst bomb": (deb_of(zst_bomb(1 << 30), name="control.tar.zst"), "unpacks to more than"),
        "xz that wants memory": (
            deb_of(
                lzma.compress(
                    control, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30, "preset": 0}]
                ),
                name="control.tar.xz",
            ),
            "cannot be unpacked",
        ),
        "huge control.tar": (deb_of(bytes(many)), "more than 16777216"),
        "damaged tar": (deb_of(_damaged(control)), "checksum of a header is wrong"),
        "tar cut off": (deb_of(control[:1100]), "is cut off"),
        "no control": (deb_of(tar_of({"md5sums": b""})), "no file 'control'"),
        "two controls": (deb_of(control[:1536] + control), "2 files"),
        "empty control": (with_text(b"\n"), "holds 0 stanzas"),
        "two stanzas": (with_text(b"Package: a\n\nPackage: b\n"), "holds 2 stanzas"),
        "no fields": (with_text(b"just a line\n"), "no field Package"),
        "no Package": (with_fields(Package=""), "no field Package"),
        "no Version": (with_fields(Version=""), "no field Version"),
        "no Architecture": (with_fields(Architecture=""), "no field Architecture"),
        "a line that is no field": (
            with_text(b"Package: a\nVersion: 1\nArchitecture: all\nwhat\n"),
            "cannot be listed",
        ),
        "Package climbs": (with_fields(Package="../../etc/passwd"), "its Package is not allowed"),
        "Package is dots": (with_fields(Package=".."), "its Package is not allowed"),
        "Version climbs": (with_fields(Version="1/../../x"), "its Version is not allowed"),
        "Architecture climbs": (with_fields(Architecture="../x"), "its Architecture is not"),
        "Source climbs": (with_fields(Source="../../x (1.0)"), "its Source is not allowed"),
        "Source is dots": (with_fields(Source=".. (1.0)"), "its Source is not allowed"),
        "Package with a NUL": (with_fields(Package="he\0llo"), "its Package is not allowed"),
        "Package of two lines": (with_fields(Package="hello\n there"), "Package is not allowed"),
        "Package twice": (
            with_text(b"Package: a\nPackage: b\nVersion: 1\nArchitecture: all\n"),
            "there twice, with two values",
        ),
    }


def zst_bomb(size: int) -> bytes:
    """A Zstandard frame of that many zeros in a few kilobytes: run-length blocks."""
    block = 128 << 10
    count = size // block
    frame = [b"\x28\xb5\x2f\xfd", bytes([0b10000000, 7 << 3]), size.to_bytes(4, "little")]
    for n in range(count):
        frame += [(block << 3 | 1 << 1 | (n == count - 1)).to_bytes(3, "little"), b"\0"]
    return b"".join(frame)
