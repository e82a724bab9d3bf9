"""Schedules run by real sweepers, two at once."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import psycopg
import pytest

from archive.build import write_archive
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.db.connect import Database, Tx
from debfleet_cli.client import Api
from system.fleet import Fleet, add_pair, finished, wait_for

_TICKS = 8
_SCHEDULES = 12
_DUE = "update schedules set next_run = clock_timestamp() - interval '1 h'"
_END = (
    "update tasks set state = 'canceled', finished = clock_timestamp(), open_jobs = 0"
    " where finished is null",
    "update jobs set state = 'canceled', leased_until = null where state in ('queued', 'running')",
    "delete from claims",
)


@pytest.mark.parametrize("fleet", ["notify"], indirect=True)
def test_two_sweepers_make_exactly_one_sync_of_each_tick(fleet: Fleet) -> None:
    fleet.start_api()
    with fleet.client() as api:
        for number in range(_SCHEDULES):
            _, repository = add_pair(api, f"r{number}", "http://127.0.0.1:1/", distributions="sid")
            api.post(
                "/pulp/api/v3/schedules/",
                {"name": f"s{number}", "repository": repository["pulp_href"], "cron": "@monthly"},
            )
    fleet.start_sweep("sweep-1")
    fleet.start_sweep("sweep-2")
    over = threading.Event()
    unseat = threading.Thread(target=_unseat, args=(fleet.database_url, over))
    unseat.start()

    try:
        for tick in range(1, _TICKS + 1):
            _all(fleet, _DUE)
            if tick == _TICKS // 2:
                fleet.kill("sweep-1")
            wait_for(lambda: not _due(fleet), "every schedule that was due has run")
            if tick == _TICKS // 2:
                fleet.start_sweep("sweep-1")
            assert fleet.count("select count(*) from tasks where kind = 'sync'") == (
                tick * _SCHEDULES
            )
            _all(fleet, *_END)
    finally:
        over.set()
        unseat.join()

    assert fleet.count("select sum(skipped) from schedules") == 0
    of_each = fleet.rows("select count(*) as n from tasks where kind = 'sync' group by args")
    assert [row["n"] for row in of_each] == [_TICKS] * _SCHEDULES


@pytest.mark.parametrize("fleet", ["notify"], indirect=True)
def test_a_schedule_made_on_the_command_line_syncs_and_publishes(
    fleet: Fleet, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    write_archive(archive, [Dist("trixie", {"main": [Pkg("one"), Pkg("two")]})])
    fleet.start()

    with Upstream(archive) as upstream, fleet.client() as api:
        add_pair(api, "nightly", upstream.url, distributions="trixie")
        words = ["schedule", "add", "nightly", "30 2 * * *", "--time-zone", "Europe/Berlin"]
        assert "added nightly: next run" in fleet.command(*words, "--publish")
        _all(fleet, _DUE)
        task = wait_for(lambda: _last_task(api), "the schedule has run")
        assert finished(api, task)["state"] == "completed"

    listed = fleet.command("schedule", "list")
    assert "nightly  30 2 * * * Europe/Berlin  repository nightly" in listed
    assert f"completed {task}" in listed
    assert fleet.count("select count(*) from publications where is_complete") == 1
    assert "disabled" in fleet.command("schedule", "disable", "nightly")
    assert "next run" in fleet.command("schedule", "enable", "nightly")
    told = json.loads(fleet.command("schedule", "list", "--json"))
    assert told["schedules"][0]["options"]["publish"] is True
    fleet.command("schedule", "remove", "nightly")
    assert "no schedule" in fleet.command("schedule", "list")
    fleet.command("schedule", "remove", "nightly", status=2)
    fleet.command("schedule", "add", "nightly", "soon", status=2)
    fleet.command("schedule", "add", "weekly", "@daily", status=2)


def _last_task(api: Api) -> str | None:
    found: str | None = api.get("/pulp/api/v3/schedules/")["results"][0]["last_task"]
    return found


def _due(fleet: Fleet) -> int:
    return fleet.count("select count(*) from schedules where next_run <= clock_timestamp()")


def _all(fleet: Fleet, *statements: str) -> None:
    """In one transaction; again as a whole where a sweeper locks the same rows the other way."""

    def execute(tx: Tx) -> None:
        for statement in statements:
            tx.execute(statement)  # type: ignore[arg-type]  # a test's own text

    with Database(fleet.database_url, size=1, name="tests") as db:
        db.run(execute)


def _unseat(database_url: str, over: threading.Event) -> None:
    """Take the lead from whoever has it, all the time: each of the two is to believe it leads."""
    with psycopg.connect(database_url, autocommit=True) as db:
        while not over.wait(0.05):
            db.execute("delete from leaders")
