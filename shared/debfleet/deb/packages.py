"""One record of a Packages index."""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Mapping
from typing import Any, NamedTuple

from debfleet.deb.paths import safe_path
from debfleet.deb.stanza import WELL_FORMED, find_field, shown_text, stanza_fields, to_text
from debfleet.errors import UnsafePath


class PackageStanza(NamedTuple):
    """What a stanza says of its package. A tuple: a frozen dataclass takes 2 us more to make."""

    name: str
    version: str
    architecture: str
    architecture_variant: str  # '' for none
    source: str | None
    section: str | None
    priority: str | None
    multi_arch: str | None
    relative_path: str  # Filename, normalised; below the archive's root
    size: int  # bytes
    sha256: bytes
    stanza: str  # as ``to_text`` makes it


class StanzaRefused(ValueError):
    """A stanza that is left out; the caller counts and reports it.

    ``reason`` is ``stanza_incomplete`` (a needed field is absent) or ``stanza_malformed``.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def parse_package(stanza: bytes) -> PackageStanza:
    """The package of a stanza that ``split_stanzas`` gave.

    Raises:
        StanzaRefused: It is no package that apt could use: leave it out, and say so.
        UnsafePath: Its Filename would leave the archive's tree.
    """
    text = to_text(stanza)
    lines = "\n" + text
    found = _NEEDED.findall(lines)
    values = {name.lower(): value.rstrip() for name, value in found}
    if len(values) != len(found):
        values = _first_of_each(found)
    try:
        name, version = values["package"], values["version"]
        architecture, path = values["architecture"], values["filename"]
        size, sha256 = values["size"], values["sha256"]
    except KeyError:
        raise _incomplete(text) from None
    get = values.get
    variant = get("architecture-variant", "")
    if (
        WELL_FORMED.fullmatch(lines) is None
        or "\0" in text
        or _IDENTITY.fullmatch(f"{name} {version} {architecture} {variant}") is None
        or not (size.isdecimal() and size.isascii() and len(size) < 19)
        or _SHA256.fullmatch(sha256) is None
        or not path
    ):
        raise _malformed(text, values)
    try:
        relative_path = safe_path(path)
    except UnsafePath as e:
        raise UnsafePath(path, e.reason, f"Filename of package {name}") from None
    return PackageStanza(
        name,
        version,
        architecture,
        variant,
        get("source") or None,
        get("section") or None,
        get("priority") or None,
        get("multi-arch") or None,
        relative_path,
        int(size),
        unhexlify(sha256),
        text,
    )


def package_attributes(stanza: str) -> dict[str, Any]:
    """Pulp's 31 attributes of a package: None where absent, ``installed_size`` a number.

    ``custom_fields`` holds all that no attribute is made for, and may be empty. Empty fields, and
    values that their field does not allow, count as absent, as in Pulp.
    """
    attributes: dict[str, Any] = _NO_ATTRIBUTES.copy()
    custom: dict[str, str] = {}
    # All at once, which changes no name: most are of ASCII and shown as they are.
    for name, value in stanza_fields(shown_text(stanza)).items():
        if (attribute := _AS_WRITTEN.get(name)) is None:
            attribute = _SPELLED.get(name.lower())
        if not value or attribute == _NOT_KEPT:
            continue
        if attribute is None:
            custom[name] = value
        else:
            attributes[attribute] = value
    for attribute, allowed in _ALLOWED.items():
        if (value := attributes[attribute]) is not None and value not in allowed:
            attributes[attribute] = None
    if (installed := attributes["installed_size"]) is not None:
        attributes["installed_size"] = int(installed) if _INTEGER.fullmatch(installed) else None
    attributes["custom_fields"] = custom
    return attributes


# Names of fields in lower case, and what Pulp calls them (the odd spelling of one is Debian's).
ATTRIBUTES: Mapping[str, str] = {
    "package": "package",
    "source": "source",
    "version": "version",
    "architecture": "architecture",
    "architecture-variant": "architecture_variant",
    "section": "section",
    "priority": "priority",
    "origin": "origin",
    "tag": "tag",
    "bugs": "bugs",
    "essential": "essential",
    "build-essential": "build_essential",
    "installed-size": "installed_size",
    "maintainer": "maintainer",
    "original-maintainer": "original_maintainer",
    "description": "description",
    "description-md5": "description_md5",
    "homepage": "homepage",
    "built-using": "built_using",
    "auto_built_package": "auto_built_package",
    "multi-arch": "multi_arch",
    "breaks": "breaks",
    "conflicts": "conflicts",
    "depends": "depends",
    "recommends": "recommends",
    "suggests": "suggests",
    "enhances": "enhances",
    "pre-depends": "pre_depends",
    "provides": "provides",
    "replaces": "replaces",
}
_NO_ATTRIBUTES = dict.fromkeys(ATTRIBUTES.values())
_ALLOWED = {
    "essential": {"yes", "no"},
    "build_essential": {"yes", "no"},
    "multi_arch": {"no", "same", "foreign", "allowed"},
}
_NOT_KEPT = ""  # for what is told by other means
_SPELLED = dict(ATTRIBUTES) | dict.fromkeys(
    ("filename", "md5sum", "size", "sha1", "sha256", "sha512"), _NOT_KEPT
)
# The same by the names as archives write them: so nearly none has to be folded.
_AS_WRITTEN = {name.title(): attribute for name, attribute in _SPELLED.items()} | {
    "MD5sum": _NOT_KEPT,
    "SHA1": _NOT_KEPT,
    "SHA256": _NOT_KEPT,
    "SHA512": _NOT_KEPT,
    "Description-md5": "description_md5",
}
_INTEGER = re.compile(r"[0-9]{1,18}", re.ASCII)

# The columns of a package, each on one line: a value that goes on in the next is not taken.
_NEEDED = re.compile(
    r"\n(Package|Version|Architecture(?:-Variant)?|Source|Section|Priority|Multi-Arch|Filename"
    r"|Size|SHA256)[ \t]*:[ \t]*([^\n]*+)(?!\n[ \t])",
    re.IGNORECASE | re.ASCII,
)
_REQUIRED = ("Package", "Version", "Architecture", "Filename", "Size", "SHA256")
# They become parts of paths, so of names of files (255 bytes), and of lists split at blanks.
_IDENTITY = re.compile(
    r"[^\s/\x00-\x1f\x7f]{1,255} [^\s/\x00-\x1f\x7f]{1,255}"
    r" [A-Za-z0-9][A-Za-z0-9-]{0,254} [A-Za-z0-9-]{0,255}"
)
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


def _first_of_each(found: list[tuple[str, str]]) -> dict[str, str]:
    """The first value of each field; a field of identity that contradicts itself is refused."""
    values: dict[str, str] = {}
    for name, value in found:
        first = values.setdefault(name.lower(), value.rstrip())
        if first != value.rstrip() and name.title().replace("Sha", "SHA") in _REQUIRED:
            # apt takes the last one: what we would verify is not what it would install
            raise StanzaRefused("stanza_malformed", f"{name} is there twice, with two values")
    return values


def _incomplete(text: str) -> StanzaRefused:
    fields = stanza_fields(text)
    for name in _REQUIRED:
        value = find_field(fields, name)
        if value and "\n" in value:
            return StanzaRefused("stanza_malformed", f"{name} has more than one line")
    lacking = [name for name in _REQUIRED if not find_field(fields, name)]
    who = (find_field(fields, "Package") or "").split("\n")[0][:100]
    return StanzaRefused("stanza_incomplete", f"{who or 'no name'}: no {', '.join(lacking)}")


def _malformed(text: str, values: dict[str, str]) -> StanzaRefused:
    if not all(values[name.lower()] for name in _REQUIRED):
        return _incomplete(text)
    who = shown_text(values["package"])[:100]
    if "\0" in text:
        return StanzaRefused("stanza_malformed", f"{who!r}: holds a NUL")
    if WELL_FORMED.fullmatch("\n" + text) is None:
        return StanzaRefused("stanza_malformed", f"{who!r}: a line is no field")
    if not _SHA256.fullmatch(values["sha256"]):
        return StanzaRefused("stanza_malformed", f"{who!r}: SHA256 is not 64 hex digits")
    if not re.fullmatch("[0-9]{1,18}", values["size"]):
        return StanzaRefused("stanza_malformed", f"{who!r}: Size is no number of bytes")
    return StanzaRefused("stanza_malformed", f"{who!r}: bad Package, Version or Architecture")
