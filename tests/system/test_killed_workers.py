"""A worker killed with SIGKILL at a known point: another brings the sync to the same version."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg

from archive.faults import Fault, stall
from archive.upstream import Upstream
from system.fleet import Fleet, add_pair, finished, start_sync, wait_for
from system.small import DIST, assert_synced, write_small


def test_a_worker_killed_while_it_fetches_an_index_is_replaced(
    fleet: Fleet, tmp_path: Path
) -> None:
    never = threading.Event()
    kill_at(fleet, tmp_path, stall("dists/*/by-hash/*", 100, never, times=1), "index")


def test_a_worker_killed_while_it_downloads_packages_is_replaced(
    fleet: Fleet, tmp_path: Path
) -> None:
    never = threading.Event()
    kill_at(fleet, tmp_path, stall("pool/*", 1000, never, times=1, skip=3), "download")


def kill_at(fleet: Fleet, tmp_path: Path, fault: Fault, kind: str) -> None:
    """Kill the one worker when upstream has gone silent under it; another finishes the work."""
    archive = write_small(tmp_path / "archive")
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=1).client() as api:
        upstream.faults.append(fault)
        _, repository = add_pair(api, "killed", upstream.url, distributions=DIST)
        href = start_sync(api, repository)
        wait_for(lambda: fault.hits == 1, f"a {kind} job is in the middle of a file")
        wait_for(lambda: fleet.runner(kind) == "worker-1", f"worker-1 runs a job of kind {kind}")

        fleet.kill("worker-1")
        fleet.start_worker("worker-2")
        task = finished(api, href)

        assert task["state"] == "completed", task["error"]
        assert_synced(fleet, api, task, archive)
    attempts = fleet.rows("select attempt, state from jobs where kind = %s", kind)
    assert {row["state"] for row in attempts} == {"done"}
    assert max(row["attempt"] for row in attempts) == 2


def test_a_worker_killed_while_it_writes_packages_into_postgres_leaves_nothing_behind(
    fleet: Fleet, tmp_path: Path
) -> None:
    archive = write_small(tmp_path / "archive")
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=1).client() as api:
        _, repository = add_pair(api, "killed", upstream.url, distributions=DIST)
        with psycopg.connect(fleet.database_url) as locker:
            locker.execute("lock table packages in exclusive mode")
            href = start_sync(api, repository)
            blocked = "select pid from pg_locks where not granted and relation = %s::regclass"
            wait_for(lambda: fleet.rows(blocked, "packages") or None, "the merge has begun")

            fleet.kill("worker-1")
        # The session of the dead worker gets its lock now, finds nobody there, and rolls back.
        fleet.start_worker("worker-2")
        task = finished(api, href)

        assert task["state"] == "completed", task["error"]
        assert_synced(fleet, api, task, archive)
    assert fleet.count("select count(*) from packages") == len(archive.listed)


def test_a_worker_that_is_told_to_stop_hands_back_what_it_does(
    fleet: Fleet, tmp_path: Path
) -> None:
    archive = write_small(tmp_path / "archive")
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=1).client() as api:
        held = stall("pool/*", 1000, threading.Event(), times=1, skip=3)
        upstream.faults.append(held)
        _, repository = add_pair(api, "stopped", upstream.url, distributions=DIST)
        href = start_sync(api, repository)
        wait_for(lambda: held.hits == 1, "a download is in the middle of a file")

        fleet.start_worker("worker-2")
        status = fleet.stop_one("worker-1")
        task = finished(api, href)

        assert status == 0
        assert task["state"] == "completed", task["error"]
        assert_synced(fleet, api, task, archive)
