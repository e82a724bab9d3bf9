"""Workers whose clocks are an hour ahead and an hour behind: Postgres's clock decides."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.request import urlopen

import pytest

from archive.build import write_archive
from archive.faults import stall
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from system.fleet import Fleet, add_pair, finished, running, start_sync, wait_for
from system.publishing import changed, distribute

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
CLOCKS = {"ahead": "+1h", "behind": "-1h"}
LEASE_SECONDS = 3  # as tests/system/fleet.py has it


@pytest.fixture
def fleet(database_url: str, store_url: str, tmp_path: Path) -> Iterator[Fleet]:
    folder = tmp_path / "fleet"
    folder.mkdir()
    with running(Fleet(database_url, store_url, folder)) as made:
        made.environ = {"DEBFLEET_CHUNK_FILES": "2"}
        made.start_content()
        made.start(workers=0)
        yield made


def start_worker(fleet: Fleet, name: str, clock: str) -> None:
    fleet.start_workers(
        [name],
        LD_PRELOAD=str(LIBRARIES[0]), FAKETIME=clock, FAKETIME_DONT_FAKE_MONOTONIC="1",
        FAKETIME_NO_CACHE="1",
    )  # fmt: skip


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed (apt install libfaketime)")
def test_workers_an_hour_ahead_and_an_hour_behind_share_a_sync_that_comes_out_right(
    fleet: Fleet, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    # To the one it has run out by now, to the other it is yet to come.
    dist = Dist(
        "stable", {"main": [Pkg(f"lib{number}") for number in range(8)]},
        date=now - timedelta(minutes=30), valid_until=now + timedelta(minutes=30),
    )  # fmt: skip
    archive = write_archive(tmp_path / "archive", [dist])
    for name, clock in CLOCKS.items():
        start_worker(fleet, name, clock)
    busy = "select count(distinct worker) from jobs where kind = 'download' and state = 'running'"
    with Upstream(tmp_path / "archive") as upstream, fleet.client() as api:
        go_on = threading.Event()
        upstream.faults.append(stall("pool/*", 0, go_on))
        _, repository = add_pair(
            api, "clocks", upstream.url, distributions="stable",
            guard_expired="refuse", guard_future="refuse",
        )  # fmt: skip
        changed(api, repository["pulp_href"], {"autopublish": True})
        href = start_sync(api, repository)
        wait_for(lambda: fleet.count(busy) == len(CLOCKS), "both download", 60)
        # Beyond the lease of both: each is renewed, and none is taken from the other.
        begun = fleet.count("select extract(epoch from clock_timestamp())::int")
        wait_for(
            lambda: (
                fleet.count("select extract(epoch from clock_timestamp())::int")
                > begun + LEASE_SECONDS + 2
            ),
            "time passes",
        )
        go_on.set()
        task = finished(api, href)
        base = str(distribute(api, "clocks", repository=repository["pulp_href"])["base_url"])
        with urlopen(f"{base.rstrip('/')}/dists/stable/Release", timeout=30) as answer:
            release = answer.read().decode()

    assert task["state"] == "completed", task["error"]
    taken_over = "select count(*) from jobs where attempt > 1 and kind = 'download'"
    assert fleet.count(taken_over) == 0
    assert len([p for p in upstream.paths() if p.startswith("pool/")]) == len(archive.listed)
    dates = [line[6:] for line in release.splitlines() if line.startswith("Date: ")]
    assert abs(parsedate_to_datetime(dates[0]) - now) < timedelta(minutes=10)


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed (apt install libfaketime)")
@pytest.mark.parametrize(("lost", "takes"), [("ahead", "behind"), ("behind", "ahead")])
def test_the_job_of_a_worker_that_died_is_taken_over_after_its_lease_by_any_clock(
    fleet: Fleet, tmp_path: Path, lost: str, takes: str
) -> None:
    dist = Dist("stable", {"main": [Pkg(f"lib{number}") for number in range(2)]})
    archive = write_archive(tmp_path / "archive", [dist])
    start_worker(fleet, lost, CLOCKS[lost])
    with Upstream(tmp_path / "archive") as upstream, fleet.client() as api:
        held = stall("pool/*", 100, threading.Event(), times=1)
        upstream.faults.append(held)
        _, repository = add_pair(api, "clocks", upstream.url, distributions="stable")
        href = start_sync(api, repository)
        wait_for(lambda: held.hits == 1, "a download is in the middle of a file", 60)
        start_worker(fleet, takes, CLOCKS[takes])
        [row] = fleet.rows(
            "select leased_until between clock_timestamp() - interval '1 s'"
            "   and clock_timestamp() + make_interval(secs => %s) as is_near"
            "  from jobs where kind = 'download' and state = 'running'",
            LEASE_SECONDS + 1,
        )

        fleet.kill(lost)
        task = finished(api, href)

    assert row["is_near"]
    assert task["state"] == "completed", task["error"]
    assert fleet.count("select max(attempt) from jobs where kind = 'download'") == 2
    assert fleet.count("select count(*) from artifacts") >= len(archive.listed)
