"""Publications as tasks: who makes them, who sees them, what a failure and a cleanup leave."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from archive.build import write_archive
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from chore_runs import run_chore
from coordination import Fleet, wait_until
from debfleet.config import Settings
from debfleet.db import publications, tasks
from debfleet.db.connect import Database
from debfleet.db.tasks import NewTask
from debfleet.errors import StoreError
from debfleet.model import Kind, Ring
from debfleet.store import Receiver, Store
from debfleet_worker.actors import run_job
from debfleet_worker.chores import CHORES
from debfleet_worker.steps import STEPS
from publish_flow import ask_publish, publish, read_publication, run_task, set_repository
from sync_flow import Flow, add_repository, crew_of

A, B, C = Pkg("a"), Pkg("b"), Pkg("c", architecture="all")
ORPHANS = {"protection_minutes": 0, "units": None}


@pytest.fixture
def flow(settings: Settings, db: Database, store: Store) -> Iterator[Flow]:
    with crew_of(settings, db, store) as crew:
        yield Flow(db, replace(crew, chores=CHORES), add_repository(db))


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    folder = tmp_path / "archive"
    folder.mkdir()
    with Upstream(folder) as server:
        yield server


def write(flow: Flow, upstream: Upstream, *packages: Pkg) -> None:
    write_archive(upstream.folder, [Dist("stable", {"main": packages})])
    flow.set_remote(upstream, policy="on_demand")


def rows(flow: Flow, query: Any, *values: Any) -> list[dict[str, Any]]:
    with flow.db.transaction() as tx:
        return tx.execute(query, values).fetchall()


def add_distribution(flow: Flow, name: str, **target: Any) -> int:
    """A distribution that serves what it is to serve now."""
    columns = ", ".join(["name", "base_path", *target])
    places = ", ".join(["%s"] * (2 + len(target)))
    query: Any = f"insert into distributions ({columns}) values ({places}) returning id"
    with flow.db.transaction() as tx:
        row = tx.execute(query, (name, name, *target.values())).fetchone()
        assert row is not None
        publications.switch_served(tx, distribution=row["id"])
    id: int = row["id"]
    return id


def served(flow: Flow, distribution: int) -> list[tuple[int, bool]]:
    """(publication, is it served now), the oldest first."""
    query = "select publication, until from served where distribution = %s order by since"
    return [(r["publication"], r["until"] is None) for r in rows(flow, query, distribution)]


# --- autopublish ----------------------------------------------------------------------------------


def test_a_sync_of_a_repository_that_publishes_by_itself_makes_both(
    flow: Flow, upstream: Upstream
) -> None:
    set_repository(flow, autopublish=True)
    write(flow, upstream, A, C)

    done = flow.sync()

    assert done.state == "completed"
    assert [prn.split(":")[1] for prn in done.created] == [
        "core.repositoryversion",
        "deb.aptpublication",
    ]
    made = read_publication(flow, done)
    assert made.publication.number == 1
    assert list(made.stanzas("dists/stable/main/binary-amd64/Packages")) == ["a"]
    assert set(done.kinds[done.kinds.index("assemble") + 1 :]) == {"publish"}


def test_a_sync_that_finds_nothing_new_publishes_nothing(flow: Flow, upstream: Upstream) -> None:
    set_repository(flow, autopublish=True)
    write(flow, upstream, A)
    flow.sync()

    done = flow.sync(optimize=False)

    assert (done.state, done.created) == ("completed", [])
    assert len(rows(flow, "select from publications")) == 1


def test_a_modify_of_a_repository_that_publishes_by_itself_makes_both(
    flow: Flow, upstream: Upstream
) -> None:
    write(flow, upstream, A, B)
    flow.sync()
    set_repository(flow, autopublish=True)
    [package] = rows(flow, "select id from packages where name = 'a'")
    args = {"repository": flow.repository["id"], "base_version": None, "overwrite": True}
    args |= {"add": [], "remove": [[int(Kind.PACKAGE), package["id"], 0]]}

    task = flow.db.run(lambda tx: tasks.ask(tx, NewTask("modify", "modify", args))).id
    flow.db.run(lambda tx: tasks.start(tx, task))
    done = run_task(flow, task)

    assert done.kinds[0] == "chore"
    made = read_publication(flow, done)
    assert made.publication.number == 2
    assert list(made.stanzas("dists/stable/main/binary-amd64/Packages")) == ["b"]


# --- failure --------------------------------------------------------------------------------------


def test_nobody_sees_a_publication_before_it_is_complete(flow: Flow, upstream: Upstream) -> None:
    write(flow, upstream, A, C)
    flow.sync()
    distribution = add_distribution(flow, "one", repository=flow.repository["id"])
    task = ask_publish(flow)

    seen = []
    while job := flow._next(task):
        seen += [r["is_complete"] for r in rows(flow, "select is_complete from publications")]
        assert served(flow, distribution) == []
        run_job(flow.crew, job)

    assert seen
    assert not any(seen)
    assert [now for _, now in served(flow, distribution)] == [True]


def test_a_canceled_task_takes_its_publication_along(flow: Flow, upstream: Upstream) -> None:
    write(flow, upstream, A, C)
    flow.sync()
    task = ask_publish(flow)
    for _ in range(2):
        job = flow._next(task)
        assert job is not None
        run_job(flow.crew, job)
    assert len(rows(flow, "select from publications")) == 1
    [row] = rows(flow, "select uuid from tasks where id = %s", task)

    flow.db.run(lambda tx: tasks.cancel(tx, row["uuid"]))

    assert rows(flow, "select from publications") == []
    assert rows(flow, "select from published_files") == []


def test_a_cancel_beside_the_last_job_leaves_a_whole_publication_or_none(
    flow: Flow, upstream: Upstream
) -> None:
    write(flow, upstream, A)
    flow.sync()
    for _ in range(6):
        task = ask_publish(flow)
        for _ in range(2):
            job = flow._next(task)
            assert job is not None
            run_job(flow.crew, job)
        [row] = rows(flow, "select uuid from tasks where id = %s", task)
        last = flow._next(task)
        assert last is not None

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(run_job, flow.crew, last)
            flow.db.run(lambda tx, uuid=row["uuid"]: tasks.cancel(tx, uuid))  # type: ignore[misc]
            running.result(timeout=30)

        done = flow._synced(task)
        made = rows(flow, "select is_complete from publications where made_by = %s", task)
        assert (done.state, made) in (
            ("completed", [{"is_complete": True}]),
            ("canceled", []),
        )


class FullStore:
    """A store that refuses one file: the so-manieth that it is asked to take."""

    def __init__(self, store: Store, refused: int) -> None:
        self._store = store
        self._left = refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def receive(self) -> Receiver:
        self._left -= 1
        if self._left == 0:
            raise StoreError("the store is full")
        return self._store.receive()


@pytest.mark.parametrize("refused", [1, 3, 4, 6, 10])
def test_a_job_that_failed_half_way_is_run_again(
    flow: Flow, upstream: Upstream, refused: int
) -> None:
    write(flow, upstream, A, C)
    flow.sync()
    store: Any = FullStore(flow.crew.worker.store, refused)
    crew = replace(flow.crew, worker=replace(flow.crew.worker, store=store))
    task = ask_publish(flow)

    again = 0
    while open_jobs(flow, task):
        with flow.db.transaction() as tx:
            tx.execute("update jobs set not_before = '-infinity' where task = %s", (task,))
        job = flow._next(task)
        assert job is not None
        run_job(crew, job)
        again += len(rows(flow, "select from jobs where task = %s and error is not null", task))

    assert again
    expected = publish(flow)
    made = read_publication(flow, flow._synced(task))
    assert made.files.keys() == expected.files.keys()
    assert made.listed("stable") == expected.listed("stable")


def open_jobs(flow: Flow, task: int) -> bool:
    query = "select from jobs where task = %s and state in ('queued', 'running')"
    return bool(rows(flow, query, task))


# --- who serves what ------------------------------------------------------------------------------


def test_a_distribution_of_a_repository_serves_its_newest_publication(
    flow: Flow, upstream: Upstream
) -> None:
    write(flow, upstream, A)
    flow.sync()
    distribution = add_distribution(flow, "one", repository=flow.repository["id"])
    first = publish(flow).publication.id
    write(flow, upstream, A, B)
    flow.sync()
    second = publish(flow).publication.id

    third = publish(flow, 1).publication.id  # of an older version: it does not count

    assert served(flow, distribution) == [(first, False), (second, True)]
    assert third > second


def test_a_distribution_of_a_version_or_a_publication_keeps_to_it(
    flow: Flow, upstream: Upstream
) -> None:
    write(flow, upstream, A)
    flow.sync()
    first = publish(flow).publication.id
    of_version = add_distribution(
        flow, "v", version_repository=flow.repository["id"], version_number=1
    )
    of_publication = add_distribution(flow, "p", publication=first)

    second = publish(flow).publication.id
    write(flow, upstream, B)
    flow.sync()
    publish(flow)

    assert served(flow, of_version) == [(first, False), (second, True)]
    assert served(flow, of_publication) == [(first, True)]


def test_who_served_a_deleted_publication_serves_the_one_before(
    flow: Flow, upstream: Upstream
) -> None:
    write(flow, upstream, A)
    flow.sync()
    distribution = add_distribution(flow, "one", repository=flow.repository["id"])
    first = publish(flow).publication
    second = publish(flow).publication

    assert flow.db.run(lambda tx: publications.delete_publication(tx, second.uuid))

    assert [p for p, now in served(flow, distribution) if now] == [first.id]
    assert not flow.db.run(lambda tx: publications.delete_publication(tx, second.uuid))


# --- cleanup --------------------------------------------------------------------------------------


def test_cleanup_leaves_what_is_published(flow: Flow, upstream: Upstream) -> None:
    write(flow, upstream, A, C)
    flow.sync()
    before = publish(flow)

    done = run_chore(flow.crew.worker, "orphans", ORPHANS)

    assert done["state"] == "completed"
    assert read_publication(flow, before.task).files == before.files


def test_cleanup_takes_what_was_published_once(flow: Flow, upstream: Upstream) -> None:
    write(flow, upstream, A, C)
    flow.sync()
    held = flow.stored()
    made = publish(flow)
    assert flow.stored() > held

    flow.db.run(lambda tx: publications.delete_publication(tx, made.publication.uuid))
    run_chore(flow.crew.worker, "orphans", ORPHANS)

    assert flow.stored() == held
    assert rows(flow, "select from compressed_forms") == []
    assert publish(flow).listed("stable") == made.listed("stable")


def test_cleanup_takes_what_a_canceled_task_wrote(flow: Flow, upstream: Upstream) -> None:
    write(flow, upstream, A, C)
    flow.sync()
    held = flow.stored()
    task = ask_publish(flow)
    for _ in range(2):
        job = flow._next(task)
        assert job is not None
        run_job(flow.crew, job)
    [row] = rows(flow, "select uuid from tasks where id = %s", task)
    flow.db.run(lambda tx: tasks.cancel(tx, row["uuid"]))

    run_chore(flow.crew.worker, "orphans", ORPHANS)

    assert flow.stored() == held


def test_cleanup_between_two_jobs_takes_nothing_that_is_being_published(
    flow: Flow, upstream: Upstream
) -> None:
    write(flow, upstream, A, C)
    flow.sync()
    known = publish(flow)  # its compressed indices are not made again
    task = ask_publish(flow)
    flow.db.run(lambda tx: publications.delete_publication(tx, known.publication.uuid))

    while job := flow._next(task):
        run_job(flow.crew, job)
        run_chore(flow.crew.worker, "orphans", ORPHANS)

    made = read_publication(flow, flow._synced(task))
    assert made.listed("stable") == known.listed("stable")


def test_workers_share_the_indices_of_a_publication(
    flow: Flow, upstream: Upstream, settings: Settings
) -> None:
    components = {f"c{n}": [Pkg(f"p{n}-{i}") for i in range(20)] for n in range(12)}
    write_archive(upstream.folder, [Dist("stable", components)])
    flow.set_remote(upstream, policy="on_demand")
    flow.sync()
    expected = publish(flow)
    fleet = Fleet(replace(settings, window=4))
    try:
        for _ in range(3):
            fleet.start(steps=STEPS, queues=["publish"])
        task = ask_publish(flow)
        [first] = rows(flow, "select id from jobs where task = %s", task)
        fleet.bell.ring([Ring(first["id"], "publish")])
        wait_until(flow.db, task, "completed")
    finally:
        fleet.stop()

    made = read_publication(flow, flow._synced(task))
    assert made.listed("stable") == expected.listed("stable")
    jobs = rows(flow, "select attempt, worker from jobs where task = %s", task)
    assert len(jobs) == 1 + 12 + 1
    assert {job["attempt"] for job in jobs} == {1}
    assert len({job["worker"] for job in jobs}) > 1


def test_two_tasks_publish_one_version_at_once(flow: Flow, upstream: Upstream) -> None:
    write(flow, upstream, A, C)
    flow.sync()
    both = [ask_publish(flow), ask_publish(flow, simple=True)]

    while run_next(flow, both[0]) | run_next(flow, both[1]):
        pass

    first, second = (read_publication(flow, flow._synced(task)) for task in both)
    assert first.listed("stable") == second.listed("stable")
    assert first.files.keys() < second.files.keys()


def run_next(flow: Flow, task: int) -> bool:
    job = flow._next(task)
    if job is not None:
        run_job(flow.crew, job)
    return job is not None


def test_to_publish_again_heals_what_the_store_lost(flow: Flow, upstream: Upstream) -> None:
    write(flow, upstream, A, C)
    flow.sync()
    made = publish(flow)
    for body in made.files.values():
        flow.crew.worker.store.delete(sha256(body).digest())

    again = publish(flow)

    assert again.listed("stable") == made.listed("stable")
