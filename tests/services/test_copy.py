"""Copies of content between repositories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api_client import V3, ApiClient, refused
from archive.debs import make_deb
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.store import Store
from sync_flow import crew_of
from uploading import PACKAGES, Desk

COPY = f"{V3}deb/copy/"


@pytest.fixture
def desk(api: ApiClient, settings: Settings, db: Database, store: Store) -> Iterator[Desk]:
    with crew_of(settings, db, store) as crew:
        yield Desk(api, db, crew)


def filled(desk: Desk) -> dict[str, Any]:
    """A repository of two distributions, a package in one of them and one in both."""
    repository = desk.api.repository()
    places = (("app", "amd64", "stable"), ("app", "amd64", "testing"), ("lib", "arm64", "testing"))
    for name, architecture, distribution in places:
        body = make_deb(name, "1.0", architecture)
        where = {"repository": repository["pulp_href"], "distribution": distribution}
        desk.done(desk.form(PACKAGES, body, **where, component="main"))
    release = {"codename": "x", "suite": "x", "repository": repository["pulp_href"]}
    for distribution in ("stable", "testing", "empty"):
        desk.done(
            desk.api.post(f"{V3}content/deb/releases/", release | {"distribution": distribution})
        )
    return dict(desk.api.get(repository["pulp_href"]).json or {})


def package(desk: Desk, name: str) -> str:
    found = desk.api.get(f"{PACKAGES}?package={name}").json or {}
    return str(found["results"][0]["pulp_href"])


def present(desk: Desk, version: str) -> dict[str, int]:
    summary = (desk.api.get(version).json or {})["content_summary"]["present"]
    return {name.removeprefix("deb."): entry["count"] for name, entry in summary.items()}


def entry(source: dict[str, Any], target: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "source_repo_version": source["latest_version_href"],
        "dest_repo": target["pulp_href"],
        **more,
    }


def test_everything_is_copied_in_one_version(desk: Desk) -> None:
    source, target = filled(desk), desk.api.repository()

    task = desk.done(desk.api.post(COPY, {"config": [entry(source, target)]}))

    assert task["name"] == "pulp_deb.app.tasks.copy.copy_content"
    [version] = task["created_resources"]
    assert present(desk, version) == present(desk, source["latest_version_href"])
    assert (desk.api.get(version).json or {})["base_version"] is None


def test_a_structured_copy_brings_the_places_of_its_packages_and_no_others(desk: Desk) -> None:
    source, target = filled(desk), desk.api.repository()
    config = [entry(source, target, content=[package(desk, "lib")])]

    [version] = desk.done(desk.api.post(COPY, {"config": config}))["created_resources"]

    assert present(desk, version) == {
        "package": 1,
        "package_release_component": 1,
        "release_component": 1,
        "release_architecture": 1,
        "release": 1,
    }
    releases = desk.api.get(f"{V3}content/deb/releases/?repository_version={version}").json or {}
    assert [r["distribution"] for r in releases["results"]] == ["testing"]


def test_a_plain_copy_brings_the_packages_alone(desk: Desk) -> None:
    source, target = filled(desk), desk.api.repository()
    config = [entry(source, target, content=[package(desk, "app"), package(desk, "lib")])]

    answer = desk.api.post(COPY, {"config": config, "structured": False})

    assert present(desk, desk.done(answer)["created_resources"][0]) == {"package": 2}


def test_a_copy_adds_to_what_is_there_or_to_the_version_that_is_named(desk: Desk) -> None:
    source, target = filled(desk), desk.api.repository()
    app = [entry(source, target, content=[package(desk, "app")])]
    lib = [entry(source, target, content=[package(desk, "lib")])]
    desk.done(desk.api.post(COPY, {"config": app}))

    [both] = desk.done(desk.api.post(COPY, {"config": lib}))["created_resources"]
    again = desk.done(desk.api.post(COPY, {"config": app}))["created_resources"]
    lone = [entry(source, target, content=[package(desk, "app")], dest_base_version=1)]
    [back] = desk.done(desk.api.post(COPY, {"config": lone}))["created_resources"]

    assert present(desk, both)["package"] == 2
    assert again == []
    assert present(desk, back)["package"] == 1
    assert str((desk.api.get(back).json or {})["base_version"]).endswith("/versions/1/")


def test_several_copies_are_one_task_and_all_or_none(desk: Desk) -> None:
    source, one, two = filled(desk), desk.api.repository(), desk.api.repository()
    lib = package(desk, "lib")
    desk.done(desk.form(PACKAGES, make_deb("other", "1", "all")))
    other = package(desk, "other")

    made = desk.done(
        desk.api.post(COPY, {"config": [entry(source, one), entry(source, two, content=[lib])]})
    )
    failed = desk.failure(
        desk.api.post(
            COPY,
            {"config": [entry(source, two), entry(source, one, content=[other])]},
        )
    )

    assert len(made["created_resources"]) == 2
    assert "1 of the 1 units to copy are not in version" in failed
    for repository in (one, two):
        found = desk.api.get(repository["pulp_href"]).json or {}
        assert found["latest_version_href"].endswith("/versions/1/")


def test_each_of_several_targets_publishes_itself_where_it_wants_that(desk: Desk) -> None:
    source = filled(desk)
    one, two = desk.api.repository(autopublish=True), desk.api.repository(autopublish=True)

    desk.done(desk.api.post(COPY, {"config": [entry(source, one), entry(source, two)]}))

    tasks = desk.api.get(f"{V3}tasks/?name__contains=publishing.publish").json or {}
    assert tasks["count"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"config": []},
        {"config": {}},
        {"config": ["x"]},
        {"config": [{}]},
        {"config": [{"source_repo_version": "x", "dest_repo": "y"}]},
        {"config": [{"source_repo_version": 1, "dest_repo": 2}]},
        {"content": "x"},
        {"content": ["x"]},
        {"content": [f"{PACKAGES}01234567-89ab-7cde-8f01-23456789abcd/"]},
        {"dest_base_version": "1"},
        {"dest_base_version": 7},
        {"more": 1},
    ],
)
def test_a_bad_config_is_refused(shared_api: ApiClient, change: dict[str, Any]) -> None:
    repository = shared_api.repository()
    body = {"config": [entry(repository, repository) | change]} | (
        change if "config" in change else {}
    )

    assert list(refused(shared_api.post(COPY, body))) == ["config"]


def test_what_is_not_built_is_named(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    body = {"config": [entry(repository, repository)], "dependency_solving": True}

    assert list(refused(shared_api.post(COPY, body))) == ["dependency_solving"]
