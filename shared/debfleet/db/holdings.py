"""Which versions hold a content unit, and what a version holds of another.

Each question is about single units; lists of them are in ``contents``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.db.contents import Place
from debfleet.identity import UnitId
from debfleet.model import Kind

_q = sql.load("holdings.sql")


def holds(tx: Tx, version: Place, unit: UnitId) -> bool:
    """Whether a version holds a unit."""
    return (version.repository, version.number) in set(
        find_versions(tx, [unit], repository=version.repository)
    )


def find_previous(tx: Tx, version: Place) -> Place | None:
    """The version that added and removed are counted against; None: there is none before."""
    row = tx.execute(_q["find_previous"], asdict(version)).fetchone()
    if row is None or row["number"] is None:
        return None
    return Place(version.repository, row["number"])


def find_latest(tx: Tx, repository: int) -> Place | None:
    """The latest version of a repository."""
    row = tx.execute(_q["find_latest"], {"repository": repository}).fetchone()
    if row is None or row["number"] is None:
        return None
    return Place(repository, row["number"])


def list_components_of_release(tx: Tx, version: Place, release: int) -> list[int]:
    """Ids of the release components that a version has of a release's distribution."""
    rows = tx.execute(_q["list_components_of_release"], {**asdict(version), "release": release})
    return [row["id"] for row in rows]


def list_components_of_package(tx: Tx, version: Place, package: int) -> list[int]:
    """Ids of the release components that a package is linked to in a version."""
    rows = tx.execute(_q["list_components_of_package"], {**asdict(version), "package": package})
    return [row["id"] for row in rows]


def list_links_of_package(tx: Tx, kind: Kind, package: int) -> list[UnitId]:
    """The links, of one kind of ``LINKS``, of a package in any version."""
    rows = tx.execute(_q["list_links_of_package"], {"kind": int(kind), "package": package})
    return [UnitId(kind, package, row["list"]) for row in rows]


def list_releases_of_package(tx: Tx, version: Place, package: int) -> list[int]:
    """Ids of a version's releases whose distribution a package is linked to there."""
    rows = tx.execute(_q["list_releases_of_package"], {**asdict(version), "package": package})
    return [row["id"] for row in rows]


def find_repositories(tx: Tx, units: Sequence[UnitId], *, latest: bool = False) -> list[int]:
    """Ids of the repositories that hold one of the units, in any version or in the latest."""
    query = _q["find_repositories_latest" if latest else "find_repositories"]
    return [row["repository"] for row in tx.execute(query, _units(units))]


def list_held(tx: Tx, units: Sequence[UnitId], repositories: Sequence[int]) -> set[UnitId]:
    """Those of the units that one of the repositories holds, in any version."""
    rows = tx.execute(_q["list_held"], {**_units(units), "repositories": list(repositories)})
    return {UnitId(Kind(row["kind"]), row["id"], row["list"]) for row in rows}


def find_versions(
    tx: Tx, units: Sequence[UnitId], *, repository: int | None = None
) -> list[tuple[int, int]]:
    """(repository, number) of the versions that hold one of the units, of one repository or all."""
    rows = tx.execute(_q["find_versions"], {**_units(units), "repository": repository})
    return [(row["repository"], row["number"]) for row in rows]


def _units(units: Sequence[UnitId]) -> dict[str, Any]:
    return {
        "kinds": [int(u.kind) for u in units],
        "lists": [u.list for u in units],
        "ids": [u.id for u in units],
    }
