"""Alternate content sources: refreshed as task groups, and tried before the remotes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from api_client import NOWHERE, REMOTES, V3, ApiClient, a_name, made, refused
from archive import faults
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db import repositories
from debfleet.db.connect import Database
from publish_flow import publish, run_task
from serving import add_distribution, serving
from sync_flow import Flow

SOURCES, GROUPS = f"{V3}acs/deb/deb/", f"{V3}task-groups/"
A, B, C = Pkg("a"), Pkg("b"), Pkg("c")
PATHS = {name: f"pool/main/{name}/{name}/{name}_1.0_amd64.deb" for name in ("a", "b", "c")}


@dataclass(frozen=True)
class Stage:
    """A repository's own upstream (a, b, c), and another one (a, b)."""

    api: ApiClient
    flow: Flow
    own: Upstream
    other: Upstream
    source: dict[str, Any]

    def refresh(self) -> dict[str, Any]:
        """The group, when its task is over."""
        answer = self.api.post(f"{self.source['pulp_href']}refresh/")
        assert answer.status_code == 202, answer.get_data(as_text=True)
        assert list(answer.json or {}) == ["task_group"]
        group = self.api.get((answer.json or {})["task_group"]).json or {}
        uuid = UUID(group["tasks"][0]["pulp_href"].split("/")[-2])
        with self.flow.db.transaction() as tx:
            row = tx.execute("select id from tasks where uuid = %s", (uuid,)).fetchone()
        assert row is not None
        run_task(self.flow, row["id"])
        self.own.clear()
        self.other.clear()
        return dict(self.api.get(group["pulp_href"]).json or {})


@pytest.fixture
def stage(
    api: ApiClient,
    flow: Flow,
    write: Callable[..., Archive],
    upstream: Upstream,
    tmp_path: Path,
) -> Iterator[Stage]:
    upstream.rotate(write(Dist("stable", {"main": [A, B, C]})).folder)
    flow.set_remote(upstream)
    with Upstream(write(Dist("elsewhere", {"main": [A, B]})).folder) as other:
        remote = api.remote(url=other.url, distributions="elsewhere", policy="on_demand")
        body = {"name": a_name(), "remote": remote["pulp_href"]}
        yield Stage(api, flow, upstream, other, made(api.post(SOURCES, body)))


def pool(upstream: Upstream) -> list[str]:
    return sorted(path for path in upstream.paths() if path.startswith("pool/"))


def test_a_source_answers_with_every_field(shared_api: ApiClient) -> None:
    remote = shared_api.remote(policy="on_demand")
    name = a_name()

    source = made(shared_api.post(SOURCES, {"name": name, "remote": remote["prn"], "paths": []}))

    assert source == {
        "pulp_href": source["pulp_href"],
        "prn": source["prn"],
        "pulp_created": source["pulp_created"],
        "pulp_last_updated": source["pulp_last_updated"],
        "name": name,
        "last_refreshed": None,
        "paths": [],
        "remote": remote["pulp_href"],
    }
    assert source["prn"].startswith("prn:deb.aptalternatecontentsource:")
    assert shared_api.get(source["pulp_href"]).json == source
    found = shared_api.get(f"{SOURCES}?name={name}").json or {}
    assert found["results"] == [source]


def test_a_source_is_changed_and_deleted_by_tasks(shared_api: ApiClient) -> None:
    remote, other = (shared_api.remote(policy="on_demand") for _ in range(2))
    body = {"name": a_name(), "remote": remote["pulp_href"]}
    source = made(shared_api.post(SOURCES, body))
    href = source["pulp_href"]

    same = shared_api.patch(href, {"name": source["name"]})
    changed = shared_api.task(shared_api.patch(href, {"remote": other["pulp_href"]}))
    gone = shared_api.task(shared_api.delete(href))

    assert (same.status_code, same.json) == (200, source)
    assert changed["state"] == "completed"
    assert changed["result"]["remote"] == other["pulp_href"]
    assert gone["result"] == {
        "core.AlternateContentSource": 1,
        "deb.AptAlternateContentSource": 1,
    }
    refused(shared_api.get(href), 404)
    assert shared_api.get(other["pulp_href"]).status_code == 200


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"remote": None}, "remote", "may not be null"),
        ({"remote": f"{REMOTES}{NOWHERE}/"}, "remote", "does not exist"),
        ({"paths": ["x/"]}, "paths", "not supported"),
        ({"name": ""}, "name", "may not be blank"),
        ({"foo": 1}, "foo", "Unexpected field"),
    ],
)
def test_a_bad_source_is_refused(
    shared_api: ApiClient, fields: dict[str, Any], field: str, text: str
) -> None:
    remote = shared_api.remote(policy="on_demand")
    body = {"name": a_name(), "remote": remote["pulp_href"], **fields}

    assert text in str(refused(shared_api.post(SOURCES, body))[field])


def test_a_source_needs_a_remote_on_demand_and_a_name_of_its_own(shared_api: ApiClient) -> None:
    remote = shared_api.remote(policy="on_demand")
    body = {"name": a_name(), "remote": remote["pulp_href"]}
    made(shared_api.post(SOURCES, body))
    eager = {"name": a_name(), "remote": shared_api.remote()["pulp_href"]}

    assert "on_demand" in str(refused(shared_api.post(SOURCES, eager))["remote"])
    assert refused(shared_api.post(SOURCES, body)) == {"name": ["This field must be unique."]}


def test_a_refresh_is_a_group_of_one_task(stage: Stage) -> None:
    group = stage.refresh()

    assert (group["completed"], group["waiting"], group["failed"]) == (1, 0, 0)
    assert group["all_tasks_dispatched"] is True
    assert stage.source["pulp_href"] in group["description"]
    [minimal] = group["tasks"]
    task = stage.api.get(minimal["pulp_href"]).json or {}
    assert task["task_group"] == group["pulp_href"]
    assert task["created_resources"] == []
    listed = stage.api.get(f"{V3}tasks/?task_group={group['pulp_href']}").json or {}
    assert listed["count"] == 1
    assert stage.api.get(GROUPS).json["count"] == 1  # type: ignore[index]
    source = stage.api.get(stage.source["pulp_href"]).json or {}
    assert source["last_refreshed"] is not None
    cancel = stage.api.patch(group["pulp_href"], {"state": "canceled"})
    assert cancel.status_code == 409


def test_a_group_is_canceled_with_its_tasks(stage: Stage) -> None:
    answer = stage.api.post(f"{stage.source['pulp_href']}refresh/").json or {}

    group = stage.api.patch(answer["task_group"], {"state": "canceled"})

    assert group.status_code == 200
    assert (group.json or {})["canceled"] == 1
    assert (group.json or {})["tasks"][0]["state"] == "canceled"


def test_a_sync_fetches_from_the_source_what_it_offers(stage: Stage) -> None:
    stage.refresh()

    done = stage.flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert pool(stage.other) == [PATHS["a"], PATHS["b"]]
    assert pool(stage.own) == [PATHS["c"]]
    assert len(stage.flow.stored()) >= 3


def test_what_the_source_lacks_comes_from_the_remote(stage: Stage) -> None:
    stage.refresh()
    stage.other.faults.append(faults.status(PATHS["a"], 404))
    stage.other.faults.append(faults.wrong_bytes(PATHS["b"]))

    done = stage.flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert pool(stage.own) == [PATHS["a"], PATHS["b"], PATHS["c"]]


def test_a_source_that_is_away_stops_no_sync(stage: Stage) -> None:
    stage.refresh()
    with stage.flow.db.transaction() as tx:
        query = "update remotes set url = 'http://127.0.0.1:9/' where uuid = %s"
        tx.execute(query, (stage.source["remote"].split("/")[-2],))

    assert stage.flow.sync().state == "completed"


def test_a_file_on_demand_is_asked_of_the_source_first(stage: Stage, settings: Settings) -> None:
    stage.refresh()
    stage.flow.set_remote(stage.own, policy="on_demand")
    assert stage.flow.sync().state == "completed"
    publish(stage.flow)
    add_distribution(stage.flow.db, "debian", repository=stage.flow.repository["id"])
    stage.other.faults.append(faults.status(PATHS["b"], 404))

    with serving(settings) as site:
        assert [site.get(f"debian/{PATHS[name]}").status for name in "abc"] == [200, 200, 200]

    assert PATHS["a"] in pool(stage.other)
    assert pool(stage.own) == [PATHS["b"], PATHS["c"]]


def test_a_source_goes_with_its_remote(stage: Stage, db: Database) -> None:
    stage.api.task(stage.api.delete(stage.source["remote"]))

    refused(stage.api.get(stage.source["pulp_href"]), 404)
    with db.transaction() as tx:
        assert repositories.find_remote_row(tx, UUID(stage.source["remote"].split("/")[-2])) is None
