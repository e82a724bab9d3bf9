"""What publish writes: stanzas with our paths, Release files; and where pool files lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from operator import itemgetter

from debfleet.deb.paths import pool_prefix
from debfleet.deb.stanza import FIELD, to_bytes

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
    of = source.partition("(")[0].strip() if source else name
    if not _PART.fullmatch(of):  # it becomes a directory; upstream may write here what it likes
        of = name if _PART.fullmatch(name) else "_"
    folder = f"pool/{component}/{pool_prefix(of)}/{of}"
    file = relative_path.rpartition("/")[2]
    return PoolPaths(f"{folder}/{file}", f"{folder}/by-digest/{sha256.hex()[:6]}-{file}")


_PART = re.compile(r"(?!\.\.?\Z)[^\s/\\\x00-\x1f\x7f]+")


Arrangement = tuple[str, Callable[[Sequence[str]], tuple[str, ...]]]
"""A stanza with gaps for its values, and which of the values it had go there."""


@dataclass(frozen=True, slots=True)
class Listing:
    """How stanzas are written."""

    digests: Collection[str] = ("sha256",)  # md5 and sha1 of the stanza are kept where they are in
    excluded: Collection[str] = ()  # names of fields, in lower case, that are left out
    arrangements: dict[tuple[str, ...], Arrangement] = field(
        default_factory=dict, repr=False, compare=False
    )  # worked out so far, by the names of a stanza's fields


def render_package(stanza: str, *, filename: str, size: int, sha256: bytes, how: Listing) -> bytes:
    """One stanza of a Packages file, with the blank line after it.

    Fields come in the reference's order, then those it does not know as they were, then the file's.
    """
    # Few lists of names make up a suite: what becomes of each is worked out once.
    has_long = "\n " in stanza or "\n\t" in stanza
    lines = _LINE_END.split(stanza) if has_long else stanza.split("\n")
    names, _, values = zip(*[line.partition(": ") for line in lines], strict=True)
    texts = tuple(map(str.rstrip, values))
    arrangement = _arrangement(names, how)
    # A value that is empty, or begins on the next line or with more blanks, is less than "!".
    if arrangement is None or min(texts) < "!":
        arrangement, texts = _arrange_any(stanza, how)
    template, pick = arrangement
    return to_bytes(template % (*pick(texts), sha256.hex(), size, filename))


def _arrangement(names: tuple[str, ...], how: Listing) -> Arrangement | None:
    """What becomes of plain fields of these names; nothing: not all of them are such."""
    if (known := how.arrangements.get(names)) is not None:
        return known
    if not all(map(_NAME.fullmatch, names)):
        return None
    made = _arrange([(name, " ") for name in names], how)
    # Of upstream's making: neither many nor long ones are kept.
    if len(how.arrangements) < _MOST_ARRANGEMENTS and len(made[0]) < _LONGEST_ARRANGEMENT:
        how.arrangements[names] = made
    return made


def _arrange_any(stanza: str, how: Listing) -> tuple[Arrangement, tuple[str, ...]]:
    """What becomes of any stanza, and its values."""
    fields = [(name, value.rstrip()) for name, value in FIELD.findall("\n" + stanza)]
    fields = [(name, text) for name, text in fields if text]
    blanks = [(name, "" if text[0] == "\n" else " ") for name, text in fields]
    return _arrange(blanks, how), tuple(text for _, text in fields)


def _arrange(fields: Sequence[tuple[str, str]], how: Listing) -> Arrangement:
    """Args: fields: Their names, and what stands between colon and value."""
    known: dict[str, tuple[str, int]] = {}
    others: dict[str, tuple[str, int]] = {}
    for place, (name, blank) in enumerate(fields):
        folded = name.lower()
        if folded in known or folded in others:
            continue  # Debian Policy 5.1 forbids repeats; readers of ours take the first
        if folded in _FILE_FIELDS or folded in _SPELLED:
            known[folded] = f"{_SPELLED.get(folded, name)}:{blank}", place
        elif folded not in how.excluded:
            others[folded] = f"{name}:{blank}", place
    chosen = [known[name] for name in _ORDER if name in known]
    chosen += others.values()
    for digest, folded, spelled in (("md5", "md5sum", "MD5sum: "), ("sha1", "sha1", "SHA1: ")):
        if digest in how.digests and folded in known:
            chosen.append((spelled, known[folded][1]))
    template = "".join(start.replace("%", "%%") + "%s\n" for start, _ in chosen)
    places = [place for _, place in chosen]
    pick = itemgetter(*places) if len(places) > 1 else partial(_pick_few, places)
    return template + "SHA256: %s\nSize: %s\nFilename: %s\n\n", pick


def _pick_few(places: Sequence[int], texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(texts[place] for place in places)


_MOST_ARRANGEMENTS, _LONGEST_ARRANGEMENT = 5000, 2000
_LINE_END = re.compile(r"\n(?![ \t])")  # the next line is a field of its own
_NAME = re.compile(r"[^\s:#-][^\s:]*")
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
