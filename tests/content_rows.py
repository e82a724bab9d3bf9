"""Content written straight into the tables, for tests that judge what is read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

from debfleet.db.connect import Tx
from debfleet.model import Kind

CHUNK = 4096


def add_packages(tx: Tx, count: int) -> list[int]:
    """Packages ``name-<n modulo 1000>`` of three architectures and five sections, by id."""
    rows = tx.execute(
        """
        insert into packages (digest, name, version, architecture, source, section, priority,
                              relative_path, size, sha256, same_key, stanza)
        select md5('p' || n)::uuid, 'name-' || n %% 1000, '1.' || n / 1000,
               (array['amd64', 'arm64', 'all'])[1 + n %% 3], 'source-' || n %% 100,
               (array['misc', 'net', 'libs', 'admin', 'web'])[1 + n %% 5], 'optional',
               'pool/p' || n || '.deb', n, sha256(('p' || n)::bytea), n,
               'Package: name-' || n %% 1000 || E'\\nVersion: 1.' || n / 1000
               || E'\\nArchitecture: ' || (array['amd64', 'arm64', 'all'])[1 + n %% 3]
               || E'\\nMaintainer: Some One <' || n %% 7 || '@example.org>'
               || E'\\nInstalled-Size: ' || n %% 50
               || E'\\nDescription: one of many\\n and a second line'
          from generate_series((select coalesce(max(id), 0) + 1 from packages)::int,
                               (select coalesce(max(id), 0) from packages)::int + %s) n
         order by n
        returning id
        """,
        (count,),
    ).fetchall()
    return [row["id"] for row in rows]


def add_component(tx: Tx, distribution: str, component: str) -> int:
    """A release component."""
    return _id(
        tx,
        "insert into release_components (distribution, component) values (%s, %s) returning id",
        (distribution, component),
    )


def add_release(tx: Tx, distribution: str) -> int:
    """A release whose codename is its distribution."""
    return _id(
        tx,
        "insert into releases (codename, suite, distribution) values (%s, %s, %s) returning id",
        (distribution, "stable", distribution),
    )


def add_release_file(tx: Tx, distribution: str, files: Mapping[str, bytes]) -> int:
    """A release file; ``files`` is the digest of each of its files by path."""
    unit = _id(
        tx,
        """insert into release_files (codename, suite, distribution, components, architectures,
                                      directory, relative_path, sha256, release_digest)
           values (%(d)s, 'stable', %(d)s, 'main', 'amd64', 'dists/' || %(d)s,
                   'dists/' || %(d)s || '/InRelease', %(s)s, %(s)s) returning id""",
        {
            "d": distribution,
            "s": next(iter(files.values()), sha256(distribution.encode()).digest()),
        },
    )
    for path, digest in files.items():
        tx.execute(
            "insert into unit_files (kind, unit, path, sha256) values (4, %s, %s, %s)",
            (unit, path, digest),
        )
    return unit


def add_artifact(tx: Tx, digest: bytes, size: int = 1) -> int:
    """An artifact's row; no file."""
    return _id(
        tx, "insert into artifacts (sha256, size) values (%s, %s) returning id", (digest, size)
    )


def add_repository(tx: Tx, name: str) -> int:
    """A repository without any version."""
    return _id(tx, "insert into repositories (name) values (%s) returning id", (name,))


def unit_list(tx: Tx, kind: Kind) -> int:
    """The list of a kind of unit."""
    return _id(tx, "select id from content_lists where kind = %s", (int(kind),))


def link_list(tx: Tx, component: int, architecture: str) -> int:
    """The list of the links to one place."""
    return _id(
        tx,
        """insert into content_lists (kind, release_component, index_architecture)
           values (11, %s, %s) returning id""",
        (component, architecture),
    )


def write_versions(
    tx: Tx, repository: int, versions: Sequence[Mapping[int, Iterable[int]]]
) -> None:
    """Versions 0, 1, … of a repository, each given as the units of its lists."""
    open_chunks: dict[tuple[int, int], tuple[int, frozenset[int]]] = {}
    for number, lists in enumerate(versions):
        tx.execute(
            "insert into repository_versions (repository, number) values (%s, %s)",
            (repository, number),
        )
        wanted: dict[tuple[int, int], set[int]] = {}
        for list_id, units in lists.items():
            for unit in units:
                wanted.setdefault((list_id, unit >> 12), set()).add(unit & 4095)
        for key in open_chunks.keys() | wanted.keys():
            before, after = open_chunks.get(key), wanted.get(key)
            if before is not None and after != before[1]:
                _write_chunk(tx, repository, key, before, number)
                del open_chunks[key]
            if after is not None and (before is None or after != before[1]):
                open_chunks[key] = (number, frozenset(after))
    for key, chunk in open_chunks.items():
        _write_chunk(tx, repository, key, chunk, None)


def bits_of(places: Iterable[int]) -> str:
    """The text of a chunk's bits."""
    bits = ["0"] * CHUNK
    for place in places:
        bits[place] = "1"
    return "".join(bits)


def _write_chunk(
    tx: Tx,
    repository: int,
    key: tuple[int, int],
    chunk: tuple[int, frozenset[int]],
    removed: int | None,
) -> None:
    tx.execute(
        """insert into repository_chunks (repository, list, chunk, added, removed, bits)
           values (%s, %s, %s, %s, %s, %s::bit(4096))""",
        (repository, *key, chunk[0], removed, bits_of(chunk[1])),
    )


def _id(tx: Tx, query: str, parameters: object) -> int:
    row = tx.execute(query, parameters).fetchone()  # type: ignore[arg-type]  # fixed texts above
    assert row is not None
    return int(row["id"])
