"""Labels of content units: set with a unit and afterwards, shown, searched, and gone with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import content_rows as rows
from api_client import NOWHERE, V3, ApiClient, a_name, made, refused
from archive.debs import make_deb
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.model import Kind
from debfleet.store import Store
from debfleet_api.hrefs import CONTENT
from sync_flow import crew_of
from uploading import PACKAGES, Desk

USERS = f"{V3}users/"
LINKS = f"{V3}content/deb/package_release_components/"
COMPONENTS = f"{V3}content/deb/release_components/"


@pytest.fixture
def desk(api: ApiClient, settings: Settings, db: Database, store: Store) -> Iterator[Desk]:
    with crew_of(settings, db, store) as crew:
        yield Desk(api, db, crew)


def deb(name: str) -> bytes:
    return make_deb(name, "1.0", "amd64")


def package(desk: Desk, name: str, **fields: Any) -> dict[str, Any]:
    """A package that was uploaded."""
    labels = fields.pop("pulp_labels", None)
    more = {} if labels is None else {"pulp_labels": json.dumps(labels)}
    return dict(desk.done(desk.form(PACKAGES, deb(name), **fields, **more))["result"])


def set_label(api: ApiClient, href: str, key: str, value: str | None) -> None:
    answer = api.post(f"{href}set_label/", {"key": key, "value": value})
    assert (answer.status_code, answer.json) == (201, {"key": key, "value": value})


def labels_of(api: ApiClient, href: str) -> Any:
    return (api.get(href).json or {})["pulp_labels"]


def found(api: ApiClient, path: str, **query: str) -> list[str]:
    """What a list holds."""
    body = api.get(path, query_string=query).json or {}
    assert body["count"] == len(body["results"]), body
    return [unit["pulp_href"] for unit in body["results"]]


def a_user(admin: ApiClient, *roles: tuple[str, str | None]) -> ApiClient:
    """Somebody with roles, each on an object or on all."""
    user = made(admin.post(USERS, {"username": a_name(), "password": "a long password"}))
    for role, of in roles:
        made(admin.post(f"{user['pulp_href']}roles/", {"role": role, "content_object": of}))
    return ApiClient(admin.app, user["username"], "a long password")


def test_labels_come_with_an_upload_and_are_set_and_taken_away_at_once(desk: Desk) -> None:
    unit = package(desk, "hello", pulp_labels={"env": "test", "empty": None})
    href = unit["pulp_href"]

    assert unit["pulp_labels"] == {"env": "test", "empty": None}
    set_label(desk.api, href, "env", "live")
    set_label(desk.api, href, "tier", "1")
    gone = desk.api.post(f"{href}unset_label/", {"key": "empty"})

    assert (gone.status_code, gone.json) == (201, {"key": "empty", "value": None})
    assert labels_of(desk.api, href) == {"env": "live", "tier": "1"}
    listed = desk.api.get(PACKAGES, query_string={"fields": "pulp_href,pulp_labels"}).json or {}
    assert listed["results"] == [{"pulp_href": href, "pulp_labels": {"env": "live", "tier": "1"}}]
    everything = desk.api.get(f"{V3}content/").json or {}
    assert [u["pulp_labels"] for u in everything["results"]] == [{"env": "live", "tier": "1"}]


def test_a_label_that_is_not_set_cannot_be_taken_away(desk: Desk) -> None:
    href = package(desk, "hello")["pulp_href"]

    assert refused(desk.api.post(f"{href}unset_label/", {"key": "env"})) == {
        "key": ["Label 'env' is not set on the object."]
    }
    set_label(desk.api, href, "env", "test")
    desk.api.post(f"{href}unset_label/", {"key": "env"})
    refused(desk.api.post(f"{href}unset_label/", {"key": "env"}))
    assert labels_of(desk.api, href) == {}
    with desk.db.transaction() as tx:
        assert tx.execute("select count(*) as n from unit_labels").fetchone() == {"n": 0}


@pytest.mark.parametrize(
    "body", [{"key": "a(b)", "value": "x"}, {"key": "a", "value": "(x)"}, {"value": "x"}]
)
def test_what_is_no_label_is_refused(desk: Desk, body: dict[str, str]) -> None:
    href = package(desk, "hello")["pulp_href"]

    refused(desk.api.post(f"{href}set_label/", body))

    assert labels_of(desk.api, href) == {}


def test_a_unit_that_is_not_there_has_no_labels(desk: Desk) -> None:
    gone = package(desk, "hello")["pulp_href"]
    desk.clean_up()

    for href in (gone, f"{PACKAGES}{NOWHERE}/", f"{LINKS}{gone.rstrip('/').rpartition('/')[2]}/"):
        answer = desk.api.post(f"{href}set_label/", {"key": "a", "value": "b"})
        assert "detail" in refused(answer, 404)


def test_units_are_selected_by_their_labels(desk: Desk) -> None:
    a, b, c = (package(desk, name)["pulp_href"] for name in "abc")
    set_label(desk.api, a, "env", "test")
    set_label(desk.api, b, "env", "Live")
    set_label(desk.api, b, "tier", "1")

    def selected(value: str, **more: str) -> list[str]:
        return found(desk.api, PACKAGES, pulp_label_select=value, **more)

    assert selected("env") == [b, a]
    assert selected("!env") == [c]
    assert selected("env=test") == [a]
    assert selected("env!=test") == [b]
    assert selected("env~live") == [b]
    assert selected("env,tier=1") == [b]
    assert selected("env", ordering="package") == [a, b]
    assert selected("env", package="a") == [a]
    assert found(desk.api, PACKAGES, q='NOT pulp_label_select="env=test"') == [c, b]
    assert found(desk.api, f"{V3}content/", pulp_label_select="env") == [b, a]
    assert found(desk.api, f"{V3}content/deb/releases/", pulp_label_select="env") == []


def test_labels_of_a_version_s_units_are_selected_within_it(desk: Desk) -> None:
    repository = desk.api.repository()["pulp_href"]
    inside = package(desk, "a", repository=repository)["pulp_href"]
    outside = package(desk, "b")["pulp_href"]
    for href in (inside, outside):
        set_label(desk.api, href, "env", "test")
    version = f"{repository}versions/1/"

    within = {"repository_version": version}
    assert found(desk.api, PACKAGES, pulp_label_select="env", **within) == [inside]
    assert found(desk.api, PACKAGES, pulp_label_select="!env", **within) == []
    [link] = found(desk.api, LINKS, **within)
    set_label(desk.api, link, "env", "link")
    assert found(desk.api, LINKS, pulp_label_select="env=link", **within) == [link]
    assert found(desk.api, LINKS, pulp_label_select="env=link") == [link]
    assert found(desk.api, LINKS, pulp_label_select="env=100%", **within) == []
    assert found(desk.api, LINKS, pulp_label_select="!env", **within) == []
    assert found(desk.api, LINKS, q='NOT pulp_label_select="env"', **within) == []
    assert found(desk.api, LINKS, pulp_label_select="env", ordering="pulp_created") == [link]
    assert labels_of(desk.api, link) == {"env": "link"}
    assert labels_of(desk.api, inside) == {"env": "test"}


def test_every_kind_of_unit_can_be_labelled(desk: Desk) -> None:
    """A link shares its package's id, and units of other kinds have ids of their own."""
    repository = desk.api.repository()["pulp_href"]
    package(desk, "a", repository=repository)
    desk.done(
        desk.api.post(
            f"{V3}content/deb/releases/",
            {
                "codename": "x",
                "suite": "x",
                "distribution": "x",
                "pulp_labels": {"kind": "release"},
            },
        )
    )
    desk.done(
        desk.form(
            f"{V3}content/deb/generic_contents/", b"x",
            relative_path="x", pulp_labels='{"kind": "generic"}',
        )
    )  # fmt: skip
    with desk.db.transaction() as tx:
        rows.add_release_file(tx, "y", {})
    shown = {}
    for content in CONTENT.values():
        path = f"{V3}content/deb/{content.endpoint}/"
        for href in found(desk.api, path):
            set_label(desk.api, href, "path", content.endpoint)
            shown[content.endpoint] = labels_of(desk.api, href)

    assert all(labels["path"] == endpoint for endpoint, labels in shown.items())
    assert shown["releases"]["kind"] == "release"
    assert shown["generic_contents"]["kind"] == "generic"
    assert len(shown) == 7, shown


def test_a_link_made_by_hand_comes_with_its_labels(desk: Desk) -> None:
    unit = package(desk, "a")["pulp_href"]
    desk.done(desk.api.post(COMPONENTS, {"component": "main", "distribution": "x"}))
    [component] = found(desk.api, COMPONENTS)

    body = {"package": unit, "release_component": component, "pulp_labels": {"a": "b"}}
    link = made(desk.api.post(LINKS, body))

    assert link["pulp_labels"] == {"a": "b"}
    assert found(desk.api, LINKS, pulp_label_select="a=b") == [link["pulp_href"]]


def test_labels_go_with_their_unit_and_stay_with_the_others(desk: Desk) -> None:
    repository = desk.api.repository()["pulp_href"]
    kept = package(desk, "a", repository=repository, pulp_labels={"env": "kept"})["pulp_href"]
    [link] = found(desk.api, LINKS)
    set_label(desk.api, link, "env", "link")
    package(desk, "b", pulp_labels={"env": "gone"})

    desk.clean_up()

    assert labels_of(desk.api, kept) == {"env": "kept"}
    assert labels_of(desk.api, link) == {"env": "link"}
    with desk.db.transaction() as tx:
        assert tx.execute("select count(*) as n from unit_labels").fetchone() == {"n": 2}
    desk.done(desk.api.delete(repository))
    desk.clean_up()
    with desk.db.transaction() as tx:
        assert tx.execute("select count(*) as n from unit_labels").fetchone() == {"n": 0}


def test_labels_of_a_link_that_no_version_holds_any_more_go(desk: Desk) -> None:
    repository = desk.api.repository()["pulp_href"]
    unit = package(desk, "a", repository=repository)["pulp_href"]
    [link] = found(desk.api, LINKS)
    set_label(desk.api, link, "env", "link")
    other = desk.api.repository()["pulp_href"]
    desk.done(desk.api.post(f"{other}modify/", {"add_content_units": [unit]}))

    desk.done(desk.api.delete(repository))
    desk.clean_up()

    with desk.db.transaction() as tx:
        assert tx.execute("select count(*) as n from unit_labels").fetchone() == {"n": 0}


# --- who may ------------------------------------------------------------------------------------


def test_who_may_label_content_may_label_what_they_read(desk: Desk) -> None:
    repository = desk.api.repository()["pulp_href"]
    seen = package(desk, "a", repository=repository)["pulp_href"]
    unseen = package(desk, "b", repository=desk.api.repository()["pulp_href"])["pulp_href"]
    viewer = ("deb.aptrepository_viewer", repository)
    labeler = a_user(desk.api, viewer, ("core.content_labeler", None))
    reader = a_user(desk.api, viewer, ("deb.aptrepository_owner", repository))

    set_label(labeler, seen, "env", "test")
    assert refused(labeler.post(f"{unseen}set_label/", {"key": "a", "value": "b"}), 404)
    assert refused(labeler.post(f"{unseen}unset_label/", {"key": "a"}), 404)
    for action in ("set_label", "unset_label"):
        refused(reader.post(f"{seen}{action}/", {"key": "env", "value": "x"}), 403)
    assert labels_of(reader, seen) == {"env": "test"}
    assert labels_of(desk.api, unseen) == {}


def test_an_upload_leaves_the_labels_of_a_unit_that_others_have(desk: Desk) -> None:
    theirs = package(desk, "a", pulp_labels={"env": "theirs"})["pulp_href"]
    repository = desk.api.repository()["pulp_href"]
    maker = a_user(desk.api, ("deb.aptrepository_owner", repository))
    both = a_user(desk.api, ("deb.aptrepository_owner", repository), ("core.content_labeler", None))
    admin = desk.api

    desk.api = maker
    again = package(desk, "a", repository=repository, pulp_labels={"env": "mine"})
    fresh = package(desk, "b", repository=repository, pulp_labels={"env": "mine"})
    desk.api = admin
    assert (again["pulp_href"], again["pulp_labels"]) == (theirs, {"env": "theirs"})
    assert fresh["pulp_labels"] == {"env": "mine"}

    desk.api = both
    mine = package(desk, "a", repository=repository, pulp_labels={"by": "a labeler"})
    assert (mine["pulp_href"], mine["pulp_labels"]) == (theirs, {"by": "a labeler"})


# --- many -----------------------------------------------------------------------------------------


def test_of_a_long_page_each_unit_has_its_own_labels(desk: Desk) -> None:
    with desk.db.transaction() as tx:
        many = rows.add_packages(tx, 5000)
        packages = rows.unit_list(tx, Kind.PACKAGE)
        for unit in (many[0], many[-1]):
            tx.execute(
                """insert into unit_labels (list, unit, labels) values (%s, %s, '{"a": "b"}')""",
                (packages, unit),
            )

    body = desk.api.get(PACKAGES, query_string={"limit": 5000, "fields": "pulp_labels"}).json or {}

    assert body["count"] == 5000
    assert [i for i, unit in enumerate(body["results"]) if unit["pulp_labels"]] == [0, 4999]
    assert len(found(desk.api, PACKAGES, pulp_label_select="a=b")) == 2
