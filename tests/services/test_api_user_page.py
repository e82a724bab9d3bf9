"""The page that our user gave us, step by step; the work is done in the test's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from api_client import REMOTES, REPOSITORIES, V3, ApiClient, a_name, made
from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.store import Store
from debfleet_worker.actors import run_job
from sync_flow import crew_of

PACKAGES = [
    Pkg("nginx", "1.19.0-1~buster", architecture="amd64"),
    Pkg("nginx", "1.19.0-1~buster", architecture="i386"),
    Pkg("nginx-module-perl", "1.19.0-1~buster", architecture="amd64"),
]
REPORTS = (
    ("downloading.artifacts", "Downloading Artifacts"),
    ("update.release_file", "Update ReleaseFile units"),
    ("update.packageindex", "Update PackageIndex units"),
    ("associating.content", "Associating Content"),
)


def test_the_users_page_holds_step_by_step(
    api: ApiClient, settings: Settings, db: Database, store: Store, tmp_path: Path
) -> None:
    key = SigningKey.generate()
    write_archive(tmp_path / "up", [Dist("buster", {"nginx": PACKAGES})], key=key)
    repository = made(api.post(REPOSITORIES, {"name": "nginx"}))

    with Upstream(tmp_path / "up") as upstream:
        sent = {"name": a_name(), "url": upstream.url, "distributions": "buster"}
        remote = made(api.post(REMOTES, sent | {"gpgkey": key.public}))
        url = f"http://localhost{remote['pulp_href']}"
        answer = api.post(f"{repository['pulp_href']}sync/", {"remote": url})
        asked = api.task(answer)
        _work(settings, db, store)
        task = api.get(asked["pulp_href"]).json
        again = api.task(api.post(f"{repository['pulp_href']}sync/", {"remote": url}))
        _work(settings, db, store)
        unchanged = api.get(again["pulp_href"]).json

    assert task is not None
    assert unchanged is not None
    _the_task_is_the_pages(task, asked, repository, remote)
    _the_version_is_there(api, task, repository)
    assert (unchanged["state"], unchanged["created_resources"]) == ("completed", [])


def _work(settings: Settings, db: Database, store: Store) -> None:
    """Run every job that can run, one after the other, until there is none."""
    runnable = "SELECT id FROM jobs WHERE state = 'queued' AND not_before <= now() ORDER BY id"
    with crew_of(settings, db, store) as crew:
        while True:
            with db.transaction() as tx:
                row = tx.execute(runnable).fetchone()
            if row is None:
                return
            run_job(crew, row["id"])


def _the_task_is_the_pages(
    task: dict[str, Any],
    asked: dict[str, Any],
    repository: dict[str, Any],
    remote: dict[str, Any],
) -> None:
    times = [task[n] for n in ("pulp_created", "unblocked_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert task["worker"].startswith(f"{V3}workers/")
    assert [(r["code"], r["message"]) for r in task["progress_reports"]] == list(REPORTS)
    assert {r["state"] for r in task["progress_reports"]} == {"completed"}
    # Three packages, and two indices beside what Release takes.
    assert task["progress_reports"][0]["done"] >= 6
    assert [r["done"] for r in task["progress_reports"][1:3]] == [1, 2]
    same = {"started_at", "finished_at", "pulp_last_updated", "worker", "progress_reports"}
    assert {k: v for k, v in task.items() if k not in same} == {
        **{k: v for k, v in asked.items() if k not in same},
        "state": "completed",
        "created_resources": [f"{repository['versions_href']}1/"],
        "created_resource_prns": task["created_resource_prns"],
        "error": None,
        "result": None,
    }
    assert task["reserved_resources_record"][:2] == [
        repository["prn"],
        f"shared:{remote['prn']}",
    ]


def _the_version_is_there(api: ApiClient, task: dict[str, Any], repository: dict[str, Any]) -> None:
    version = api.get(task["created_resources"][0]).json
    latest = api.get(repository["pulp_href"]).json
    assert version is not None
    assert latest is not None
    counts = {k: v["count"] for k, v in version["content_summary"]["present"].items()}
    assert counts == {
        "deb.package": 3,
        "deb.package_index": 2,
        "deb.package_release_component": 3,
        "deb.release": 1,
        "deb.release_architecture": 2,
        "deb.release_component": 1,
        "deb.release_file": 1,
    }
    assert task["created_resource_prns"] == [version["prn"]]
    assert latest["latest_version_href"] == version["pulp_href"]
    assert latest["pulp_last_updated"] >= repository["pulp_last_updated"]
    for kind, entry in version["content_summary"]["present"].items():
        listed = api.get(f"{entry['href']}&limit=1")
        if listed.status_code == 200:  # the lists of T1
            assert listed.json is not None
            assert listed.json["count"] == entry["count"], kind
