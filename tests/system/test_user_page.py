"""The page that our user gave us, step by step over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from system.fleet import PASSWORD, Fleet, finished

V3 = "/pulp/api/v3/"
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
NGINX = [
    Pkg("nginx", "1.19.0-1~buster", architecture="amd64"),
    Pkg("nginx", "1.19.0-1~buster", architecture="i386"),
    Pkg("nginx-module-perl", "1.19.0-1~buster", architecture="amd64"),
]


@pytest.fixture
def http(fleet: Fleet) -> Iterator[httpx.Client]:
    """What HTTPie sends: JSON, and Basic authentication."""
    with httpx.Client(base_url=fleet.start().url, auth=("admin", PASSWORD), timeout=30) as client:
        yield client


@pytest.mark.parametrize("fleet", ["rabbitmq"], indirect=True)
def test_the_users_page_holds_step_by_step(
    fleet: Fleet, http: httpx.Client, tmp_path: Path
) -> None:
    key = SigningKey.generate()
    write_archive(tmp_path / "nginx", [Dist("buster", {"nginx": NGINX})], key=key)

    with Upstream(tmp_path / "nginx") as upstream:
        repository = _create_a_repository(http)
        remote = _create_a_remote(http, upstream.url)
        task = _synchronize(fleet, http, repository, remote)

        _the_task_tells_what_happened(http, task, repository, remote)
        _there_is_a_new_version(http, task, repository)

        again = _synchronize(fleet, http, repository, remote)
        assert again["state"] == "completed"
        assert again["created_resources"] == []


def _create_a_repository(http: httpx.Client) -> dict[str, Any]:
    answer = http.post(V3 + "repositories/deb/apt/", json={"name": "nginx"})

    assert answer.status_code == 201, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = answer.json()
    href = body["pulp_href"]
    assert re.fullmatch(f"{V3}repositories/deb/apt/{UUID}/", href)
    assert answer.headers["Location"] == href
    assert body["description"] is None
    assert body["name"] == "nginx"
    assert body["latest_version_href"] == f"{href}versions/0/"
    assert body["versions_href"] == f"{href}versions/"
    assert re.fullmatch(TIME, body["pulp_created"])
    assert http.get(href).json() == body
    return body


def _create_a_remote(http: httpx.Client, url: str) -> dict[str, Any]:
    blank = http.post(V3 + "remotes/deb/apt/", json={"name": "", "url": "", "distributions": "x"})
    assert blank.status_code == 400
    assert blank.json() == {
        "name": ["This field may not be blank."],
        "url": ["This field may not be blank."],
    }

    answer = http.post(
        V3 + "remotes/deb/apt/", json={"name": "nginx", "url": url, "distributions": "buster"}
    )

    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    assert re.fullmatch(f"{V3}remotes/deb/apt/{UUID}/", body["pulp_href"])
    page = {
        "architectures": None,
        "ca_cert": None,
        "client_cert": None,
        "components": None,
        "distributions": "buster",
        "download_concurrency": 20,
        "gpgkey": None,
        "name": "nginx",
        "policy": "immediate",
        "proxy_url": None,
        "sync_installer": False,
        "sync_sources": False,
        "sync_udebs": False,
        "tls_validation": True,
        "url": url,
        "ignore_missing_package_indices": False,
    }
    assert {name: body.get(name, "absent") for name in page} == page
    # What the page shows as null is never shown: whether it is set is.
    assert not {"username", "password", "client_key"} & set(body)
    hidden = {entry["name"]: entry["is_set"] for entry in body["hidden_fields"]}
    assert hidden == dict.fromkeys(
        ["client_key", "proxy_username", "proxy_password", "username", "password"], False
    )
    assert re.fullmatch(TIME, body["pulp_created"])
    assert re.fullmatch(TIME, body["pulp_last_updated"])
    return body


def _synchronize(
    fleet: Fleet, http: httpx.Client, repository: dict[str, Any], remote: dict[str, Any]
) -> dict[str, Any]:
    answer = http.post(
        repository["pulp_href"] + "sync/",
        json={"remote": f"{fleet.url}{remote['pulp_href']}"},  # a full URL, as the page sends it
    )

    assert answer.status_code == 202, answer.text
    assert set(answer.json()) == {"task"}
    href = answer.json()["task"]
    assert re.fullmatch(f"{V3}tasks/{UUID}/", href)
    with fleet.client() as api:
        finished(api, href)
    task = http.get(href)
    assert task.status_code == 200
    body: dict[str, Any] = task.json()
    return body


def _the_task_tells_what_happened(
    http: httpx.Client, task: dict[str, Any], repository: dict[str, Any], remote: dict[str, Any]
) -> None:
    assert task["state"] == "completed", task["error"]
    assert task["name"] == "pulp_deb.app.tasks.synchronizing.synchronize"
    for field, value in {
        "child_tasks": [], "error": None, "parent_task": None, "task_group": None, "result": None,
    }.items():  # fmt: skip
        assert task[field] == value, field
    moments = [task[f] for f in ("pulp_created", "unblocked_at", "started_at", "finished_at")]
    assert moments == sorted(moments)
    assert re.fullmatch(f"{V3}workers/{UUID}/", task["worker"])
    assert http.get(task["worker"]).json()["pulp_href"] == task["worker"]
    assert f"{repository['pulp_href']}versions/1/" in task["created_resources"]
    assert repository["prn"] in task["reserved_resources_record"]
    assert f"shared:{remote['prn']}" in task["reserved_resources_record"]
    reports = task["progress_reports"]
    assert [(r["code"], r["message"]) for r in reports[:4]] == [
        ("downloading.artifacts", "Downloading Artifacts"),
        ("update.release_file", "Update ReleaseFile units"),
        ("update.packageindex", "Update PackageIndex units"),
        ("associating.content", "Associating Content"),
    ]
    assert {(r["state"], r["suffix"]) for r in reports} == {("completed", None)}
    assert all(r["total"] in (None, r["done"]) for r in reports)
    done = {r["code"]: r["done"] for r in reports}
    assert done["downloading.artifacts"] >= 3 + 2 + len(NGINX)
    assert done["update.release_file"] == 1
    assert done["update.packageindex"] == 2
    version = http.get(task["created_resources"][0]).json()
    added = version["content_summary"]["added"]
    assert done["associating.content"] == sum(entry["count"] for entry in added.values())


def _there_is_a_new_version(
    http: httpx.Client, task: dict[str, Any], repository: dict[str, Any]
) -> None:
    href = f"{repository['pulp_href']}versions/1/"
    assert http.get(repository["pulp_href"]).json()["latest_version_href"] == href
    version = http.get(href).json()
    assert version["number"] == 1
    assert version["repository"] == repository["pulp_href"]
    expected = {
        "deb.package": 3,
        "deb.package_index": 2,
        "deb.package_release_component": 3,
        "deb.release": 1,
        "deb.release_architecture": 2,
        "deb.release_component": 1,
        "deb.release_file": 1,
    }
    summary = version["content_summary"]
    assert {kind: entry["count"] for kind, entry in summary["present"].items()} == expected
    assert {kind: entry["count"] for kind, entry in summary["added"].items()} == expected
    assert summary["removed"] == {}
    listed = http.get(repository["versions_href"]).json()
    assert [entry["number"] for entry in listed["results"]] == [1, 0]
    packages = http.get(summary["present"]["deb.package"]["href"]).json()
    assert packages["count"] == 3
    assert {(p["package"], p["version"], p["architecture"]) for p in packages["results"]} == {
        (p.name, p.version, p.architecture) for p in NGINX
    }
