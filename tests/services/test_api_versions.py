"""Versions over the API: counts, lists, and asking for the next one."""

from __future__ import annotations

from typing import Any

import pytest

from api_client import NOWHERE, TIME, V3, ApiClient, refused
from content_rows import add_component, add_packages, add_release
from debfleet.db import versions
from debfleet.identity import UnitId
from debfleet.model import Kind
from debfleet_api.hrefs import CONTENT, href

PACKAGES = f"{V3}content/deb/packages/"


@pytest.fixture(scope="module")
def units(shared_api: ApiClient) -> dict[str, UnitId]:
    """Three packages, a release and a component."""
    with shared_api.state.db.transaction() as tx:
        ids = add_packages(tx, 3)
        made = {f"package{n}": UnitId(Kind.PACKAGE, id) for n, id in enumerate(ids)}
        made["release"] = UnitId(Kind.RELEASE, add_release(tx, "of-versions"))
        component = add_component(tx, "of-versions", "main")
        made["component"] = UnitId(Kind.RELEASE_COMPONENT, component)
    return made


def _href(api: ApiClient, unit: UnitId) -> str:
    with api.state.db.transaction() as tx:
        return href(CONTENT[unit.kind].model, api.state.unit_ids(tx).uuid(unit.kind, unit.id))


def _modify(api: ApiClient, repository: dict[str, Any], **body: Any) -> dict[str, Any]:
    """Ask for the next version and make it, as a worker would; the task when it is over."""
    task = api.task(api.post(f"{repository['pulp_href']}modify/", body))
    uuid = task["prn"].rpartition(":")[2]
    with api.state.db.transaction() as tx:
        row = tx.execute("SELECT id, args FROM tasks WHERE uuid = %s", (uuid,)).fetchone()
        assert row is not None
        args = row["args"]
        add = [UnitId(Kind(k), id, list_) for k, id, list_ in args["add"]]
        remove = [UnitId(Kind(k), id, list_) for k, id, list_ in args["remove"] if args["remove"]]
        new = versions.modify(
            tx,
            repository=args["repository"],
            task=row["id"],
            add=add,
            remove=remove,
            base_number=args["base_version"],
            overwrite=args["overwrite"],
        )
        assert new is not None
        prns = [f"prn:core.repositoryversion:{new.id}"]
        tx.execute(
            "UPDATE tasks SET state = 'completed', finished = now(), created_resources = %s"
            " WHERE id = %s",
            (prns, row["id"]),
        )
        tx.execute("DELETE FROM claims WHERE task = %s", (row["id"],))
    over = api.get(task["pulp_href"]).json
    assert over is not None
    return over


def test_version_0_is_empty(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    path = f"{repository['versions_href']}0/"

    body = shared_api.get(path).json

    assert body is not None
    uuid = body["prn"].removeprefix("prn:core.repositoryversion:")
    assert TIME.fullmatch(body.pop("pulp_created"))
    assert TIME.fullmatch(body.pop("pulp_last_updated"))
    assert body == {
        "pulp_href": path,
        "prn": f"prn:core.repositoryversion:{uuid}",
        "number": 0,
        "repository": repository["pulp_href"],
        "base_version": None,
        "content_summary": {"added": {}, "removed": {}, "present": {}},
        "vuln_report": f"{V3}vuln_report/?repo_versions=prn:core.repositoryversion:{uuid}",
        "missing_files": 0,
    }


def test_a_version_counts_what_it_holds_and_what_changed(
    shared_api: ApiClient, units: dict[str, UnitId]
) -> None:
    repository = shared_api.repository()
    hrefs = [_href(shared_api, u) for u in units.values()]
    _modify(shared_api, repository, add_content_units=hrefs)

    task = _modify(shared_api, repository, remove_content_units=hrefs[:1])

    path = f"{repository['versions_href']}2/"
    body = shared_api.get(path).json
    assert body is not None
    release, component = (f"{V3}content/deb/{n}/" for n in ("releases", "release_components"))
    assert body["content_summary"] == {
        "added": {},
        "removed": {
            "deb.package": {"count": 1, "href": f"{PACKAGES}?repository_version_removed={path}"}
        },
        "present": {
            "deb.package": {"count": 2, "href": f"{PACKAGES}?repository_version={path}"},
            "deb.release": {"count": 1, "href": f"{release}?repository_version={path}"},
            "deb.release_component": {
                "count": 1,
                "href": f"{component}?repository_version={path}",
            },
        },
    }
    assert task["created_resources"] == [path]
    assert task["result"] == body
    after = shared_api.get(repository["pulp_href"]).json
    assert after is not None
    assert after["latest_version_href"] == path


def test_a_base_version_is_named_only_where_the_maker_named_it(
    shared_api: ApiClient, units: dict[str, UnitId]
) -> None:
    repository = shared_api.repository()
    hrefs = [_href(shared_api, u) for u in units.values()]
    _modify(shared_api, repository, add_content_units=hrefs)
    _modify(shared_api, repository, remove_content_units=hrefs[:1])
    first = f"{repository['versions_href']}1/"

    _modify(shared_api, repository, base_version=first)

    body = shared_api.get(f"{repository['versions_href']}?fields=number,base_version").json
    assert body is not None
    assert body["results"] == [
        {"number": 3, "base_version": first},
        {"number": 2, "base_version": None},
        {"number": 1, "base_version": None},
        {"number": 0, "base_version": None},
    ]


def test_fewer_versions_are_kept_as_soon_as_fewer_are_asked_for(
    shared_api: ApiClient, units: dict[str, UnitId]
) -> None:
    repository = shared_api.repository()
    for unit in list(units.values())[:3]:
        _modify(shared_api, repository, add_content_units=[_href(shared_api, unit)])

    task = shared_api.task(shared_api.patch(repository["pulp_href"], {"retain_repo_versions": 2}))

    body = shared_api.get(f"{repository['versions_href']}?fields=number").json
    assert body is not None
    assert [v["number"] for v in body["results"]] == [3, 2]
    assert task["result"]["latest_version_href"] == f"{repository['versions_href']}3/"


def test_versions_and_repositories_are_found_by_their_content(
    shared_api: ApiClient, units: dict[str, UnitId]
) -> None:
    repository = shared_api.repository()
    packages = [_href(shared_api, units[f"package{n}"]) for n in range(3)]
    _modify(shared_api, repository, add_content_units=packages[:2])
    _modify(shared_api, repository, remove_content_units=packages[:1])
    path = repository["versions_href"]

    def numbers(query: str) -> list[int]:
        body = shared_api.get(f"{path}?{query}").json
        assert body is not None
        return [v["number"] for v in body["results"]]

    assert numbers(f"content={packages[0]}") == [1]
    assert numbers(f"content__in={packages[1]}") == [2, 1]
    assert numbers(f"content={packages[2]}") == []
    assert numbers("number__gte=1&ordering=number") == [1, 2]
    assert numbers(f"pulp_href__in={path}1/,{path}0/") == [1, 0]
    name = repository["name"]
    for query, found in (
        (f"with_content={packages[0]}", True),
        (f"latest_with_content={packages[0]}", False),
        (f"latest_with_content={packages[1]}", True),
        (f"with_content={packages[2]}", False),
    ):
        body = shared_api.get(f"{V3}repositories/deb/apt/?{query}&name={name}").json
        assert body is not None
        assert body["count"] == int(found), query


def test_the_versions_of_all_repositories_are_one_list(shared_api: ApiClient) -> None:
    made = [shared_api.repository() for _ in range(2)]
    prns = [shared_api.get(f"{r['versions_href']}0/").json["prn"] for r in made]  # type: ignore[index]

    body = shared_api.get(f"{V3}repository_versions/?prn__in={','.join(prns)}").json

    assert body is not None
    assert {v["repository"] for v in body["results"]} == {r["pulp_href"] for r in made}


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        ("99", "No RepositoryVersion matches the given query."),
        ("x", "Not found."),
        ("-1", "Not found."),
        ("9" * 40, "Not found."),
    ],
)
def test_a_version_that_is_not_there_is_404(
    shared_api: ApiClient, number: str, answer: str
) -> None:
    path = f"{shared_api.repository()['versions_href']}{number}/"

    assert refused(shared_api.get(path), 404) == {"detail": answer}
    refused(shared_api.delete(path), 404)


def test_deleting_and_repairing_a_version_are_tasks(shared_api: ApiClient) -> None:
    repository = shared_api.repository()
    path = f"{repository['versions_href']}0/"

    repair = shared_api.task(shared_api.post(f"{path}repair/", {"verify_checksums": False}))
    delete = shared_api.task(shared_api.delete(path))
    wrong = refused(shared_api.post(f"{path}repair/", {"verify_checksums": "x"}))

    assert repair["name"] == "pulpcore.app.tasks.repository.repair_version"
    assert repair["reserved_resources_record"][0] == f"shared:{repository['prn']}"
    assert delete["name"] == "pulpcore.app.tasks.repository.delete_version"
    assert delete["reserved_resources_record"][0] == repository["prn"]
    assert delete["unblocked_at"] is None, "the repair stands before it"
    assert wrong == {"verify_checksums": ["Must be a valid boolean."]}


def test_a_modify_names_what_it_cannot_find(
    shared_api: ApiClient, units: dict[str, UnitId]
) -> None:
    repository, other = shared_api.repository(), shared_api.repository()
    path = f"{repository['pulp_href']}modify/"
    forged = f"{PACKAGES}{NOWHERE}/"
    known = _href(shared_api, units["package0"])
    missing = f"Could not find the following content units: ['{forged}']"
    for body, answer in (
        ({"add_content_units": [known, forged]}, {"add_content_units": [missing]}),
        ({"remove_content_units": [forged]}, {"remove_content_units": [missing]}),
        ({"add_content_units": ["x"]}, {"add_content_units": ["URI not valid: x"]}),
        ({"add_content_units": [5]}, {"add_content_units": ["URI not valid: 5"]}),
        (
            {"add_content_units": known},
            {"add_content_units": ['Expected a list of items but got type "str".']},
        ),
        (
            {"remove_content_units": ["*", known]},
            {"remove_content_units": ["Cannot supply content units and '*'."]},
        ),
        (
            {"base_version": f"{repository['versions_href']}9/"},
            {"base_version": ["Invalid hyperlink - Object does not exist."]},
        ),
        (
            {"base_version": repository["pulp_href"]},
            {"base_version": ["Invalid hyperlink - Incorrect URL match."]},
        ),
        (
            {"base_version": f"{other['versions_href']}0/"},
            {"base_version": ["The base version must be one of this repository's."]},
        ),
    ):
        assert refused(shared_api.post(path, body)) == answer
    assert list(refused(shared_api.post(path, {"distribution": "a b"}))) == ["distribution"]


def test_a_modify_may_take_everything_away(shared_api: ApiClient) -> None:
    repository = shared_api.repository()

    task = shared_api.task(
        shared_api.post(f"{repository['pulp_href']}modify/", {"remove_content_units": ["*"]})
    )

    with shared_api.state.db.transaction() as tx:
        uuid = task["prn"].rpartition(":")[2]
        row = tx.execute("SELECT kind, args FROM tasks WHERE uuid = %s", (uuid,)).fetchone()
    assert row is not None
    assert row["kind"] == "modify"
    assert row["args"].items() >= {"add": [], "remove": "*", "base_version": None}.items()
    assert task["name"] == "pulp_deb.app.tasks.signing.signed_add_and_remove"
