"""Assembling a version from what a sync found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from debfleet.db import units, versions
from debfleet.db.connect import Database
from debfleet.errors import DuplicatePackages, NotFound, PathClash
from debfleet.model import Kind
from version_rows import (
    Unit,
    Want,
    add_package_index,
    add_release,
    add_release_file,
    add_repository,
    add_task,
    add_task_units,
    expected_counts,
    ingest,
    places,
    read_counts,
    read_versions,
    stanza,
    want,
)


def sync(
    db: Database,
    repository: int,
    wants: Sequence[Want] = (),
    *,
    mirror: bool = False,
    own: Sequence[tuple[Kind, int]] = (),
    options: dict[str, Any] | None = None,
) -> versions.NewVersion | None:
    """One sync's assemble."""
    with db.transaction() as tx:
        task = add_task(tx)
        want(tx, task, wants)
        for kind, id in own:
            add_task_units(tx, task, kind, [id])
        return versions.assemble(
            tx, repository=repository, task=task, mirror=mirror, options=options or {}
        )


def index_of(db: Database, *stanzas: bytes) -> int:
    return ingest(db, stanzas).index


def repository_of(db: Database, retain: int | None = None) -> int:
    with db.transaction() as tx:
        return add_repository(tx, retain=retain)


def held(db: Database, repository: int, number: int | None = None) -> set[Unit]:
    with db.transaction() as tx:
        found = read_versions(tx, repository)
        assert read_counts(tx, repository) == expected_counts(found)
    return found[max(found) if number is None else number]


def names(db: Database, repository: int, number: int | None = None) -> list[str]:
    """The packages of a version, as name_version_architecture and their description."""
    ids = [id for kind, _, id in held(db, repository, number) if kind == Kind.PACKAGE]
    with db.transaction() as tx:
        rows = tx.execute(
            "select name || '_' || version || '_' || architecture as label from packages"
            " where id = any (%s) order by 1",
            (ids,),
        ).fetchall()
    return [row["label"] for row in rows]


def links(db: Database, repository: int) -> list[tuple[str, str, str, str]]:
    """The package links of the latest version: distribution, component, architecture, name."""
    units_ = held(db, repository)
    with db.transaction() as tx:
        where = places(tx)
        named = {row["id"]: row["name"] for row in tx.execute("select id, name from packages")}
    return sorted((*where[list_], named[id]) for kind, list_, id in units_ if kind == Kind(11))


def test_a_first_sync_makes_version_one_with_packages_links_and_components(db: Database) -> None:
    repository = repository_of(db)
    index = index_of(db, stanza("a"), stanza("b", architecture="all"))

    version = sync(db, repository, [Want(index)], options={"policy": "immediate"})

    assert version is not None
    assert version.number == 1
    assert version.counts == {
        Kind.PACKAGE: versions.Counts(2, 2, 0),
        Kind.RELEASE_COMPONENT: versions.Counts(1, 1, 0),
        Kind.PACKAGE_RELEASE_COMPONENT: versions.Counts(2, 2, 0),
    }
    assert links(db, repository) == [
        ("stable", "main", "all", "b"),
        ("stable", "main", "amd64", "a"),
    ]
    with db.transaction() as tx:
        row = tx.execute("select * from repository_versions where number = 1").fetchone()
    assert row is not None
    assert (row["id"], row["options"]) == (version.id, {"policy": "immediate"})
    assert row["base_version"] is None


def test_nothing_new_makes_no_version_and_uses_up_no_number(db: Database) -> None:
    repository = repository_of(db)
    first = index_of(db, stanza("a"))
    sync(db, repository, [Want(first)])

    assert sync(db, repository, [Want(first)]) is None
    assert sync(db, repository, [Want(first)], mirror=True) is None

    version = sync(db, repository, [Want(index_of(db, stanza("b")))])
    assert version is not None
    assert version.number == 2


def test_an_additive_sync_keeps_what_upstream_dropped_and_a_mirror_does_not(db: Database) -> None:
    repository = repository_of(db)
    sync(db, repository, [Want(index_of(db, stanza("a"), stanza("b")))])
    smaller = index_of(db, stanza("b"), stanza("c"))

    sync(db, repository, [Want(smaller)])
    assert names(db, repository) == ["a_1.0_amd64", "b_1.0_amd64", "c_1.0_amd64"]

    sync(db, repository, [Want(smaller)], mirror=True)
    assert names(db, repository) == ["b_1.0_amd64", "c_1.0_amd64"]
    assert names(db, repository, 2) == ["a_1.0_amd64", "b_1.0_amd64", "c_1.0_amd64"]


def test_only_accepted_architectures_are_taken(db: Database) -> None:
    repository = repository_of(db)
    index = index_of(
        db, stanza("a"), stanza("b", architecture="all"), stanza("c", architecture="armhf")
    )

    sync(db, repository, [Want(index, accept=("amd64",))])

    assert names(db, repository) == ["a_1.0_amd64"]


def test_a_flat_index_places_packages_by_their_own_architecture(db: Database) -> None:
    repository = repository_of(db)
    index = index_of(db, stanza("a"), stanza("b", architecture="all"))
    flat = Want(index, "flat-repo-component", "", "flat-repo")

    sync(db, repository, [flat])

    assert links(db, repository) == [
        ("flat-repo", "flat-repo-component", "all", "b"),
        ("flat-repo", "flat-repo-component", "amd64", "a"),
    ]


def test_one_index_in_two_places_is_one_set_of_packages_and_two_of_links(db: Database) -> None:
    repository = repository_of(db)
    index = index_of(db, stanza("a"))

    sync(db, repository, [Want(index), Want(index, "contrib"), Want(index, distribution="next")])

    assert names(db, repository) == ["a_1.0_amd64"]
    assert links(db, repository) == [
        ("next", "main", "amd64", "a"),
        ("stable", "contrib", "amd64", "a"),
        ("stable", "main", "amd64", "a"),
    ]


def test_indices_that_are_missing_or_unchanged_bring_nothing(db: Database) -> None:
    repository = repository_of(db)
    index = index_of(db, stanza("a"))

    version = sync(
        db, repository, [Want(None, state="missing"), Want(index, "b", state="unchanged")]
    )

    assert version is None


def test_release_files_and_indices_are_those_of_the_last_sync(db: Database) -> None:
    repository = repository_of(db)
    with db.transaction() as tx:
        old, new = add_release_file(tx, "stable", "1"), add_release_file(tx, "stable", "2")
        listed = add_package_index(tx, "dists/stable/main/binary-amd64/Packages")
    sync(db, repository, own=[(Kind.RELEASE_FILE, old), (Kind.PACKAGE_INDEX, listed)])

    sync(db, repository, own=[(Kind.RELEASE_FILE, new)])

    assert held(db, repository) == {(Kind.RELEASE_FILE, 0, new)}
    kept = [(Kind.RELEASE_FILE, new), (Kind.PACKAGE_INDEX, listed)]
    assert sync(db, repository, own=kept) is not None
    assert sync(db, repository, own=kept) is None


def test_a_new_release_replaces_the_old_of_its_distribution_only(db: Database) -> None:
    repository = repository_of(db)
    with db.transaction() as tx:
        old, new = add_release(tx, "stable", "12.1"), add_release(tx, "stable", "12.2")
        other = add_release(tx, "next", "13")
    sync(db, repository, own=[(Kind.RELEASE, old), (Kind.RELEASE, other)])

    sync(db, repository, own=[(Kind.RELEASE, new)])

    assert held(db, repository) == {(Kind.RELEASE, 0, new), (Kind.RELEASE, 0, other)}


def test_a_newer_build_replaces_the_held_one_with_its_links(db: Database) -> None:
    repository = repository_of(db)
    sync(db, repository, [Want(index_of(db, stanza("a"), stanza("b")))])

    version = sync(db, repository, [Want(index_of(db, stanza("a", build="2")), "contrib")])

    assert version is not None
    assert version.replaced == 1
    assert version.counts[Kind.PACKAGE] == versions.Counts(2, 1, 1)
    assert links(db, repository) == [
        ("stable", "contrib", "amd64", "a"),
        ("stable", "main", "amd64", "b"),
    ]


def test_other_metadata_of_the_same_file_replaces_the_held_one_too(db: Database) -> None:
    repository = repository_of(db)
    sync(db, repository, [Want(index_of(db, stanza("a")))])

    version = sync(db, repository, [Want(index_of(db, stanza("a", note=" better")))])

    assert version is not None
    assert version.replaced == 1
    assert names(db, repository) == ["a_1.0_amd64"]


def test_the_same_file_under_two_paths_is_allowed_when_upstream_wants_both(db: Database) -> None:
    repository = repository_of(db)
    elsewhere = stanza("a", path="pool/other/a.deb")
    sync(db, repository, [Want(index_of(db, stanza("a"), stanza("b")), "contrib")])

    version = sync(
        db, repository, [Want(index_of(db, stanza("a"), elsewhere, stanza("b", build="2")))]
    )

    assert version is not None
    assert version.replaced == 1  # b alone; a keeps its old place, too
    assert names(db, repository) == ["a_1.0_amd64", "a_1.0_amd64", "b_1.0_amd64"]
    assert [(place[1], place[3]) for place in links(db, repository)] == [
        ("contrib", "a"),
        ("main", "a"),
        ("main", "a"),
        ("main", "b"),
    ]


@pytest.mark.parametrize("mirror", [False, True])
def test_two_new_files_for_one_package_fail_and_leave_the_repository(
    db: Database, mirror: bool
) -> None:
    repository = repository_of(db)
    indices = [index_of(db, stanza("a")), index_of(db, stanza("a", build="2"))]

    with pytest.raises(DuplicatePackages, match=r"a different checksum: a 1\.0 amd64\."):
        sync(
            db,
            repository,
            [Want(indices[0]), Want(indices[1], distribution="next")],
            mirror=mirror,
        )

    assert held(db, repository) == set()


@pytest.mark.parametrize("mirror", [False, True])
def test_wanting_a_new_build_beside_the_held_one_fails(db: Database, mirror: bool) -> None:
    repository = repository_of(db)
    first = index_of(db, stanza("a"))
    sync(db, repository, [Want(first)])
    second = index_of(db, stanza("a", build="2"))

    with pytest.raises(DuplicatePackages):
        sync(db, repository, [Want(first), Want(second, "contrib")], mirror=mirror)

    assert names(db, repository) == ["a_1.0_amd64"]


def test_packages_that_share_only_the_hash_of_their_key_live_side_by_side(db: Database) -> None:
    repository = repository_of(db)
    held_one, one, other = (index_of(db, stanza(name)) for name in "abc")
    with db.transaction() as tx:
        tx.execute("update packages set same_key = 7")
    sync(db, repository, [Want(held_one)])

    version = sync(db, repository, [Want(one), Want(other)])

    assert version is not None
    assert version.replaced == 0
    assert names(db, repository) == ["a_1.0_amd64", "b_1.0_amd64", "c_1.0_amd64"]


@pytest.mark.parametrize("mirror", [False, True])
def test_two_files_at_one_path_fail(db: Database, mirror: bool) -> None:
    repository = repository_of(db)
    first, second = (stanza(name, path="latest.deb") for name in "ab")

    with pytest.raises(PathClash, match=r"Path is duplicated: latest\.deb\."):
        sync(db, repository, [Want(index_of(db, first, second))], mirror=mirror)

    assert held(db, repository) == set()


def test_an_upstream_that_replaces_a_file_in_place_can_be_mirrored_only(db: Database) -> None:
    repository = repository_of(db)
    sync(db, repository, [Want(index_of(db, stanza("a", "1.0", path="latest.deb")))])
    newer = index_of(db, stanza("a", "2.0", path="latest.deb"))

    with pytest.raises(PathClash):
        sync(db, repository, [Want(newer)])
    assert sync(db, repository, [Want(newer)], mirror=True) is not None

    assert names(db, repository) == ["a_2.0_amd64"]


def test_a_rebuild_in_place_replaces_the_held_one(db: Database) -> None:
    repository = repository_of(db)
    sync(db, repository, [Want(index_of(db, stanza("a", path="latest.deb")))])

    version = sync(db, repository, [Want(index_of(db, stanza("a", build="2", path="latest.deb")))])

    assert version is not None
    assert version.replaced == 1


def test_variants_of_one_architecture_are_different_packages(db: Database) -> None:
    repository = repository_of(db)
    variant = stanza("a", build="3", path="a3.deb", extra="Architecture-Variant: amd64v3")

    version = sync(db, repository, [Want(index_of(db, stanza("a"), variant))])

    assert version is not None
    assert names(db, repository) == ["a_1.0_amd64", "a_1.0_amd64"]


def test_foreign_packages_are_counted_unless_another_index_brings_them(db: Database) -> None:
    repeated, alien = stanza("b", architecture="all"), stanza("c", architecture="armhf")
    main = index_of(db, stanza("a"), repeated, alien, stanza("d", architecture="all"))
    for_all = index_of(db, repeated)

    with db.transaction() as tx:
        task = add_task(tx)
        want(
            tx,
            task,
            [
                Want(for_all, architecture="all", accept=("all",)),
                Want(main, accept=("amd64",)),
                Want(main, "flat-repo-component", "", "flat-repo", accept=("amd64",)),
                Want(main, "unchanged", accept=("amd64",), state="unchanged"),
            ],
        )
        foreign = versions.list_foreign(tx, task)

    path = "dists/stable/main/binary-amd64/Packages"
    assert foreign == [
        versions.Foreign(1, path, "all", 1),
        versions.Foreign(1, path, "armhf", 1),
    ]


def test_retention_deletes_the_oldest_versions(db: Database) -> None:
    repository = repository_of(db, retain=2)
    for name in "abc":
        sync(db, repository, [Want(index_of(db, stanza(name)))])

    with db.transaction() as tx:
        found = read_versions(tx, repository)
        assert sorted(found) == [2, 3]
        assert read_counts(tx, repository) == expected_counts(found)
    assert names(db, repository) == ["a_1.0_amd64", "b_1.0_amd64", "c_1.0_amd64"]


def test_a_unit_that_is_gone_fails_the_sync(db: Database) -> None:
    repository = repository_of(db)

    with pytest.raises(NotFound, match="no unit of kind release 4711"):
        sync(db, repository, own=[(Kind.RELEASE, 4711)])


def test_a_repository_that_is_gone_fails_the_sync(db: Database) -> None:
    with pytest.raises(NotFound, match="no repository 4711"):
        sync(db, 4711)


def test_a_second_repository_of_one_upstream_costs_no_package(db: Database) -> None:
    index = index_of(db, stanza("a"), stanza("b"))
    with db.transaction() as tx:
        first, second = add_repository(tx, "first"), add_repository(tx, "second")
    sync(db, first, [Want(index)])

    sync(db, second, [Want(index)])

    assert held(db, first) == held(db, second)


def test_ids_at_chunk_borders_are_compared_and_counted_right(db: Database) -> None:
    repository = repository_of(db)
    with db.transaction() as tx:
        tx.execute("select setval('packages_id_seq', 4094)")
    texts = [stanza(f"p{i}") for i in range(4)]
    sync(db, repository, [Want(index_of(db, *texts))])
    assert {id for kind, _, id in held(db, repository) if kind == 1} == {4095, 4096, 4097, 4098}
    with db.transaction() as tx:
        tx.execute("select setval('packages_id_seq', 8190)")

    newer = [stanza(f"p{i}", build="2") for i in range(4)]
    version = sync(db, repository, [Want(index_of(db, *newer))])

    assert version is not None
    assert version.counts[Kind.PACKAGE] == versions.Counts(4, 4, 4)
    assert {id for kind, _, id in held(db, repository) if kind == 1} == {8191, 8192, 8193, 8194}
    assert units.CHUNK == 4096
