"""One record of a Sources index: a source package and its files."""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Mapping
from typing import NamedTuple

from debfleet.deb.packages import StanzaRefused
from debfleet.deb.paths import safe_path
from debfleet.deb.stanza import FIELD, WELL_FORMED, shown_text, stanza_fields, to_text
from debfleet.errors import UnsafePath


class SourceFile(NamedTuple):
    """One file of a source package."""

    path: str  # below the archive's root
    size: int  # bytes
    sha256: bytes


class SourceStanza(NamedTuple):
    """What a stanza says of its source package."""

    name: str
    version: str
    dsc: SourceFile
    files: tuple[SourceFile, ...]  # the .dsc among them
    stanza: str  # as ``to_text`` makes it


LISTS: Mapping[str, tuple[str, int]] = {
    "md5": ("Files", 32),
    "sha1": ("Checksums-Sha1", 40),
    "sha256": ("Checksums-Sha256", 64),
    "sha512": ("Checksums-Sha512", 128),
}
"""Digests, the fields that list files by them, and how many hex digits they have."""


def parse_source(stanza: bytes) -> SourceStanza:
    """The source package of a stanza that ``split_stanzas`` gave.

    Raises:
        StanzaRefused: It is none that apt could use: leave it out, and say so.
        UnsafePath: One of its files would lie outside the archive's tree.
    """
    text = to_text(stanza)
    if "\0" in text:
        raise StanzaRefused("stanza_malformed", "holds a NUL")
    values = _values(text)
    name, version = (values.get(field, "") for field in ("package", "version"))
    who = shown_text(name).split("\n")[0][:100] or "no name"
    lacking = [f for f in ("Package", "Version", "Checksums-Sha256") if not values.get(f.lower())]
    if lacking:
        raise StanzaRefused("stanza_incomplete", f"{who}: no {', '.join(lacking)}")
    if WELL_FORMED.fullmatch("\n" + text) is None:
        raise StanzaRefused("stanza_malformed", f"{who!r}: a line is no field")
    if _IDENTITY.fullmatch(f"{name} {version}") is None:
        raise StanzaRefused("stanza_malformed", f"{who!r}: bad Package or Version")
    listed = _listed(values, "sha256", who)
    _check_other_lists(values, listed, who)
    files = _files(values.get("directory", ""), listed, name)
    dscs = [file for file in files if file.path.endswith(".dsc")]
    if len(dscs) != 1:
        raise StanzaRefused("stanza_malformed", f"{who}: {len(dscs) or 'no'} .dsc among its files")
    return SourceStanza(name, version, dscs[0], files, text)


def list_files(value: str) -> list[tuple[str, str, str]]:
    """Digest, size and name of each file in the value of one of the ``LISTS``.

    Raises:
        ValueError: A line is none of that.
    """
    rows = []
    for line in value.split("\n"):
        words = line.split()
        if words:
            digest, size, name = words
            rows.append((digest, size, name))
    return rows


def source_attributes(stanza: str) -> dict[str, str | None]:
    """Pulp's attributes of a source package, None where absent."""
    attributes: dict[str, str | None] = dict.fromkeys(ATTRIBUTES.values())
    for name, value in stanza_fields(stanza).items():
        if (attribute := ATTRIBUTES.get(name.lower())) is not None:
            attributes[attribute] = shown_text(value).strip() or None
    return attributes


# Names of fields in lower case, and what Pulp calls them (vcs_snv is its spelling).
ATTRIBUTES: Mapping[str, str] = {
    "format": "format",
    "package": "source",
    "binary": "binary",
    "architecture": "architecture",
    "version": "version",
    "maintainer": "maintainer",
    "uploaders": "uploaders",
    "homepage": "homepage",
    "vcs-browser": "vcs_browser",
    "vcs-arch": "vcs_arch",
    "vcs-bzr": "vcs_bzr",
    "vcs-cvs": "vcs_cvs",
    "vcs-darcs": "vcs_darcs",
    "vcs-git": "vcs_git",
    "vcs-hg": "vcs_hg",
    "vcs-mtn": "vcs_mtn",
    "vcs-svn": "vcs_snv",
    "testsuite": "testsuite",
    "dgit": "dgit",
    "standards-version": "standards_version",
    "build-depends": "build_depends",
    "build-depends-indep": "build_depends_indep",
    "build-depends-arch": "build_depends_arch",
    "build-conflicts": "build_conflicts",
    "build-conflicts-indep": "build_conflicts_indep",
    "build-conflicts-arch": "build_conflicts_arch",
    "package-list": "package_list",
}

# They become parts of paths, so of names of files (255 bytes).
_IDENTITY = re.compile(r"(?!\.)[^\s/\\\x00-\x1f\x7f]{1,255} [^\s/\x00-\x1f\x7f]{1,255}")
_READ = frozenset(
    {"package", "version", "directory", *(name.lower() for name, _ in LISTS.values())}
)
_LONGEST_NAME = 255  # bytes of a file's name


def _values(text: str) -> dict[str, str]:
    """The fields that are read, by their names in lower case; one may not contradict itself."""
    values: dict[str, str] = {}
    for name, value in FIELD.findall("\n" + text):
        folded = name.lower()
        if folded in _READ and values.setdefault(folded, value.strip()) != value.strip():
            # apt takes the last one: what we would verify is not what it would fetch
            raise StanzaRefused("stanza_malformed", f"{name} is there twice, with two values")
    return values


def _listed(values: Mapping[str, str], digest: str, who: str) -> dict[str, tuple[str, int]]:
    """Digest and size by name, of one list.

    Raises:
        StanzaRefused: A line is malformed, or a name is there twice.
    """
    field, digits = LISTS[digest]
    found: dict[str, tuple[str, int]] = {}
    try:
        rows = list_files(values.get(field.lower(), ""))
    except ValueError:
        raise StanzaRefused("stanza_malformed", f"{who}: a line of {field} is no file") from None
    for hexdigits, size, name in rows:
        if (
            len(hexdigits) != digits
            or not _HEX.fullmatch(hexdigits)
            or not (size.isdecimal() and size.isascii() and len(size) < 19)
        ):
            raise StanzaRefused("stanza_malformed", f"{who}: a line of {field} is no file")
        if name in found:
            raise StanzaRefused("stanza_malformed", f"{who}: {field} has {name[:100]} twice")
        found[name] = (hexdigits, int(size))
    return found


_HEX = re.compile(r"[0-9A-Fa-f]+")


def _check_other_lists(
    values: Mapping[str, str], listed: Mapping[str, tuple[str, int]], who: str
) -> None:
    """A file that only a weaker list names would not be verified, so the stanza is refused."""
    for digest, (field, _) in LISTS.items():
        for name, (_, size) in _listed(values, digest, who).items():
            if name not in listed:
                detail = f"{who}: Checksums-Sha256 lacks {name[:100]}, which {field} has"
                raise StanzaRefused("stanza_incomplete", detail)
            if size != listed[name][1]:
                detail = f"{who}: {field} and Checksums-Sha256 give {name[:100]} two sizes"
                raise StanzaRefused("stanza_malformed", detail)


def _files(
    directory: str, listed: Mapping[str, tuple[str, int]], name: str
) -> tuple[SourceFile, ...]:
    files = []
    for file, (digest, size) in listed.items():
        # An absent Directory is the archive's root, for apt too.
        whole = f"{directory}/{file}" if directory else file
        try:
            path = safe_path(whole)
        except UnsafePath as e:
            what = f"Directory or a file of source package {name}"
            raise UnsafePath(whole, e.reason, what) from None
        if "/" in file or len(file.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
            raise StanzaRefused("stanza_malformed", f"{name}: {file[:100]!r} is no name of a file")
        files.append(SourceFile(path, size, unhexlify(digest)))
    return tuple(files)
