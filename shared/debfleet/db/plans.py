"""What one sync decided and found: wanted indices, units for its version, files to fetch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.deb.paths import base_architecture
from debfleet.deb.release import Release
from debfleet.deb.sums import SUMS
from debfleet.errors import NotFound
from debfleet.model import Kind, Tolerance

_q = sql.load("plans.sql")


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """A repository and what its latest version was made with."""

    id: int
    uuid: UUID
    name: str
    number: int
    options: dict[str, Any] | None  # None: not made by a sync


@dataclass(frozen=True, slots=True)
class WantedIndex:
    """One Packages or Sources file, or list of the installer's files, that a sync takes."""

    position: int
    distribution: str  # flat-repo where it is flat
    directory: str  # of its Release file
    component: str  # as Release says it; flat-repo-component where it is flat
    architecture: str  # '' where it is flat, 'source' of a Sources file
    path: str  # of the plain index, below the remote's URL
    files: dict[str, dict[str, Any]]  # path below directory: {"size": bytes, "sha256": hex}
    by_hash: bool
    sha256: str  # of the plain index, hex
    accept: list[str] | None  # architectures of stanzas to take; None: all
    optional: bool
    index: int | None = None
    unit: int | None = None
    state: str = "wanted"
    lists: Kind = Kind.PACKAGE  # the units that it lists

    @property
    def unit_kind(self) -> Kind:
        """What the index itself is as a unit."""
        other = {
            Kind.SOURCE_PACKAGE: Kind.SOURCE_INDEX,
            Kind.GENERIC: Kind.INSTALLER_FILE_INDEX,
        }
        return other.get(self.lists, Kind.PACKAGE_INDEX)

    @property
    def names(self) -> tuple[str, ...]:
        """The files that its unit keeps: the index in each encoding that we read, and Release.

        Of the installer: its lists, the one that we read and the other.
        """
        name = self.path.rpartition("/")[2]
        if self.lists == Kind.GENERIC:
            return SUMS
        return (name, f"{name}.gz", f"{name}.xz", "Release")


def get_repository_state(tx: Tx, repository: int) -> RepositoryState:
    """The repository as its latest version left it.

    Raises:
        NotFound: It was deleted.
    """
    row = tx.execute(_q["get_repository_state"], {"repository": repository}).fetchone()
    if row is None:
        raise NotFound("repository", repository)
    return RepositoryState(**row)


def list_held_release_files(tx: Tx, repository: int) -> dict[str, tuple[int, bytes]]:
    """By directory: unit id and release digest, in the latest version."""
    rows = tx.execute(_q["list_held_release_files"], {"repository": repository})
    return {r["directory"]: (r["id"], r["release_digest"]) for r in rows}


def list_held_indices(tx: Tx, repository: int) -> list[dict[str, Any]]:
    """Rows of kind, id, directory, relative_path, index_digest, in the latest version."""
    return tx.execute(_q["list_held_indices"], {"repository": repository}).fetchall()


def add_release_units(
    tx: Tx,
    task: int,
    release: Release,
    *,
    distribution: str,
    directory: str,
    relative_path: str,
    files: Mapping[str, bytes],
    release_digest: bytes,
) -> None:
    """Record the Release and ReleaseFile units of one dist, and want them in the task's version.

    Args:
        files: SHA-256 by path below the remote's URL; they are stored already.
        relative_path: Of the main file among them.
    """
    fields = {
        "codename": release.codename,
        "suite": release.suite,
        "distribution": distribution,
        "version": release.version,
        "origin": release.origin,
        "label": release.label,
        "description": release.description,
        "not_automatic": release.not_automatic,
        "but_automatic_upgrades": release.but_automatic_upgrades,
        "components": release.components_text,
        "architectures": release.architectures_text,
        "directory": directory,
        "relative_path": relative_path,
        "sha256": files[relative_path],
        "release_digest": release_digest,
        "date": release.date,
        "valid_until": release.valid_until,
    }
    want_units(tx, task, Kind.RELEASE, [_add_unit(tx, "release", fields)])
    unit = _add_unit(tx, "release_file", fields)
    add_unit_files(tx, Kind.RELEASE_FILE, unit, files)
    want_units(tx, task, Kind.RELEASE_FILE, [unit])


def add_structure(
    tx: Tx,
    task: int,
    *,
    distribution: str,
    components: Sequence[str],
    architectures: Sequence[tuple[str, str, str | None]],
) -> None:
    """Record components and (architecture, base, variant)s of one dist, and want them."""
    names = [a for a, _, _ in architectures]
    args = {
        "task": task,
        "distribution": distribution,
        "components": list(components),
        "architectures": names,
        "bases": [b for _, b, _ in architectures],
        "variants": [v for _, _, v in architectures],
    }
    tx.execute(_q["add_release_architectures"], args)
    tx.execute(_q["add_release_components"], args)
    tx.execute(_q["want_release_structure"], args)


def add_flat_structure(tx: Tx, task: int) -> None:
    """Record and want the architectures of flat dists: those of the packages they list."""
    found: dict[str, list[str]] = {}
    for row in tx.execute(_q["list_flat_architectures"], {"task": task}):
        found.setdefault(row["distribution"], []).append(row["architecture"])
    for distribution, names in found.items():
        architectures = [(name, *base_architecture(name)) for name in names]
        add_structure(
            tx, task, distribution=distribution, components=[], architectures=architectures
        )


def want_units(tx: Tx, task: int, kind: Kind, units: Sequence[int]) -> None:
    """These units belong to the task's version."""
    tx.execute(_q["want_units"], {"task": task, "kind": int(kind), "units": list(units)})


def add_unit_files(tx: Tx, kind: Kind, unit: int, files: Mapping[str, bytes]) -> None:
    """Record those files (SHA-256 by path) of a unit that are stored."""
    tx.execute(
        _q["add_unit_files"],
        {"kind": int(kind), "unit": unit, "paths": list(files), "digests": list(files.values())},
    )


def add_wanted_indices(tx: Tx, task: int, wanted: Sequence[WantedIndex]) -> None:
    """Record the decision of plan."""
    rows = [asdict(w) for w in wanted]
    tx.execute(_q["add_wanted_indices"], {"task": task, "rows": Jsonb(rows)})


def get_wanted_index(tx: Tx, task: int, position: int) -> WantedIndex:
    """One row; raises NotFound when the sync was planned anew meanwhile."""
    row = tx.execute(_q["get_wanted_index"], {"task": task, "position": position}).fetchone()
    if row is None:
        raise NotFound("wanted index", position)
    del row["task"]
    row["sha256"] = row["sha256"].hex()
    row["lists"] = Kind(row["lists"])
    return WantedIndex(**row)


def finish_wanted_index(
    tx: Tx, task: int, position: int, *, index: int | None, unit: int | None, state: str
) -> None:
    """Say what became of a wanted index: ingested or missing."""
    tx.execute(
        _q["finish_wanted_index"],
        {"task": task, "position": position, "index": index, "unit": unit, "state": state},
    )


def lock_siblings(tx: Tx, task: int, wanted: WantedIndex) -> list[dict[str, Any]]:
    """The wanted indices of the same component, locked until the transaction ends."""
    return tx.execute(_q["lock_siblings"], _place(task, wanted)).fetchall()


def accept_all_as_well(tx: Tx, task: int, wanted: WantedIndex) -> list[int]:
    """``wanted`` is a binary-all that cannot be had: its siblings' ``all`` stanzas count now.

    Returns:
        Positions of siblings that were read before: their files were listed without these.
    """
    rows = tx.execute(_q["accept_all_as_well"], _place(task, wanted))
    return [r["position"] for r in rows if r["state"] in ("known", "ingested")]


def add_index(tx: Tx, wanted: WantedIndex, index_digest: bytes) -> int:
    """The unit of a wanted index (PackageIndex, SourceIndex); its files are added apart."""
    fields = {
        "component": wanted.component,
        "architecture": wanted.architecture,
        "directory": wanted.directory,
        "relative_path": wanted.path,
        "sha256": bytes.fromhex(wanted.sha256),
        "index_digest": index_digest,
    }
    return _add_unit(tx, wanted.unit_kind.name.lower(), fields)


def list_stored(tx: Tx, digests: Sequence[bytes]) -> set[bytes]:
    """Those that have an artifact row."""
    return {r["sha256"] for r in tx.execute(_q["list_stored"], {"digests": list(digests)})}


def list_chunk(tx: Tx, task: int, opener: int, chunk: int) -> list[dict[str, Any]]:
    """Rows of sha256, size, path, must_see, is_stored: what is not stored yet, or is to be seen."""
    args = {"task": task, "opener": opener, "chunk": chunk}
    return tx.execute(_q["list_chunk"], args).fetchall()


def list_release_pins(tx: Tx, task: int) -> list[dict[str, Any]]:
    """Rows of directory, path, sha256: the Release files that this task verified."""
    return tx.execute(_q["list_release_pins"], {"task": task}).fetchall()


def count_live_workers(tx: Tx) -> int:
    """Worker processes that were heard of lately."""
    row = tx.execute(_q["count_live_workers"]).fetchone()
    return row["workers"] if row else 0


def touch_remote(tx: Tx, remote: int) -> None:
    """A sync read its Release files now."""
    tx.execute(_q["touch_remote"], {"remote": remote})


def add_offers(tx: Tx, task: int, remote: int) -> None:
    """Remember that this remote offers the files of every index that the task used."""
    tx.execute(_q["add_offers"], {"task": task, "remote": remote})


def list_own_tolerances(
    tx: Tx, task: int, most: int = 1000
) -> tuple[list[Tolerance], dict[str, int]]:
    """What the indices used made us leave out: the first of each reason, and how many in all."""
    counts = {
        r["reason"]: r["count"] for r in tx.execute(_q["count_own_tolerances"], {"task": task})
    }
    if not counts:
        return [], counts
    rows = tx.execute(_q["list_own_tolerances"], {"task": task, "most": most})
    return [Tolerance(**row) for row in rows], counts


def count_upstream_files(tx: Tx, task: int) -> int:
    """Release files and package indices that this task looked at and wants in its version."""
    row = tx.execute(_q["count_upstream_files"], {"task": task}).fetchone()
    return int(row["n"]) if row else 0


def renew_options(tx: Tx, repository: int, options: Mapping[str, Any]) -> None:
    """A sync with other options came to the same content: the latest version satisfies them."""
    tx.execute(_q["renew_options"], {"repository": repository, "options": Jsonb(dict(options))})


def _place(task: int, wanted: WantedIndex) -> dict[str, Any]:
    return {
        "task": task,
        "distribution": wanted.distribution,
        "component": wanted.component,
        "lists": int(wanted.lists),
    }


def _add_unit(tx: Tx, table: str, fields: Mapping[str, Any]) -> int:
    """Insert if new, then touch; the id either way."""
    tx.execute(_q[f"add_{table}"], fields)
    row = tx.execute(_q[f"find_{table}"], fields).fetchone()
    if row is None:
        raise NotFound(table)
    return int(row["id"])
