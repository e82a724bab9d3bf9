"""Where packages lie: they are put into a component of a distribution, and taken out of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg.rows import DictRow

from debfleet.db import additions, sql
from debfleet.db.additions import Added
from debfleet.db.connect import Tx
from debfleet.deb.paths import base_architecture
from debfleet.identity import UnitId
from debfleet.model import Kind

_q = sql.load("placements.sql")

PLACED = (Kind.PACKAGE, Kind.SOURCE_PACKAGE)


@dataclass(frozen=True, slots=True)
class Placed:
    """What a version needs beside packages, that they be published."""

    structure: list[Added]  # the component and the architectures
    links: list[UnitId]


def place_packages(tx: Tx, units: Sequence[UnitId], distribution: str, component: str) -> Placed:
    """Links of the packages among ``units`` to a component; other units are left alone."""
    packages = [u.id for u in units if u.kind == Kind.PACKAGE]
    sources = [u.id for u in units if u.kind == Kind.SOURCE_PACKAGE]
    if not packages and not sources:
        return Placed([], [])
    fields = {"distribution": distribution, "component": component}
    structure = [additions.add_unit(tx, Kind.RELEASE_COMPONENT, fields)]
    for row in tx.execute(_q["list_architectures"], {"packages": packages}).fetchall():
        base, variant = base_architecture(row["architecture"])
        fields = {"distribution": distribution, "architecture": row["architecture"]}
        bases = {"base_architecture": base, "variant_architecture": variant}
        structure.append(additions.add_unit(tx, Kind.RELEASE_ARCHITECTURE, fields | bases))
    values = {"component": structure[0].unit.id, "packages": packages, "sources": sources}
    tx.execute(_q["add_lists"], values)
    return Placed(structure, _units(tx.execute(_q["list_places"], values)))


def displace_packages(
    tx: Tx,
    units: Sequence[UnitId],
    version: tuple[int, int],
    distribution: str,
    component: str,
) -> list[UnitId]:
    """What to remove from a version so that its packages among ``units`` leave a component.

    Their links, and those of the packages that lie nowhere else; one that lies nowhere at all, or
    in other components, stays. Units that are no packages are returned as they are.
    """
    packages = [u for u in units if u.kind in PLACED]
    values = {
        "kinds": [int(u.kind) for u in packages],
        "ids": [u.id for u in packages],
        "repository": version[0],
        "number": version[1],
        "distribution": distribution,
        "component": component,
    }
    found = _units(tx.execute(_q["list_displaced"], values))
    return [*(u for u in units if u.kind not in PLACED), *found]


def _units(rows: Iterable[DictRow]) -> list[UnitId]:
    return [UnitId(Kind(row["kind"]), row["unit"], row["list"]) for row in rows]
