"""Lists over the API: paging, order, filters, labels, expressions."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from api_client import NOWHERE, REMOTES, REPOSITORIES, V3, ApiClient, refused

Names = list[str]


@pytest.fixture
def names(shared_api: ApiClient) -> Iterator[Names]:
    """Five repositories, the oldest first; they are gone after the test."""
    made = [
        shared_api.repository(name=name, **fields)
        for name, fields in (
            ("ax%1", {"pulp_labels": {"team": "Red", "a": "x,y"}, "retain_repo_versions": 1}),
            ("ax_2", {"pulp_labels": {"team": "blue"}, "retain_repo_versions": 2}),
            ("AX3", {"pulp_labels": {"a b": "c"}, "retain_repo_versions": 3}),
            ("b'4", {"pulp_labels": {"team": None}}),
            ("b\\5", {}),
        )
    ]
    yield [r["name"] for r in made]
    for repository in made:
        shared_api.delete(repository["pulp_href"])


def _found(api: ApiClient, query: str) -> Names:
    """Names that a list answers; only the tests' five are in question."""
    body = api.get(f"{REPOSITORIES}?{query}").json
    assert body is not None
    assert body.keys() == {"count", "next", "previous", "results"}, body
    return [r["name"] for r in body["results"]]


def test_a_list_is_newest_first_and_says_how_many_there_are(api: ApiClient) -> None:
    for name in ("first", "second", "third"):
        api.remote(name=name)

    body = api.get(f"{REMOTES}?fields=name").json

    assert body == {
        "count": 3,
        "next": None,
        "previous": None,
        "results": [{"name": "third"}, {"name": "second"}, {"name": "first"}],
    }


def test_pages_are_linked_by_absolute_urls_that_keep_the_query(
    shared_api: ApiClient, names: Names
) -> None:
    query = f"name__in={','.join(quote(n) for n in names)}&limit=2&fields=name,prn"
    origin = "http://pulp.example:81"

    first = shared_api.get(f"{REPOSITORIES}?{query}", base_url=origin).json
    assert first is not None
    second = shared_api.get(first["next"].removeprefix(origin), base_url=origin).json
    assert second is not None
    third = shared_api.get(second["next"].removeprefix(origin), base_url=origin).json
    assert third is not None

    assert first["next"].startswith(
        f"{origin}{REPOSITORIES}?fields=name%2Cprn&limit=2&name__in=ax%251%2C"
    )
    assert first["next"].endswith("&offset=2")
    assert first["previous"] is None
    assert "offset" not in second["previous"]
    assert third["next"] is None
    seen = [r["name"] for page in (first, second, third) for r in page["results"]]
    assert seen == names[::-1]


@pytest.mark.parametrize("limit", ["0", "x", "-1", "1.5", "٣"])
def test_a_senseless_limit_is_the_default(shared_api: ApiClient, names: Names, limit: str) -> None:
    assert len(_found(shared_api, f"name__istartswith=ax&limit={limit}&offset=-5")) == 3


@pytest.mark.parametrize("offset", ["10000", "9" * 30, "9" * 5000])
def test_an_offset_past_the_end_is_an_empty_page_with_the_right_count(
    shared_api: ApiClient, names: Names, offset: str
) -> None:
    body = shared_api.get(f"{REPOSITORIES}?name__istartswith=ax&offset={offset}").json

    assert body is not None
    assert (body["count"], body["results"]) == (3, [])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=ax%251", ["ax%1"]),
        ("name=b'4", ["b'4"]),
        ("name=b%5C5", ["b\\5"]),
        ("name__iexact=ax3", ["AX3"]),
        ("name__in=AX3,b'4,none", ["b'4", "AX3"]),
        ("name__contains=x%25", ["ax%1"]),
        ("name__contains=x_", ["ax_2"]),
        ("name__contains=%5C", ["b\\5"]),
        ("name__icontains=x3", ["AX3"]),
        ("name__startswith=ax", ["ax_2", "ax%1"]),
        ("name__istartswith=ax", ["AX3", "ax_2", "ax%1"]),
        ("name__regex=^[ab]x..$", ["ax_2", "ax%1"]),
        ("name__iregex=^ax.$", ["AX3"]),
        ("retain_repo_versions=2", ["ax_2"]),
        ("retain_repo_versions__gte=2&name__istartswith=ax", ["AX3", "ax_2"]),
        ("retain_repo_versions__range=1,2", ["ax_2", "ax%1"]),
        ("retain_repo_versions__ne=1&name__istartswith=ax", ["AX3", "ax_2"]),
        ("retain_repo_versions__isnull=true&name__startswith=b", ["b\\5", "b'4"]),
        ("ordering=name&name__in=b'4,ax_2", ["ax_2", "b'4"]),
        ("ordering=-retain_repo_versions,name&name__istartswith=ax", ["AX3", "ax_2", "ax%1"]),
        ("ordering=pulp_created&name__istartswith=ax", ["ax%1", "ax_2", "AX3"]),
        ("pulp_label_select=team%3DRed", ["ax%1"]),
        ("pulp_label_select=team~re", ["ax%1"]),
        ("pulp_label_select=team!%3DRed", ["b'4", "ax_2"]),
        ("pulp_label_select=team", ["b'4", "ax_2", "ax%1"]),
        ("pulp_label_select=!team&name__istartswith=ax", ["AX3"]),
        ("pulp_label_select=a b", ["AX3"]),
        ("pulp_label_select=a%3Dx%5C,y,team", ["ax%1"]),
        ('q=name="AX3" OR name="ax_2"', ["AX3", "ax_2"]),
        ("q=name__istartswith=ax AND NOT (name=AX3 OR name=ax_2)", ["ax%1"]),
        ("q=NOT retain_repo_versions=1 AND name__istartswith=ax", ["AX3", "ax_2"]),
        ("name=a&name=b", []),
    ],
)
def test_a_filter_finds_what_it_says(
    shared_api: ApiClient, names: Names, query: str, found: Names
) -> None:
    got = _found(shared_api, query)

    assert [n for n in got if n in names] == found


def test_repositories_are_found_by_their_remote_and_by_their_ids(shared_api: ApiClient) -> None:
    remote = shared_api.remote()
    one = shared_api.repository(remote=remote["pulp_href"])
    other = shared_api.repository()

    for query in (
        f"remote={remote['pulp_href']}",
        f"remote={remote['prn']}",
        f"pulp_href__in={one['pulp_href']}",
        f"prn__in={one['prn']},prn:deb.aptrepository:{NOWHERE}",
        f"pulp_id__in={one['prn'].rpartition(':')[2]}",
    ):
        assert _found(shared_api, query) == [one["name"]], query
    assert other["name"] in _found(shared_api, "remote=null")


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("frob=1", {"errors": ["Invalid Filter: 'frob'"]}),
        ("pulp_created__gt=2020-01-01", {"errors": ["Invalid Filter: 'pulp_created__gt'"]}),
        (
            "ordering=frob",
            {"ordering": ["Select a valid choice. frob is not one of the available choices."]},
        ),
        (
            "ordering=remote",
            {"ordering": ["Select a valid choice. remote is not one of the available choices."]},
        ),
        ("retain_repo_versions=x", {"retain_repo_versions": ["Enter a number."]}),
        ("retain_repo_versions__gt=99999999999", {"retain_repo_versions__gt": ["Enter a number."]}),
        (
            "retain_repo_versions__range=1",
            {"retain_repo_versions__range": ["Range query expects two values."]},
        ),
        ("name=a%00b", {"name": ["Null characters are not allowed."]}),
        ("name__regex=(", {"errors": ["A regular expression is malformed."]}),
        ("pulp_id__in=x", {"pulp_id__in": ["Enter a valid UUID."]}),
        ("remote=x", ["URI not valid: x"]),
        (
            f"remote={REPOSITORIES}{NOWHERE}/",
            [f"URI {REPOSITORIES}{NOWHERE}/ not found for aptremote."],
        ),
        ("with_content=x", ["URI not valid: x"]),
        ("pulp_label_select=!a%3Db", {"pulp_label_select": ["Cannot use an operator with '!a'."]}),
        ("pulp_label_select=%3Db", {"pulp_label_select": ["Invalid search term: '=b'."]}),
        ("q=name%3D%3D", {"q": ["Syntax error in expression."]}),
        ("q=(name%3Da", {"q": ["Syntax error in expression."]}),
        ("q=frob%3Da", {"q": ["Filter 'frob' does not exist."]}),
        ("q=retain_repo_versions%3Dx", {"q": ["Enter a number."]}),
        (
            "q=" + " OR ".join(["name%3Da"] * 8),
            {"q": ["Filter expression exceeds allowed complexity."]},
        ),
        ("q=" + "(" * 200 + "name%3Da" + ")" * 200, {"q": ["Syntax error in expression."]}),
    ],
)
def test_a_bad_query_is_named(shared_api: ApiClient, query: str, answer: object) -> None:
    assert refused(shared_api.get(f"{REPOSITORIES}?{query}")) == answer


def test_a_value_is_never_read_as_sql(shared_api: ApiClient) -> None:
    for value in ("' OR true --", "'); DROP TABLE remotes; --", "%s", "\\'", "{}", "%(x)s"):
        assert _found(shared_api, f"name={quote(value)}") == []
        assert _found(shared_api, f"q=name=%22{quote(value, safe='')}%22") == []
        assert _found(shared_api, f"pulp_label_select=k%3D{quote(value)}") == []


def test_remotes_are_found_by_when_they_changed(shared_api: ApiClient) -> None:
    remote = shared_api.remote()
    day = remote["pulp_last_updated"][:10]

    query = f"pulp_last_updated__gte={day}&name={remote['name']}"
    body = shared_api.get(f"{REMOTES}?{query}").json
    none = shared_api.get(f"{REMOTES}?pulp_last_updated__lt={day}").json

    assert body is not None
    assert none is not None
    assert [r["name"] for r in body["results"]] == [remote["name"]]
    assert remote["name"] not in [r["name"] for r in none["results"]]


def test_workers_are_listed_with_what_they_do(api: ApiClient) -> None:
    busy, late = "11111111-1111-7111-8111-111111111111", "22222222-2222-7222-8222-222222222222"
    task = api.task(
        api.post(f"{api.repository()['pulp_href']}sync/", {"remote": api.remote()["pulp_href"]})
    )
    with api.state.db.transaction() as tx:
        for uuid, age in ((busy, "0 s"), (late, "5 min")):
            tx.execute(
                "INSERT INTO processes (id, kind, name, versions, last_heartbeat)"
                " VALUES (%s, 'worker', %s, '{\"debfleet\": \"1\"}', now() - %s::interval)",
                (uuid, f"{uuid[0]}@host", age),
            )
        tx.execute("UPDATE jobs SET worker = %s, state = 'running', leased_until = now()", (busy,))

    online = api.get(f"{V3}workers/?online=true").json
    missing = api.get(f"{V3}workers/?missing=true&name__startswith=2").json
    status = api.get(f"{V3}status/").json

    assert online is not None
    assert missing is not None
    assert status is not None
    (worker,) = online["results"]
    assert worker["name"] == "1@host"
    assert worker["prn"] == f"prn:core.appstatus:{busy}"
    assert worker["current_task"] == task["pulp_href"]
    assert worker["versions"]["debfleet"] == "1"
    assert api.get(worker["pulp_href"]).json == worker
    assert [w["name"] for w in missing["results"]] == ["2@host"]
    assert [w["name"] for w in status["online_workers"]] == ["1@host"]


def test_the_one_domain_is_listed_and_read(shared_api: ApiClient) -> None:
    body = shared_api.get(f"{V3}domains/").json or {}

    [domain] = body["results"]
    assert domain["name"] == "default"
    assert domain["storage_class"] == "pulpcore.app.models.storage.FileSystem"
    assert shared_api.get(domain["pulp_href"]).json == domain
    assert (shared_api.get(f"{V3}domains/?name=other").json or {})["count"] == 0
    refused(shared_api.get(f"{V3}domains/{NOWHERE}/"), 404)


@pytest.mark.parametrize(
    ("path", "kind", "own_fields"),
    [
        ("repositories/", "deb.deb", {"autopublish", "signing_service"}),
        ("remotes/", "deb.apt-remote", {"distributions", "gpgkey"}),
    ],
)
def test_the_lists_of_all_types_show_what_every_type_has(
    api: ApiClient, path: str, kind: str, own_fields: set[str]
) -> None:
    whole = api.repository() if path == "repositories/" else api.remote()

    body = api.get(f"{V3}{path}?pulp_type={kind}&name={whole['name']}").json
    posted = api.post(f"{V3}{path}", json={"name": "x"})

    assert body is not None
    (shown,) = body["results"]
    assert shown.items() <= whole.items()
    assert {"name", "pulp_labels", "prn"} <= shown.keys()
    assert not own_fields & shown.keys()
    assert posted.status_code == 405
    assert api.get(f"{V3}{path}?pulp_type__in={kind}").json["count"] == 1
    assert refused(api.get(f"{V3}{path}?pulp_type=file.file")).keys() == {"pulp_type"}
