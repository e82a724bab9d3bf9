"""Content units and artifacts as clients know them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from debfleet.db.contents import LINKS
from debfleet.deb.packages import package_attributes
from debfleet.deb.sources import source_attributes
from debfleet.identity import UnitIds
from debfleet.model import Kind, prn
from debfleet_api.answers import Shown
from debfleet_api.hrefs import ARTIFACT, CONTENT, href, wire_time

Row = Mapping[str, Any]

# Pulp's names in "No … matches the given query."
MODELS: Mapping[Kind, str] = {
    Kind.PACKAGE: "Package",
    Kind.INSTALLER_PACKAGE: "InstallerPackage",
    Kind.GENERIC: "GenericContent",
    Kind.RELEASE_FILE: "ReleaseFile",
    Kind.PACKAGE_INDEX: "PackageIndex",
    Kind.SOURCE_INDEX: "SourceIndex",
    Kind.INSTALLER_FILE_INDEX: "InstallerFileIndex",
    Kind.RELEASE: "Release",
    Kind.RELEASE_ARCHITECTURE: "ReleaseArchitecture",
    Kind.RELEASE_COMPONENT: "ReleaseComponent",
    Kind.PACKAGE_RELEASE_COMPONENT: "PackageReleaseComponent",
    Kind.SOURCE_PACKAGE: "SourcePackage",
    Kind.SOURCE_PACKAGE_RELEASE_COMPONENT: "SourcePackageReleaseComponent",
}

_NOT_SHOWN = ("architecture_variant", "custom_fields")  # attributes that Pulp digests, and no more
_NO_CHECKSUMS = dict.fromkeys(("md5", "sha1", "sha224", "sha256", "sha384", "sha512"))
_PLAIN: Mapping[Kind, tuple[str, ...]] = {
    Kind.RELEASE_FILE: ("codename", "suite", "distribution", "relative_path"),
    Kind.PACKAGE_INDEX: ("component", "architecture", "relative_path"),
    Kind.RELEASE: (
        "codename", "suite", "distribution", "version", "origin", "label", "description",
    ),
    Kind.RELEASE_ARCHITECTURE: (
        "architecture", "distribution", "base_architecture", "variant_architecture",
    ),
    Kind.RELEASE_COMPONENT: ("component", "distribution"),
    Kind.SOURCE_INDEX: ("component", "relative_path"),
    Kind.INSTALLER_FILE_INDEX: ("component", "architecture", "relative_path"),
}  # fmt: skip
_LONGEST_KNOWN = 2048  # characters: what is remembered stays below 20 MB
_PACKAGES = (Kind.PACKAGE, Kind.INSTALLER_PACKAGE)
_OF_PACKAGE = ("id", "created", "relative_path", "sha256", "stanza", "artifact")  # columns
_LINKED = {  # by what a link links: its field
    Kind.PACKAGE: "package",
    Kind.SOURCE_PACKAGE: "source_package",
}


def show_unit(ids: UnitIds, kind: Kind, row: Row) -> dict[str, Any]:
    """A unit with all its fields; ``row`` is one of ``contents.list_units``."""
    shown = _base(ids, kind, row)
    if kind in _PACKAGES:
        return {**shown, **_file(ids, row), **_attributes(row["stanza"])}
    if kind == Kind.GENERIC:
        return shown | _file(ids, row)
    if kind in LINKS:
        linked = LINKS[kind]
        return shown | {
            _LINKED[linked]: _href(linked, ids.uuid(linked, row["package"])),
            "release_component": _href(
                Kind.RELEASE_COMPONENT, ids.uuid(Kind.RELEASE_COMPONENT, row["release_component"])
            ),
        }
    if "files" in row:
        shown["artifacts"] = _artifacts(ids, row["files"])
    if kind == Kind.SOURCE_PACKAGE:
        digest = row["sha256"].hex()
        shown |= {"relative_path": row["relative_path"], "sha256": digest}
        return shown | source_attributes(row["stanza"])
    if kind == Kind.SOURCE_INDEX:
        of = row["release"]
        release = None if of is None else ids.uuid(Kind.RELEASE_FILE, of)
        shown["release"] = None if release is None else _href(Kind.RELEASE_FILE, release)
    shown |= {name: row[name] for name in _PLAIN[kind]}
    if kind == Kind.RELEASE_COMPONENT:
        shown["plain_component"] = row["component"].rpartition("/")[2]
    return shown


def render_unit(ids: UnitIds, kind: Kind, row: Row) -> Shown:
    """What ``show_unit`` gives, as an answer takes it: packages as JSON already.

    It is remembered, since to read its stanza and to write it is most of what a long list costs.
    """
    if kind not in _PACKAGES:
        return show_unit(ids, kind, row)
    if row["labels"] or len(row["stanza"]) > _LONGEST_KNOWN:
        return orjson.dumps(show_unit(ids, kind, row))
    return _render_package(ids, kind, *map(row.__getitem__, _OF_PACKAGE))


@lru_cache(maxsize=4096)
def _render_package(ids: UnitIds, kind: Kind, *values: Any) -> bytes:
    row = dict(zip(_OF_PACKAGE, values, strict=True))
    rendered = orjson.dumps(show_unit(ids, kind, {**row, "labels": None}))
    return bytes(memoryview(rendered))  # a copy: what orjson gives holds more memory than it needs


def show_any(ids: UnitIds, kind: Kind, row: Row) -> dict[str, Any]:
    """A unit as the list of all kinds shows it."""
    files = row.get("files", {})
    if kind in _PACKAGES or kind == Kind.GENERIC:
        files = {row["relative_path"]: row["artifact"]}
    return _base(ids, kind, row) | {"artifacts": _artifacts(ids, files)}


def show_artifact(ids: UnitIds, row: Row) -> dict[str, Any]:
    """An artifact; of its checksums we keep the one."""
    uuid = ids.uuid(Kind.ARTIFACT, row["id"])
    digest = row["sha256"].hex()
    return {
        "pulp_href": href(ARTIFACT, uuid),
        "prn": prn(ARTIFACT, uuid),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["created"]),
        "file": f"artifact/{digest[:2]}/{digest[2:]}",
        "size": row["size"],
        **_checksums(digest),
    }


def metadata_sha256(attributes: Mapping[str, Any]) -> str:
    """What tells two packages of the same file apart: 64 hex digits over all ``attributes``."""
    text = orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)
    if not text.isascii() or b"\x7f" in text:
        # Pulp's JSON escapes these; orjson does not.
        text = json.dumps(attributes, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(text).hexdigest()


def _base(ids: UnitIds, kind: Kind, row: Row) -> dict[str, Any]:
    id, of = (row["package"], row["list"]) if kind in LINKS else (row["id"], 0)
    uuid = ids.uuid(kind, id, of)
    model, created = CONTENT[kind].model, wire_time(row["created"])
    return {
        "pulp_href": href(model, uuid),
        "prn": prn(model, uuid),
        "pulp_created": created,
        "pulp_last_updated": created,  # a unit never changes
        "pulp_labels": row["labels"] or {},
        "vuln_report": None,
    }


def _attributes(stanza: str) -> dict[str, Any]:
    """Of a package."""
    attributes = package_attributes(stanza)
    digest = metadata_sha256(attributes)
    for name in _NOT_SHOWN:
        del attributes[name]
    if (size := attributes["installed_size"]) is not None:
        attributes["installed_size"] = str(size)
    attributes["signing_keys"] = None
    attributes["metadata_sha256"] = digest
    return attributes


def _file(ids: UnitIds, row: Row) -> dict[str, Any]:
    """Of a unit of one file."""
    is_stored = row["artifact"] is not None
    return {
        "artifact": _artifact_href(ids, row["artifact"]),
        "relative_path": row["relative_path"],
        # As in Pulp, the checksums are the artifact's: null while it is not downloaded.
        **_checksums(row["sha256"].hex() if is_stored else None),
    }


def _artifacts(ids: UnitIds, files: Mapping[str, int | None]) -> dict[str, str | None]:
    return {path: _artifact_href(ids, artifact) for path, artifact in files.items()}


def _artifact_href(ids: UnitIds, artifact: int | None) -> str | None:
    return None if artifact is None else href(ARTIFACT, ids.uuid(Kind.ARTIFACT, artifact))


def _checksums(sha256: str | None) -> dict[str, str | None]:
    return {**_NO_CHECKSUMS, "sha256": sha256}


def _href(kind: Kind, uuid: str) -> str:
    return href(CONTENT[kind].model, uuid)
