"""Versions made by hand, and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest

from debfleet.db import versions
from debfleet.db.connect import Database
from debfleet.errors import ContentOverwrite, DuplicatePackages, LastVersion, NotFound
from debfleet.identity import UnitId
from debfleet.model import Kind
from version_rows import (
    Unit,
    Want,
    add_release,
    add_release_file,
    add_repository,
    add_task,
    add_task_units,
    expected_counts,
    ingest,
    read_counts,
    read_versions,
    stanza,
    want,
)


def modify(
    db: Database,
    repository: int,
    add: Sequence[UnitId] = (),
    remove: Sequence[UnitId] | Literal["*"] = (),
    *,
    base_number: int | None = None,
    overwrite: bool = True,
) -> versions.NewVersion | None:
    with db.transaction() as tx:
        return versions.modify(
            tx,
            repository=repository,
            task=add_task(tx, "modify"),
            add=add,
            remove=remove,
            base_number=base_number,
            overwrite=overwrite,
        )


def all_held(db: Database, repository: int) -> dict[int, set[Unit]]:
    with db.transaction() as tx:
        found = read_versions(tx, repository)
        assert read_counts(tx, repository) == expected_counts(found)
    return found


def packages(db: Database, *stanzas: bytes) -> list[UnitId]:
    """Ingest them; their ids in this order."""
    ingest(db, stanzas)
    with db.transaction() as tx:
        ids = {row["stanza"]: row["id"] for row in tx.execute("select id, stanza from packages")}
    return [UnitId(Kind.PACKAGE, ids[text.decode()]) for text in stanzas]


def plain(*units: UnitId) -> set[Unit]:
    return {(unit.kind, unit.list, unit.id) for unit in units}


@pytest.fixture
def repository(db: Database) -> int:
    with db.transaction() as tx:
        return add_repository(tx)


@pytest.fixture
def synced(db: Database, repository: int) -> int:
    """A repository whose version 1 comes from a sync of packages a and b."""
    index = ingest(db, [stanza("a"), stanza("b")]).index
    with db.transaction() as tx:
        task = add_task(tx)
        want(tx, task, [Want(index)])
        add_task_units(tx, task, Kind.RELEASE_FILE, [add_release_file(tx, "stable")])
        versions.assemble(tx, repository=repository, task=task, mirror=False, options={})
    return repository


def test_units_are_added_and_removed(db: Database, repository: int) -> None:
    a, b, c = packages(db, stanza("a"), stanza("b"), stanza("c"))
    modify(db, repository, [a, b])

    version = modify(db, repository, [c], [a])

    assert version is not None
    assert version.number == 2
    assert all_held(db, repository) == {0: set(), 1: plain(a, b), 2: plain(b, c)}


def test_adding_what_is_there_and_removing_what_is_not_changes_nothing(
    db: Database, repository: int
) -> None:
    a, b = packages(db, stanza("a"), stanza("b"))
    modify(db, repository, [a])

    assert modify(db, repository, [a], [b]) is None
    assert modify(db, repository) is None
    assert modify(db, repository, [a], "*") is None


def test_a_unit_both_removed_and_added_stays(db: Database, repository: int) -> None:
    (a,) = packages(db, stanza("a"))
    modify(db, repository, [a])

    assert modify(db, repository, [a], [a]) is None


def test_a_removed_package_takes_its_links_along(db: Database, synced: int) -> None:
    a, b = packages(db, stanza("a"), stanza("b"))

    modify(db, synced, [], [a])

    latest = all_held(db, synced)[2]
    assert {id for kind, _, id in latest if kind == Kind.PACKAGE} == {b.id}
    assert {id for kind, _, id in latest if kind == Kind.PACKAGE_RELEASE_COMPONENT} == {b.id}


def test_a_link_can_go_and_come_without_its_package(db: Database, synced: int) -> None:
    a, _ = packages(db, stanza("a"), stanza("b"))
    before = all_held(db, synced)[1]
    (link,) = [UnitId(Kind(k), i, list_) for k, list_, i in before if k == 11 and i == a.id]

    modify(db, synced, [], [link])
    modify(db, synced, [link])

    held = all_held(db, synced)
    assert held[2] == {u for u in before if u[0] != Kind.RELEASE_FILE} - plain(link)
    assert held[3] == held[2] | plain(link)


def test_the_first_modify_after_a_sync_drops_what_upstream_signed(
    db: Database, synced: int
) -> None:
    assert any(unit[0] == Kind.RELEASE_FILE for unit in all_held(db, synced)[1])

    assert modify(db, synced) is not None

    assert not any(unit[0] == Kind.RELEASE_FILE for unit in all_held(db, synced)[2])


def test_everything_can_be_removed(db: Database, synced: int) -> None:
    (c,) = packages(db, stanza("c"))

    modify(db, synced, [c], "*")

    assert all_held(db, synced)[2] == plain(c)


def test_a_base_version_is_the_start_and_the_latest_the_comparison(
    db: Database, repository: int
) -> None:
    a, b, c = packages(db, stanza("a"), stanza("b"), stanza("c"))
    first = modify(db, repository, [a])
    modify(db, repository, [b], [a])

    version = modify(db, repository, [c], base_number=1)

    assert first is not None
    assert version is not None
    assert version.counts == {Kind.PACKAGE: versions.Counts(2, 2, 1)}
    assert all_held(db, repository)[3] == plain(a, c)
    with db.transaction() as tx:
        row = tx.execute("select base_version from repository_versions where number = 3").fetchone()
    assert row == {"base_version": first.id}
    assert modify(db, repository, [a, c], base_number=0) is None


def test_a_base_version_that_does_not_exist_is_not_found(db: Database, repository: int) -> None:
    with pytest.raises(NotFound, match="no repository version 7"):
        modify(db, repository, base_number=7)


def test_an_added_package_replaces_its_older_build(db: Database, repository: int) -> None:
    old, new = packages(db, stanza("a"), stanza("a", build="2"))
    modify(db, repository, [old])

    version = modify(db, repository, [new])

    assert version is not None
    assert version.replaced == 1
    assert all_held(db, repository)[2] == plain(new)


def test_replacing_is_refused_where_overwrite_is_off(db: Database, repository: int) -> None:
    old, new = packages(db, stanza("a"), stanza("a", build="2"))
    modify(db, repository, [old])

    with pytest.raises(ContentOverwrite, match=r"Content overwrite rejected: .* a 1\.0 amd64"):
        modify(db, repository, [new], overwrite=False)

    assert modify(db, repository, [new], [old], overwrite=False) is not None
    assert all_held(db, repository) == {0: set(), 1: plain(old), 2: plain(new)}


def test_replacing_a_release_is_refused_where_overwrite_is_off(
    db: Database, repository: int
) -> None:
    with db.transaction() as tx:
        old, new = (UnitId(Kind.RELEASE, add_release(tx, "stable", v)) for v in "12")
    modify(db, repository, [old])

    with pytest.raises(ContentOverwrite):
        modify(db, repository, [new], overwrite=False)


def test_two_added_builds_of_one_package_are_refused(db: Database, repository: int) -> None:
    old, new = packages(db, stanza("a"), stanza("a", build="2"))

    with pytest.raises(DuplicatePackages):
        modify(db, repository, [old, new])


def test_a_unit_that_is_gone_is_not_added(db: Database, repository: int) -> None:
    with pytest.raises(NotFound, match="no unit of kind package 99"):
        modify(db, repository, [UnitId(Kind.PACKAGE, 99)])
    with pytest.raises(NotFound, match="no unit of kind package_release_component 99"):
        modify(db, repository, [UnitId(Kind.PACKAGE_RELEASE_COMPONENT, 99, 1)])


def test_deleting_a_version_leaves_the_others_as_they_were(db: Database, repository: int) -> None:
    a, b, c = packages(db, stanza("a"), stanza("b"), stanza("c"))
    for unit in (a, b, c):
        modify(db, repository, [unit])

    with db.transaction() as tx:
        versions.delete_version(tx, repository, 2)

    assert all_held(db, repository) == {0: set(), 1: plain(a), 3: plain(a, b, c)}
    with db.transaction() as tx:
        assert read_counts(tx, repository)[3] == {Kind.PACKAGE: (3, 2, 0)}


def test_deleting_the_latest_version_revives_what_it_had_ended(
    db: Database, repository: int
) -> None:
    a, b = packages(db, stanza("a"), stanza("b"))
    modify(db, repository, [a])
    modify(db, repository, [b], [a])

    with db.transaction() as tx:
        versions.delete_version(tx, repository, 2)
    assert all_held(db, repository) == {0: set(), 1: plain(a)}

    version = modify(db, repository, [b], [a])
    assert version is not None
    assert version.number == 3  # a number is never given out again
    assert all_held(db, repository) == {0: set(), 1: plain(a), 3: plain(b)}


def test_added_and_removed_are_squashed_when_a_version_between_goes(
    db: Database, repository: int
) -> None:
    a, b = packages(db, stanza("a"), stanza("b"))
    modify(db, repository, [a])
    modify(db, repository, [b])
    modify(db, repository, [], [b])

    with db.transaction() as tx:
        versions.delete_version(tx, repository, 2)

    assert all_held(db, repository) == {0: set(), 1: plain(a), 3: plain(a)}
    with db.transaction() as tx:
        assert read_counts(tx, repository)[3] == {Kind.PACKAGE: (1, 0, 0)}


def test_the_only_version_stays(db: Database, repository: int) -> None:
    with db.transaction() as tx, pytest.raises(LastVersion):
        versions.delete_version(tx, repository, 0)


def test_a_version_that_does_not_exist_cannot_be_deleted(db: Database, repository: int) -> None:
    with db.transaction() as tx, pytest.raises(NotFound, match="no repository version 3"):
        versions.delete_version(tx, repository, 3)


def test_retention_keeps_the_newest(db: Database, repository: int) -> None:
    units = packages(db, *(stanza(name) for name in "abcde"))
    for unit in units:
        modify(db, repository, [unit])
    with db.transaction() as tx:
        versions.delete_version(tx, repository, 4)
        assert versions.retain_versions(tx, repository) == []
        tx.execute("update repositories set retain_repo_versions = 2")

        assert sorted(versions.retain_versions(tx, repository)) == [0, 1, 2]

    assert all_held(db, repository) == {3: plain(*units[:3]), 5: plain(*units)}
