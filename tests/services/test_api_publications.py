"""Publications and signing services over the API."""

from __future__ import annotations

import pytest

from api_client import NOWHERE, REPOSITORIES, TIME, V3, ApiClient, a_name, refused
from publication_rows import (
    PUBLICATIONS,
    SERVICES,
    VERBATIM,
    add_service,
    add_version,
    published,
    uuid_of,
)

_EITHER = "Either the 'repository' or 'repository_version' need to be specified"
_MODE = "one of simple or structured publishing mode must be selected"
_GONE = "Invalid hyperlink - Object does not exist."


def _args(api: ApiClient, task: dict[str, str]) -> dict[str, object]:
    """What the worker is told."""
    with api.state.db.transaction() as tx:
        uuid = task["prn"].rpartition(":")[2]
        row = tx.execute(
            "select t.args, j.kind from tasks t join jobs j on j.task = t.id where uuid = %s",
            (uuid,),
        ).fetchone()
    assert row is not None
    assert row["kind"] == "publish"
    args: dict[str, object] = row["args"]
    return args


def test_a_publication_is_asked_for_with_all_defaults(shared_api: ApiClient) -> None:
    repository = shared_api.repository()

    task = shared_api.task(shared_api.post(PUBLICATIONS, {"repository": repository["pulp_href"]}))

    args = _args(shared_api, task)
    assert task["name"] == "pulp_deb.app.tasks.publishing.publish"
    assert task["state"] == "waiting"
    assert task["reserved_resources_record"][0] == f"shared:{repository['prn']}"
    assert len(task["reserved_resources_record"]) == 2
    assert isinstance(args.pop("repository"), int)
    assert args == {
        "number": 0,
        "kind": "apt",
        "simple": False,
        "structured": True,
        "checkpoint": False,
        "layout": "nested_alphabetically",
        "signing_service": None,
        "publish_upstream_release_fields": None,
        "publish_legacy_release_files": False,
        "excluded_package_metadata_fields": None,
    }


def test_what_a_publication_is_asked_for_reaches_the_worker(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    number = add_version(shared_api, repository)
    service = add_service(shared_api, a_name())
    body = {
        "repository_version": f"{repository['versions_href']}{number}/",
        "simple": True,
        "structured": False,
        "layout": "nested_by_both",
        "signing_service": service,
        "publish_upstream_release_fields": False,
        "publish_legacy_release_files": True,
        "excluded_package_metadata_fields": ["Phased-Update-Percentage"],
    }

    args = _args(shared_api, shared_api.task(shared_api.post(PUBLICATIONS, body)))

    assert args["number"] == 1
    assert args["signing_service"] == service.removeprefix(SERVICES).rstrip("/")
    assert args["publish_upstream_release_fields"] is False
    assert args["publish_legacy_release_files"] is True
    assert args["excluded_package_metadata_fields"] == ["Phased-Update-Percentage"]
    assert (args["simple"], args["structured"], args["layout"]) == (True, False, "nested_by_both")


def test_a_verbatim_publication_is_asked_for(shared_api: ApiClient) -> None:
    repository = shared_api.repository()

    task = shared_api.task(shared_api.post(VERBATIM, {"repository": repository["prn"]}))

    assert task["name"] == "pulp_deb.app.tasks.publishing.publish_verbatim"
    assert _args(shared_api, task)["kind"] == "verbatim"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ({}, {"non_field_errors": [_EITHER]}),
        ({"simple": False, "structured": False}, {"non_field_errors": [_MODE]}),
        ({"layout": "x"}, {"layout": ['"x" is not a valid choice.']}),
        ({"repository": f"{REPOSITORIES}{NOWHERE}/"}, {"repository": [_GONE]}),
        ({"repository_version": f"{REPOSITORIES}{NOWHERE}/versions/1/"},
         {"repository_version": [_GONE]}),
        ({"repository": f"{V3}remotes/deb/apt/{NOWHERE}/"},
         {"repository": ["Invalid hyperlink - Incorrect URL match."]}),
        ({"signing_service": f"{SERVICES}{NOWHERE}/"}, {"signing_service": [_GONE]}),
        ({"colour": 1}, {"colour": ["Unexpected field"]}),
    ],
)  # fmt: skip
def test_a_bad_publication_is_refused(
    shared_api: ApiClient, sent: dict[str, object], answer: dict[str, list[str]]
) -> None:
    assert refused(shared_api.post(PUBLICATIONS, sent)) == answer


def test_a_repository_and_a_version_together_are_refused(shared_api: ApiClient) -> None:
    href = shared_api.repository()["pulp_href"]
    both = {"repository": href, "repository_version": f"{href}versions/0/"}

    answer = refused(shared_api.post(PUBLICATIONS, both))

    assert answer == {"non_field_errors": [f"{_EITHER} but not both."]}


def test_a_publication_answers_with_every_field_of_the_contract(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    href = published(shared_api, repository)
    verbatim = published(shared_api, repository, kind="verbatim")

    body = shared_api.get(href).json or {}

    assert TIME.fullmatch(body.pop("pulp_created"))
    assert TIME.fullmatch(body.pop("pulp_last_updated"))
    shared = {
        "repository_version": f"{repository['versions_href']}0/",
        "repository": repository["pulp_href"],
    }
    assert body == shared | {
        "pulp_href": href,
        "prn": f"prn:deb.aptpublication:{uuid_of(body)}",
        "simple": False,
        "structured": True,
        "checkpoint": False,
        "signing_service": None,
        "publish_legacy_release_files": False,
        "excluded_package_metadata_fields": [],
        "layout": "nested_alphabetically",
    }
    other = shared_api.get(verbatim).json or {}
    assert shared.items() <= other.items()
    assert len(other) == 6


def test_publications_are_listed_by_repository_and_version(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    number = add_version(shared_api, repository)
    old = published(shared_api, repository, 0)
    new = published(shared_api, repository, number)
    verbatim = published(shared_api, repository, number, kind="verbatim")
    published(shared_api, repository, number, is_complete=False)
    version = f"{repository['versions_href']}{number}/"

    def hrefs(path: str) -> list[str]:
        page = shared_api.get(f"{path}repository={repository['pulp_href']}").json or {}
        return [row["pulp_href"] for row in page["results"]]

    assert hrefs(f"{PUBLICATIONS}?") == [new, old]
    assert hrefs(f"{VERBATIM}?") == [verbatim]
    assert hrefs(f"{V3}publications/?") == [verbatim, new, old]
    assert hrefs(f"{V3}publications/?pulp_type=deb.apt-publication&") == [new, old]
    assert hrefs(f"{PUBLICATIONS}?repository_version={version}&") == [new]
    assert hrefs(f"{V3}publications/?pulp_href__in={old},{verbatim}&") == [verbatim, old]
    refused(shared_api.get(f"{V3}publications/?pulp_type=x"))


def test_a_publication_is_deleted_at_once(shared_api: ApiClient) -> None:
    href = published(shared_api, shared_api.repository())
    other_kind = href.replace("/apt/", "/verbatim/")

    assert refused(shared_api.get(other_kind), 404) == {
        "detail": "No VerbatimPublication matches the given query."
    }
    assert shared_api.delete(href).status_code == 204
    assert refused(shared_api.get(href), 404) == {
        "detail": "No AptPublication matches the given query."
    }
    refused(shared_api.delete(href), 404)


def test_an_incomplete_publication_is_not_there(shared_api: ApiClient) -> None:
    href = published(shared_api, shared_api.repository(), is_complete=False)

    refused(shared_api.get(href), 404)
    refused(shared_api.delete(href), 404)


def test_a_signing_service_is_shown_and_never_made_here(shared_api: ApiClient) -> None:
    name = a_name()
    href = add_service(shared_api, name)

    page = shared_api.get(f"{SERVICES}?name={name}").json or {}
    body = shared_api.get(href).json or {}

    assert page["results"] == [body]
    assert {k: v for k, v in body.items() if not k.startswith("pulp_")} == {
        "prn": f"prn:core.signingservice:{uuid_of(body)}",
        "name": name,
        "public_key": "a public key",
        "pubkey_fingerprint": "A" * 40,
        "script": "/bin/true",
    }
    refused(shared_api.post(SERVICES, {"name": "x"}), 405)
    refused(shared_api.delete(href), 405)


def test_a_repository_names_who_signs_it(shared_api: ApiClient) -> None:
    one, other = (add_service(shared_api, a_name()) for _ in range(2))
    body = shared_api.repository(
        autopublish=True,
        publish_upstream_release_fields=False,
        signing_service=one,
        excluded_package_metadata_fields=["Tag"],
        signing_service_release_overrides={"a": one, "b": other},
    )
    href = body["pulp_href"]

    merged = {"signing_service_release_overrides": {"a": None, "b": "", "c": other}}
    task = shared_api.task(shared_api.patch(href, merged))
    unsigned = shared_api.task(shared_api.patch(href, {"signing_service": None}))
    put = shared_api.task(shared_api.put(href, {"name": body["name"]}))

    assert (body["autopublish"], body["publish_upstream_release_fields"]) == (True, False)
    assert body["signing_service"] == one
    assert body["excluded_package_metadata_fields"] == ["Tag"]
    assert body["signing_service_release_overrides"] == {"a": one, "b": other}
    assert task["result"]["signing_service_release_overrides"] == {"c": other}
    assert task["result"]["signing_service"] == one
    assert unsigned["result"]["signing_service"] is None
    assert put["result"]["autopublish"] is False
    assert put["result"]["publish_upstream_release_fields"] is False
    assert put["result"] == shared_api.get(href).json


@pytest.mark.parametrize(
    "field", [{"signing_service": "X"}, {"signing_service_release_overrides": {"a": "X"}}]
)
def test_a_service_for_packages_does_not_sign_releases(
    shared_api: ApiClient, field: dict[str, object]
) -> None:
    href = add_service(shared_api, a_name(), "deb:AptPackageSigningService")
    name = next(iter(field))
    given = href if field[name] == "X" else {"a": href}

    answer = refused(shared_api.post(REPOSITORIES, {"name": a_name(), name: given}))

    assert answer == {name: [_GONE]}
