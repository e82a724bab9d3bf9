"""Repository versions: put together as sets, written as the difference to the latest.

Every function here is the caller's whole right to write: the caller's task holds the
repository's exclusive claim. Nothing is visible before the caller commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from debfleet.db import covers, distributions, generics, source_versions, sql
from debfleet.db.connect import Tx
from debfleet.db.units import lock_content
from debfleet.errors import (
    ContentOverwrite,
    DuplicatePackages,
    LastVersion,
    NotFound,
    PathClash,
    VersionServed,
)
from debfleet.identity import UnitId
from debfleet.model import Kind

_Q = sql.load("versions.sql")


@dataclass(frozen=True, slots=True)
class Counts:
    """Units of one kind, against the version before."""

    present: int
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that was just made; the counts are against the latest before it."""

    number: int
    id: UUID
    counts: dict[Kind, Counts]
    replaced: int  # packages, source packages too, of the base that gave way to new ones


@dataclass(frozen=True, slots=True)
class Foreign:
    """Packages that an index lists, left out because their architecture is not its own."""

    position: int  # of the wanted index
    path: str
    architecture: str  # of the packages
    count: int


def assemble(
    tx: Tx,
    *,
    repository: int,
    task: int,
    mirror: bool,
    options: Mapping[str, Any],
    without_refused: bool = True,
) -> NewVersion | None:
    """Make the version that a sync found: its wanted indices and its task units.

    With ``mirror`` exactly that; without, on top of the latest version, whose release files and
    package indices go unless they are among the task's units. ``options`` is kept with the
    version, for the next sync to compare. ``without_refused`` leaves out the packages whose files
    upstream did not give.

    Returns:
        The version; nothing if it would equal the latest.

    Raises:
        DuplicatePackages, DuplicateSources: Upstream wants two files for one package.
        PathClash: Two different files would lie at one path.
        NotFound: The repository or a unit of the task is gone.
    """
    with _workspace(tx, repository) as latest:
        at_task = {"task": task}
        tx.execute(_Q["add_components"], at_task)
        tx.execute(_Q["fill_uses"], at_task)
        tx.execute(_Q["add_lists"])
        tx.execute(_Q["name_task_units"], at_task)
        tx.execute(_Q["fill_base"], {"repository": repository, "number": latest})
        without = task if without_refused else None
        replaced = _put_together(tx, mirror=mirror, without_refused_of=without)
        return _write(tx, repository, task, replaced, options=Jsonb(dict(options)))


def modify(
    tx: Tx,
    *,
    repository: int,
    task: int,
    add: Sequence[UnitId],
    remove: Sequence[UnitId] | Literal["*"],
    base_number: int | None = None,
    overwrite: bool = True,
) -> NewVersion | None:
    """Make a version by hand: the latest (or ``base_number``), less ``remove``, plus ``add``.

    A package goes with its links. Release files and package indices of the base go as well: the
    version is not one that upstream signed.

    Raises:
        DuplicatePackages, DuplicateSources: Two of ``add`` are different files for one package.
        PathClash: Two different files would lie at one path.
        ContentOverwrite: An added unit replaces another, and ``overwrite`` is false.
        NotFound: The repository, the base version or a unit is gone.
    """
    with _workspace(tx, repository) as latest:
        number = latest if base_number is None else base_number
        base = {"repository": repository, "number": number}
        base_id = tx.execute(_Q["get_version_id"], base).fetchone()
        if base_id is None:
            raise NotFound("repository version", number)
        tx.execute(_Q["name_units"], _columns(add))
        if remove != "*":
            tx.execute(_Q["fill_base"], base)
            tx.execute(_Q["mask_units"], _columns(remove))
            tx.execute(_Q["apply_masks"])
        replaced = _put_together(tx, mirror=False, overwrite=overwrite)
        base_version = None if base_number is None else base_id["id"]
        return _write(tx, repository, task, replaced, base_version=base_version)


def take_in(
    tx: Tx,
    *,
    repository: int,
    task: int,
    fill: Callable[[Tx], None],
    base_number: int | None = None,
) -> NewVersion | None:
    """Make a version of the latest (or ``base_number``) and the sets that ``fill`` wants beside.

    Raises:
        FinalError: As ``modify``.
    """
    with _workspace(tx, repository) as latest:
        base_id = _fill_base(tx, repository, latest if base_number is None else base_number)
        fill(tx)
        replaced = _put_together(tx, mirror=False)
        base_version = None if base_number is None else base_id
        return _write(tx, repository, task, replaced, base_version=base_version)


def exists(tx: Tx, repository: int, number: int) -> bool:
    """Whether there is such a version."""
    at = {"repository": repository, "number": number}
    return tx.execute(_Q["get_version_id"], at).fetchone() is not None


def delete_version(tx: Tx, repository: int, number: int) -> None:
    """Delete one version; the others keep what they hold.

    Raises:
        LastVersion: There is no other.
        VersionServed: A distribution serves it, or a publication of it.
        NotFound: There is no such version.
    """
    _lock(tx, repository)
    rows = tx.execute(_Q["list_versions"], {"repository": repository})
    numbers = [row["number"] for row in rows]
    if number not in numbers:
        raise NotFound("repository version", number)
    if len(numbers) == 1:
        raise LastVersion(
            f"Version {number} is the only one of its repository and cannot be deleted; "
            "delete the repository, or make another version first."
        )
    users = distributions.list_users(tx, repository, number)
    if users:
        raise VersionServed(number, users)
    _delete(tx, repository, [number])


def retain_versions(tx: Tx, repository: int) -> list[int]:
    """Delete the oldest versions beyond the repository's retain_repo_versions; returns them.

    Kept are also what is served, what was served lately (``publications.forget_served``), and
    checkpoints.
    """
    keep = _lock(tx, repository)["retain_repo_versions"]
    if keep is None:
        return []
    rows = tx.execute(_Q["list_surplus_versions"], {"repository": repository, "keep": keep})
    numbers = [row["number"] for row in rows]
    if numbers:
        _delete(tx, repository, numbers)
    return numbers


def get_latest(tx: Tx, repository: int) -> int:
    """The number of the latest version."""
    latest: int = _lock(tx, repository)["latest"]
    return latest


def list_staying(tx: Tx, repository: int) -> set[int]:
    """The versions that stay when the next one is made."""
    keep = _lock(tx, repository)["retain_repo_versions"]
    at = {"repository": repository}
    numbers = {row["number"] for row in tx.execute(_Q["list_versions"], at)}
    if keep is None:
        return numbers
    surplus = tx.execute(_Q["list_surplus_versions"], at | {"keep": keep - 1})
    return numbers - {row["number"] for row in surplus}


def list_foreign(tx: Tx, task: int) -> list[Foreign]:
    """What a sync's indices list and it leaves out, for want of a place for its architecture."""
    return [Foreign(**row) for row in tx.execute(_Q["list_foreign"], {"task": task})]


# --- putting together ---------------------------------------------------------------------------


@contextmanager
def _workspace(tx: Tx, repository: int) -> Iterator[int]:
    """Locks and temporary tables around the making of one version; gives the latest's number."""
    lock_content(tx)
    latest: int = _lock(tx, repository)["latest"]
    tx.execute(_Q["create_tables"])
    source_versions.create_tables(tx)
    yield latest
    tx.execute(_Q["drop_tables"])
    source_versions.drop_tables(tx)


def _lock(tx: Tx, repository: int) -> dict[str, Any]:
    row = tx.execute(_Q["lock_repository"], {"repository": repository}).fetchone()
    if row is None:
        raise NotFound("repository", repository)
    return row


def _fill_base(tx: Tx, repository: int, number: int) -> UUID:
    """What the new version starts from; its version's id."""
    base = {"repository": repository, "number": number}
    row = tx.execute(_Q["get_version_id"], base).fetchone()
    if row is None:
        raise NotFound("repository version", number)
    tx.execute(_Q["fill_base"], base)
    id: UUID = row["id"]
    return id


def _columns(units: Sequence[UnitId]) -> dict[str, list[int]]:
    return {
        "kinds": [int(unit.kind) for unit in units],
        "lists": [unit.list for unit in units],
        "units": [unit.id for unit in units],
    }


def _put_together(
    tx: Tx, *, mirror: bool, overwrite: bool = True, without_refused_of: int | None = None
) -> int:
    """From ``uses``, ``named`` and ``base`` to ``result``; how many packages were replaced."""
    unknown = tx.execute(_Q["list_unknown_units"]).fetchone()
    if unknown is not None:
        raise NotFound(f"unit of kind {Kind(unknown['kind']).name.lower()}", unknown["unit"])
    tx.execute(_Q["fill_wanted"])
    if without_refused_of is not None:
        tx.execute(_Q["drop_refused"], {"task": without_refused_of})
        generics.drop_refused(tx, without_refused_of)
    tx.execute(_Q["drop_upstream_files"])
    tx.execute(_Q["clear_masks"])
    replaced = 0
    is_new = not covers.is_covered(tx, mirror=mirror)
    if is_new:
        replaced = _replace_packages(tx, mirror=mirror, overwrite=overwrite)
        replaced += source_versions.replace_sources(tx, mirror=mirror, overwrite=overwrite)
    if mirror:
        tx.execute(_Q["clear_base"])
    else:
        masked = tx.execute(_Q["mask_releases"]).rowcount
        if masked and not overwrite:
            raise ContentOverwrite("Content overwrite rejected: it would replace a release.")
        renewed = generics.mask_replaced(tx)
        if renewed and not overwrite:
            raise ContentOverwrite("Content overwrite rejected: it would replace a file.")
        if masked or replaced or renewed:
            tx.execute(_Q["apply_masks"])
    tx.execute(_Q["fill_result"])
    if is_new:
        _refuse_path_clashes(tx)
        source_versions.refuse_path_clashes(tx)
    generics.refuse_path_clashes(tx)
    return replaced


def _replace_packages(tx: Tx, *, mirror: bool, overwrite: bool) -> int:
    """Check the packages new to this repository; mask those of the base that they replace."""
    if not tx.execute(_Q["fill_fresh"]).rowcount:
        return 0
    tx.execute(_Q["analyze_fresh"])
    _refuse_duplicates(tx, "find_duplicates")
    if not tx.execute(_Q["fill_rivals"]).rowcount:
        return 0
    _refuse_duplicates(tx, "find_clashes")
    if mirror:
        return 0  # base goes away whole
    row = _one(tx, "get_replaced")
    if row["count"] and not overwrite:
        raise ContentOverwrite(
            f"Content overwrite rejected: it would replace {', '.join(row['examples'])}"
            f"{' and others' if row['count'] > len(row['examples']) else ''}."
        )
    tx.execute(_Q["mask_rivals"])
    return int(row["count"])


def _refuse_duplicates(tx: Tx, query: str) -> None:
    row = _one(tx, query)
    if row["count"]:
        raise DuplicatePackages(row["examples"], row["count"])


def _refuse_path_clashes(tx: Tx) -> None:
    clashes = _one(tx, "find_path_clashes")
    if clashes["count"]:
        raise PathClash(clashes["examples"], clashes["count"])


def _write(
    tx: Tx,
    repository: int,
    task: int,
    replaced: int,
    *,
    options: Jsonb | None = None,
    base_version: UUID | None = None,
) -> NewVersion | None:
    """Make ``result`` the next version, unless it is the latest already."""
    at = {"repository": repository}
    if not tx.execute(_Q["fill_changes"], at).rowcount:
        return None
    number = _one(tx, "take_number", at)["last_number"]
    at_number = {"repository": repository, "number": number}
    tx.execute(_Q["close_chunks"], at_number)
    tx.execute(_Q["open_chunks"], at_number)
    origin = {"task": task, "options": options, "base_version": base_version}
    id = _one(tx, "add_version", {**at_number, **origin})["id"]
    counts = {
        Kind(row["kind"]): Counts(row["present"], row["added"], row["removed"])
        for row in tx.execute(_Q["add_counts"], at_number)
    }
    retain_versions(tx, repository)
    return NewVersion(number, id, counts, replaced)


def _one(tx: Tx, query: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    row = tx.execute(_Q[query], parameters).fetchone()
    assert row is not None
    return row


def _delete(tx: Tx, repository: int, numbers: list[int]) -> None:
    gone = {"repository": repository, "numbers": numbers}
    tx.execute(_Q["delete_versions"], gone)
    tx.execute(_Q["delete_dead_chunks"], gone)
    tx.execute(_Q["reopen_chunks"], gone)
    followers = [row["number"] for row in tx.execute(_Q["list_followers"], gone)]
    if followers:
        tx.execute(_Q["delete_counts"], {**gone, "followers": followers})
        tx.execute(_Q["recount_followers"], {**gone, "followers": followers})
