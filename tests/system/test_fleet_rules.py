"""What holds over a whole fleet: order, limits, cancelling, giving up."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import httpx
import psycopg
import pytest

from archive.faults import delay, stall, status
from archive.upstream import Upstream
from system.fleet import (
    PASSWORD,
    Fleet,
    add_pair,
    finished,
    list_packages,
    start_sync,
    synced,
    version_of,
    wait_for,
)
from system.small import DIST, assert_synced, write_small


@pytest.mark.parametrize("fleet", ["rabbitmq"], indirect=True)
def test_download_concurrency_holds_over_all_workers(fleet: Fleet, tmp_path: Path) -> None:
    archive = write_small(tmp_path / "archive", packages=15)
    fleet.environ = {"DEBFLEET_CHUNK_FILES": "4"}
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=3).client() as api:
        upstream.faults.append(delay("*", 0.03))
        _, repository = add_pair(
            api, "polite", upstream.url, distributions=DIST, download_concurrency=3
        )

        task = synced(api, repository)

        assert_synced(fleet, api, task, archive)
        assert upstream.most_at_once <= 3


@pytest.mark.parametrize("fleet", ["notify"], indirect=True)
def test_the_rate_limit_holds_over_all_workers(fleet: Fleet, tmp_path: Path) -> None:
    archive = write_small(tmp_path / "archive", packages=10)
    fleet.environ = {"DEBFLEET_CHUNK_FILES": "5"}
    rate = 20
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=2).client() as api:
        _, repository = add_pair(api, "slow", upstream.url, distributions=DIST, rate_limit=rate)

        task = synced(api, repository)

        assert_synced(fleet, api, task, archive)
        started = sorted(request.started for request in upstream.requests)
    assert len(started) > 2 * rate
    windows = [sum(1 for s in started if begin <= s < begin + 1) for begin in started]
    # A request let through late in one second may arrive early in the next.
    assert max(windows) <= 1.5 * rate


@pytest.mark.parametrize("fleet", ["rabbitmq"], indirect=True)
@pytest.mark.parametrize("glob", ["dists/*/by-hash/*", "pool/*"], ids=["index", "download"])
def test_a_canceled_sync_leaves_no_version_and_the_next_one_works(
    fleet: Fleet, tmp_path: Path, glob: str
) -> None:
    archive = write_small(tmp_path / "archive")
    go_on = threading.Event()
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=1).client() as api:
        held = stall(glob, 100, go_on, times=1)
        upstream.faults.append(held)
        _, repository = add_pair(api, "canceled", upstream.url, distributions=DIST)
        href = start_sync(api, repository)
        wait_for(lambda: held.hits == 1, "a job is in the middle of a file")

        answer = _cancel(fleet, href)
        task = finished(api, href)

        assert answer.status_code == 200
        assert answer.json()["state"] == "canceled"  # by the answer, whatever its jobs do
        assert task["state"] == "canceled"
        assert (task["error"], task["created_resources"]) == (None, [])
        assert {r["state"] for r in task["progress_reports"]} <= {"canceled", "completed"}
        assert api.get(repository["versions_href"])["count"] == 1
        # The silent file is let go by the worker itself: its upstream says nothing more.
        again = synced(api, repository)
        go_on.set()
        assert_synced(fleet, api, again, archive)
        assert _cancel(fleet, again["pulp_href"]).status_code == 409


def _cancel(fleet: Fleet, task: str) -> httpx.Response:
    return httpx.patch(
        fleet.url + task, json={"state": "canceled"}, auth=("admin", PASSWORD), timeout=30
    )


@pytest.mark.parametrize("fleet", ["rabbitmq"], indirect=True)
def test_syncs_of_one_repository_run_in_order_and_others_do_not_wait(
    fleet: Fleet, tmp_path: Path
) -> None:
    archive = write_small(tmp_path / "archive")
    shutil.copytree(tmp_path / "archive", tmp_path / "slow")
    go_on = threading.Event()
    with (
        Upstream(tmp_path / "slow") as slow,
        Upstream(tmp_path / "archive") as upstream,
        fleet.start(workers=2).client() as api,
    ):
        held = stall("pool/*", 1000, go_on, times=1)
        slow.faults.append(held)
        _, mine = add_pair(api, "mine", slow.url, distributions=DIST, policy="immediate")
        _, other = add_pair(api, "other", upstream.url, distributions=DIST, policy="on_demand")
        first = start_sync(api, mine)
        wait_for(lambda: held.hits == 1, "the first sync downloads")
        second = start_sync(api, mine)

        assert synced(api, other)["created_resources"] != []
        waiting = api.get(second)
        assert (waiting["state"], waiting["unblocked_at"]) == ("waiting", None)
        assert api.get(first)["state"] == "running"
        go_on.set()
        done, after = finished(api, first), finished(api, second)

        assert_synced(fleet, api, done, archive)
        assert (after["state"], after["created_resources"]) == ("completed", [])
        assert after["unblocked_at"] >= done["finished_at"]


@pytest.mark.parametrize("fleet", ["notify"], indirect=True)
def test_an_upstream_that_rotates_under_a_sync_is_planned_again_and_never_mixed(
    fleet: Fleet, tmp_path: Path
) -> None:
    write_small(tmp_path / "old", payload_size=3000)
    new = write_small(tmp_path / "new", payload_size=5000)
    go_on = threading.Event()
    with Upstream(tmp_path / "old") as upstream, fleet.start(workers=2).client() as api:
        held = stall("pool/*", 1000, go_on, times=1)
        upstream.faults.append(held)
        _, repository = add_pair(api, "rotated", upstream.url, distributions=DIST, max_retries=1,
                                 download_concurrency=2)  # fmt: skip
        href = start_sync(api, repository)
        wait_for(lambda: held.hits == 1, "a download of the old state is in the middle of a file")

        upstream.rotate(tmp_path / "new")
        go_on.set()
        task = finished(api, href)

        assert task["state"] == "completed", task["error"]
        packages = list_packages(api, version_of(api, task))
        assert {p["sha256"] for p in packages} == {entry.sha256 for entry in new.listed}
    assert fleet.count("select round from tasks where kind = 'sync'") == 2


@pytest.mark.parametrize("fleet", ["notify"], indirect=True)
def test_a_job_that_takes_its_workers_down_is_given_up(fleet: Fleet, tmp_path: Path) -> None:
    write_small(tmp_path / "archive")
    fleet.environ = {"DEBFLEET_MAX_ATTEMPTS": "2"}
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=1).client() as api:
        held = stall("dists/*/by-hash/*", 100, threading.Event())
        upstream.faults.append(held)
        _, repository = add_pair(
            api, "deadly", upstream.url, distributions=DIST,
            components="main", architectures="amd64",
        )  # fmt: skip
        href = start_sync(api, repository)
        for attempt in (1, 2):
            wait_for(lambda n=attempt: held.hits >= n, f"attempt {attempt} reads the index")
            fleet.kill(f"worker-{attempt}")
            fleet.start_worker(f"worker-{attempt + 1}")

        task = finished(api, href)

        assert task["state"] == "failed"
        assert "index" in task["error"]["description"]
        assert "2" in task["error"]["description"]
        assert api.get(repository["versions_href"])["count"] == 1


@pytest.mark.parametrize("fleet", ["notify"], indirect=True)
def test_an_upstream_that_answers_5xx_for_long_holds_up_its_own_sync_alone(
    fleet: Fleet, tmp_path: Path
) -> None:
    archive = write_small(tmp_path / "archive")
    with (
        Upstream(tmp_path / "archive") as ill,
        Upstream(tmp_path / "archive") as well,
        fleet.start(workers=1).client() as api,
    ):
        storm = status("pool/*", 502)
        ill.faults.append(storm)
        _, first = add_pair(api, "ill", ill.url, distributions=DIST, max_retries=1)
        _, second = add_pair(api, "well", well.url, distributions=DIST, policy="on_demand")
        held_up = start_sync(api, first)
        put_off = "select count(*) from jobs where kind = 'download' and excused > 0"
        wait_for(lambda: fleet.count(put_off) > 0, "a download of the first is put off", 60)

        synced(api, second)  # by the same worker, while the storm goes on
        asked = storm.hits
        state = api.get(held_up)["state"]
        ill.faults.clear()
        task = finished(api, held_up, 120)

        assert state == "running"
        # A dead host is not asked for each file again and again.
        assert asked < 3 * len(archive.listed)
        assert task["state"] == "completed", task["error"]
        assert_synced(fleet, api, task, archive)


@pytest.mark.parametrize("fleet", ["notify"], indirect=True)
def test_a_lock_that_holds_up_heartbeats_and_renewals_beyond_the_lease_does_no_harm(
    fleet: Fleet, tmp_path: Path
) -> None:
    archive = write_small(tmp_path / "archive")
    go_on = threading.Event()
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=2).client() as api:
        held = stall("pool/*", 1000, go_on, times=1)
        upstream.faults.append(held)
        _, repository = add_pair(api, "locked", upstream.url, distributions=DIST)
        href = start_sync(api, repository)
        wait_for(lambda: held.hits == 1, "a download is in the middle of a file")
        with psycopg.connect(fleet.database_url) as locker:
            locker.execute("lock table jobs, processes in exclusive mode")
            ran_out = (
                "select count(*) from jobs where state = 'running'"
                " and leased_until < clock_timestamp() - interval '1 s'"
            )
            wait_for(lambda: fleet.count(ran_out) > 0, "a lease has run out under the lock")
        go_on.set()
        task = finished(api, href)

        assert task["state"] == "completed", task["error"]
        assert_synced(fleet, api, task, archive)
    assert fleet.count("select count(*) from jobs where kind = 'assemble'") == 1
