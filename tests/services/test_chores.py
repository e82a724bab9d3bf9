"""Chores: tasks of one job, each done and ended in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import content_rows as rows
from archive.upstream import Upstream
from chore_runs import made_worker, put, run_chore
from debfleet.changes import Change, change_args
from debfleet.config import Settings
from debfleet.db import tasks
from debfleet.errors import (
    ContentOverwrite,
    FinalError,
    LastVersion,
    LeaseLost,
    NameTaken,
    NotFound,
)
from debfleet.model import Kind
from debfleet.store import Store
from debfleet_worker.worker import Worker


@pytest.fixture
def worker(settings: Settings, store: Store) -> Iterator[Worker]:
    """A worker's parts, without its loops."""
    with made_worker(settings, store) as made:
        yield made


def row(worker: Worker, query: str, *values: Any) -> dict[str, Any]:
    """The first row of a query."""
    with worker.db.transaction() as tx:
        found = tx.execute(query, values).fetchone()  # type: ignore[arg-type]  # a test's own text
        assert found is not None
        return found


def add_repository(worker: Worker, versions: list[set[int]]) -> int:
    """A repository whose versions hold these packages; there are twenty."""
    with worker.db.transaction() as tx:
        rows.add_packages(tx, 20)
        repository = rows.add_repository(tx, "one")
        packages = rows.unit_list(tx, Kind.PACKAGE)
        rows.write_versions(tx, repository, [{packages: units} for units in versions])
        last = len(versions) - 1
        tx.execute("update repositories set last_number = %s where id = %s", (last, repository))
    return repository


def modify(worker: Worker, repository: int, **more: Any) -> dict[str, Any]:
    """The task of a modify."""
    args = {"repository": repository, "base_version": None, "add": [], "remove": []}
    return run_chore(worker, "modify", {**args, "overwrite": True, **more})


def packages_of(worker: Worker, repository: int) -> set[int]:
    """What the latest version holds."""
    from debfleet.db import contents, holdings
    from debfleet.db.contents import Held, Selection

    with worker.db.transaction() as tx:
        place = holdings.find_latest(tx, repository)
        assert place is not None
        page = contents.list_units(tx, Selection(Kind.PACKAGE, sets=(Held(place),)), 100, 0)
    return {unit["id"] for unit in page.rows}


# --- change -----------------------------------------------------------------------------------


def test_a_queued_update_is_made_and_its_result_kept(worker: Worker) -> None:
    repository = add_repository(worker, [set()])
    uuid = row(worker, "select uuid from repositories where id = %s", repository)["uuid"]
    change = Change("repositories", "update", uuid, {"description": "new"})

    task = run_chore(worker, "change", change_args(change))

    assert task["state"] == "completed"
    assert task["result"]["row"]["description"] == "new"
    found = row(worker, "select description from repositories where id = %s", repository)
    assert found["description"] == "new"


def test_a_queued_deletion_says_what_went(worker: Worker) -> None:
    repository = add_repository(worker, [set(), {1}])
    uuid = row(worker, "select uuid from repositories where id = %s", repository)["uuid"]

    task = run_chore(worker, "change", change_args(Change("repositories", "delete", uuid)))

    assert task["result"] == {"deleted": {"repositories": 1, "repository_versions": 2}}


def test_an_update_that_cannot_be_made_leaves_the_task_to_fail(worker: Worker) -> None:
    with worker.db.transaction() as tx:
        one, _ = rows.add_repository(tx, "one"), rows.add_repository(tx, "two")
        found = tx.execute("select uuid from repositories where id = %s", (one,)).fetchone()
        assert found is not None
    taken = Change("repositories", "update", found["uuid"], {"name": "two"})

    with pytest.raises(NameTaken):
        run_chore(worker, "change", change_args(taken))

    with worker.db.transaction() as tx:
        tx.execute("delete from repositories where id = %s", (one,))
    with pytest.raises(FinalError, match="deleted"):
        run_chore(worker, "change", change_args(taken))


# --- modify and delete a version ----------------------------------------------------------------


def test_modify_makes_a_version_and_names_it(worker: Worker) -> None:
    repository = add_repository(worker, [set(), {1, 2, 3}])

    task = modify(worker, repository, add=[[1, 9, 0]], remove=[[1, 2, 0]])

    version = row(worker, "select id, made_by from repository_versions where number = 2")
    assert task["created_resources"] == [f"prn:core.repositoryversion:{version['id']}"]
    assert version["made_by"] == task["id"]
    assert packages_of(worker, repository) == {1, 3, 9}


def test_modify_that_changes_nothing_makes_nothing(worker: Worker) -> None:
    repository = add_repository(worker, [set(), {1, 2}])

    task = modify(worker, repository, add=[[1, 1, 0]], remove=[[1, 7, 0]])

    assert (task["state"], task["created_resources"], task["result"]) == ("completed", [], None)
    assert row(worker, "select count(*) as n from repository_versions")["n"] == 2


def test_modify_from_another_version_and_of_everything(worker: Worker) -> None:
    repository = add_repository(worker, [set(), {1, 2}, {3}])

    modify(worker, repository, base_version=1, add=[[1, 5, 0]])
    assert packages_of(worker, repository) == {1, 2, 5}

    modify(worker, repository, remove="*", add=[[1, 6, 0]])
    assert packages_of(worker, repository) == {6}


def test_modify_refuses_what_is_gone_and_what_may_not_be_replaced(worker: Worker) -> None:
    repository = add_repository(worker, [set(), {1}])
    with worker.db.transaction() as tx:
        tx.execute(
            """update packages p set name = o.name, version = o.version, same_key = o.same_key,
                      architecture = o.architecture
                 from packages o where o.id = 1 and p.id = 2"""
        )

    with pytest.raises(NotFound):
        modify(worker, repository, add=[[1, 99, 0]])
    with pytest.raises(ContentOverwrite):
        modify(worker, repository, add=[[1, 2, 0]], overwrite=False)

    assert packages_of(worker, repository) == {1}


def test_a_version_is_deleted_once_and_the_last_one_stays(worker: Worker) -> None:
    repository = add_repository(worker, [set(), {1}, {1, 2}])
    args = {"repository": repository, "number": 1}

    first = run_chore(worker, "delete_version", args)
    again = run_chore(worker, "delete_version", args)

    assert (first["state"], again["state"]) == ("completed", "completed")
    assert row(worker, "select count(*) as n from repository_versions")["n"] == 2
    assert packages_of(worker, repository) == {1, 2}
    run_chore(worker, "delete_version", {**args, "number": 0})
    with pytest.raises(LastVersion):
        run_chore(worker, "delete_version", {**args, "number": 2})


def test_a_canceled_chore_changes_nothing(worker: Worker) -> None:
    from coordination import claimed
    from debfleet_worker.chores import CHORES
    from debfleet_worker.lease import Keeper

    repository = add_repository(worker, [set(), {1}, {2}])
    args = {"repository": repository, "number": 1}
    asked = worker.db.run(
        lambda tx: tasks.ask(tx, tasks.NewTask("delete_version", "test.delete", args))
    )
    rings = worker.db.run(lambda tx: tasks.start(tx, asked.id))
    job = claimed(worker.db, worker.settings, rings[0].job)
    worker.db.run(lambda tx: tasks.cancel(tx, asked.uuid))
    keeper = Keeper(worker)

    with pytest.raises(LeaseLost), keeper.kept(job) as lease:
        CHORES["delete_version"](worker, job, lease)

    keeper.stop()
    assert row(worker, "select count(*) as n from repository_versions")["n"] == 3


# --- purge -----------------------------------------------------------------------------------


def test_purge_forgets_old_tasks_in_the_states_asked_for(worker: Worker) -> None:
    with worker.db.transaction() as tx:
        for state, age in (
            ("completed", 5), ("completed", 1), ("failed", 5), ("canceled", 5), ("completed", 9),
        ):  # fmt: skip
            tx.execute(
                """insert into tasks (kind, name, state, finished)
                   values ('x', 'x', %s, now() - make_interval(days => %s))""",
                (state, age),
            )
        tx.execute("insert into tasks (kind, name) values ('x', 'x')")
    before = (datetime.now(UTC) - timedelta(days=3)).isoformat()

    task = run_chore(
        worker, "purge", {"finished_before": before, "states": ["completed", "failed"]}
    )

    assert task["reports"]["purge.tasks.total"][0] == 3
    assert task["reports"]["purge.tasks.key.core.Task"][0] == 3
    assert task["reports"]["purge.tasks.error"][0] == 0
    left = row(worker, "select array_agg(state order by id) as states from tasks where kind = 'x'")
    assert left["states"] == ["completed", "canceled", "waiting"]


# --- repair ------------------------------------------------------------------------------------


def test_repair_finds_fetches_and_names_what_is_lost(worker: Worker, tmp_path: Path) -> None:
    store = worker.store
    repository = add_repository(worker, [set(), {1, 2, 3, 4, 5}])
    bodies = {n: f"p{n}".encode() for n in range(1, 7)}
    digests = {n: sha256(body).digest() for n, body in bodies.items()}
    upstream = tmp_path / "upstream"
    (upstream / "pool").mkdir(parents=True)
    for n in (1, 2):
        (upstream / f"pool/p{n}.deb").write_bytes(bodies[n])
    with worker.db.transaction() as tx:
        for body in bodies.values():
            rows.add_artifact(tx, put(store, body), len(body))
    for n in (1, 3, 6):
        store.delete(digests[n])
    for n in (2, 4):
        spoil(worker, digests[n])

    with Upstream(upstream) as served:
        offer(worker, served.url, [1, 2, 3, 4, 5])
        args = {"repository": repository, "number": 1, "verify_checksums": True}
        task = run_chore(worker, "repair", args)
        again = run_chore(worker, "repair", args)

    assert {code: done for code, (done, _) in task["reports"].items()} == {
        "repair.missing": 2, "repair.corrupted": 2, "repair.repaired": 2,
    }  # fmt: skip
    assert {done for done, _ in again["reports"].values()} == {0}
    for n in (1, 2, 5):
        with store.open(digests[n]) as stored:
            assert stored.read() == bodies[n]
    lost = row(
        worker,
        """select array_agg(file) as files, array_agg(reason order by reason) as reasons,
                  array_agg(distinct task) as tasks from tolerances""",
    )
    assert set(lost["files"]) == {digests[3].hex(), digests[4].hex()}
    assert lost["reasons"] == ["file_corrupted", "file_missing"]
    assert lost["tasks"] == [task["id"]]
    assert gone(worker) == {digests[3], digests[4]}
    # What is lost is no longer called stored; of 6 nobody asked.
    artifacts = row(worker, "select array_agg(sha256) as digests from artifacts")["digests"]
    assert {bytes(d) for d in artifacts} == {digests[n] for n in (1, 2, 5, 6)}
    with worker.db.transaction() as tx:
        rows.add_artifact(tx, digests[3], len(bodies[3]))
    assert gone(worker) == {digests[4]}


def test_repair_without_checksums_sees_sizes_only(worker: Worker) -> None:
    repository = add_repository(worker, [set(), {1, 2}])
    with worker.db.transaction() as tx:
        for body in (b"p1", b"p2"):
            rows.add_artifact(tx, put(worker.store, body), 2)
    spoil(worker, sha256(b"p1").digest())

    args = {"repository": repository, "number": 1, "verify_checksums": False}
    task = run_chore(worker, "repair", args)

    assert {done for done, _ in task["reports"].values()} == {0}


def gone(worker: Worker) -> set[bytes]:
    """The files that nobody has any more."""
    with worker.db.transaction() as tx:
        return {bytes(r["sha256"]) for r in tx.execute("select sha256 from gone_files")}


def spoil(worker: Worker, digest: bytes) -> None:
    """Other bytes of the same length."""
    name = digest.hex()
    root = Path(worker.settings.store_url.removeprefix("file://"))
    path = root / name[:2] / name
    path.write_bytes(b"x" * path.stat().st_size)


def offer(worker: Worker, url: str, packages: list[int]) -> None:
    """A remote that offers an index of these packages."""
    with worker.db.transaction() as tx:
        tx.execute(
            """insert into remotes (name, url, distributions, max_retries)
               values ('r', %s, 'd', 0)""",
            (url,),
        )
        tx.execute("insert into indices (sha256, stanzas) values (%s, 5)", (b"i" * 32,))
        tx.execute(
            "insert into index_chunks values (1, 1, 'amd64', 0, %s::bit(4096))",
            (rows.bits_of(packages),),
        )
        tx.execute("insert into offers values (1, 1)")
