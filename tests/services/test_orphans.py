"""Cleanup: what goes, what stays, and what a sync beside it may rely on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import content_rows as rows
from chore_runs import made_worker, put, run_chore, wait_until_done
from debfleet.config import Settings
from debfleet.db import endings, orphans, tasks, units, versions
from debfleet.db.connect import Database, Tx
from debfleet.model import Job, Kind
from debfleet.store import Store
from debfleet_worker.worker import Worker

KEY = b"k" * 32


@pytest.fixture
def worker(settings: Settings, store: Store) -> Iterator[Worker]:
    """A worker's parts, without its loops."""
    with made_worker(settings, store) as made:
        yield made


def clean_up(worker: Worker, minutes: int = 0, given: Sequence[Sequence[int]] | None = None) -> Any:
    """The reports of a cleanup: units, artifacts."""
    args = {"protection_minutes": minutes, "units": given}
    task = run_chore(worker, "orphans", args)
    assert task["state"] == "completed"
    return [task["reports"][f"clean-up.{what}"] for what in ("content", "artifacts")]


def count(db: Database, table: str) -> int:
    with db.transaction() as tx:
        row = tx.execute(f"select count(*) as n from {table}").fetchone()  # type: ignore[arg-type]  # a test's own text
        assert row is not None
        return int(row["n"])


def ids(db: Database, table: str) -> set[int]:
    with db.transaction() as tx:
        return {row["id"] for row in tx.execute(f"select id from {table}")}  # type: ignore[arg-type]  # a test's own text


def add_index(tx: Tx, name: str, packages: Sequence[int]) -> int:
    """An ingested index of these packages."""
    row = tx.execute(
        "insert into indices (sha256, stanzas) values (%s, %s) returning id",
        (sha256(name.encode()).digest(), len(packages)),
    ).fetchone()
    assert row is not None
    by_chunk: dict[int, set[int]] = {}
    for package in packages:
        by_chunk.setdefault(package >> 12, set()).add(package & 4095)
    for chunk, places in by_chunk.items():
        tx.execute(
            "insert into index_chunks values (%s, 1, 'amd64', %s, %s::bit(4096))",
            (row["id"], chunk, rows.bits_of(places)),
        )
    return int(row["id"])


def add_task(tx: Tx) -> int:
    """A task that is not over."""
    asked = tasks.ask(tx, tasks.NewTask("sync", "test.sync"))
    return asked.id


def pin(tx: Tx, task: int, index: int | None, files: dict[str, bytes] | None = None) -> None:
    """A wanted index of a task."""
    import json

    listed = {path: {"size": 1, "sha256": d.hex()} for path, d in (files or {}).items()}
    position = tx.execute("select count(*) as n from wanted_indices").fetchone()
    assert position is not None
    tx.execute(
        """insert into wanted_indices (task, position, distribution, directory, component,
             architecture, path, files, by_hash, sha256, optional, index, state)
           values (%s, %s, 'bookworm', 'dists/bookworm', 'main', 'amd64', 'p', %s, false, %s,
                   false, %s, 'known')""",
        (task, position["n"], json.dumps(listed), uuid4().bytes * 2, index),
    )


def held_world(tx: Tx) -> tuple[list[int], int]:
    """10 packages, five of them in a version, and one unit of each small kind, held and not."""
    packages = rows.add_packages(tx, 10)
    components = [rows.add_component(tx, "bookworm", c) for c in ("main", "contrib")]
    releases = [rows.add_release(tx, d) for d in ("bookworm", "trixie")]
    files = [
        rows.add_release_file(tx, d, {f"dists/{d}/InRelease": sha256(d.encode()).digest()})
        for d in ("bookworm", "trixie")
    ]
    links = [rows.link_list(tx, c, "amd64") for c in components]
    repository = rows.add_repository(tx, "one")
    held = {
        rows.unit_list(tx, Kind.PACKAGE): packages[:5],
        rows.unit_list(tx, Kind.RELEASE_COMPONENT): components[:1],
        rows.unit_list(tx, Kind.RELEASE): releases[:1],
        rows.unit_list(tx, Kind.RELEASE_FILE): files[:1],
        links[0]: packages[:3],
    }
    rows.write_versions(tx, repository, [{}, held])
    return packages, repository


def test_units_in_no_version_go_and_the_others_stay(worker: Worker) -> None:
    db = worker.db
    with db.transaction() as tx:
        packages, _ = held_world(tx)

    content, artifacts = clean_up(worker)

    assert content == (5 + 1 + 1 + 1, 8)
    assert artifacts == (0, 0)
    assert ids(db, "packages") == set(packages[:5])
    assert count(db, "release_components") == 1
    assert count(db, "releases") == 1
    assert count(db, "release_files") == 1
    assert count(db, "unit_files") == 1
    assert count(db, "content_lists where kind = 11") == 1


def test_what_was_wanted_lately_is_protected(worker: Worker) -> None:
    with worker.db.transaction() as tx:
        held_world(tx)
        tx.execute("update packages set last_wanted = now() - interval '2 hours' where id = 10")

    assert clean_up(worker, minutes=2**32 - 1) == [(0, 0), (0, 0)]
    assert clean_up(worker, minutes=60) == [(1, 1), (0, 0)]
    assert ids(worker.db, "packages") == set(range(1, 10))


def test_only_the_units_named_go(worker: Worker) -> None:
    with worker.db.transaction() as tx:
        packages, _ = held_world(tx)

    given = [[1, packages[0], 0], [1, packages[7], 0], [11, packages[8], 1]]
    content, _ = clean_up(worker, given=given)

    assert content == (1, 1)
    assert ids(worker.db, "packages") == set(packages) - {packages[7]}


def test_a_deleted_version_s_units_go(worker: Worker) -> None:
    with worker.db.transaction() as tx:
        packages, repository = held_world(tx)
    worker.db.run(lambda tx: versions.delete_version(tx, repository, 1))

    content, _ = clean_up(worker)

    assert content[0] == len(packages) + 2 + 2 + 2
    assert count(worker.db, "packages") == 0


def test_an_ingested_index_goes_before_its_packages(worker: Worker) -> None:
    with worker.db.transaction() as tx:
        packages = rows.add_packages(tx, 10)
        add_index(tx, "gone", packages[:6])

    content, _ = clean_up(worker)

    assert content == (10, 10)
    assert count(worker.db, "indices") == 0
    assert count(worker.db, "index_chunks") == 0


def test_an_index_that_a_task_relies_on_stays_with_its_packages(worker: Worker) -> None:
    with worker.db.transaction() as tx:
        packages = rows.add_packages(tx, 10)
        pin(tx, add_task(tx), add_index(tx, "pinned", packages[:6]))

    content, _ = clean_up(worker)

    assert content == (4, 4)
    assert ids(worker.db, "packages") == set(packages[:6])


def test_an_index_that_is_the_last_offer_of_a_held_package_stays(worker: Worker) -> None:
    with worker.db.transaction() as tx:
        packages, _ = held_world(tx)
        tx.execute("insert into remotes (name, url, distributions) values ('r', 'u', 'd')")
        covered = add_index(tx, "covered", packages[:2])
        last = add_index(tx, "last", packages[2:4])
        newest = add_index(tx, "newest", packages[:2])
        for index in (covered, last, newest):
            tx.execute("insert into offers values (1, %s)", (index,))

    clean_up(worker)

    assert ids(worker.db, "indices") == {last, newest}
    with worker.db.transaction() as tx:
        tx.execute("delete from remotes")
    clean_up(worker)
    assert ids(worker.db, "indices") == set()


def test_units_that_a_task_found_stay(worker: Worker) -> None:
    with worker.db.transaction() as tx:
        component = rows.add_component(tx, "sid", "main")
        rows.add_component(tx, "sid", "contrib")
        tx.execute("insert into task_units values (%s, 10, %s)", (add_task(tx), component))

    clean_up(worker)

    assert ids(worker.db, "release_components") == {component}


def test_a_file_goes_with_the_last_unit_that_names_it(worker: Worker) -> None:
    with worker.db.transaction() as tx:
        packages, _ = held_world(tx)
        names = tx.execute("select id, sha256, 'p' || id as body from packages").fetchall()
        digests = {row["id"]: put(worker.store, row["body"].encode()) for row in names}
        assert all(digests[row["id"]] == row["sha256"] for row in names)
        for digest in digests.values():
            rows.add_artifact(tx, digest)
        shared = put(worker.store, b"bookworm")
        rows.add_artifact(tx, shared)

    _, artifacts = clean_up(worker)

    assert artifacts == (5, 5)
    kept = {digests[n] for n in packages[:5]} | {shared}
    assert worker.store.missing([*digests.values(), shared]) == set(digests.values()) - kept
    assert count(worker.db, "artifacts") == 6
    assert count(worker.db, "doomed_files") == 0


def test_a_file_that_a_sync_is_about_to_store_stays(worker: Worker) -> None:
    chunk, index, release = (put(worker.store, b) for b in (b"chunk", b"index", b"release"))
    job = Job(7, 0, "plan", {}, 1, 1, "sync", {}, uuid4(), "", 0)
    with worker.db.transaction() as tx:
        task = add_task(tx)
        tx.execute("insert into task_files values (%s, %s, 1, 'p')", (task, chunk))
        pin(tx, task, None, {"Packages.xz": index})
        claim = Job(7, task, "plan", {}, 1, 1, "sync", {}, job.task_uuid, "", 0)
        orphans.claim_files(tx, claim, [(release, 1, "dists/bookworm/Release")])
        orphan = rows.add_artifact(tx, chunk)
        for digest in (index, release):
            tx.execute("insert into doomed_files (sha256) values (%s)", (digest,))

    clean_up(worker)

    assert worker.store.missing([chunk, index, release]) == set()
    assert ids(worker.db, "artifacts") == {orphan}
    # The sync is canceled: whatever it stored and did not record goes.
    worker.db.run(lambda tx: endings.end_task(tx, task, "canceled"))
    clean_up(worker)
    assert worker.store.missing([chunk, index, release]) == {chunk, index, release}


def test_a_doomed_file_that_was_recorded_again_stays(worker: Worker) -> None:
    digest = put(worker.store, b"bookworm")
    with worker.db.transaction() as tx:
        held_world(tx)
        rows.add_artifact(tx, digest)
        tx.execute("insert into doomed_files (sha256) values (%s)", (digest,))

    clean_up(worker)

    assert worker.store.missing([digest]) == set()
    assert count(worker.db, "doomed_files") == 0


def test_files_left_over_by_a_cleanup_that_died_go_with_the_next(worker: Worker) -> None:
    digest = put(worker.store, b"left over")
    with worker.db.transaction() as tx:
        rows.add_artifact(tx, digest)
        orphans.lock(tx, None)
        assert orphans.doom_artifacts(tx, 0, minutes=0, limit=10) == (1, 0)
        tx.execute("update artifacts set last_wanted = now() - interval '1 minute'")
        assert orphans.doom_artifacts(tx, 0, minutes=0, limit=10) == (1, 1)
    assert worker.store.missing([digest]) == set()

    clean_up(worker)

    assert worker.store.missing([digest]) == {digest}


def test_cleanup_waits_for_a_transaction_that_relies_on_units(worker: Worker) -> None:
    with worker.db.transaction() as tx:
        held_world(tx)
    done = threading.Event()

    def beside() -> None:
        clean_up(worker)
        done.set()

    with psycopg.connect(worker.db.url) as other:
        units.lock_content(other)  # type: ignore[arg-type]  # its rows do not matter here
        thread = threading.Thread(target=beside)
        thread.start()
        assert not done.wait(0.7)
        assert count(worker.db, "packages") == 10
        other.rollback()
    assert done.wait(20)
    thread.join()

    assert count(worker.db, "packages") == 5


def test_a_batch_that_waits_too_long_lets_the_syncs_pass(db: Database) -> None:
    with psycopg.connect(db.url) as other:
        units.lock_content(other)  # type: ignore[arg-type]  # its rows do not matter here
        with pytest.raises(psycopg.errors.LockNotAvailable), db.transaction() as tx:
            orphans.lock(tx, 0.05)


def test_cleanup_beside_syncs_leaves_no_bit_without_a_unit_and_no_row_without_a_file(
    worker: Worker, store: Store
) -> None:
    stop = threading.Event()
    errors: list[BaseException] = []
    made = [0, 0, 0]

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as e:  # noqa: BLE001 (shown by the test)
                errors.append(e)
                stop.set()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    with worker.db.transaction() as tx:
        repositories = [rows.add_repository(tx, f"r{n}") for n in range(3)]
        for repository in repositories:
            rows.write_versions(tx, repository, [{}])

    def syncing(number: int) -> Callable[[], None]:
        rng = random.Random(number)
        return lambda: sync_once(worker, repositories[number], rng, made, number)

    def cleaning() -> None:
        clean_up(worker)

    threads = [guarded(syncing(n)) for n in range(3)] + [guarded(cleaning)]
    wait_until_done(made, 12, stop)
    stop.set()
    for thread in threads:
        thread.join(30)

    assert errors == []
    with worker.db.transaction() as tx:
        bare = tx.execute(
            """with bits as (
                 select id_at(c.chunk, i) as id
                   from (select chunk, bits from index_chunks
                         union all
                         select c.chunk, c.bits from repository_chunks c
                           join content_lists l on l.id = c.list and l.kind in (1, 11)) c,
                        generate_series(0, 4095) i where get_bit(c.bits, i) = 1)
               select count(*) as n from bits
                where not exists (select from packages p where p.id = bits.id)"""
        ).fetchone()
        lacking = tx.execute(
            """select count(*) as n from repository_chunks c
                 join content_lists l on l.id = c.list and l.kind = 1
                 join packages p on p.id / 4096 = c.chunk and get_bit(c.bits, place_of(p.id)) = 1
                where not exists (select from artifacts a where a.sha256 = p.sha256)"""
        ).fetchone()
        stored = [bytes(row["sha256"]) for row in tx.execute("select sha256 from artifacts")]
    assert bare == {"n": 0}
    assert lacking == {"n": 0}
    assert store.missing(stored) == set()


def sync_once(
    worker: Worker, repository: int, rng: random.Random, made: list[int], number: int
) -> None:
    """What plan, index, download and assemble do with the database and the store."""
    db, store = worker.db, worker.store
    bodies = {f"body {n}".encode() for n in rng.sample(range(60), 12)}
    index_digest = sha256(b"".join(sorted(bodies))).digest()
    if rng.random() < 0.3:  # often the same index as somebody else's
        bodies = {f"body {n}".encode() for n in range(12)}
        index_digest = sha256(b"common").digest()

    def plan(tx: Tx) -> int:
        units.lock_content(tx)
        task = add_task(tx)
        known = units.find_indices(tx, [index_digest]).get(index_digest)
        pin(tx, task, known)
        tx.execute("update wanted_indices set state = 'wanted' where task = %s", (task,))
        component = tx.execute(
            """insert into release_components (distribution, component) values ('bookworm', 'main')
               on conflict (distribution, component) do update set last_wanted = now()
               returning id"""
        ).fetchone()
        assert component is not None
        tx.execute("insert into task_units values (%s, 10, %s)", (task, component["id"]))
        return task

    task = db.run(plan)
    position = f"(select position from wanted_indices where task = {task})"

    def index(tx: Tx) -> list[bytes]:
        stanzas = [(n, stanza(body)) for n, body in enumerate(sorted(bodies))]
        ingested = units.ingest_index(tx, KEY, index_digest, stanzas)
        time.sleep(rng.random() / 20)  # the longer it is not committed, the more cleanup may spoil
        tx.execute(
            "update wanted_indices set index = %s, state = 'ingested' where task = %s",
            (ingested.index, task),
        )
        row = tx.execute(f"select {position} as position").fetchone()  # type: ignore[arg-type]  # a number
        assert row is not None
        units.list_missing_files(tx, task, [row["position"]])
        found = tx.execute("select sha256 from task_files where task = %s", (task,))
        return [bytes(r["sha256"]) for r in found]

    wanted = set(db.run(index))
    stored = [(put(store, body), len(body)) for body in bodies if sha256(body).digest() in wanted]
    time.sleep(rng.random() / 50)
    db.run(lambda tx: units.add_artifacts(tx, stored))

    def assemble(tx: Tx) -> None:
        versions.assemble(tx, repository=repository, task=task, mirror=True, options={})
        assert endings.end_task(tx, task, "completed")

    db.run(assemble)
    made[number] += 1
    with db.transaction() as tx:
        found = tx.execute(
            "select number from repository_versions where repository = %s order by number",
            (repository,),
        ).fetchall()
    for victim in found[:-1]:
        db.run(lambda tx, n=victim["number"]: versions.delete_version(tx, repository, n))


def stanza(body: bytes) -> bytes:
    """A package whose file is this body."""
    name = "p" + body.decode().rpartition(" ")[2]
    lines = (
        f"Package: {name}", "Version: 1", "Architecture: amd64", f"Filename: pool/{name}.deb",
        f"Size: {len(body)}", f"SHA256: {sha256(body).hexdigest()}",
    )  # fmt: skip
    return "\n".join(lines).encode()
