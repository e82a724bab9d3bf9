"""Making room, and looking whether every stored file is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from api_client import NOWHERE, REPOSITORIES, V3, ApiClient, refused
from archive.debs import make_deb
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet_worker.chores import CHORES
from publish_flow import publish, run_task
from serving import add_distribution, serving
from sync_flow import Flow, add_repository
from uploading import PACKAGES, Desk

RECLAIM, REPAIR = f"{V3}repositories/reclaim_space/", f"{V3}repair/"
A, B = Pkg("a"), Pkg("b")
PATHS = {name: f"pool/main/{name}/{name}/{name}_1.0_amd64.deb" for name in ("a", "b")}


@dataclass(frozen=True)
class Stage:
    """A repository that was synced with its files."""

    api: ApiClient
    flow: Flow
    upstream: Upstream
    archive: Archive

    @property
    def href(self) -> str:
        return f"{REPOSITORIES}{self.flow.repository['uuid']}/"

    def run(self, path: str, body: Any) -> dict[str, Any]:
        """The task of a call, when it is over."""
        answer = self.api.post(path, body)
        task = self.api.task(answer)
        with self.flow.db.transaction() as tx:
            uuid = UUID(task["pulp_href"].split("/")[-2])
            row = tx.execute("select id from tasks where uuid = %s", (uuid,)).fetchone()
        assert row is not None
        run_task(self.flow, row["id"])
        return dict(self.api.get(task["pulp_href"]).json or {})

    def has(self, name: str) -> bool:
        """Whether a package's file is stored: its row, and the bytes."""
        digest = self.archive.files[PATHS[name]]
        in_store = not self.flow.crew.worker.store.missing([bytes.fromhex(digest)])
        is_row = digest in {
            a["sha256"] for a in (self.api.get(f"{V3}artifacts/").json or {})["results"]
        }
        assert in_store == is_row
        return is_row


@pytest.fixture
def stage(api: ApiClient, flow: Flow, write: Callable[..., Archive], upstream: Upstream) -> Stage:
    archive = write(Dist("stable", {"main": [A, B]}))
    upstream.rotate(archive.folder)
    flow.crew = replace(flow.crew, chores=CHORES)
    flow.set_remote(upstream)
    assert flow.sync().state == "completed"
    upstream.clear()
    return Stage(api, flow, upstream, archive)


def done(task: dict[str, Any]) -> dict[str, int]:
    assert (task["state"], task["error"]) == ("completed", None)
    return {report["code"]: report["done"] for report in task["progress_reports"]}


# --- reclaim -------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["one", "all"])
def test_what_a_remote_offers_is_given_up_and_fetched_again_when_it_is_asked_for(
    stage: Stage, settings: Settings, which: str
) -> None:
    publish(stage.flow)
    add_distribution(stage.flow.db, "debian", repository=stage.flow.repository["id"])

    task = stage.run(RECLAIM, {"repo_hrefs": [stage.href] if which == "one" else ["*"]})

    assert task["name"] == "pulpcore.app.tasks.reclaim_space.reclaim_space"
    assert done(task) == {"reclaim-space.artifact": 2}
    assert not stage.has("a")
    assert not stage.has("b")
    assert len(stage.flow.stored()) > 3  # indices and Release files, upstream's and ours
    with serving(settings) as site:
        assert site.get(f"debian/{PATHS['a']}").status == 200
        assert site.get("debian/dists/stable/Release").status == 200
    assert stage.upstream.paths() == [PATHS["a"]]


def test_a_file_that_another_repository_holds_stays(stage: Stage) -> None:
    other = Flow(stage.flow.db, stage.flow.crew, add_repository(stage.flow.db))
    other.remote = stage.flow.remote
    assert other.sync().state == "completed"

    assert done(stage.run(RECLAIM, {"repo_hrefs": [stage.href]})) == {"reclaim-space.artifact": 0}

    both = [stage.href, f"{REPOSITORIES}{other.repository['uuid']}/"]
    assert done(stage.run(RECLAIM, {"repo_hrefs": both})) == {"reclaim-space.artifact": 2}


def test_the_files_of_a_version_that_is_kept_stay(
    stage: Stage, write: Callable[..., Archive]
) -> None:
    stage.upstream.rotate(write(Dist("stable", {"main": [B]})).folder)
    assert stage.flow.sync(mirror=True).state == "completed"
    kept = {"repo_hrefs": [stage.href], "repo_versions_keeplist": [f"{stage.href}versions/2/"]}

    assert done(stage.run(RECLAIM, kept)) == {"reclaim-space.artifact": 1}

    assert not stage.has("a")
    assert stage.has("b")


def test_what_nobody_offers_stays(stage: Stage) -> None:
    desk = Desk(stage.api, stage.flow.db, stage.flow.crew)
    desk.done(desk.form(PACKAGES, make_deb("mine", "1.0", "amd64"), repository=stage.href))
    before = len(stage.flow.stored())

    assert done(stage.run(RECLAIM, {"repo_hrefs": ["*"]})) == {"reclaim-space.artifact": 2}

    assert len(stage.flow.stored()) == before - 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "repo_hrefs"),
        ({"repo_hrefs": []}, "repo_hrefs"),
        ({"repo_hrefs": "x"}, "repo_hrefs"),
        ({"repo_hrefs": ["x"]}, "repo_hrefs"),
        ({"repo_hrefs": ["*", "x"]}, "repo_hrefs"),
        ({"repo_hrefs": [f"{REPOSITORIES}{NOWHERE}/"]}, "repo_hrefs"),
        ({"repo_hrefs": ["*"], "repo_versions_keeplist": ["x"]}, "repo_versions_keeplist"),
        (
            {
                "repo_hrefs": ["*"],
                "repo_versions_keeplist": [f"{REPOSITORIES}{NOWHERE}/versions/1/"],
            },
            "repo_versions_keeplist",
        ),
    ],
)
def test_a_bad_reclaim_is_refused_by_field(
    shared_api: ApiClient, body: dict[str, Any], field: str
) -> None:
    assert field in refused(shared_api.post(RECLAIM, body))


# --- repair --------------------------------------------------------------------------------------


def test_every_stored_file_is_looked_at_and_what_is_lost_is_fetched_again(stage: Stage) -> None:
    store = stage.flow.crew.worker.store
    store.delete(bytes.fromhex(stage.archive.files[PATHS["a"]]))

    task = stage.run(REPAIR, {"verify_checksums": True})

    assert task["name"] == "pulpcore.app.tasks.repository.repair_all_artifacts"
    assert done(task) == {"repair.missing": 1, "repair.corrupted": 0, "repair.repaired": 1}
    assert stage.has("a")
    assert stage.upstream.paths() == [PATHS["a"]]


def test_a_repair_of_all_checks_its_body(shared_api: ApiClient) -> None:
    assert refused(shared_api.post(REPAIR, {"verify_checksums": "x"})) == {
        "verify_checksums": ["Must be a valid boolean."]
    }
