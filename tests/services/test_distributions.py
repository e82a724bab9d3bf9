"""Distributions and what they keep alive: retention, refused deletions, switches at one moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from debfleet.db import distributions, publications, versions
from debfleet.db.connect import Database, Tx
from debfleet.db.publications import NewPublication
from debfleet.errors import DistributionClash, FinalError, VersionServed


def _repository(tx: Tx, count: int = 1) -> tuple[int, UUID]:
    """A repository with so many versions, from 0."""
    row = tx.execute(
        "insert into repositories (name, last_number) values (%s, %s) returning id, uuid",
        (f"r-{uuid4()}", count - 1),
    ).fetchone()
    assert row is not None
    tx.execute(
        "insert into repository_versions (repository, number)"
        " select %s, n from generate_series(0, %s - 1) n",
        (row["id"], count),
    )
    return row["id"], row["uuid"]


def _published(tx: Tx, repository: int, number: int, *, checkpoint: bool = False) -> UUID:
    new = NewPublication(repository, number, checkpoint=checkpoint)
    made = publications.add_publication(tx, new)
    publications.complete_publication(tx, made.id)
    return made.uuid


def _distribution(tx: Tx, path: str, **target: UUID) -> UUID:
    values: dict[str, Any] = {
        "name": path, "base_path": path, "labels": {}, "repository": None, "version": None,
        "publication": None, "hidden": False, "checkpoint": False, **target,
    }  # fmt: skip
    uuid: UUID = distributions.add_distribution(tx, uuid4(), values)["uuid"]
    return uuid


def _numbers(tx: Tx, repository: int) -> list[int]:
    rows = tx.execute(
        "select number from repository_versions where repository = %s order by 1", (repository,)
    )
    return [row["number"] for row in rows]


def _keep_one(tx: Tx, repository: int) -> None:
    tx.execute("update repositories set retain_repo_versions = 1 where id = %s", (repository,))


def test_retention_keeps_what_is_served_and_what_is_pointed_at(db: Database) -> None:
    with db.transaction() as tx:
        repository, uuid = _repository(tx, 6)
        fixed, followed = _published(tx, repository, 1), _published(tx, repository, 3)
        version = tx.execute(
            "select id from repository_versions where repository = %s and number = 2",
            (repository,),
        ).fetchone()
        assert version is not None
        _distribution(tx, "fixed", publication=fixed)
        _distribution(tx, "version", version=version["id"])
        _distribution(tx, "followed", repository=uuid)
        assert publications.find_publication(tx, followed) is not None
        _keep_one(tx, repository)

        assert sorted(versions.retain_versions(tx, repository)) == [0, 4]
        assert _numbers(tx, repository) == [1, 2, 3, 5]


def test_retention_waits_for_clients_of_what_was_served_lately(db: Database) -> None:
    with db.transaction() as tx:
        repository, uuid = _repository(tx, 2)
        _distribution(tx, "d", repository=uuid)
        _published(tx, repository, 0)
        _published(tx, repository, 1)
        _keep_one(tx, repository)

        assert publications.forget_served(tx, seconds=3600, switches=0) == 0
        assert versions.retain_versions(tx, repository) == []
        tx.execute("update served set until = until - interval '2 h' where until is not null")
        assert publications.forget_served(tx, seconds=3600, switches=1) == 0
        assert publications.forget_served(tx, seconds=3600, switches=0) == 1
        assert versions.retain_versions(tx, repository) == [0]


def test_retention_keeps_versions_of_checkpoints(db: Database) -> None:
    with db.transaction() as tx:
        repository, _ = _repository(tx, 4)
        _published(tx, repository, 1, checkpoint=True)
        _published(tx, repository, 2)
        _keep_one(tx, repository)

        assert sorted(versions.retain_versions(tx, repository)) == [0, 2]


def test_the_oldest_checkpoints_go_when_there_are_more_than_are_kept(db: Database) -> None:
    with db.transaction() as tx:
        repository, _ = _repository(tx, 5)
        named = _published(tx, repository, 0, checkpoint=True)
        _distribution(tx, "named", publication=named)
        plain = _published(tx, repository, 0)
        tx.execute("update repositories set retain_checkpoints = 2 where id = %s", (repository,))

        made = [_published(tx, repository, n, checkpoint=True) for n in (1, 2, 3, 4)]

        kept = tx.execute("select uuid from publications order by id").fetchall()
        assert [row["uuid"] for row in kept] == [named, plain, *made[2:]]


def test_old_publications_of_a_version_go_but_for_those_that_are_needed(db: Database) -> None:
    with db.transaction() as tx:
        repository, uuid = _repository(tx, 2)
        _distribution(tx, "d", repository=uuid)
        served = [_published(tx, repository, 0) for _ in range(2)]
        _published(tx, repository, 1)
        named = _published(tx, repository, 1)
        checkpoint = _published(tx, repository, 1, checkpoint=True)
        _distribution(tx, "named", publication=named)
        later = [_published(tx, repository, 1) for _ in range(3)]
        tx.execute("update served set until = until - interval '9 d' where until is not null")
        publications.forget_served(tx, seconds=3600, switches=2)

        pruned = publications.prune_publications(tx, 1)

        kept = tx.execute("select uuid from publications order by id").fetchall()
        assert [row["uuid"] for row in kept] == [served[1], named, checkpoint, *later]
        assert pruned == 2


def test_a_served_version_is_not_deleted_by_a_task_either(db: Database) -> None:
    with db.transaction() as tx:
        repository, uuid = _repository(tx, 3)
        _published(tx, repository, 1)
        _distribution(tx, "d", repository=uuid)

        with pytest.raises(VersionServed, match=r"Version 1 .* the distribution d"):
            versions.delete_version(tx, repository, 1)
        versions.delete_version(tx, repository, 2)


def test_a_target_that_is_gone_fails_the_change(db: Database) -> None:
    with (
        pytest.raises(FinalError, match="The repository that it is to serve"),
        db.transaction() as tx,
    ):
        _distribution(tx, "d", repository=uuid4())


def test_two_overlapping_base_paths_at_once_are_one(db: Database) -> None:
    def make(path: str) -> bool:
        try:
            db.run(lambda tx: _distribution(tx, path))
        except DistributionClash:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(make, ["a/b", "a", "a/b/c", "a/b"]))

    assert made.count(True) == 1


def test_a_distribution_made_while_a_publication_completes_serves_it(db: Database) -> None:
    """Either sees the other, whichever commits first."""
    for n in range(10):
        with db.transaction() as tx:
            repository, uuid = _repository(tx)
            new = publications.add_publication(tx, NewPublication(repository, 0))
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(
                db.run,
                lambda tx: publications.complete_publication(tx, new.id),  # noqa: B023
            )
            other = pool.submit(
                db.run,
                lambda tx: _distribution(tx, f"d{n}", repository=uuid),  # noqa: B023
            )
            one.result()
            other.result()
        with db.transaction() as tx:
            row = tx.execute(
                "select s.publication from served s join distributions d on d.id = s.distribution"
                " where d.name = %s and s.until is null", (f"d{n}",),
            ).fetchone()  # fmt: skip
        assert row == {"publication": new.id}
