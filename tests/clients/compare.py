"""Compare our OpenAPI document with that of a Pulp server, and list what is missing.

    python tests/clients/compare.py REFERENCE.json [--ours API.JSON] [--fields]

The reference is a file that was fetched from a Pulp server (docs/api.json); it is no part of this
project. Ours is made from the routes of this checkout where no file is given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Document = Mapping[str, Any]
_CRUD = ("list", "create", "read", "partial_update", "delete", "set_label", "unset_label")
_READ = ("list", "read")

# What the commands of pulp-cli-deb call, by the prefix of the operation ids.
USED: Mapping[str, tuple[str, ...]] = {
    "repositories_deb_apt": (*_CRUD, "sync", "modify"),
    "repositories_deb_apt_versions": ("list", "read", "delete", "repair"),
    "remotes_deb_apt": _CRUD,
    "distributions_deb_apt": _CRUD,
    "publications_deb_apt": ("list", "create", "read", "delete"),
    "publications_deb_verbatim": ("list", "create", "read", "delete"),
    "content_deb_packages": (*_READ, "create"),
    "content_deb_release_components": (*_READ, "create"),
    "content_deb_generic_contents": _READ,
    "content_deb_installer_file_indices": _READ,
    "content_deb_installer_packages": _READ,
    "content_deb_package_indices": _READ,
    "content_deb_package_release_components": _READ,
    "content_deb_release_architectures": _READ,
    "content_deb_release_files": _READ,
    "content_deb_releases": _READ,
    "content": ("list",),
    "tasks": ("list", "read", "cancel"),
    "artifacts": ("list", "create"),
    "uploads": ("create", "update", "delete", "commit"),
    "signing_services": ("list",),
    "status": ("read",),
}
# Plugins of the reference server that have nothing to do with Debian.
_OTHERS = ("file", "certguard", "openpgp", "datarepair", "upstream_pulps")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("--ours", type=Path, help="a file instead of this checkout's routes")
    parser.add_argument("--fields", action="store_true", help="of shared schemas and lists too")
    args = parser.parse_args(argv)
    reference = json.loads(args.reference.read_text())
    ours = json.loads(args.ours.read_text()) if args.ours else own_document()
    for line in report(reference, ours, with_fields=args.fields):
        print(line)
    return 0


def own_document() -> Document:
    """The document of this checkout."""
    from debfleet_api.app import routed_app
    from debfleet_api.openapi.document import Options, build_document
    from debfleet_api.routes.status import VERSIONS

    return build_document(routed_app(), VERSIONS, Options())


def report(reference: Document, ours: Document, *, with_fields: bool) -> Iterator[str]:
    """Counts, and what is missing."""
    theirs, own = operations(reference), operations(ours)
    debian = {name for name in theirs if not _is_of_others(name)}
    used = {f"{prefix}_{action}" for prefix, actions in USED.items() for action in actions}
    for what, wanted in (
        ("operations of the reference", set(theirs)),
        ("… without other plugins' (file, certguard, OpenPGP, …)", debian),
        ("… that pulp-cli-deb uses", used),
    ):
        yield f"{what}: {len(wanted & own.keys())} of {len(wanted)}"
    yield f"of our own: {len(own.keys() - theirs.keys())}: {_joined(own.keys() - theirs.keys())}"
    yield f"used by pulp-cli-deb and missing: {_joined(used - own.keys()) or 'none'}"
    missing: dict[str, list[str]] = {}
    for name in sorted(debian - own.keys()):
        missing.setdefault(theirs[name]["tags"][0], []).append(name)
    for tag, names in sorted(missing.items()):
        yield f"missing, {tag}: {', '.join(names)}"
    for name in sorted(theirs.keys() & own.keys()):
        yield from _differences(name, theirs[name], own[name], with_fields=with_fields)
    if with_fields:
        yield from _schema_differences(_schemas(reference), _schemas(ours))


def operations(document: Document) -> dict[str, dict[str, Any]]:
    """By id, each with its path and verb."""
    return {
        of["operationId"]: {**of, "path": path, "verb": verb}
        for path, verbs in document["paths"].items()
        for verb, of in verbs.items()
    }


def _differences(
    name: str, theirs: Mapping[str, Any], own: Mapping[str, Any], *, with_fields: bool
) -> Iterator[str]:
    for key in ("path", "verb", "tags"):
        if theirs[key] != own[key]:
            yield f"{name}: {key} is {theirs[key]} there, {own[key]} here"
    there = {s for s in theirs["responses"] if s < "4"}
    here = {s for s in own["responses"] if s < "4"}
    if there != here:
        yield f"{name}: answers {sorted(there)} there, {sorted(here)} here"
    if _body(theirs) != _body(own):
        yield f"{name}: takes {_body(theirs)} there, {_body(own)} here"
    if with_fields:
        lacking = _parameters(theirs).keys() - _parameters(own).keys()
        if lacking:
            yield f"{name}: no parameter {_joined(lacking)}"
        lacking = set(_orders(theirs)) - set(_orders(own))
        if lacking:
            yield f"{name}: no ordering by {_joined(lacking)}"


def _schema_differences(theirs: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(theirs.keys() & own.keys()):
        there = theirs[name].get("properties", {}).keys()
        here = own[name].get("properties", {}).keys()
        if there - here:
            yield f"schema {name}: without {_joined(there - here)}"
        if here - there:
            yield f"schema {name}: has more: {_joined(here - there)}"


def _is_of_others(name: str) -> bool:
    return any(part in f"_{name}_" for part in (f"_{other}_" for other in _OTHERS))


def _body(of: Mapping[str, Any]) -> str | None:
    content = of.get("requestBody", {}).get("content", {})
    for kind in content.values():
        return str(kind["schema"].get("$ref", "")).rpartition("/")[2]
    return None


def _parameters(of: Mapping[str, Any]) -> dict[str, Any]:
    return {p["name"]: p["schema"] for p in of.get("parameters", []) if p["in"] != "path"}


def _orders(of: Mapping[str, Any]) -> list[str]:
    schema = _parameters(of).get("ordering", {})
    return [w for w in schema.get("items", {}).get("enum", []) if not w.startswith("-")]


def _schemas(document: Document) -> Mapping[str, Any]:
    found: Mapping[str, Any] = document["components"]["schemas"]
    return found


def _joined(names: Any) -> str:
    return ", ".join(sorted(names))


if __name__ == "__main__":
    sys.exit(main())
