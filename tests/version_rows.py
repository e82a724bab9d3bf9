"""Content for tests of sets: stanzas, repositories, what a plan would leave, and reading back.

Sets are read here without the SQL functions they are written with, so that a fault in those shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from debfleet.db import units
from debfleet.db.connect import Database, Tx
from debfleet.model import Kind

STANZA_KEY = b"k" * 32
Unit = tuple[int, int, int]  # kind, list (of a package link, else 0), id
WIDE = "x" * 600  # makes a stanza as long as Debian's are


def stanza(
    name: str,
    version: str = "1.0",
    architecture: str = "amd64",
    *,
    build: str = "",
    path: str | None = None,
    note: str = "",
    extra: str = "",
) -> bytes:
    """One stanza; another ``build`` is another file, another ``note`` only other metadata."""
    sha256 = hashlib.sha256(f"{name} {version} {architecture} {build}".encode()).hexdigest()
    path = path or f"pool/main/{name[0]}/{name}/{name}_{version}_{architecture}.deb"
    lines = [
        f"Package: {name}",
        f"Version: {version}",
        f"Architecture: {architecture}",
        "Maintainer: Someone <someone@example.org>",
        f"Description: {name}{note}",
        f"Filename: {path}",
        "Size: 1000",
        f"SHA256: {sha256}",
    ]
    return "\n".join([*lines, extra] if extra else lines).encode()


def numbered(stanzas: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Stanzas with the lines at which they would start."""
    line = 1
    for text in stanzas:
        yield line, text
        line += text.count(b"\n") + 2


def many(
    count: int, *, changed: int = 0, architecture: str = "amd64", all_every: int = 3
) -> Iterator[bytes]:
    """As many stanzas, the first ``changed`` with a newer version; deterministic."""
    for i in range(count):
        of = "all" if all_every and i % all_every == 0 else architecture
        yield stanza(f"pkg{i:06d}", "2.0" if i < changed else "1.0", of, note=WIDE)


def digest_of(stanzas: Sequence[bytes]) -> bytes:
    """The SHA-256 of the index that these stanzas make."""
    return hashlib.sha256(b"\n\n".join(stanzas)).digest()


def ingest(db: Database, stanzas: Sequence[bytes]) -> units.Ingested:
    """Ingest an index of these stanzas."""
    sha256 = digest_of(stanzas)
    return db.run(lambda tx: units.ingest_index(tx, STANZA_KEY, sha256, numbered(stanzas)))


def add_repository(tx: Tx, name: str = "r", retain: int | None = None) -> int:
    """A repository with its version 0."""
    row = tx.execute(
        "insert into repositories (name, retain_repo_versions) values (%s, %s) returning id",
        (name, retain),
    ).fetchone()
    assert row is not None
    tx.execute("insert into repository_versions (repository, number) values (%s, 0)", (row["id"],))
    repository: int = row["id"]
    return repository


def add_task(tx: Tx, kind: str = "sync") -> int:
    """A task that would be running now."""
    row = tx.execute(
        "insert into tasks (kind, name, state) values (%s, %s, 'running') returning id",
        (kind, kind),
    ).fetchone()
    assert row is not None
    task: int = row["id"]
    return task


@dataclass(frozen=True)
class Want:
    """One row of wanted_indices."""

    index: int | None
    component: str = "main"
    architecture: str = "amd64"
    distribution: str = "stable"
    accept: tuple[str, ...] | None = None
    state: str = "ingested"


def want(tx: Tx, task: int, wants: Sequence[Want]) -> None:
    """What a plan would leave for these indices."""
    for position, w in enumerate(wants):
        tx.execute(
            """
            insert into wanted_indices (task, position, distribution, directory, component,
              architecture, path, files, by_hash, sha256, accept, optional, index, state)
            values (%(task)s, %(position)s, %(distribution)s, %(directory)s, %(component)s,
              %(architecture)s, %(path)s, %(files)s, true, %(sha256)s, %(accept)s, false,
              %(index)s, %(state)s)
            """,
            {
                "task": task,
                "position": position,
                "distribution": w.distribution,
                "directory": f"dists/{w.distribution}",
                "component": w.component,
                "architecture": w.architecture,
                "path": f"dists/{w.distribution}/{w.component}/binary-{w.architecture}/Packages",
                "files": Jsonb({}),
                "sha256": bytes(32),
                "accept": None if w.accept is None else list(w.accept),
                "index": w.index,
                "state": w.state,
            },
        )


def add_task_units(tx: Tx, task: int, kind: Kind, ids: Iterable[int]) -> None:
    """Units that a task found for its version."""
    for id in ids:
        tx.execute("insert into task_units values (%s, %s, %s)", (task, int(kind), id))


def add_release(tx: Tx, distribution: str, version: str = "1") -> int:
    """A release unit."""
    return _id(
        tx,
        "insert into releases (codename, suite, distribution, version)"
        " values ('', '', %s, %s) returning id",
        (distribution, version),
    )


def add_release_file(tx: Tx, distribution: str, salt: str = "") -> int:
    """A release file unit."""
    digest = hashlib.sha256(f"{distribution} {salt}".encode()).digest()
    return _id(
        tx,
        "insert into release_files (codename, suite, distribution, components, architectures,"
        " directory, relative_path, sha256, release_digest)"
        " values ('', '', %s, '', '', '', %s, %s, %s) returning id",
        (distribution, f"dists/{distribution}/InRelease", digest, digest),
    )


def add_package_index(tx: Tx, path: str, salt: str = "") -> int:
    """A package index unit."""
    digest = hashlib.sha256(f"{path} {salt}".encode()).digest()
    return _id(
        tx,
        "insert into package_indices (component, architecture, directory, relative_path, sha256,"
        " index_digest) values ('main', 'amd64', '', %s, %s, %s) returning id",
        (path, digest, digest),
    )


def _id(tx: Tx, query: Any, values: tuple[object, ...]) -> int:
    row = tx.execute(query, values).fetchone()
    assert row is not None
    id: int = row["id"]
    return id


# --- reading back ------------------------------------------------------------------------------


def ids_in(chunk: int, bits: str) -> Iterator[int]:
    """The ids of one chunk's bits, as Postgres writes them: the first is the leftmost."""
    assert len(bits) == 4096
    at = bits.find("1")
    while at >= 0:
        yield chunk * 4096 + at
        at = bits.find("1", at + 1)


def read_versions(tx: Tx, repository: int) -> dict[int, set[Unit]]:
    """What every version of a repository holds."""
    numbers = [
        row["number"]
        for row in tx.execute(
            "select number from repository_versions where repository = %s order by number",
            (repository,),
        )
    ]
    versions: dict[int, set[Unit]] = {number: set() for number in numbers}
    rows = tx.execute(
        "select l.kind, c.list, c.chunk, c.added, c.removed, c.bits::text as bits"
        " from repository_chunks c join content_lists l on l.id = c.list where c.repository = %s",
        (repository,),
    )
    for row in rows:
        list_ = row["list"] if row["kind"] == Kind.PACKAGE_RELEASE_COMPONENT else 0
        members = {(row["kind"], list_, id) for id in ids_in(row["chunk"], row["bits"])}
        seen = False
        for number, held in versions.items():
            if row["added"] <= number and (row["removed"] is None or number < row["removed"]):
                assert not held & members, "two chunks of one place in one version"
                held |= members
                seen = True
        assert seen, f"a chunk that no version holds: {row['added']} to {row['removed']}"
    return versions


def read_counts(tx: Tx, repository: int) -> dict[int, dict[int, tuple[int, int, int]]]:
    """The stored counts: version, kind, (present, added, removed)."""
    counts: dict[int, dict[int, tuple[int, int, int]]] = {}
    rows = tx.execute("select * from version_counts where repository = %s", (repository,))
    for row in rows:
        three = (row["present"], row["added"], row["removed"])
        counts.setdefault(row["number"], {})[row["kind"]] = three
    return counts


def expected_counts(
    versions: Mapping[int, set[Unit]],
) -> dict[int, dict[int, tuple[int, int, int]]]:
    """What the stored counts must be: each version against the one before it."""
    counts: dict[int, dict[int, tuple[int, int, int]]] = {}
    before: set[Unit] = set()
    for number, held in sorted(versions.items()):
        for kind in {unit[0] for unit in held | before}:
            now = {unit for unit in held if unit[0] == kind}
            then = {unit for unit in before if unit[0] == kind}
            if now or now != then:
                three = (len(now), len(now - then), len(then - now))
                counts.setdefault(number, {})[kind] = three
        before = held
    return counts


def package_ids(tx: Tx, index: int) -> set[int]:
    """The packages that an ingested index lists."""
    rows = tx.execute(
        "select chunk, bits::text as bits from index_chunks where index = %s", (index,)
    )
    return {id for row in rows for id in ids_in(row["chunk"], row["bits"])}


def places(tx: Tx) -> dict[int, tuple[str, str, str]]:
    """The lists of package links: distribution, component, index architecture."""
    rows = tx.execute(
        "select l.id, c.distribution, c.component, l.index_architecture from content_lists l"
        " join release_components c on c.id = l.release_component where l.kind = 11"
    )
    return {r["id"]: (r["distribution"], r["component"], r["index_architecture"]) for r in rows}
