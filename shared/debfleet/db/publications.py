"""Publications: what a version looks like to apt, and which one a distribution serves."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString, NamedTuple, TypeVar, cast
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.errors import NotFound
from debfleet.model import Kind

T = TypeVar("T")

_Q = sql.load("publications.sql")


@dataclass(frozen=True, slots=True)
class NewPublication:
    """What is to be published, and how."""

    repository: int
    number: int  # of the version
    kind: str = "apt"  # or verbatim
    simple: bool = False
    structured: bool = True
    checkpoint: bool = False
    layout: str = "nested_alphabetically"
    options: dict[str, Any] = field(default_factory=dict)
    made_by: int | None = None  # the task


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication."""

    id: int
    uuid: UUID
    repository: int
    number: int
    kind: str
    simple: bool
    structured: bool
    checkpoint: bool
    layout: str
    options: dict[str, Any]
    is_complete: bool
    created: datetime


def add_publication(tx: Tx, new: NewPublication) -> Publication:
    """A publication that nobody sees yet; if its task fails it goes with it.

    Raises:
        NotFound: The version is gone.
    """
    values = {name: getattr(new, name) for name in NewPublication.__slots__}
    try:
        row = tx.execute(_Q["add_publication"], values | {"options": Jsonb(new.options)}).fetchone()
    except psycopg.errors.ForeignKeyViolation:
        raise NotFound("repository version", new.number) from None
    assert row is not None
    return Publication(**row)


def get_publication(tx: Tx, id: int) -> Publication:
    """One publication, complete or not.

    Raises:
        NotFound: It is gone.
    """
    row = tx.execute(_Q["get_publication"], {"id": id}).fetchone()
    if row is None:
        raise NotFound("publication", id)
    return Publication(**row)


def find_publication(tx: Tx, uuid: UUID) -> Publication | None:
    """A complete publication, or nothing."""
    row = tx.execute(_Q["find_publication"], {"uuid": uuid}).fetchone()
    return None if row is None else Publication(**row)


def find_unpublished(tx: Tx, repository: int, *, checkpoint: bool) -> int | None:
    """The number of the latest version, if nothing written for apt was published of it.

    Args:
        checkpoint: Only a checkpoint publication counts.
    """
    values = {"repository": repository, "checkpoint": checkpoint}
    row = tx.execute(_Q["find_unpublished"], values).fetchone()
    return None if row is None else row["number"]


def delete_publication(tx: Tx, uuid: UUID) -> bool:
    """Delete a publication; false: it was gone. Who served it serves the next best from now."""
    row = tx.execute(_Q["delete_publication"], {"uuid": uuid}).fetchone()
    if row is None:
        return False
    switch_served(tx, repository=row["repository"])
    return True


def complete_publication(tx: Tx, id: int) -> None:
    """Make it visible; distributions that follow its repository or version serve it from now."""
    row = tx.execute(_Q["complete_publication"], {"id": id}).fetchone()
    if row is None:
        raise NotFound("publication", id)
    if row["checkpoint"]:
        retain_checkpoints(tx, row["repository"])
    switch_served(tx, repository=row["repository"])


def retain_checkpoints(tx: Tx, repository: int) -> None:
    """Delete the oldest checkpoints beyond the repository's ``retain_checkpoints``.

    One that a distribution names, or serves by itself, stays.
    """
    tx.execute(_Q["retain_checkpoints"], {"repository": repository})


def forget_served(tx: Tx, *, seconds: int, switches: int) -> int:
    """Forget what distributions served before: longer ago, and more switches back, than is kept.

    Retention may delete its versions then, and its files are served no more.
    """
    values = {"seconds": seconds, "switches": switches}
    return tx.execute(_Q["forget_served"], values).rowcount


def prune_publications(tx: Tx, keep: int) -> int:
    """Delete some old publications beyond so many of each version and kind; how many went.

    One stays that is served, or was lately, that a distribution names, or that is a checkpoint.
    """
    rows = tx.execute(_Q["lock_surplus"], {"keep": keep}).fetchall()
    if not rows:
        return 0
    # Anew, under the lock: a distribution may have come to name one meanwhile.
    return tx.execute(_Q["delete_surplus"], {"ids": [row["id"] for row in rows]}).rowcount


def switch_served(
    tx: Tx, *, repository: int | None = None, distribution: int | None = None
) -> list[int]:
    """Let distributions serve what they are to serve now (view ``serving``); which ones changed.

    Call it in the transaction that changes a distribution's target, or a publication.

    Args:
        repository: All distributions that point to it, its versions or its publications.
        distribution: This one.
    """
    at = {"repository": repository, "distribution": distribution}
    tx.execute(_Q["lock_distributions"], at)
    tx.execute(_Q["lock_serving"], at)
    ended = {row["distribution"] for row in tx.execute(_Q["end_served"], at)}
    begun = {row["distribution"] for row in tx.execute(_Q["begin_served"], at)}
    return sorted(ended | begun)


# --- what a version looks like to apt ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Origin:
    """The repository of a version that is published, as far as publish looks at it."""

    uuid: UUID
    description: str | None
    autopublish: bool
    publish_upstream_release_fields: bool
    signing_service: UUID | None
    signing_service_release_overrides: dict[str, str]  # by distribution: a service's UUID
    excluded_package_metadata_fields: list[str]
    version: UUID
    made_by: int | None  # the task that made the version


@dataclass(frozen=True, slots=True)
class Place:
    """A component of a distribution."""

    id: int
    distribution: str
    component: str


@dataclass(frozen=True, slots=True)
class Structure:
    """The distributions of a version, as its units say."""

    components: list[Place]  # in order of distribution and component
    architectures: dict[str, list[str]]  # by distribution, sorted
    releases: dict[str, dict[str, Any]]  # by distribution: the columns of its release unit
    counts: dict[tuple[int, str], int]  # packages by component's id and architecture
    sources: dict[int, int]  # source packages by component's id
    udebs: dict[tuple[int, str], int]  # the installer's packages, as counts
    installer: dict[str, list[AtPath]]  # upstream's lists of its files, by the directory of Release


def get_origin(tx: Tx, repository: int, number: int) -> Origin:
    """The repository of a version.

    Raises:
        NotFound: The version is gone.
    """
    at = {"repository": repository, "number": number}
    row = tx.execute(_Q["get_origin"], at).fetchone()
    if row is None:
        raise NotFound("repository version", number)
    return Origin(**row)


def get_structure(tx: Tx, repository: int, number: int) -> Structure:
    """Distributions, components and architectures of a version, and how many packages where."""
    at = {"repository": repository, "number": number}
    architectures: dict[str, list[str]] = {}
    for row in tx.execute(_Q["list_architectures"], at):
        architectures.setdefault(row["distribution"], []).append(row["architecture"])
    counts: dict[tuple[int, str], int] = {}
    for row in tx.execute(_Q["count_places"], at):
        key = (row["component"], row["architecture"])
        counts[key] = counts.get(key, 0) + row["count"]
    return Structure(
        components=[Place(**row) for row in tx.execute(_Q["list_components"], at)],
        architectures=architectures,
        releases={row["distribution"]: row for row in tx.execute(_Q["list_releases"], at)},
        counts=counts,
        sources=count_sources(tx, repository, number),
        udebs={
            (row["component"], row["architecture"]): row["count"]
            for row in tx.execute(_Q["count_udebs"], at)
        },
        installer=_list_installer(tx, at),
    )


def _list_installer(tx: Tx, at: Mapping[str, int]) -> dict[str, list[AtPath]]:
    found: dict[str, list[AtPath]] = {}
    for row in tx.execute(_Q["list_installer_lists"], at):
        file = AtPath(row["path"], Stored(row["sha256"], row["size"]), is_index=True)
        found.setdefault(row["directory"], []).append(file)
    return found


def count_sources(tx: Tx, repository: int, number: int) -> dict[int, int]:
    """Source packages by the id of their component; at 0: all of the version."""
    at = {"repository": repository, "number": number}
    return {row["component"]: row["count"] for row in tx.execute(_Q["count_sources"], at)}


def count_architectures(tx: Tx, repository: int, number: int) -> dict[str, int]:
    """All packages of a version by their own architecture, in its order."""
    at = {"repository": repository, "number": number}
    return {r["architecture"]: r["count"] for r in tx.execute(_Q["count_architectures"], at)}


def add_digest_paths(tx: Tx, publication: Publication) -> int:
    """Find the packages, source packages too, that have a file at whose pool path another file
    belongs as well; how many.
    """
    values = {
        "publication": publication.id,
        "repository": publication.repository,
        "number": publication.number,
        "structured": publication.structured,
        "simple": publication.simple,
    }
    row = tx.execute(_Q["add_digest_paths"], values).fetchone()
    assert row is not None
    return int(row["count"])


class Listed(NamedTuple):
    """A package as an index lists it; a tuple, since there are so many of them."""

    name: str
    source: str | None
    relative_path: str
    size: int
    sha256: bytes
    stanza: str
    component: str  # its full name: where it lies in the pool
    by_digest: bool  # its plain pool path is another's too


@contextmanager
def listed_packages(
    tx: Tx,
    publication: Publication,
    components: Sequence[int] | None,
    architecture: str,
    kind: Kind = Kind.PACKAGE,
) -> Iterator[Iterator[Listed]]:
    """The packages of one index in their order, streamed from the server.

    Args:
        components: Ids of the components whose links count; none: all packages of the version.
        kind: Packages, or those of the installer.
    """
    values = {
        "publication": publication.id,
        "repository": publication.repository,
        "number": publication.number,
        "components": None if components is None else list(components),
        "architecture": architecture,
        "kind": int(kind),
    }
    with _streamed(tx, _Q["list_index_packages"], values, Listed._make) as packages:
        yield packages


class ListedSource(NamedTuple):
    """A source package as an index lists it."""

    name: str
    sha256: bytes  # of its .dsc
    stanza: str
    component: str  # its full name: where it lies in the pool
    by_digest: bool  # one of its files' plain pool paths is another's too


@contextmanager
def listed_sources(
    tx: Tx, publication: Publication, components: Sequence[int] | None
) -> Iterator[Iterator[ListedSource]]:
    """The source packages of one index in their order, streamed; see ``listed_packages``."""
    values = {
        "publication": publication.id,
        "repository": publication.repository,
        "number": publication.number,
        "components": None if components is None else list(components),
    }
    with _streamed(tx, _Q["list_index_sources"], values, ListedSource._make) as sources:
        yield sources


_ROWS_AT_ONCE = 100 if psycopg.capabilities.has_stream_chunked() else 1  # libpq 17 can


@contextmanager
def _streamed(
    tx: Tx, query: LiteralString, values: Mapping[str, Any], make: Callable[[Iterable[Any]], T]
) -> Iterator[Iterator[T]]:
    """Rows as they come from the server, which waits for who reads them."""
    with tx.cursor(row_factory=lambda _: make) as cursor:
        rows = cursor.stream(query, values, binary=True, size=_ROWS_AT_ONCE)
        with closing(cast("Generator[T, None, None]", rows)):  # who stops early wants no more
            yield rows


# --- files ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that publish wrote, by its digests."""

    sha256: bytes
    size: int
    sha512: bytes | None = None
    md5: bytes | None = None
    sha1: bytes | None = None


@dataclass(frozen=True, slots=True)
class AtPath:
    """A published file at its path."""

    path: str  # below the publication's root
    file: Stored
    is_index: bool = False  # reachable by hash too


def list_known_forms(tx: Tx, plain: bytes) -> dict[str, Stored]:
    """By ``gz`` and ``xz``: how these bytes were compressed before; ``plain``: they are stored."""
    rows = tx.execute(_Q["list_known_forms"], {"plain": plain})
    return {row.pop("form"): Stored(**row) for row in rows}


def add_compressed_forms(tx: Tx, plain: bytes, forms: Mapping[str, Stored]) -> None:
    """Remember how an index was compressed; the files have rows in ``artifacts``."""
    if forms:
        columns = _columns(list(forms.values()))
        tx.execute(_Q["add_compressed_forms"], {"plain": plain, "forms": list(forms), **columns})


def add_files(tx: Tx, publication: int, files: Sequence[AtPath]) -> None:
    """Put files at their paths."""
    values = {
        "publication": publication,
        "paths": [f.path for f in files],
        "indices": [f.is_index for f in files],
        **_columns([f.file for f in files]),
    }
    tx.execute(_Q["add_published_files"], values)


def find_alike(tx: Tx, publication: Publication, path: str) -> bytes | None:
    """The digest of a published file that the one at this path may turn out to be, if any."""
    values = {"publication": publication.id, "repository": publication.repository, "path": path}
    row = tx.execute(_Q["find_alike"], values).fetchone()
    return None if row is None else bytes(row["sha256"])


def list_files(tx: Tx, publication: int) -> list[AtPath]:
    """What publish wrote, in the order of the paths."""
    rows = tx.execute(_Q["list_published_files"], {"publication": publication})
    return [
        AtPath(row.pop("path"), is_index=row.pop("is_index"), file=Stored(**row)) for row in rows
    ]


def list_unit_files(tx: Tx, repository: int, number: int) -> list[AtPath]:
    """The stored Release files and indices of upstream that a version holds."""
    at = {"repository": repository, "number": number}
    return [
        AtPath(row["path"], Stored(row["sha256"], row["size"]), row["is_index"])
        for row in tx.execute(_Q["list_unit_files"], at)
    ]


def _columns(files: Sequence[Stored]) -> dict[str, list[Any]]:
    return {
        "sha256s": [f.sha256 for f in files],
        "sha512s": [f.sha512 for f in files],
        "md5s": [f.md5 for f in files],
        "sha1s": [f.sha1 for f in files],
        "sizes": [f.size for f in files],
    }


# --- signing services -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SigningService:
    """Who signs: a key held here, or a script of the operator's."""

    id: int
    uuid: UUID
    name: str
    kind: str
    public_key: str  # armoured
    fingerprint: str
    script: str | None
    gnupghome: str | None
    secret: bytes | None  # the armoured secret key, sealed


def get_signing_service(tx: Tx, uuid: UUID) -> SigningService:
    """One signing service.

    Raises:
        NotFound: There is none.
    """
    row = tx.execute(_Q["find_signing_service"], {"uuid": uuid}).fetchone()
    if row is None:
        raise NotFound("signing service", uuid)
    return SigningService(**row)
