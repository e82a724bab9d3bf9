"""Versions that are part of one that is there: what is found to be one, what is still refused."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Mapping

import pytest

from debfleet.db import covers, units, versions
from debfleet.db.connect import Database, Tx
from debfleet.errors import ContentOverwrite, DuplicatePackages, PathClash
from debfleet.identity import UnitId
from debfleet.model import Kind
from version_rows import (
    STANZA_KEY,
    Want,
    add_repository,
    add_task,
    ingest,
    numbered,
    package_ids,
    read_versions,
    stanza,
    want,
)

STEPS = int(os.environ.get("DEBFLEET_TEST_MODEL_STEPS", "130"))  # more in `make fuzz`
CHUNKS = 12
COMPARED = (Kind.PACKAGE, Kind.INSTALLER_PACKAGE, Kind.SOURCE_PACKAGE)
OTHERS = (Kind.GENERIC, Kind.RELEASE)

Sets = dict[Kind, set[int]]
_names = itertools.count()
_CHUNKS = (
    "select l.id as list, chunk_of(u.id) as chunk, bit_or(one_bit(u.id)) as bits"
    " from unnest(%s::bigint[]) as u (id) join content_lists l on l.kind = %s group by 1, 2"
)


# --- what is found -------------------------------------------------------------------------------


def test_a_part_of_a_version_is_found_as_sets_say_it(db: Database) -> None:
    dice = random.Random(3)
    met = {True: 0, False: 0}

    for step in range(STEPS // 2):
        with db.transaction() as tx:
            tx.execute("delete from repositories")
        pool = {kind: set(range(1, CHUNKS * units.CHUNK, 199)) for kind in (*COMPARED, *OTHERS)}
        fleet = [_part(dice, pool, dice.choice([0.5, 1])) for _ in range(dice.choice([1, 4]))]
        wanted = _part(dice, dice.choice(fleet), dice.choice([0.5, 1]))
        base = _part(dice, dice.choice([wanted, wanted, pool]), dice.choice([0, 0, 0.1]))
        _spoil(dice, wanted)
        _spoil(dice, base)
        mirror = dice.random() < 0.3
        for held in fleet:
            _hold(db, held)

        found = _is_covered(db, _hold(db, base), wanted, mirror=mirror)

        fresh = sum(len(wanted[kind] - base[kind]) for kind in COMPARED)
        assert len(fleet) < fresh // 16 or not fresh
        expected = fresh > 0
        expected &= mirror or all(base[kind] <= wanted[kind] for kind in COMPARED)
        expected &= any(all(wanted[kind] <= held[kind] for kind in COMPARED) for held in fleet)
        assert found == expected, f"step {step}"
        met[found] += 1

    assert min(met.values()) > STEPS / 20, met


def _part(dice: random.Random, of: Mapping[Kind, set[int]], share: float) -> Sets:
    """A part of some sets; perhaps without a whole chunk of one."""
    sets = {kind: {id for id in ids if dice.random() < share} for kind, ids in of.items()}
    if dice.random() < 0.2:
        away, kind = dice.randrange(CHUNKS), dice.choice(COMPARED)
        sets[kind] = {id for id in sets[kind] if id // units.CHUNK != away}
    return sets


def _spoil(dice: random.Random, sets: Sets) -> None:
    """Perhaps one unit more, of any kind, perhaps alone in its chunk."""
    if dice.random() < 0.3:
        sets[dice.choice([*COMPARED, *OTHERS])].add(dice.randrange((CHUNKS + 2) * units.CHUNK))


def _hold(db: Database, held: Sets) -> int:
    """A repository whose latest version holds these units, none of which need exist."""
    with db.transaction() as tx:
        repository = add_repository(tx, f"r{next(_names)}")
        at = (repository,)
        tx.execute("insert into repository_versions (repository, number) values (%s, 1)", at)
        tx.execute("update repositories set last_number = 1 where id = %s", at)
        for kind, ids in held.items():
            tx.execute(
                "insert into repository_chunks (repository, list, chunk, added, bits)"
                f" select %s, list, chunk, 1, bits from ({_CHUNKS}) c",
                (repository, list(ids), int(kind)),
            )
    return repository


def _want(tx: Tx, wanted: Sets) -> None:
    for kind, ids in wanted.items():
        tx.execute(f"insert into wanted {_CHUNKS}", (list(ids), int(kind)))


def _is_covered(db: Database, repository: int, wanted: Sets, *, mirror: bool = False) -> bool:
    """What is found where these are wanted beside what a repository holds."""
    found: list[bool] = []

    def fill(tx: Tx) -> None:
        _want(tx, wanted)
        found.append(covers.is_covered(tx, mirror=mirror))

    with db.transaction() as tx, tx.transaction(force_rollback=True):
        versions.take_in(tx, repository=repository, task=add_task(tx), fill=fill)
    return found[0]


def test_of_many_repositories_the_newest_are_looked_at_one_for_sixteen_packages(
    db: Database,
) -> None:
    some = {Kind.PACKAGE: set(range(1, 65))}
    _hold(db, some)
    with db.transaction() as tx:
        newer = [add_repository(tx, f"empty {i}") for i in range(4)]
    assert _is_covered(db, newer[-1], some)
    with db.transaction() as tx:
        add_repository(tx, "one more")

    assert not _is_covered(db, newer[-1], some)


def test_a_version_that_is_not_committed_covers_nothing(db: Database) -> None:
    some = {Kind.PACKAGE: set(range(1, 100))}
    with db.transaction() as tx:
        first, second = add_repository(tx, "first"), add_repository(tx, "second")

    with db.transaction() as tx:
        versions.take_in(tx, repository=first, task=add_task(tx), fill=lambda tx: _want(tx, some))
        found_meanwhile = _is_covered(db, second, some)

    assert not found_meanwhile


def test_a_version_that_goes_meanwhile_leaves_its_packages_to_the_new_one(db: Database) -> None:
    index = ingest(db, [stanza(f"p{i}") for i in range(20)]).index
    with db.transaction() as tx:
        first, second = add_repository(tx, "first"), add_repository(tx, "second")
    sync(db, first, index)
    held = {Kind.PACKAGE: packages_of(db, first)}
    seen: list[bool] = []

    def fill(tx: Tx) -> None:
        _want(tx, held)
        seen.append(covers.is_covered(tx, mirror=False))
        with db.transaction() as other:
            other.execute("delete from repositories where id = %s", (first,))
        with db.transaction() as cleanup:
            row = cleanup.execute(
                "select pg_try_advisory_xact_lock(hashtextextended('debfleet.content', 0)) as free"
            ).fetchone()
            assert row is not None
            seen.append(row["free"])

    with db.transaction() as tx:
        versions.take_in(tx, repository=second, task=add_task(tx), fill=fill)

    assert seen == [True, False]  # covered; and cleanup may not begin
    assert packages_of(db, second) == held[Kind.PACKAGE]


# --- what is still refused, and what is made ------------------------------------------------------


def sync(
    db: Database, repository: int, *indices: int, mirror: bool = False
) -> versions.NewVersion | None:
    """Of some indices, one component each."""
    with db.transaction() as tx:
        task = add_task(tx)
        want(tx, task, [Want(index, f"c{i}") for i, index in enumerate(indices)])
        return versions.assemble(tx, repository=repository, task=task, mirror=mirror, options={})


def packages_of(db: Database, repository: int) -> set[int]:
    with db.transaction() as tx:
        latest = max(read_versions(tx, repository).items())[1]
    return {id for kind, _, id in latest if kind == Kind.PACKAGE}


@pytest.fixture
def first(db: Database) -> int:
    with db.transaction() as tx:
        return add_repository(tx, "first")


@pytest.fixture
def second(db: Database) -> int:
    with db.transaction() as tx:
        return add_repository(tx, "second")


@pytest.mark.parametrize("mirror", [False, True])
def test_a_rebuild_beside_what_another_repository_holds_is_refused_wherever_it_lies(
    db: Database, first: int, second: int, mirror: bool
) -> None:
    names = [f"p{i:02}" for i in range(20)]
    alone = []
    with db.transaction() as tx:
        for i, name in enumerate(names):  # each in a chunk of its own, its rebuild beside it
            tx.execute("select setval('packages_id_seq', %s)", (units.CHUNK * (i + 1),))
            for build, kept in (("", []), ("2", alone)):
                digest = bytes([i, len(build)]) * 16
                text = stanza(name, build=build)
                known = units.ingest_index(tx, STANZA_KEY, digest, numbered([text]))
                kept.append(known.index)
    everything = ingest(db, [stanza(name) for name in names]).index
    sync(db, first, everything)

    for index in alone:
        with pytest.raises(DuplicatePackages):
            sync(db, second, everything, index, mirror=mirror)

    assert packages_of(db, second) == set()
    sync(db, second, everything, mirror=mirror)
    assert packages_of(db, second) == packages_of(db, first)


@pytest.mark.parametrize("mirror", [False, True])
def test_another_file_at_a_path_of_what_another_repository_holds_is_refused(
    db: Database, first: int, second: int, mirror: bool
) -> None:
    usual = [stanza(f"p{i}") for i in range(50)] + [stanza("q", path="latest.deb")]
    index = ingest(db, usual).index
    sync(db, first, index)
    more = ingest(db, [stanza("r", path="latest.deb")]).index

    with pytest.raises(PathClash, match=r"Path is duplicated: latest\.deb\."):
        sync(db, second, index, more, mirror=mirror)

    assert packages_of(db, second) == set()


def test_a_repository_of_fewer_indices_is_a_part_and_of_more_is_not(
    db: Database, first: int, second: int
) -> None:
    one, other, third = (
        ingest(db, [stanza(f"{letter}{i}") for i in range(30)]).index for letter in "abc"
    )
    sync(db, first, one, other)

    fewer = sync(db, second, one)
    more = sync(db, second, one, other, third)

    assert fewer is not None
    assert more is not None
    assert fewer.counts[Kind.PACKAGE] == versions.Counts(30, 30, 0)
    assert more.counts[Kind.PACKAGE] == versions.Counts(90, 60, 0)


def test_a_held_package_gives_way_though_a_version_holds_it_beside_the_new_one(
    db: Database, first: int, second: int
) -> None:
    old = ingest(db, [stanza(f"p{i}") for i in range(30)]).index
    moved = ingest(db, [stanza(f"p{i}", path=f"pool/moved/p{i}.deb") for i in range(30)]).index
    sync(db, first, old, moved)  # the same files at two paths: allowed where upstream has both
    sync(db, second, old)

    with db.transaction() as tx:
        add = [UnitId(Kind.PACKAGE, id) for id in package_ids(tx, moved)]
        task = add_task(tx)
    with pytest.raises(ContentOverwrite), db.transaction() as tx:
        versions.modify(tx, repository=second, task=task, add=add, remove=[], overwrite=False)
    version = sync(db, second, moved)

    assert version is not None
    assert version.replaced == 30
    with db.transaction() as tx:
        assert packages_of(db, second) == package_ids(tx, moved)


def test_a_mirror_takes_a_part_whatever_it_held(db: Database, first: int, second: int) -> None:
    old = ingest(db, [stanza(f"p{i}", "0.9", path=f"p{i}.deb") for i in range(30)]).index
    new = ingest(db, [stanza(f"p{i}", path=f"p{i}.deb") for i in range(30)]).index
    sync(db, first, new)
    sync(db, second, old)

    with pytest.raises(PathClash):  # a version holds the new ones, none both
        sync(db, second, new)
    version = sync(db, second, new, mirror=True)

    assert version is not None
    assert version.counts[Kind.PACKAGE] == versions.Counts(30, 30, 30)
    assert packages_of(db, second) == packages_of(db, first)


def test_packages_of_one_version_and_sources_of_another_may_clash(
    db: Database, first: int, second: int
) -> None:
    texts = [stanza(f"p{i}") for i in range(30)]
    index = ingest(db, [*texts, stanza("q", path="pool/foo.tar.gz")]).index
    sync(db, first, index)
    with db.transaction() as tx:
        third = add_repository(tx, "third")
        source = _add_source(tx, "foo", "pool/foo.tar.gz")
        of_source = [UnitId(Kind.SOURCE_PACKAGE, source)]
        versions.modify(tx, repository=third, task=add_task(tx), add=of_source, remove=[])
        both = [*of_source, *(UnitId(Kind.PACKAGE, id) for id in package_ids(tx, index))]

    with pytest.raises(PathClash), db.transaction() as tx:
        versions.modify(tx, repository=second, task=add_task(tx), add=both, remove=[])

    assert packages_of(db, second) == set()


def _add_source(tx: Tx, name: str, path: str) -> int:
    row = tx.execute(
        "insert into source_packages (digest, name, version, relative_path, sha256, same_key,"
        " stanza) values (gen_random_uuid(), %s, '1.0', 'pool/foo.dsc', %s, 1, '') returning id",
        (name, bytes(32)),
    ).fetchone()
    assert row is not None
    id: int = row["id"]
    tx.execute(
        "insert into unit_files (kind, unit, path, sha256, size) values (12, %s, %s, %s, 1)",
        (id, path, bytes(32)),
    )
    return id
