"""Modify with a distribution and a component: packages are put there, or leave just that place."""

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

LINKS = f"{V3}content/deb/package_release_components/"


@pytest.fixture
def desk(api: ApiClient, settings: Settings, db: Database, store: Store) -> Iterator[Desk]:
    with crew_of(settings, db, store) as crew:
        yield Desk(api, db, crew)


def package(desk: Desk, name: str, architecture: str = "amd64") -> str:
    """A package in no repository."""
    return str(
        desk.done(desk.form(PACKAGES, make_deb(name, "1.0", architecture)))["created_resources"][0]
    )


def modify(desk: Desk, repository: dict[str, Any], **body: Any) -> dict[str, Any]:
    return desk.done(desk.api.post(f"{repository['pulp_href']}modify/", body))


def places(desk: Desk, repository: dict[str, Any]) -> tuple[dict[str, int], int]:
    """Counts by kind, and how many links there are."""
    version = (desk.api.get(repository["pulp_href"]).json or {})["latest_version_href"]
    summary = (desk.api.get(version).json or {})["content_summary"]["present"]
    counts = {name.removeprefix("deb."): entry["count"] for name, entry in summary.items()}
    return counts, counts.pop("package_release_component", 0)


def test_added_packages_get_their_place_in_one_version(desk: Desk) -> None:
    repository = desk.api.repository()
    units = [package(desk, "a"), package(desk, "b", "all"), package(desk, "c", "amd64")]

    modify(desk, repository, add_content_units=units, distribution="bookworm", component="main")

    assert places(desk, repository) == (
        {"package": 3, "release_component": 1, "release_architecture": 1},
        3,
    )


def test_half_a_place_is_completed_as_the_reference_does(desk: Desk) -> None:
    repository = desk.api.repository()

    modify(desk, repository, add_content_units=[package(desk, "a")], component="main")
    modify(desk, repository, add_content_units=[package(desk, "b")], distribution="bookworm")

    found = desk.api.get(f"{V3}content/deb/release_components/").json or {}
    got = {(row["distribution"], row["component"]) for row in found["results"]}
    assert got == {("pulp", "main"), ("bookworm", "default")}


def test_a_package_that_leaves_one_place_stays_in_the_other(desk: Desk) -> None:
    repository = desk.api.repository()
    unit = package(desk, "a")
    for component in ("main", "extra"):
        modify(desk, repository, add_content_units=[unit], distribution="x", component=component)
    assert places(desk, repository)[1] == 2

    modify(desk, repository, remove_content_units=[unit], distribution="x", component="extra")
    assert places(desk, repository) == (
        {"package": 1, "release_component": 2, "release_architecture": 1},
        1,
    )

    modify(desk, repository, remove_content_units=[unit], distribution="x", component="main")
    assert places(desk, repository)[0].get("package") is None


def test_a_package_that_lies_nowhere_does_not_leave(desk: Desk) -> None:
    repository = desk.api.repository()
    unit = package(desk, "a")
    modify(desk, repository, add_content_units=[unit])

    task = modify(desk, repository, remove_content_units=[unit], distribution="x", component="main")

    assert task["created_resources"] == []
    assert places(desk, repository)[0] == {"package": 1}


def test_a_place_that_is_no_name_is_refused(desk: Desk) -> None:
    repository = desk.api.repository()

    for field, value in (("distribution", "../x"), ("component", "a b"), ("component", "")):
        answer = refused(desk.api.post(f"{repository['pulp_href']}modify/", {field: value}))
        assert list(answer) == [field]
