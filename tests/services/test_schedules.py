"""Schedules: what the API takes, and what a sweeper makes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from api_client import NOWHERE, REPOSITORIES, V3, ApiClient, a_name, made, refused
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from coordination import rows, task_row
from debfleet.bell import Bell, NotifyBell, open_bell
from debfleet.config import Settings
from debfleet.db import schedules, tasks
from debfleet.db.connect import Database
from debfleet_worker.sweep import Sweeper
from sync_flow import Flow

SCHEDULES = f"{V3}schedules/"
TASK_SCHEDULES = f"{V3}task-schedules/"
Write = Callable[..., Archive]


def pair(api: ApiClient) -> dict[str, Any]:
    return api.repository(remote=api.remote()["pulp_href"])


def schedule(api: ApiClient, **fields: Any) -> dict[str, Any]:
    """A new schedule of a new repository."""
    body = {"name": a_name(), "cron": "30 2 * * *", **fields}
    body.setdefault("repository", pair(api)["pulp_href"])
    return made(api.post(SCHEDULES, body))


def due(db: Database, *names: str) -> None:
    """As if their time had come three days ago."""
    query = "update schedules set next_run = now() - interval '3 d' where name = any(%s)"
    rows(db, f"{query} returning id", list(names))


def sweeper_of(api: ApiClient) -> Iterator[Sweeper]:
    bell = NotifyBell(api.state.settings.database_url)
    yield Sweeper(api.state.db, bell, api.state.settings, uuid4())
    bell.close()


@pytest.fixture
def sweeper(api: ApiClient) -> Iterator[Sweeper]:
    yield from sweeper_of(api)


# --- the API ----------------------------------------------------------------------------------


def test_a_schedule_shows_what_was_asked_for_and_when_it_runs(shared_api: ApiClient) -> None:
    repository = pair(shared_api)
    before = datetime.now(UTC)

    row = schedule(shared_api, repository=repository["pulp_href"], options={"mirror": True})

    next_run = datetime.fromisoformat(row["next_run"])
    assert next_run > before
    assert (next_run.hour, next_run.minute, next_run.second) == (2, 30, 0)
    assert row["repository"] == repository["pulp_href"]
    assert row["options"] == {
        "mirror": True, "optimize": True, "publish": False, "checkpoint": False,
    }  # fmt: skip
    shown = {k: row[k] for k in ("cron", "time_zone", "enabled", "last_run", "last_task")}
    assert shown == {
        "cron": "30 2 * * *", "time_zone": "UTC", "enabled": True, "last_run": None,
        "last_task": None,
    }  # fmt: skip
    assert shared_api.get(row["pulp_href"]).json == row
    found = shared_api.get(f"{SCHEDULES}?name={row['name']}").json or {}
    assert found["results"] == [row]


@pytest.mark.parametrize(
    ("sent", "field", "words"),
    [
        ({"cron": "every day"}, "cron", "five fields"),
        ({"cron": "61 * * * *"}, "cron", "Bad minute"),
        ({"cron": "0 0 30 2 *"}, "cron", "Bad day-of-month"),
        ({"cron": None}, "cron", "null"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "no time zone"),
        ({"options": {"mirrors": True}}, "options", "mirrors: Unexpected field"),
        ({"options": {"mirror": "perhaps"}}, "options", "mirror: Must be a valid boolean."),
        ({"options": {"checkpoint": True}}, "options", "set publish too"),
        ({"options": [1]}, "options", "Expected a dictionary"),
        ({"repository": None}, "repository", "null"),
        ({"repository": f"{REPOSITORIES}{NOWHERE}/"}, "repository", "does not exist"),
        ({"enabled": "soon"}, "enabled", "Must be a valid boolean."),
        ({"frob": 1}, "frob", "Unexpected field"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_by_field(
    shared_api: ApiClient, sent: dict[str, Any], field: str, words: str
) -> None:
    body = {"name": a_name(), "cron": "@daily", "repository": pair(shared_api)["pulp_href"]}

    answer = refused(shared_api.post(SCHEDULES, body | sent))

    assert list(answer) == [field]
    assert words in answer[field][0]


def test_a_repository_without_a_remote_cannot_be_scheduled(shared_api: ApiClient) -> None:
    body = {"name": a_name(), "cron": "@daily"}
    body["repository"] = shared_api.repository()["pulp_href"]

    assert list(refused(shared_api.post(SCHEDULES, body))) == ["repository"]


def test_a_name_is_given_once(shared_api: ApiClient) -> None:
    row = schedule(shared_api)
    body = {k: row[k] for k in ("name", "cron", "repository")}

    answer = refused(shared_api.post(SCHEDULES, body))

    assert answer == {"name": ["This field must be unique."]}


def test_a_schedule_rests_while_it_is_disabled(shared_api: ApiClient) -> None:
    row = schedule(shared_api)

    rests = shared_api.patch(row["pulp_href"], {"enabled": False}).json or {}
    runs = shared_api.patch(row["pulp_href"], {"enabled": True, "cron": "0 4 * * *"}).json or {}

    assert (rests["enabled"], rests["next_run"]) == (False, None)
    assert (runs["enabled"], runs["next_run"][11:16]) == (True, "04:00")


def test_a_change_of_other_fields_leaves_a_run_that_is_due(api: ApiClient) -> None:
    row = schedule(api)
    due(api.state.db, row["name"])
    late = (api.get(row["pulp_href"]).json or {})["next_run"]

    changed = api.patch(row["pulp_href"], {"options": {"optimize": False}}).json or {}

    assert changed["next_run"] == late
    assert changed["options"]["optimize"] is False


def test_a_put_sets_what_it_does_not_name_back(shared_api: ApiClient) -> None:
    row = schedule(shared_api, options={"publish": True}, time_zone="Asia/Tokyo")
    body = {k: row[k] for k in ("name", "cron", "repository")}

    put = shared_api.put(row["pulp_href"], body).json or {}

    assert (put["time_zone"], put["options"]["publish"]) == ("UTC", False)


def test_a_schedule_stays_with_its_repository(shared_api: ApiClient) -> None:
    row = schedule(shared_api)

    answer = refused(
        shared_api.patch(row["pulp_href"], {"repository": pair(shared_api)["pulp_href"]})
    )

    assert list(answer) == ["repository"]


@pytest.mark.parametrize("field", ["name", "repository", "cron", "time_zone", "options", "enabled"])
def test_nothing_of_a_schedule_can_be_set_to_null(shared_api: ApiClient, field: str) -> None:
    row = schedule(shared_api)

    assert list(refused(shared_api.patch(row["pulp_href"], {field: None}))) == [field]
    assert shared_api.get(row["pulp_href"]).json == row


def test_a_deleted_schedule_is_gone_and_so_is_that_of_a_deleted_repository(
    shared_api: ApiClient,
) -> None:
    one, two = schedule(shared_api), schedule(shared_api)

    assert shared_api.delete(one["pulp_href"]).status_code == 204
    shared_api.task(shared_api.delete(two["repository"]))

    for row in (one, two):
        refused(shared_api.get(row["pulp_href"]), 404)
        refused(shared_api.patch(row["pulp_href"], {"enabled": True}), 404)
        refused(shared_api.delete(row["pulp_href"]), 404)


def test_pulps_task_schedules_show_the_same_read_only(shared_api: ApiClient) -> None:
    row = schedule(shared_api, cron="15 */6 * * *")

    shown = (shared_api.get(f"{TASK_SCHEDULES}?name={row['name']}").json or {})["results"]

    assert len(shown) == 1
    assert shown[0] == shared_api.get(shown[0]["pulp_href"]).json
    assert shown[0]["task_name"] == "pulp_deb.app.tasks.synchronizing.synchronize"
    assert shown[0]["dispatch_interval"] == "06:00:00"
    assert shown[0]["next_dispatch"] == row["next_run"]
    refused(shared_api.post(TASK_SCHEDULES, {}), 405)
    refused(shared_api.get(f"{TASK_SCHEDULES}{NOWHERE}/"), 404)


# --- the sweeper ------------------------------------------------------------------------------


def test_a_run_that_is_due_is_a_sync_like_any_other(api: ApiClient, sweeper: Sweeper) -> None:
    row = schedule(api, options={"mirror": True})
    due(api.state.db, row["name"])

    assert sweeper.run_once()

    after = api.get(row["pulp_href"]).json or {}
    task = api.get(after["last_task"]).json or {}
    assert task["name"] == "pulp_deb.app.tasks.synchronizing.synchronize"
    assert task["unblocked_at"] is not None
    assert task["created_by"] is not None
    assert row["repository"].split("/")[-2] in task["reserved_resources_record"][0]
    assert after["last_run"] is not None
    asked = rows(api.state.db, "select args from tasks where kind = 'sync'")
    assert asked[0]["args"]["mirror"] is True


def test_missed_runs_are_caught_up_by_one(api: ApiClient, sweeper: Sweeper) -> None:
    row = schedule(api, cron="*/5 * * * *")
    due(api.state.db, row["name"])  # three days of them

    for _ in range(3):
        sweeper.run_once()

    assert len(rows(api.state.db, "select id from tasks where kind = 'sync'")) == 1
    after = api.get(row["pulp_href"]).json or {}
    assert datetime.fromisoformat(after["next_run"]) > datetime.now(UTC)


def test_a_run_while_the_one_before_goes_on_is_left_out_and_counted(
    api: ApiClient, sweeper: Sweeper
) -> None:
    row = schedule(api)
    for _ in range(2):
        due(api.state.db, row["name"])
        sweeper.run_once()
    first = api.get(row["pulp_href"]).json or {}
    api.patch(first["last_task"], {"state": "canceled"})
    due(api.state.db, row["name"])
    sweeper.run_once()

    after = api.get(row["pulp_href"]).json or {}

    assert first["skipped_runs"] == after["skipped_runs"] == 1
    assert after["last_task"] != first["last_task"]
    assert len(rows(api.state.db, "select id from tasks where kind = 'sync'")) == 2


def test_a_disabled_schedule_and_one_whose_time_has_not_come_make_nothing(
    api: ApiClient, sweeper: Sweeper
) -> None:
    schedule(api)
    rests = schedule(api)
    due(api.state.db, rests["name"])
    api.patch(rests["pulp_href"], {"enabled": False})

    sweeper.run_once()

    assert rows(api.state.db, "select id from tasks where kind = 'sync'") == []


def test_what_is_wrong_with_a_schedule_is_told_and_hurts_no_other(
    api: ApiClient, sweeper: Sweeper
) -> None:
    lacking, zoneless, good = schedule(api), schedule(api), schedule(api)
    api.patch(lacking["repository"], {"remote": None})
    query = "update schedules set time_zone = 'Gone/Zone' where name = %s returning id"
    rows(api.state.db, query, zoneless["name"])
    due(api.state.db, *(s["name"] for s in (lacking, zoneless, good)))

    sweeper.run_once()

    told = [api.get(s["pulp_href"]).json or {} for s in (lacking, zoneless, good)]
    assert [t["last_task"] is not None for t in told] == [False, False, True]
    assert "no remote" in told[0]["last_error"]
    assert told[0]["next_run"] is not None
    assert "no time zone" in told[1]["last_error"]
    assert told[1]["next_run"] is None
    assert told[2]["last_error"] is None
    refused(api.patch(zoneless["pulp_href"], {"name": a_name()}))


def test_a_run_is_made_while_the_broker_is_away_and_rung_when_it_is_back(
    api: ApiClient, settings: Settings
) -> None:
    class Away(NotifyBell):
        """A broker that nobody reaches."""

        is_away = True

        def ring_now(self, rings: Any) -> bool:
            return not self.is_away and super().ring_now(rings)

    bell = Away(settings.database_url)
    sweeper = Sweeper(api.state.db, bell, settings, uuid4())
    row = schedule(api)
    due(api.state.db, row["name"])
    sweeper.run_once()
    waits = api.get((api.get(row["pulp_href"]).json or {})["last_task"]).json or {}
    bell.is_away = False
    sweeper.run_once()
    bell.close()

    assert waits["unblocked_at"] is None
    assert (api.get(waits["pulp_href"]).json or {})["unblocked_at"] is not None


def test_sweepers_at_once_make_one_task_of_each_tick(database_url: str, api: ApiClient) -> None:
    names = [schedule(api)["name"] for _ in range(6)]
    together, ticks = threading.Barrier(4), 12

    def sweep(db: Database) -> None:
        together.wait()
        for id in db.run(schedules.list_due):
            db.run(lambda tx, id=id: schedules.run_due(tx, id))

    with Database(database_url, size=4) as db, ThreadPoolExecutor(4) as pool:
        for _ in range(ticks):
            due(db, *names)
            for made_by in [pool.submit(sweep, db) for _ in range(4)]:
                made_by.result(timeout=60)
            db.run(_end_syncs)

    made_of = rows(
        api.state.db, "select count(*) as n from tasks where kind = 'sync' group by args"
    )
    assert [row["n"] for row in made_of] == [ticks] * len(names)
    assert rows(api.state.db, "select sum(skipped)::int as n from schedules")[0]["n"] == 0


def _end_syncs(tx: Any) -> None:
    for row in tx.execute("select uuid from tasks where finished is null").fetchall():
        tasks.cancel(tx, row["uuid"])


# --- what a run publishes ---------------------------------------------------------------------


@pytest.fixture
def bell(settings: Settings) -> Iterator[Bell]:
    bell = open_bell(settings)
    yield bell
    bell.close()


def _scheduled(flow: Flow, **options: bool) -> Callable[[], int]:
    """Runs a schedule of the flow's repository to the end of its sync; the task."""
    assert flow.remote is not None
    query = "update repositories set remote = %s where id = %s returning id"
    rows(flow.db, query, flow.remote.id, flow.repository["id"])
    values = {
        "name": "nightly", "repository": flow.repository["uuid"], "cron": "@daily",
        "time_zone": "UTC", "options": options, "is_enabled": True, "created_by": None,
    }  # fmt: skip
    uuid: UUID = flow.db.run(lambda tx: schedules.add_schedule(tx, values))
    id = rows(flow.db, "select id from schedules where uuid = %s", uuid)[0]["id"]

    def run() -> int:
        due(flow.db, "nightly")
        task = flow.db.run(lambda tx: schedules.run_due(tx, id))
        assert task is not None
        flow.db.run(lambda tx: tasks.start(tx, task))
        assert flow.go_on(task).state == "completed", task_row(flow.db, task)
        return task

    return run


def test_a_run_publishes_what_it_brings_if_told_so(
    flow: Flow, upstream: Upstream, write: Write
) -> None:
    upstream.rotate(write(Dist("stable", {"main": [Pkg("one")]})).folder)
    flow.set_remote(upstream)
    run = _scheduled(flow, publish=True, checkpoint=True)

    task = run()
    run()  # brings nothing

    found = rows(flow.db, "select number, checkpoint, is_complete from publications")
    assert [tuple(row.values()) for row in found] == [(1, True, True)]
    assert len(task_row(flow.db, task)["created_resources"]) == 2


def test_a_run_publishes_a_version_that_nobody_has_published(
    flow: Flow, upstream: Upstream, write: Write
) -> None:
    upstream.rotate(write(Dist("stable", {"main": [Pkg("one")]})).folder)
    flow.set_remote(upstream)
    flow.sync()
    run = _scheduled(flow, publish=True)

    run()

    found = rows(flow.db, "select number, checkpoint from publications")
    assert [tuple(row.values()) for row in found] == [(1, False)]
