"""Units that a client makes one by one, of a file or by hand; the same unit again is that unit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.db.units import PACKAGES, UDEBS, lock_content, same_key
from debfleet.deb.packages import PackageStanza
from debfleet.deb.stanza import to_bytes
from debfleet.errors import NotFound
from debfleet.identity import UnitId
from debfleet.model import Kind

_q = sql.load("additions.sql")

_TABLES = {
    Kind.RELEASE: "release",
    Kind.RELEASE_ARCHITECTURE: "release_architecture",
    Kind.RELEASE_COMPONENT: "release_component",
}


@dataclass(frozen=True, slots=True)
class Added:
    """A unit that is there now."""

    unit: UnitId
    is_new: bool


def add_package(tx: Tx, stanza_key: bytes, package: PackageStanza, kind: Kind) -> Added:
    """The package that an index with this stanza would list; of systems or of the installer."""
    lock_content(tx)
    form = UDEBS if kind == Kind.INSTALLER_PACKAGE else PACKAGES
    digest = hashlib.blake2b(
        to_bytes(package.stanza), digest_size=16, key=stanza_key, person=form.person
    )
    key = same_key(
        package.name, package.version, package.architecture, package.architecture_variant
    )
    values = package._asdict() | {"digest": digest.hexdigest(), "same_key": key}
    return _add(tx, kind, "package", values | {"kind": int(kind)})


def add_generic(tx: Tx, relative_path: str, sha256: bytes, size: int) -> Added:
    """A file that no index lists, at a path."""
    lock_content(tx)
    values = {"relative_path": relative_path, "sha256": sha256, "size": size}
    return _add(tx, Kind.GENERIC, "generic", values)


def add_unit(tx: Tx, kind: Kind, fields: Mapping[str, Any]) -> Added:
    """A release, an architecture or a component of one, by all of its columns."""
    lock_content(tx)
    return _add(tx, kind, _TABLES[kind], fields)


def add_link(tx: Tx, package: int, component: int) -> UnitId:
    """The place of a package in a component; it can be read before a version holds it.

    Raises:
        NotFound: One of the two is gone.
    """
    lock_content(tx)
    row = tx.execute(_q["get_architecture"], {"package": package}).fetchone()
    if row is None:
        raise NotFound("package", package)
    place = {"component": component, "architecture": row["architecture"], "package": package}
    if not tx.execute(_q["touch_link_ends"], place).rowcount:
        raise NotFound("release component", component)
    tx.execute(_q["add_list"], place)
    found = tx.execute(_q["find_list"], place).fetchone()
    assert found is not None
    tx.execute(_q["add_loose_link"], {"list": found["id"], "package": package})
    return UnitId(Kind.PACKAGE_RELEASE_COMPONENT, package, found["id"])


def _add(tx: Tx, kind: Kind, name: str, values: Mapping[str, Any]) -> Added:
    is_new = tx.execute(_q[f"add_{name}"], values).rowcount > 0
    row = tx.execute(_q[f"find_{name}"], values).fetchone()
    if row is None:
        raise NotFound(name)
    return Added(UnitId(kind, row["id"]), is_new)
