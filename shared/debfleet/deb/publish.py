"""What publish writes: stanzas with our paths, Release files; and where pool files lie."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

from debfleet.deb.paths import pool_prefix
from debfleet.deb.stanza import to_bytes

ALPHABETICAL = "nested_alphabetically"
BY_DIGEST = "nested_by_digest"
BY_BOTH = "nested_by_both"
LAYOUTS = (ALPHABETICAL, BY_DIGEST, BY_BOTH)

DIGESTS = {"md5": "MD5Sum", "sha1": "SHA1", "sha256": "SHA256", "sha512": "SHA512"}
"""Names of digests, in the order of a Release file, and what it calls their lists."""


@dataclass(frozen=True, slots=True)
class PoolPaths:
    """Where a package is found in a publication: both paths, whatever the layout."""

    alphabetical: str
    by_digest: str

    def filename(self, layout: str) -> str:
        """The one that the index names."""
        return self.alphabetical if layout == ALPHABETICAL else self.by_digest


def pool_paths(
    component: str, name: str, source: str | None, relative_path: str, sha256: bytes
) -> PoolPaths:
    """The paths of a package below a publication's root.

    Args:
        component: Its full name, ``updates/main`` say; ``all`` for a simple publication.
        source: The Source field, with or without a version.
        relative_path: Upstream's path, whose last part is kept.
    """
    of = _SOURCE_VERSION.sub("", source).strip() if source else name
    if not _PART.fullmatch(of):  # it becomes a directory; upstream may write here what it likes
        of = name if _PART.fullmatch(name) else "_"
    folder = f"pool/{component}/{pool_prefix(of)}/{of}"
    file = relative_path.rpartition("/")[2]
    return PoolPaths(f"{folder}/{file}", f"{folder}/by-digest/{sha256.hex()[:6]}-{file}")


_SOURCE_VERSION = re.compile(r"\s*\(.*", re.DOTALL)
_PART = re.compile(r"(?!\.\.?\Z)[^\s/\\\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Listing:
    """How stanzas are written."""

    digests: Collection[str] = ("sha256",)  # md5 and sha1 of the stanza are kept where they are in
    excluded: Collection[str] = ()  # names of fields, in lower case, that are left out


def render_package(stanza: str, *, filename: str, size: int, sha256: bytes, how: Listing) -> bytes:
    """One stanza of a Packages file, with the blank line after it.

    Fields come in the reference's order, then those it does not know as they were, then the file's.
    """
    known: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, value in _FIELD.findall("\n" + stanza):
        folded = name.lower()
        if folded in known or folded in others:
            continue  # Debian Policy 5.1 forbids repeats; readers of ours take the first
        text = value.rstrip()
        if not text:
            continue
        if folded in _FILE_FIELDS:
            known[folded] = text
        elif (spelled := _SPELLED.get(folded)) is not None:
            known[folded] = f"{spelled}:{text}" if text[0] == "\n" else f"{spelled}: {text}"
        elif folded not in how.excluded:
            others[folded] = f"{name}:{text}" if text[0] == "\n" else f"{name}: {text}"
    lines = [known[name] for name in _ORDER if name in known]
    lines += others.values()
    if "md5" in how.digests and "md5sum" in known:
        lines.append(f"MD5sum: {known['md5sum']}")
    if "sha1" in how.digests and "sha1" in known:
        lines.append(f"SHA1: {known['sha1']}")
    lines.append(f"SHA256: {sha256.hex()}\nSize: {size}\nFilename: {filename}\n\n")
    return to_bytes("\n".join(lines))


_FIELD = re.compile(r"\n([^\s:#-][^\s:]*)[ \t]*:[ \t]*([^\n]*(?:\n[ \t][^\n]*)*)")
_FILE_FIELDS = frozenset({"filename", "size", "md5sum", "sha1", "sha256", "sha512"})
_SPELLED = {
    name.lower(): name
    for name in (
        *("Package", "Source", "Version", "Architecture", "Architecture-Variant", "Section"),
        *("Priority", "Origin", "Tag", "Bugs", "Essential", "Build-Essential", "Installed-Size"),
        *("Maintainer", "Original-Maintainer", "Description", "Description-md5", "Homepage"),
        *("Built-Using", "Auto_Built_Package", "Multi-Arch", "Breaks", "Conflicts", "Depends"),
        *("Recommends", "Suggests", "Enhances", "Pre-Depends", "Provides", "Replaces"),
    )
}
_ORDER = tuple(_SPELLED)


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file that a publication holds, as Release names it."""

    path: str  # relative to the directory of Release
    size: int
    digests: Mapping[str, bytes]  # by the names of DIGESTS, as far as they were made


@dataclass(frozen=True, slots=True)
class ReleaseFields:
    """What a Release file says of itself; what is None or empty is left out."""

    architectures: tuple[str, ...]
    components: tuple[str, ...]
    origin: str | None = None
    label: str | None = None
    suite: str | None = None
    version: str | None = None
    codename: str | None = None
    description: str | None = None
    not_automatic: str | None = None
    but_automatic_upgrades: str | None = None
    digests: tuple[str, ...] = field(default=("sha256", "sha512"))  # which lists it has


def render_release(fields: ReleaseFields, files: Iterable[PublishedFile], date: datetime) -> bytes:
    """A Release file; the files are named in the order of their paths.

    Raises:
        KeyError: A file lacks a digest that is to be listed.
    """
    said = (
        ("Origin", fields.origin),
        ("Label", fields.label),
        ("Suite", fields.suite),
        ("Version", fields.version),
        ("Codename", fields.codename),
        ("Date", format_datetime(date.astimezone(UTC))),
        ("Architectures", " ".join(fields.architectures)),
        ("Components", " ".join(fields.components)),
        ("Description", fields.description),
        ("NotAutomatic", fields.not_automatic),
        ("ButAutomaticUpgrades", fields.but_automatic_upgrades),
        ("Acquire-By-Hash", "yes"),
    )
    lines = [*_said(said)]
    listed = sorted(files, key=lambda file: file.path)
    for digest, name in DIGESTS.items():
        if digest in fields.digests:
            lines.append(f"{name}:")
            lines += [f" {f.digests[digest].hex()} {f.size:>8} {f.path}" for f in listed]
    return to_bytes("\n".join(lines) + "\n")


def render_legacy_release(
    *, archive: str, origin: str, label: str, component: str, architecture: str
) -> bytes:
    """The Release file that old archives have beside each Packages file."""
    said = (
        ("Archive", archive),
        ("Origin", origin),
        ("Label", label),
        ("Component", component),
        ("Architecture", architecture),
        ("Acquire-By-Hash", "yes"),
    )
    return to_bytes("\n".join(_said(said)) + "\n")


def _said(fields: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    for name, value in fields:
        if value and (text := _in_one_field(value)):
            yield f"{name}: {text}"


def _in_one_field(value: str) -> str:
    """A value that cannot end its field: later lines are indented, an empty one is a dot."""
    lines = [_CONTROLS.sub(" ", line).strip() for line in value.strip().splitlines()]
    return "\n ".join(line or "." for line in lines)


_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
