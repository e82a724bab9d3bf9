"""Whole syncs beside cleanup: what a sync has made is there, file by file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from archive.build import write_archive
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from chore_runs import made_worker, run_chore, wait_until_done
from debfleet.config import Settings
from debfleet.db import holdings, repairs, repositories
from debfleet.db.connect import Database
from debfleet.store import Store
from sync_flow import Flow, add_repository, crew_of

A, B, C = Pkg("a"), Pkg("b"), Pkg("c", architecture="all")
CLEANUP = {"protection_minutes": 0, "units": None}


def archive(tmp_path: Path) -> Path:
    """An archive of three packages."""
    folder = tmp_path / "archive"
    folder.mkdir()
    return write_archive(folder, [Dist("stable", {"main": [A, B, C]})]).folder


def is_whole(db: Database, store: Store, flow: Flow) -> bool:
    """Every package of the latest version has its artifact, and every artifact its file."""
    with db.transaction() as tx:
        place = holdings.find_latest(tx, flow.repository["id"])
        assert place is not None
        files = repairs.list_files(tx, place.repository, place.number)
        lacking = tx.execute(
            """select count(*) as n from repository_chunks c
                 join content_lists l on l.id = c.list and l.kind = 1
                 join packages p on p.id / 4096 = c.chunk and get_bit(c.bits, place_of(p.id)) = 1
                where c.repository = %s and c.removed is null
                  and not exists (select from artifacts a where a.sha256 = p.sha256)""",
            (place.repository,),
        ).fetchone()
    assert lacking == {"n": 0}
    return bool(files) and not store.missing([f.sha256 for f in files])


def forget(db: Database, flow: Flow) -> None:
    """Delete the repository and the remote."""
    with db.transaction() as tx:
        repositories.delete_repository(tx, flow.repository["uuid"])
        assert flow.remote is not None
        repositories.delete_remote(tx, flow.remote.uuid)


def test_cleanup_takes_everything_of_a_deleted_repository_and_a_sync_brings_it_back(
    settings: Settings, db: Database, store: Store, tmp_path: Path
) -> None:
    with (
        Upstream(archive(tmp_path)) as upstream,
        crew_of(settings, db, store) as crew,
        made_worker(settings, store) as worker,
    ):
        flow = Flow(db, crew, add_repository(db))
        flow.set_remote(upstream)
        assert flow.sync().state == "completed"
        first = flow.stored()

        run_chore(worker, "orphans", CLEANUP)
        assert is_whole(db, store, flow)
        assert flow.stored() == first
        forget(db, flow)
        task = run_chore(worker, "orphans", CLEANUP)

        assert flow.stored() == set()
        assert task["reports"]["clean-up.artifacts"] == (len(first), len(first))
        assert store.missing([bytes.fromhex(d) for d in first]) == {bytes.fromhex(d) for d in first}
        with db.transaction() as tx:
            for table in ("packages", "indices", "release_files", "doomed_files", "unit_files"):
                assert tx.execute(f"select from {table}").rowcount == 0, table  # type: ignore[arg-type]  # fixed
        flow = Flow(db, crew, add_repository(db))
        flow.set_remote(upstream)
        assert flow.sync().state == "completed"
        assert flow.stored() == first
        assert flow.packages() == {
            ("a", "1.0", "amd64"), ("b", "1.0", "amd64"), ("c", "1.0", "all"),
        }  # fmt: skip


def test_syncs_beside_cleanup_end_whole(
    settings: Settings, db: Database, store: Store, tmp_path: Path
) -> None:
    stop = threading.Event()
    errors: list[BaseException] = []
    done = [0, 0]

    def repeated(work: Callable[[], None]) -> threading.Thread:
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

    with (
        Upstream(archive(tmp_path)) as upstream,
        Database(db.url, size=12, name="tests") as pool,
        crew_of(settings, pool, store) as crew,
        made_worker(settings, store) as worker,
    ):

        def syncing(number: int) -> Callable[[], None]:
            def work() -> None:
                flow = Flow(pool, crew, add_repository(pool))
                flow.set_remote(upstream)
                synced = flow.sync(optimize=False)
                assert (synced.state, synced.error) == ("completed", "")
                assert is_whole(pool, store, flow)
                forget(pool, flow)
                done[number] += 1

            return work

        threads = [repeated(syncing(n)) for n in range(2)]
        threads.append(repeated(lambda: run_chore(worker, "orphans", CLEANUP) and None))
        wait_until_done(done, 8, stop)
        stop.set()
        for thread in threads:
            thread.join(60)

    assert errors == []
