"""Repositories over the API: what is made, shown, changed, refused."""

from __future__ import annotations

import pytest

from api_client import NOWHERE, REMOTES, REPOSITORIES, TIME, ApiClient, a_name, made, refused


def test_a_new_repository_answers_with_every_field_of_the_contract(shared_api: ApiClient) -> None:
    name = a_name()

    body = made(shared_api.post(REPOSITORIES, {"name": name}))

    href = body["pulp_href"]
    uuid = href.removeprefix(REPOSITORIES).rstrip("/")
    assert TIME.fullmatch(body.pop("pulp_created"))
    assert TIME.fullmatch(body.pop("pulp_last_updated"))
    assert body == {
        "pulp_href": href,
        "prn": f"prn:deb.aptrepository:{uuid}",
        "versions_href": f"{href}versions/",
        "pulp_labels": {},
        "latest_version_href": f"{href}versions/0/",
        "name": name,
        "description": None,
        "retain_repo_versions": None,
        "retain_checkpoints": None,
        "remote": None,
        "autopublish": False,
        "publish_upstream_release_fields": True,
        "signing_service": None,
        "signing_service_release_overrides": {},
        "package_signing_fingerprint_release_overrides": {},
        "package_signing_service": None,
        "package_signing_fingerprint": None,
        "excluded_package_metadata_fields": [],
    }


def test_a_repository_is_read_as_it_was_made(shared_api: ApiClient) -> None:
    remote = shared_api.remote()
    body = shared_api.repository(
        description="d",
        remote=remote["pulp_href"],
        retain_repo_versions=3,
        pulp_labels={"a": "b"},
    )

    assert body["remote"] == remote["pulp_href"]
    assert body["pulp_labels"] == {"a": "b"}
    assert shared_api.get(body["pulp_href"]).json == body


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ({}, {"name": ["This field is required."]}),
        ({"name": ""}, {"name": ["This field may not be blank."]}),
        ({"name": " "}, {"name": ["This field may not be blank."]}),
        ({"name": None}, {"name": ["This field may not be null."]}),
        ({"name": {"a": 1}}, {"name": ["Not a valid string."]}),
        ({"name": True}, {"name": ["Not a valid string."]}),
        ({"name": "a\0b"}, {"name": ["Null characters are not allowed."]}),
        ({"name": "a\ud800"}, {"name": ["Not a valid string."]}),
        ({"name": "x" * 513}, {"name": ["Ensure this field has no more than 512 characters."]}),
        ({"name": "u", "colour": "red"}, {"colour": ["Unexpected field"]}),
        (
            {"name": "u", "retain_repo_versions": 0},
            {"retain_repo_versions": ["Ensure this value is greater than or equal to 1."]},
        ),
        (
            {"name": "u", "retain_repo_versions": 2**31},
            {"retain_repo_versions": ["Ensure this value is less than or equal to 2147483647."]},
        ),
        (
            {"name": "u", "retain_repo_versions": "x"},
            {"retain_repo_versions": ["A valid integer is required."]},
        ),
        (
            {"name": "u", "remote": f"{REMOTES}{NOWHERE}/"},
            {"remote": ["Invalid hyperlink - Object does not exist."]},
        ),
        (
            {"name": "u", "signing_service": f"/pulp/api/v3/signing-services/{NOWHERE}/"},
            {"signing_service": ["Invalid hyperlink - Object does not exist."]},
        ),
        (
            {"name": "u", "signing_service_release_overrides": {"a": "b"}},
            {"signing_service_release_overrides": ["Invalid hyperlink - No URL match."]},
        ),
        ({"name": "u", "remote": "nginx"}, {"remote": ["Invalid hyperlink - No URL match."]}),
        (
            {"name": "u", "remote": f"{REPOSITORIES}{NOWHERE}/"},
            {"remote": ["Invalid hyperlink - Incorrect URL match."]},
        ),
        (
            {"name": "u", "remote": 5},
            {"remote": ["Incorrect type. Expected URL string, received int."]},
        ),
        (
            {"name": "u", "pulp_labels": {"a,b": "c"}},
            {"pulp_labels": ["Key 'a,b' contains non-alphanumerics."]},
        ),
        (
            {"name": "u", "pulp_labels": "x"},
            {"pulp_labels": ['Expected a dictionary of items but got type "str".']},
        ),
    ],
)
def test_a_bad_field_is_named(
    shared_api: ApiClient, sent: dict[str, object], answer: dict[str, list[str]]
) -> None:
    assert refused(shared_api.post(REPOSITORIES, sent)) == answer


def test_what_was_shown_may_be_sent_again(shared_api: ApiClient) -> None:
    body = shared_api.repository()
    del body["pulp_created"]

    again = made(shared_api.post(REPOSITORIES, body | {"name": a_name()}))

    assert again["publish_upstream_release_fields"] is True


def test_a_name_is_unique(shared_api: ApiClient) -> None:
    name = shared_api.repository()["name"]

    answer = refused(shared_api.post(REPOSITORIES, {"name": name}))

    assert answer == {"name": ["This field must be unique."]}


def test_a_repository_that_is_not_there_is_404(
    shared_api: ApiClient,
) -> None:
    missing = refused(shared_api.get(f"{REPOSITORIES}{NOWHERE}/"), 404)
    senseless = refused(shared_api.get(f"{REPOSITORIES}abc/"), 404)

    assert missing == {"detail": "No AptRepository matches the given query."}
    assert senseless == {"detail": "Not found."}


def test_a_change_is_a_task_that_is_over_when_it_is_read_first(shared_api: ApiClient) -> None:
    made_body = shared_api.repository()

    task = shared_api.task(shared_api.patch(made_body["pulp_href"], {"description": "new"}))

    after = shared_api.get(made_body["pulp_href"]).json
    assert after is not None
    assert after["description"] == "new"
    assert after["pulp_last_updated"] > made_body["pulp_last_updated"]
    assert task["state"] == "completed"
    assert task["name"] == "pulpcore.app.tasks.base.ageneral_update"
    assert task["result"] == after
    assert task["reserved_resources_record"][0] == made_body["prn"]
    assert task["reserved_resources_record"][1].startswith("shared:prn:core.domain:")
    assert task["started_at"] is not None
    assert task["finished_at"] is not None


def test_a_change_of_nothing_is_200_with_the_object(shared_api: ApiClient) -> None:
    body = shared_api.repository(description="d")

    same = shared_api.patch(body["pulp_href"], {"description": "d"})
    empty = shared_api.patch(body["pulp_href"], {})

    assert (same.status_code, same.json) == (200, body)
    assert (empty.status_code, empty.json) == (200, body)


def test_a_put_is_always_a_change_and_keeps_what_it_does_not_name(shared_api: ApiClient) -> None:
    body = shared_api.repository(description="d")

    task = shared_api.task(shared_api.put(body["pulp_href"], {"name": body["name"]}))

    assert task["result"]["description"] == "d"
    missing = refused(shared_api.put(body["pulp_href"], {}))
    assert missing == {"name": ["This field is required."]}


def test_a_rename_to_a_used_name_is_refused_in_the_request(shared_api: ApiClient) -> None:
    used = shared_api.repository()["name"]
    body = shared_api.repository()

    answer = refused(shared_api.patch(body["pulp_href"], {"name": used}))

    assert answer == {"name": ["This field must be unique."]}


def test_the_remote_of_a_repository_can_be_taken_away(shared_api: ApiClient) -> None:
    remote = shared_api.remote()
    body = shared_api.repository(remote=remote["pulp_href"])

    task = shared_api.task(shared_api.patch(body["pulp_href"], {"remote": None}))

    assert task["result"]["remote"] is None


def test_a_deleted_repository_is_gone_with_its_versions(shared_api: ApiClient) -> None:
    body = shared_api.repository()

    task = shared_api.task(shared_api.delete(body["pulp_href"]))

    assert task["state"] == "completed"
    assert task["name"] == "pulpcore.app.tasks.base.ageneral_delete"
    assert task["result"] == {
        "core.Repository": 1,
        "deb.AptRepository": 1,
        "core.RepositoryVersion": 1,
    }
    refused(shared_api.get(body["pulp_href"]), 404)
    refused(shared_api.get(body["versions_href"]), 404)
    refused(shared_api.delete(body["pulp_href"]), 404)


def test_labels_are_set_and_unset_at_once(shared_api: ApiClient) -> None:
    href = shared_api.repository()["pulp_href"]

    put = shared_api.post(f"{href}set_label/", {"key": "k", "value": "v"})
    taken = shared_api.post(f"{href}unset_label/", {"key": "k"})
    again = refused(shared_api.post(f"{href}unset_label/", {"key": "k"}))

    assert (put.status_code, put.json) == (201, {"key": "k", "value": "v"})
    assert (taken.status_code, taken.json) == (201, {"key": "k", "value": "v"})
    assert again == {"key": ["Label 'k' is not set on the object."]}
    refused(shared_api.post(f"{REPOSITORIES}{NOWHERE}/set_label/", {"key": "k", "value": "v"}), 404)


def test_a_form_is_as_good_as_json(
    shared_api: ApiClient,
) -> None:
    answer = shared_api.post(REPOSITORIES, data={"name": a_name(), "pulp_labels": '{"a": "b"}'})

    body = made(answer)
    assert body["publish_upstream_release_fields"] is True
    assert body["pulp_labels"] == {"a": "b"}
