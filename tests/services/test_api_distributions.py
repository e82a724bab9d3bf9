"""Distributions over the API: what is made, what it serves and when, what is refused."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from api_client import NOWHERE, REPOSITORIES, TIME, V3, ApiClient, a_name, refused
from chore_runs import made_worker, run_chore
from debfleet.changes import Change, change_args, read_change
from debfleet.config import Settings
from debfleet.store import Store
from publication_rows import (
    DISTRIBUTIONS,
    PUBLICATIONS,
    add_version,
    distribution,
    published,
    served,
    uuid_of,
)


def _uuid(href: str) -> str:
    return href.rstrip("/").rpartition("/")[2]


def test_a_new_distribution_answers_with_every_field_of_the_contract(
    shared_api: ApiClient,
) -> None:
    publication = published(shared_api, shared_api.repository())
    sent = {"name": a_name(), "base_path": f"{a_name()}/deep", "publication": publication}

    task = shared_api.task(shared_api.post(DISTRIBUTIONS, sent))

    body = shared_api.get(task["created_resources"][0]).json or {}
    assert task["state"] == "completed"
    assert task["name"] == "pulpcore.app.tasks.base.general_create"
    assert task["created_resource_prns"] == [body["prn"]]
    assert task["reserved_resources_record"][0].startswith("shared:prn:core.domain:")
    assert task["result"] == body
    updated = body["pulp_last_updated"]
    assert TIME.fullmatch(body.pop("pulp_created"))
    assert body == sent | {
        "pulp_href": f"{DISTRIBUTIONS}{uuid_of(body)}/",
        "prn": f"prn:deb.aptdistribution:{uuid_of(body)}",
        "pulp_last_updated": updated,
        "base_url": f"/pulp/content/{sent['base_path']}/",
        "content_guard": None,
        "content_guard_prn": None,
        "no_content_change_since": updated,
        "hidden": False,
        "pulp_labels": {},
        "repository": None,
        "repository_version": None,
        "checkpoint": False,
    }


@pytest.mark.parametrize(
    "path",
    ["/x", "x/", "a//b", "a/./b", "../a", "a b", "a?b", "a#b", "a%2fb", "a\\b", ".", "a\tb"],
)
def test_a_base_path_has_one_form(shared_api: ApiClient, path: str) -> None:
    answer = refused(shared_api.post(DISTRIBUTIONS, {"name": a_name(), "base_path": path}))

    assert answer == {"base_path": [f"Relative path is not in canonical form. {path}"]}


def test_base_paths_neither_repeat_nor_overlap(shared_api: ApiClient) -> None:
    body = distribution(shared_api, base_path=f"{a_name()}/b")
    overlaps = {"base_path": {"base_path": "Overlaps with an existing distribution."}}
    name, path = body["name"], body["base_path"]

    def answer(name: str, path: str) -> Any:
        return refused(shared_api.post(DISTRIBUTIONS, {"name": name, "base_path": path}))

    unique = ["This field must be unique."]
    assert answer(a_name(), path) == {"base_path": unique}
    assert answer(name, a_name()) == {"name": unique}
    assert answer(name, path) == {"name": unique, "base_path": unique}
    assert answer(a_name(), f"{path}/c") == overlaps
    assert answer(a_name(), path.partition("/")[0]) == overlaps
    other = distribution(shared_api, base_path=f"{path}-and-more")
    assert refused(shared_api.patch(other["pulp_href"], {"base_path": f"{path}/c"})) == overlaps
    shared_api.task(shared_api.patch(body["pulp_href"], {"base_path": f"{path}/c"}))


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ({}, {"name": ["This field is required."], "base_path": ["This field is required."]}),
        ({"name": "u", "base_path": "u", "repository": f"{REPOSITORIES}{NOWHERE}/"},
         {"repository": ["Invalid hyperlink - Object does not exist."]}),
        ({"name": "u", "base_path": "u", "publication": f"{PUBLICATIONS}{NOWHERE}/"},
         {"publication": ["Invalid hyperlink - Object does not exist."]}),
        ({"name": "u", "base_path": "u", "publication": f"{REPOSITORIES}{NOWHERE}/"},
         {"publication": ["Invalid hyperlink - Incorrect URL match."]}),
        ({"name": "u", "base_path": "u", "base_paths": 1}, {"base_paths": ["Unexpected field"]}),
    ],
)  # fmt: skip
def test_a_bad_distribution_is_refused(
    shared_api: ApiClient, sent: dict[str, object], answer: dict[str, list[str]]
) -> None:
    assert refused(shared_api.post(DISTRIBUTIONS, sent)) == answer


def test_a_distribution_has_one_target_at_most(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    publication = published(shared_api, repository)
    body = distribution(shared_api, publication=publication)
    href = repository["pulp_href"]
    text = "Only one of the attributes 'repository' and 'publication' may be used simultaneously."

    both = {"name": a_name(), "base_path": a_name(), "publication": publication, "repository": href}
    at_first = refused(shared_api.post(DISTRIBUTIONS, both))
    later = refused(shared_api.patch(body["pulp_href"], {"repository": href}))
    moved = {"repository": href, "publication": None}
    task = shared_api.task(shared_api.patch(body["pulp_href"], moved))

    assert at_first == later == {"non_field_errors": [text]}
    assert task["state"] == "completed"
    assert task["name"] == "pulpcore.app.tasks.base.ageneral_update"
    assert task["reserved_resources_record"][0] == body["prn"]
    assert task["result"]["repository"] == href
    assert task["result"]["publication"] is None
    assert task["result"]["no_content_change_since"] is None


def test_a_change_of_nothing_is_200_with_the_object(shared_api: ApiClient) -> None:
    body = distribution(shared_api, hidden=True)

    same = shared_api.patch(body["pulp_href"], {"name": body["name"], "repository": None})
    put = {"name": body["name"], "base_path": body["base_path"]}
    task = shared_api.task(shared_api.put(body["pulp_href"], put))

    assert (same.status_code, same.json) == (200, body)
    assert task["result"]["hidden"] is False


def test_what_is_served_follows_the_target(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    href = repository["pulp_href"]
    body = distribution(shared_api, repository=href)
    assert served(shared_api, body) == []

    first = published(shared_api, repository)
    assert served(shared_api, body) == [(_uuid(first), False)]

    number = add_version(shared_api, repository)
    second = published(shared_api, repository, number)
    assert served(shared_api, body) == [(_uuid(first), True), (_uuid(second), False)]

    back = {"repository": None, "repository_version": f"{href}versions/0/"}
    shared_api.task(shared_api.patch(body["pulp_href"], back))
    assert [p for p, is_over in served(shared_api, body) if not is_over] == [_uuid(first)]
    assert len(served(shared_api, body)) == 3

    shared_api.task(shared_api.patch(body["pulp_href"], {"repository_version": None}))
    assert [p for p, is_over in served(shared_api, body) if not is_over] == []
    after = shared_api.get(body["pulp_href"]).json or {}
    assert after["repository_version"] is None


def test_a_deleted_publication_is_served_no_more(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    old = published(shared_api, repository)
    new = published(shared_api, repository)
    fixed = distribution(shared_api, publication=new)
    following = distribution(shared_api, repository=repository["pulp_href"])

    assert shared_api.delete(new).status_code == 204

    assert served(shared_api, fixed) == []
    assert served(shared_api, following) == [(_uuid(old), False)]
    assert (shared_api.get(fixed["pulp_href"]).json or {})["publication"] is None


def test_a_deleted_repository_leaves_its_distributions(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    publication = published(shared_api, repository)
    published(shared_api, repository, kind="verbatim")
    bodies = [
        distribution(shared_api, repository=repository["pulp_href"]),
        distribution(shared_api, repository_version=f"{repository['versions_href']}0/"),
        distribution(shared_api, publication=publication),
    ]

    task = shared_api.task(shared_api.delete(repository["pulp_href"]))

    assert task["result"] == {
        "core.Repository": 1,
        "deb.AptRepository": 1,
        "core.RepositoryVersion": 1,
        "core.Publication": 2,
        "deb.AptPublication": 1,
        "deb.VerbatimPublication": 1,
    }
    for body in bodies:
        found = shared_api.get(body["pulp_href"]).json or {}
        targets = ("repository", "repository_version", "publication")
        assert [found[t] for t in targets] == [None, None, None]
        assert served(shared_api, body) == []


def test_checkpoints_are_those_of_a_repository(shared_api: ApiClient) -> None:
    repository = shared_api.repository(retain_checkpoints=3)
    assert repository["retain_checkpoints"] == 3
    base = {"name": a_name(), "base_path": a_name(), "checkpoint": True}
    version = repository["latest_version_href"]
    for target in ({}, {"repository_version": version}):
        assert list(refused(shared_api.post(DISTRIBUTIONS, {**base, **target}))) == ["checkpoint"]

    body = distribution(shared_api, repository=repository["pulp_href"], checkpoint=True)

    assert body["checkpoint"] is True
    assert list(refused(shared_api.patch(body["pulp_href"], {"repository": None}))) == [
        "checkpoint"
    ]
    renamed = shared_api.task(shared_api.patch(body["pulp_href"], {"name": a_name()}))
    assert renamed["result"]["checkpoint"] is True
    put = {k: body[k] for k in ("name", "base_path", "repository")}
    assert shared_api.task(shared_api.put(body["pulp_href"], put))["result"]["checkpoint"] is False


def test_a_deleted_distribution_is_gone(shared_api: ApiClient) -> None:
    body = distribution(shared_api)

    task = shared_api.task(shared_api.delete(body["pulp_href"]))

    assert task["state"] == "completed"
    assert task["result"] == {"core.Distribution": 1, "deb.AptDistribution": 1}
    refused(shared_api.get(body["pulp_href"]), 404)
    query = f"{V3}tasks/?created_resources={body['pulp_href']}"
    made = (shared_api.get(query).json or {})["results"][0]
    assert made["created_resources"] == ["<unavailable>"]
    assert made["created_resource_prns"] == [body["prn"]]
    again = distribution(shared_api, base_path=body["base_path"])
    assert again["base_path"] == body["base_path"]


def test_distributions_are_listed_by_what_they_are(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    body = distribution(shared_api, repository=repository["pulp_href"], pulp_labels={"a": "b"})
    base = {k: v for k, v in body.items() if k not in ("publication", "checkpoint")}

    for query in (
        f"base_path={body['base_path']}",
        f"name={body['name']}",
        f"repository={repository['pulp_href']}",
        f"repository__in={repository['prn']}",
        f"base_path__icontains={body['base_path'].upper()}&pulp_label_select=a=b",
    ):
        page = shared_api.get(f"{DISTRIBUTIONS}?{query}").json or {}
        assert page["results"] == [body], query
        everything = shared_api.get(f"{V3}distributions/?{query}").json or {}
        assert everything["results"] == [base]
    typed = f"{V3}distributions/?name={body['name']}&pulp_type=deb.apt-distribution"
    assert (shared_api.get(typed).json or {})["count"] == 1


def test_labels_are_set_and_unset_at_once(shared_api: ApiClient) -> None:
    href = distribution(shared_api)["pulp_href"]

    put = shared_api.post(f"{href}set_label/", {"key": "k", "value": "v"})
    taken = shared_api.post(f"{href}unset_label/", {"key": "k"})

    assert (put.status_code, put.json) == (201, {"key": "k", "value": "v"})
    assert (taken.status_code, taken.json) == (201, {"key": "k", "value": "v"})
    refused(shared_api.post(f"{href}unset_label/", {"key": "k"}))


def test_one_key_makes_one_distribution(shared_api: ApiClient) -> None:
    sent = {"name": a_name(), "base_path": a_name()}
    key = {"Idempotency-Key": str(uuid4())}

    one = shared_api.post(DISTRIBUTIONS, sent, headers=key)
    two = shared_api.post(DISTRIBUTIONS, sent, headers=key)
    other = shared_api.post(DISTRIBUTIONS, sent | {"name": a_name()}, headers=key)

    assert (one.status_code, one.json) == (two.status_code, two.json)
    refused(other, 409)


def test_a_served_version_cannot_be_deleted(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    add_version(shared_api, repository)
    body = distribution(shared_api, publication=published(shared_api, repository, 0))
    version = f"{repository['versions_href']}0/"

    answer = refused(shared_api.delete(version))
    shared_api.task(shared_api.patch(body["pulp_href"], {"publication": None}))

    assert answer == [
        "The repository version cannot be deleted because it (or its publications) are currently "
        "being used to distribute content. Please update the necessary distributions first."
    ]
    shared_api.task(shared_api.delete(version))


def test_a_change_that_waits_is_read_as_it_was_asked(shared_api: ApiClient) -> None:
    body = distribution(shared_api)
    repository = shared_api.repository()
    with shared_api.state.db.transaction() as tx:  # somebody older holds the distribution
        tx.execute(
            "insert into tasks (kind, name, args, reserved) values ('sync', 'test', '{}', %s)",
            ([body["prn"]],),
        )
        tx.execute(
            "insert into claims (task, resource, exclusive)"
            " select id, %s, true from tasks order by id desc limit 1",
            (body["prn"],),
        )

    moved = {"repository": repository["pulp_href"], "pulp_labels": {"a": "b"}}
    task = shared_api.task(shared_api.patch(body["pulp_href"], moved))

    assert task["state"] == "waiting"
    with shared_api.state.db.transaction() as tx:
        row = tx.execute("select args from tasks where uuid = %s", (uuid_of(task),)).fetchone()
        assert row is not None
        wanted = read_change(row["args"])
    assert change_args(wanted) == row["args"]
    assert wanted.values == {"repository": str(uuid_of(repository)), "labels": {"a": "b"}}


def test_a_worker_makes_a_distribution_as_the_api_does(settings: Settings, store: Store) -> None:
    values = {
        "name": "n", "base_path": "a/b", "labels": {"a": "b"}, "repository": None,
        "version": None, "publication": None, "hidden": True, "checkpoint": False,
    }  # fmt: skip
    uuid = uuid4()

    with made_worker(settings, store) as worker:
        task = run_chore(
            worker, "change", change_args(Change("distributions", "create", uuid, values))
        )

    assert task["state"] == "completed"
    assert task["created_resources"] == [f"prn:deb.aptdistribution:{uuid}"]
    assert task["result"]["row"]["base_path"] == "a/b"
