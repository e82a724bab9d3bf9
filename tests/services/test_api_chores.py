"""What the API only asks for, done by a worker: the answers a client sees in the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import content_rows as rows
from api_client import ApiClient
from coordination import Fleet, wait_for
from debfleet.config import Settings
from debfleet.db import tasks
from debfleet.db.connect import Database
from debfleet.identity import UnitIds
from debfleet.model import FINAL_STATES, Kind
from debfleet_worker.chores import CHORES

V3 = "/pulp/api/v3/"


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    """One worker that runs chores."""
    made = Fleet(settings)
    made.start(chores=CHORES)
    yield made
    made.stop()


def finished(api: ApiClient, answer: Any) -> dict[str, Any]:
    """The task that a 202 names, once it is over."""
    assert answer.status_code == 202, answer.get_data(as_text=True)
    href = answer.json["task"]
    wait_for(lambda: api.get(href).json["state"] in FINAL_STATES, shown=lambda: api.get(href).json)
    return dict(api.get(href).json)


def add_packages(db: Database, count: int) -> list[str]:
    """Packages in no version, by href."""
    with db.transaction() as tx:
        key = tx.execute("select href_key from installation").fetchone()
        assert key is not None
        ids = UnitIds(bytes(key["href_key"]))
        return [
            f"{V3}content/deb/packages/{ids.uuid(Kind.PACKAGE, n)}/"
            for n in rows.add_packages(tx, count)
        ]


def test_modify_delete_and_cleanup_end_as_clients_expect(
    api: ApiClient, db: Database, fleet: Fleet
) -> None:
    repository = api.repository()["pulp_href"]
    packages = add_packages(db, 6)

    added = finished(api, api.post(f"{repository}modify/", {"add_content_units": packages[:4]}))
    again = finished(api, api.post(f"{repository}modify/", {"add_content_units": packages[:1]}))
    removed = finished(
        api, api.post(f"{repository}modify/", {"remove_content_units": packages[:1]})
    )
    repaired = finished(api, api.post(f"{repository}versions/2/repair/", {}))

    assert added["created_resources"] == [f"{repository}versions/1/"]
    assert added["result"]["content_summary"]["added"]["deb.package"]["count"] == 4
    assert added["error"] is None
    assert (again["created_resources"], again["result"]) == ([], None)
    assert removed["result"]["content_summary"]["present"]["deb.package"]["count"] == 3
    assert repaired["state"] == "completed"
    assert {r["code"] for r in repaired["progress_reports"]} == {
        "repair.missing", "repair.corrupted", "repair.repaired",
    }  # fmt: skip

    deleted = finished(api, api.delete(f"{repository}versions/1/"))
    assert deleted["state"] == "completed"
    assert api.get(f"{repository}versions/1/").status_code == 404
    cleaned = finished(api, api.post(f"{V3}orphans/cleanup/", {"orphan_protection_time": 0}))
    reports = {r["code"]: r for r in cleaned["progress_reports"]}
    assert list(reports) == ["clean-up.content", "clean-up.artifacts"]
    assert (reports["clean-up.content"]["done"], reports["clean-up.content"]["total"]) == (3, 3)
    assert reports["clean-up.content"]["message"] == "Clean up orphan Content"
    assert reports["clean-up.artifacts"]["total"] == 0
    assert cleaned["result"] is None
    assert api.get(f"{V3}content/deb/packages/").json["count"] == 3
    assert api.get(packages[0]).status_code == 404


def test_the_last_version_stays_and_the_task_says_why(api: ApiClient, fleet: Fleet) -> None:
    repository = api.repository()["pulp_href"]

    task = finished(api, api.delete(f"{repository}versions/0/"))

    assert task["state"] == "failed"
    assert task["error"]["description"].startswith("[PLP0011] ")
    assert task["error"]["traceback"] == ""


def test_a_queued_change_is_made_by_a_worker(api: ApiClient, db: Database, fleet: Fleet) -> None:
    repository = api.repository()
    held = db.run(
        lambda tx: tasks.ask(tx, tasks.NewTask("modify", "t", exclusive=[repository["prn"]]))
    )

    answer = api.patch(repository["pulp_href"], {"description": "later"})
    waiting = api.get(answer.json["task"]).json
    assert db.run(lambda tx: tasks.cancel(tx, held.uuid)) == "canceled"
    fleet.bell.ring(db.run(lambda tx: tasks.start_waiting(tx, held.id)))
    task = finished(api, answer)

    assert waiting["state"] == "waiting"
    assert task["state"] == "completed"
    assert task["result"]["description"] == "later"
    assert api.get(repository["pulp_href"]).json["description"] == "later"


def test_purge_forgets_the_tasks_before_it(api: ApiClient, fleet: Fleet) -> None:
    repository = api.repository()["pulp_href"]
    first = finished(api, api.patch(repository, {"description": "x"}))

    task = finished(api, api.post(f"{V3}tasks/purge/", {"finished_before": "2100-01-01"}))

    codes = {r["code"]: r["done"] for r in task["progress_reports"]}
    assert codes["purge.tasks.total"] == 1
    assert api.get(first["pulp_href"]).status_code == 404
