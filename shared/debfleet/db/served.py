"""What a URL below ``/pulp/content/`` stands for.

The content service asks from its event loop, so what a file needs takes an asynchronous connection,
each statement its own transaction; what reads a whole version is for a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.deb.paths import pool_prefix
from debfleet.deb.publish import BY_DIGEST, pool_paths
from debfleet.deb.publish_sources import BY_DIGEST_DIGITS, source_directories

_q = sql.load("served.sql")

AsyncTx = psycopg.AsyncConnection[DictRow]

POOL = "pool/"
SIMPLE = "all"  # the component of a simple publication


@dataclass(frozen=True, slots=True)
class File:
    """The bytes that a path stands for."""

    path: str  # below the base path; its ending is what the bytes are called
    sha256: bytes
    size: int
    modified: datetime
    is_stored: bool  # an artifact; else it is fetched from upstream when it is asked for
    is_settled: bool = True  # its path may not get other bytes within the second of ``modified``
    is_pool: bool = False  # other bytes would have another path
    is_size_sure: bool = True  # else upstream said it when it was asked, and nothing vouches for it
    unseen_in: int | None = None  # a repository whose remote has yet to show that it holds the file


@dataclass(frozen=True, slots=True)
class Target:
    """A distribution, and what it serves."""

    id: int
    base_path: str
    content_guard: UUID | None
    checkpoint: bool
    has_target: bool
    publication: int | None  # None: there is none (yet)
    kind: str  # of the publication: apt, verbatim
    simple: bool
    structured: bool
    layout: str
    since: datetime | None
    file: File | None  # what publish wrote at the path
    is_pinned: bool = False  # to this publication, whatever the distribution serves else


@dataclass(frozen=True, slots=True)
class Wanted:
    """A path that a client asks for."""

    path: str  # the whole, without slashes at its ends
    deepest_base: int  # of how many of its parts a base path may be made


@dataclass(frozen=True, slots=True)
class Grace:
    """How long files of earlier publications of a distribution are served."""

    seconds: int
    switches: int  # and at least so many publications back


async def find_target(tx: AsyncTx, wanted: Wanted) -> Target | None:
    """The distribution of a path, and the file that publish wrote there."""
    parts = wanted.path.split("/")
    bases = ["/".join(parts[:depth]) for depth in range(1, wanted.deepest_base + 1)]
    found = await tx.execute(_q["find_distribution"], {"path": wanted.path, "bases": bases})
    row = await found.fetchone()
    return None if row is None else _target(row, wanted.path)


async def find_targets(tx: AsyncTx, wanted: Sequence[Wanted]) -> list[Target | None]:
    """For each path its distribution, and the file that publish wrote there; in their order."""
    values = {"paths": [w.path for w in wanted], "depths": [w.deepest_base for w in wanted]}
    rows = await (await tx.execute(_q["find_distributions"], values)).fetchall()
    return [
        None if row["id"] is None else _target(row, one.path)
        for row, one in zip(rows, wanted, strict=True)
    ]


def _target(row: DictRow, path: str) -> Target:
    file = None
    if row["sha256"] is not None:
        file = File(
            path=path[len(row["base_path"]) + 1 :],
            sha256=row["sha256"],
            size=row["size"],
            modified=row["since"],
            is_stored=row["is_stored"],
            is_settled=not row["is_fresh"],
        )
    return Target(
        row["id"], row["base_path"], row["content_guard"], row["checkpoint"], row["has_target"],
        row["publication"], row["kind"] or "", bool(row["simple"]), bool(row["structured"]),
        row["layout"] or "", row["since"], file,
    )  # fmt: skip


async def find_checkpoint(tx: AsyncTx, target: Target, moment: datetime) -> Target | None:
    """The newest checkpoint not younger than a moment; ``since`` is its own.

    Nothing: there was none yet, or the moment has not come.
    """
    values = {"distribution": target.id, "moment": moment}
    row = await (await tx.execute(_q["find_checkpoint"], values)).fetchone()
    if row is None:
        return None
    return replace(
        target, publication=row["id"], kind=row["kind"], simple=row["simple"],
        structured=row["structured"], layout=row["layout"], since=row["created"], file=None,
        is_pinned=True,
    )  # fmt: skip


async def list_checkpoints(tx: AsyncTx, distribution: int) -> list[datetime]:
    """When the checkpoints were made that a distribution serves, the oldest first."""
    found = await tx.execute(_q["list_checkpoints"], {"distribution": distribution})
    return [row["created"] async for row in found]


async def find_by_hash(
    tx: AsyncTx, target: Target, grace: Grace, directory: str, algorithm: str, digest: bytes
) -> File | None:
    """An index by its digest, in what is served now or was lately.

    Args:
        directory: Where the index lies, with a slash at its end; '' for the root.
        algorithm: As directories are called: SHA256, SHA512, SHA1, MD5Sum.
    """
    name = {"SHA256": "find_by_hash_sha256", "SHA512": "find_by_hash_sha512"}.get(
        algorithm, "find_by_hash_weak"
    )
    values = _generations(target, grace) | {"directory": directory, "digest": digest}
    found = await tx.execute(_with_generations(name, target), values)
    return _file(await found.fetchone())


async def find_older_file(tx: AsyncTx, target: Target, grace: Grace, path: str) -> File | None:
    """A file that publish wrote for what was served lately, or for this checkpoint."""
    values = _generations(target, grace) | {"path": path}
    found = await tx.execute(_with_generations("find_older_file", target), values)
    return _file(await found.fetchone())


async def find_pool_file(tx: AsyncTx, target: Target, grace: Grace, path: str) -> File | None:
    """The package at a path, or a source package's file, in what is served now or was lately."""
    file = await _find_package(tx, target, grace, path)
    return file or await _find_source_file(tx, target, grace, path)


async def _find_package(tx: AsyncTx, target: Target, grace: Grace, path: str) -> File | None:
    folders, _, name = path.rpartition("/")
    file, component = name, ""
    parts = folders.split("/")
    if path.startswith(POOL):
        if parts[-1] == "by-digest":
            parts.pop()
            file = name[7:]  # the start of the digest and a hyphen
        component = "/".join(parts[1:-2])
    values = _generations(target, grace)
    for candidate in {name, file}:
        values |= {"file": candidate, "component": component}
        rows = await tx.execute(_with_generations("list_pool_files", target), values)
        async for row in rows:
            if _lies_at(row, path, component):
                return _pool_file(path, row)
    return None


async def _find_source_file(tx: AsyncTx, target: Target, grace: Grace, path: str) -> File | None:
    folder, _, name = path.rpartition("/")
    parts, component = folder.split("/"), ""
    if path.startswith(POOL):
        if len(parts) > 2 and parts[-2] == "by-digest":
            parts = parts[:-2]
        component = "/".join(parts[1:-2])
    values = _generations(target, grace) | {"file": name, "component": component}
    rows = await tx.execute(_with_generations("list_pool_sources", target), values)
    async for row in rows:
        if _has_source_file(row, path, component):
            return _pool_file(path, row)
    return None


async def find_generic_file(tx: AsyncTx, target: Target, grace: Grace, path: str) -> File | None:
    """A file that no index of packages names, as those of the installer, at its own path."""
    values = _generations(target, grace) | {"path": path}
    found = await tx.execute(_with_generations("find_generic_file", target), values)
    row = await found.fetchone()
    if row is None:
        return None
    unseen_in = row["unseen_in"]
    is_stored = row["is_stored"] and unseen_in is None
    return replace(
        _file_of(row),
        is_stored=is_stored,
        is_settled=row["is_settled"],
        is_size_sure=is_stored,
        unseen_in=unseen_in,
    )


async def list_base_paths(tx: AsyncTx, below: str) -> list[str]:
    """The base paths below a folder ('' for all) that are not hidden."""
    found = await tx.execute(_q["list_base_paths"], {"below": below})
    return [row["base_path"] async for row in found]


async def list_public_keys(tx: AsyncTx, publication: int) -> list[str]:
    """Armoured: of all services that may have signed a publication."""
    found = await tx.execute(_q["list_public_keys"], {"publication": publication})
    return [row["public_key"] async for row in found]


def _lies_at(row: DictRow, path: str, component: str) -> bool:
    if row["kind"] == "verbatim":
        return bool(row["relative_path"] == path)
    if not (row["is_linked"] or (row["simple"] and component == SIMPLE)):
        return False
    paths = pool_paths(component, row["name"], row["source"], row["relative_path"], row["sha256"])
    return path == paths.by_digest or (path == paths.alphabetical and row["layout"] != BY_DIGEST)


def _has_source_file(row: DictRow, path: str, component: str) -> bool:
    if row["kind"] == "verbatim":
        return bool(row["relative_path"] == path)
    if not (row["is_linked"] or (row["simple"] and component == SIMPLE)):
        return False
    places = source_directories(component, row["name"], row["dsc"])
    folder = path.rpartition("/")[0]
    return folder == places.by_digest or (
        folder == places.alphabetical and row["layout"] != BY_DIGEST
    )


def _pool_file(path: str, row: DictRow) -> File:
    is_stored = row["is_stored"] and row["unseen_in"] is None
    return File(
        path, row["sha256"], row["size"], row["created"], is_stored,
        is_pool=True, unseen_in=row["unseen_in"],
    )  # fmt: skip


def _file(row: DictRow | None) -> File | None:
    return None if row is None else _file_of(row)


def _file_of(row: DictRow) -> File:
    return File(row["path"], row["sha256"], row["size"], row["since"], row["is_stored"])


def _generations(target: Target, grace: Grace) -> dict[str, object]:
    return {
        "distribution": target.id,
        "publication": target.publication,
        "seconds": grace.seconds,
        "switches": grace.switches,
    }


def _with_generations(name: str, target: Target) -> LiteralString:
    which = "this_publication" if target.is_pinned else "generations"
    return _q[name].replace("{generations}", _q[which])


# --- listings -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a listing."""

    name: str  # a folder's ends in a slash
    moment: datetime | None = None
    size: int | None = None


async def list_published(tx: AsyncTx, publication: int, folder: str) -> list[Entry]:
    """What publish wrote in a folder ('' for the root)."""
    return await _list_names(tx, "list_published", publication, folder)


async def list_generics(tx: AsyncTx, publication: int, folder: str) -> list[Entry]:
    """The files in a folder that no index of packages names, and their folders."""
    return await _list_names(tx, "list_generic_folder", publication, folder)


async def _list_names(tx: AsyncTx, query: str, publication: int, folder: str) -> list[Entry]:
    below = f"{folder}/" if folder else ""
    found = await tx.execute(_q[query], {"publication": publication, "below": below})
    return [
        Entry(f"{row['name']}/", row["moment"])
        if row["is_folder"]
        else Entry(row["name"], row["moment"], row["size"])
        async for row in found
    ]


def list_pool_folders(tx: Tx, publication: int, *, is_verbatim: bool) -> dict[str, tuple[str, str]]:
    """The folders that hold packages: for each its component and its place (see ``list_pool``).

    Reads every package of the version.
    """
    folders: dict[str, tuple[str, str]] = {}
    for query in ("list_pool_folders", "list_source_folders"):
        for row in tx.execute(_q[query], {"publication": publication}):
            component, place = row["component"], row["place"]
            path = place if is_verbatim else f"pool/{component}/{pool_prefix(place)}/{place}"
            folders[path.strip("/")] = (component, place)
    return folders


def list_pool(
    tx: Tx, publication: int, component: str, place: str, *, is_verbatim: bool, by_digest: bool
) -> list[Entry]:
    """The packages in a folder, by the names they have there."""
    values = {"publication": publication, "component": component, "place": place}
    names: dict[str, Entry] = {}
    for row in tx.execute(_q["list_pool_folder"], values):
        paths = pool_paths(
            component, row["name"], row["source"], row["relative_path"], row["sha256"]
        )
        path = paths.by_digest if by_digest else paths.alphabetical
        name = (row["relative_path"] if is_verbatim else path).rpartition("/")[2]
        names.setdefault(name, Entry(name, row["created"], row["size"]))
    for row in tx.execute(_q["list_source_folder"], values):
        name = row["path"].rpartition("/")[2]
        if by_digest:  # each source package has a folder of its own there
            name = f"{row['dsc'].hex()[:BY_DIGEST_DIGITS]}/"
            names.setdefault(name, Entry(name, row["created"]))
        else:
            names.setdefault(name, Entry(name, row["created"], row["size"]))
    return list(names.values())


def list_source(tx: Tx, publication: int, component: str, place: str, digits: str) -> list[Entry]:
    """The files of the source packages whose .dsc has a digest that begins so."""
    values = {"publication": publication, "component": component, "place": place}
    return [
        Entry(row["path"].rpartition("/")[2], row["created"], row["size"])
        for row in tx.execute(_q["list_source_folder"], values)
        if row["dsc"].hex().startswith(digits)
    ]
