"""Source packages: their files, and what Sources says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from archive.debs import encode
from archive.model import Source

_LISTS = {"Files": "md5", "Checksums-Sha1": "sha1", "Checksums-Sha256": "sha256"}


@dataclass(frozen=True)
class Made:
    """One source package as it lies in an archive."""

    files: dict[str, bytes]  # by path below the archive, the .dsc last
    stanza: str  # of Sources, with LF at its end


def make_source(source: Source, component: str, folder: str | None = None) -> Made:
    """The files of a source package and its stanza; the same arguments make the same bytes.

    Args:
        folder: Where it lies where nothing else is said; none: in the pool of ``component``.
    """
    directory = source.directory
    if directory is None:
        prefix = source.name[:4] if source.name.startswith("lib") else source.name[:1]
        directory = f"pool/{component}/{prefix}/{source.name}" if folder is None else folder
    version = source.version.partition(":")[2] or source.version
    upstream, _, revision = version.rpartition("-")
    contents = dict(source.files) or _tarballs(source.name, upstream, revision)
    fields = {
        "Format": "3.0 (quilt)" if upstream else "3.0 (native)",
        "Binary": source.binary or source.name,
        "Architecture": "any",
        "Version": source.version,
        "Maintainer": "Archive Generator <archive@example.org>",
        "Standards-Version": "4.6.2",
        **source.fields,
    }
    dsc = render({"Source": source.name, **fields, **_checksums(contents)}).encode()
    contents[f"{source.name}_{version}.dsc"] = dsc
    said = {"Package": source.name, **fields, "Directory": directory, **_checksums(contents)}
    below = f"{directory}/" if directory not in ("", ".") else ""
    files = {below + name: content for name, content in contents.items()}
    return Made(files, render(said | dict(source.stanza)))


def render(fields: Mapping[str, str | None]) -> str:
    """Fields with a value, each with LF at its end."""
    return "".join(
        f"{name}:{value}\n" if value.startswith("\n") else f"{name}: {value}\n"
        for name, value in fields.items()
        if value
    )


def _tarballs(name: str, upstream: str, revision: str) -> dict[str, bytes]:
    if not upstream:
        return {f"{name}_{revision}.tar.xz": encode(f"{name} {revision}".encode(), "xz")}
    return {
        f"{name}_{upstream}.orig.tar.gz": encode(f"{name} {upstream}".encode(), "gz"),
        f"{name}_{upstream}-{revision}.debian.tar.xz": encode(
            f"debian of {name} {upstream}-{revision}".encode(), "xz"
        ),
    }


def _checksums(files: Mapping[str, bytes]) -> dict[str, str]:
    return {
        field: "".join(
            f"\n {hashlib.new(algorithm, content).hexdigest()} {len(content)} {name}"
            for name, content in files.items()
        )
        for field, algorithm in _LISTS.items()
    }
