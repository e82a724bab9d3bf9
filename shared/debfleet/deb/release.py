"""The Release file: its fields and its table of signed files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from debian.deb822 import Deb822

from debfleet.deb.paths import safe_path
from debfleet.deb.stanza import split_stanzas, to_text
from debfleet.errors import MalformedFile, UnsafePath


@dataclass(frozen=True, slots=True)
class SignedFile:
    """One row of a Release file's table of signed files."""

    path: str  # relative to the Release's directory, e.g. main/binary-amd64/Packages.xz
    size: int  # bytes
    sha256: str  # 64 lowercase hex digits


@dataclass(frozen=True, slots=True)
class OtherFile:
    """A signed file of a Release that lists no SHA-256."""

    path: str
    size: int  # bytes
    digests: dict[str, str]  # hex, by md5, sha1, sha512


@dataclass(frozen=True, slots=True)
class Release:
    """What a Release file says; '' and None as Pulp's units have them."""

    codename: str  # '' where absent
    suite: str  # '' where absent
    version: str | None
    origin: str | None
    label: str | None
    description: str | None
    components: tuple[str, ...] | None  # None: the field is absent
    architectures: tuple[str, ...] | None  # None: the field is absent
    components_text: str  # as in the file; '' where absent
    architectures_text: str
    date: datetime | None  # None where absent or not readable
    valid_until: datetime | None
    acquire_by_hash: bool
    no_support_for_architecture_all: str | None
    files: dict[str, SignedFile]  # by path
    lists_sha256: bool  # it has that table, be it empty
    others: dict[str, OtherFile] = field(default_factory=dict)  # by path, where it has not
    not_automatic: str | None = None  # apt installs nothing of it unless asked to
    but_automatic_upgrades: str | None = None  # nor upgrades what was, without this


def parse_release(text: bytes, *, permissive: bool = False) -> Release:
    """The Release of a signed text (or of one that nobody wants to verify).

    ``permissive`` takes ``Component`` and ``Architecture`` for their plurals.

    Raises:
        MalformedFile: It is no Release file, or a row of its table cannot be read.
        UnsafePath: A row of its table would leave the tree.
    """
    fields = _release_fields(text)
    components_text = _plural(fields, "Component", permissive)
    architectures_text = _plural(fields, "Architecture", permissive)
    _check_words("Components", components_text)
    _check_words("Architectures", architectures_text)
    return Release(
        codename=fields.get("Codename", ""),
        suite=fields.get("Suite", ""),
        version=fields.get("Version"),
        origin=fields.get("Origin"),
        label=fields.get("Label"),
        description=fields.get("Description"),
        components=None if components_text is None else _words(components_text),
        architectures=None if architectures_text is None else _words(architectures_text),
        components_text=components_text or "",
        architectures_text=architectures_text or "",
        date=_moment(fields.get("Date")),
        valid_until=_moment(fields.get("Valid-Until")),
        acquire_by_hash=fields.get("Acquire-By-Hash", "").lower() in _TRUE,
        no_support_for_architecture_all=fields.get("No-Support-for-Architecture-all"),
        files=_signed_files(fields.get("SHA256", "")),
        lists_sha256="SHA256" in fields,
        others={} if "SHA256" in fields else _other_files(fields),
        not_automatic=fields.get("NotAutomatic"),
        but_automatic_upgrades=fields.get("ButAutomaticUpgrades"),
    )


def release_digest(sha256_by_name: Mapping[str, str]) -> bytes:
    """One digest over those of the Release files of a distribution that exist (hex digits)."""
    lines = (
        f"{name},{sha256_by_name[name]}\n"
        for name in ("Release", "InRelease", "Release.gpg")
        if name in sha256_by_name
    )
    return hashlib.sha256("".join(lines).encode("ascii")).digest()


_TRUE = {"yes", "true", "with", "on", "enable", "1"}  # what apt takes for true
_KNOWN = (
    *("Origin", "Label", "Suite", "Codename", "Date", "Architectures", "Components"),
    *("MD5Sum", "SHA1", "SHA256", "SHA512"),
)  # fmt: skip
_WORD = re.compile(r"[^\x00-\x1f\x7f-\x9f\\]+")
_SIZE = re.compile(r"[0-9]{1,18}")
_HEX = re.compile(r"[0-9A-Fa-f]+")


def _release_fields(text: bytes) -> Mapping[str, str]:
    if b"\0" in text:
        raise MalformedFile("The Release file holds a NUL byte.")
    stanzas = list(split_stanzas([text]))
    if not stanzas:
        raise MalformedFile("The Release file is empty.")
    start = to_text(stanzas[0][1])
    if start.startswith("<"):
        raise MalformedFile(
            f"The Release file is a page for browsers ({_shown(start)}); a proxy, a login page or "
            "a wrong URL may have answered in its place."
        )
    try:
        fields: Mapping[str, str] = Deb822(start.split("\n"))
    except ValueError as e:  # a carriage return in the middle of a line
        raise MalformedFile(f"The Release file cannot be read: {e}.") from None
    if start.startswith("-----BEGIN PGP") or not any(name in fields for name in _KNOWN):
        raise MalformedFile(f"This is no Release file; it begins with {_shown(start)}.")
    return fields


def _plural(fields: Mapping[str, str], singular: str, permissive: bool) -> str | None:
    text = fields.get(f"{singular}s")
    if text is None and permissive:
        text = fields.get(singular)
    return None if text is None else " ".join(text.split("\n")).strip()


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.split()))


def _check_words(field: str, text: str | None) -> None:
    """They become parts of paths."""
    for word in _words(text or ""):
        if word.startswith("/") or ".." in word.split("/") or not _WORD.fullmatch(word):
            raise UnsafePath(word, "it leads elsewhere", f"The Release file's field {field}")
        if len(word) > 255:
            raise UnsafePath(word, "it is longer than 255", f"The Release file's field {field}")


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _signed_files(rows: str) -> dict[str, SignedFile]:
    files: dict[str, SignedFile] = {}
    for path, size, digest in _rows(rows, "SHA256", 64):
        file = SignedFile(path, size, digest)
        if files.setdefault(path, file) != file:
            raise MalformedFile(f"The Release file lists {path!r} twice, with two digests.")
    return files


def _rows(rows: str, field: str, length: int) -> Iterator[tuple[str, int, str]]:
    """Path, size and digest (of so many hex digits) of each row."""
    for row in rows.split("\n"):
        words = row.split(None, 2)
        if not words:
            continue
        is_digest = len(words[0]) == length and _HEX.fullmatch(words[0])
        if len(words) != 3 or not is_digest or not _SIZE.fullmatch(words[1]):
            raise MalformedFile(f"The Release file has a row {_shown(row)} in its list {field}.")
        try:
            path = safe_path(words[2].strip())
        except UnsafePath as e:
            raise UnsafePath(e.path, e.reason, f"The Release file's list {field}") from None
        yield path, int(words[1]), words[0].lower()


_OTHERS = {"MD5Sum": ("md5", 32), "SHA1": ("sha1", 40), "SHA512": ("sha512", 128)}


def _other_files(fields: Mapping[str, str]) -> dict[str, OtherFile]:
    files: dict[str, OtherFile] = {}
    for name, (algorithm, length) in _OTHERS.items():
        for path, size, digest in _rows(fields.get(name, ""), name, length):
            file = files.setdefault(path, OtherFile(path, size, {}))
            if file.size != size or file.digests.setdefault(algorithm, digest) != digest:
                raise MalformedFile(f"The Release file lists {path!r} twice, with two digests.")
    return files


def _shown(text: str) -> str:
    first = text.strip().split("\n")[0]
    return repr(first if len(first) <= 60 else f"{first[:60]}…")
