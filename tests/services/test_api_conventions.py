"""What holds for every request: login, paths, types, ids, errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from werkzeug.test import TestResponse

from api_client import NOWHERE, PASSWORD, REPOSITORIES, V3, ApiClient, a_name, opened_api, refused
from debfleet.config import Settings
from debfleet.db import users
from debfleet.db.connect import Database
from debfleet_api.main import ensure_admin


def test_without_a_login_nothing_but_the_open_paths_answers(shared_api: ApiClient) -> None:
    answer = shared_api.plain.get(REPOSITORIES)

    assert refused(answer, 401) == {"detail": "Authentication credentials were not provided."}
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="api"'
    for path in (V3, f"{V3}status/", f"{V3}livez/"):
        assert shared_api.plain.get(path).status_code == 200


@pytest.mark.parametrize(
    "login", [("admin", "nope"), ("nobody", PASSWORD), ("admin", ""), ("a\0b", "x")]
)
def test_a_wrong_login_is_401(shared_api: ApiClient, login: tuple[str, str]) -> None:
    answer = shared_api.plain.get(REPOSITORIES, auth=login)

    assert refused(answer, 401) == {"detail": "Invalid username/password."}


def test_a_script_in_a_browser_gets_a_scheme_that_opens_no_dialog(shared_api: ApiClient) -> None:
    answer = shared_api.plain.get(REPOSITORIES, headers={"X-Requested-With": "XMLHttpRequest"})

    assert answer.headers["WWW-Authenticate"] == 'xBasic realm="api"'


def test_a_get_without_its_slash_is_sent_to_the_path_that_has_it(shared_api: ApiClient) -> None:
    answer = shared_api.get(f"{REPOSITORIES.rstrip('/')}?limit=1")

    assert answer.status_code == 301
    assert answer.headers["Location"] == f"{REPOSITORIES}?limit=1"
    assert (answer.data, answer.content_type) == (b"", None)  # and no HTML


def test_a_post_without_its_slash_is_served(shared_api: ApiClient) -> None:
    answer = shared_api.post(REPOSITORIES.rstrip("/"), {"name": a_name()})

    assert answer.status_code == 201


@pytest.mark.parametrize("path", [f"{V3}nonsense/", "/nonsense", f"{V3}access_policies/"])
def test_an_unknown_path_is_404_as_json(shared_api: ApiClient, path: str) -> None:
    assert refused(shared_api.get(path), 404) == {"detail": "Not found."}


def test_a_wrong_verb_is_405_and_names_the_right_ones(shared_api: ApiClient) -> None:
    answer = shared_api.put(REPOSITORIES, {"name": "x"})

    assert refused(answer, 405) == {"detail": 'Method "PUT" not allowed.'}
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_options_is_403_even_for_the_administrator(shared_api: ApiClient) -> None:
    answer = shared_api.plain.options(REPOSITORIES, auth=("admin", PASSWORD))

    detail = "You do not have permission to perform this action."
    assert refused(answer, 403) == {"detail": detail}


def test_head_is_get_without_the_body(shared_api: ApiClient) -> None:
    path = shared_api.repository()["pulp_href"]

    head = shared_api.plain.head(path, auth=("admin", PASSWORD))

    assert head.status_code == 200
    assert head.get_data() == b""
    assert head.content_length == len(shared_api.get(path).get_data())


def test_an_answer_that_must_not_be_json_is_406(shared_api: ApiClient) -> None:
    answer = shared_api.get(REPOSITORIES, headers={"Accept": "application/xml"})

    assert refused(answer, 406) == {"detail": "Could not satisfy the request Accept header."}
    for accepted in ("*/*", "application/*", "text/html, application/json;q=0.5"):
        assert shared_api.get(REPOSITORIES, headers={"Accept": accepted}).status_code == 200


@pytest.mark.parametrize(
    ("body", "content_type", "status", "answer"),
    [
        (
            "name=x", "text/plain", 415,
            {"detail": 'Unsupported media type "text/plain" in request.'},
        ),
        (
            "{name:", "application/json", 400,
            {
                "detail": "JSON parse error - Expecting property name enclosed in double quotes: "
                "line 1 column 2 (char 1)"
            },
        ),
        (
            '["x"]', "application/json", 400,
            {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]},
        ),
        (
            '{"name": NaN}', "application/json", 400,
            {
                "detail": "JSON parse error - Out of range float values are not JSON compliant: "
                "'NaN'"
            },
        ),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_refused(
    shared_api: ApiClient, body: str, content_type: str, status: int, answer: dict[str, object]
) -> None:
    got = shared_api.post(REPOSITORIES, data=body, content_type=content_type)

    assert refused(got, status) == answer


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"[" * 100_000, b'{"name": ' + b"9" * 5000 + b"}", b'"x"', b"null"]
)
def test_hostile_json_is_400_and_never_a_fault_of_ours(shared_api: ApiClient, body: bytes) -> None:
    got = shared_api.post(REPOSITORIES, data=body, content_type="application/json")

    refused(got, 400)


def test_the_type_of_an_answer_has_no_charset(shared_api: ApiClient) -> None:
    answer = shared_api.get(REPOSITORIES)

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Vary"] == "Accept, Authorization"


@pytest.mark.parametrize(
    "given", ["00000000000000000000000000000abc", "12345678-1234-1234-1234-123456789ABC"]
)
def test_a_correlation_id_comes_back_as_it_was_sent(shared_api: ApiClient, given: str) -> None:
    answer = shared_api.get(REPOSITORIES, headers={"Correlation-ID": given})

    assert answer.headers["Correlation-ID"] == given
    assert answer.headers["Access-Control-Expose-Headers"] == "Correlation-ID"


def test_a_correlation_id_that_is_none_is_replaced(shared_api: ApiClient) -> None:
    answer = shared_api.plain.get(f"{V3}status/", headers={"Correlation-ID": "x\ty"})

    assert len(bytes.fromhex(answer.headers["Correlation-ID"])) == 16


def test_the_root_names_endpoints_that_answer(shared_api: ApiClient) -> None:
    found = shared_api.plain.get(V3, base_url="http://pulp.example:81").json

    assert found is not None
    assert found["tasks"] == "http://pulp.example:81/pulp/api/v3/tasks/"
    for name, url in found.items():
        path = url.removeprefix("http://pulp.example:81")
        assert shared_api.get(path).status_code in (200, 405), name


def test_the_status_tells_versions_and_what_is_reached(api: ApiClient) -> None:
    body = api.plain.get(f"{V3}status/").json

    assert body is not None
    assert {"core", "deb"} <= {v["component"] for v in body["versions"]}
    assert body["database_connection"] == {"connected": True}
    assert body["storage"].keys() == {"total", "used", "free"}
    assert body["content_settings"] == {
        "content_origin": None,
        "content_path_prefix": "/pulp/content/",
    }
    assert body["domain_enabled"] is False
    assert body["online_workers"] == []


def test_livez_is_empty(shared_api: ApiClient) -> None:
    answer = shared_api.plain.get(f"{V3}livez/")

    assert (answer.status_code, answer.get_data()) == (200, b"")


@pytest.fixture
def away(settings: Settings) -> Iterator[ApiClient]:
    """An API whose database cannot be reached."""
    url = "postgresql://nobody@127.0.0.1:9/none?connect_timeout=1"
    with opened_api(replace(settings, database_url=url)) as client:
        yield client


def test_without_a_database_a_request_is_503_and_the_status_says_so(away: ApiClient) -> None:
    before = time.monotonic()

    answer = away.get(REPOSITORIES)
    status = away.plain.get(f"{V3}status/").json

    assert answer.headers["Retry-After"]
    assert "detail" in refused(answer, 503)
    assert status is not None
    assert status["database_connection"] == {"connected": False}
    assert away.plain.get(f"{V3}livez/").status_code == 200
    assert time.monotonic() - before < 20


def test_a_password_is_hashed_once_and_a_new_one_is_needed_at_once(api: ApiClient) -> None:
    passwords = api.state.passwords
    assert api.get(REPOSITORIES).status_code == 200
    assert api.get(REPOSITORIES).status_code == 200
    assert passwords.hashed == 1

    with api.state.db.transaction() as tx:
        users.set_password(tx, "admin", "other")

    refused(api.get(REPOSITORIES), 401)
    assert api.plain.get(REPOSITORIES, auth=("admin", "other")).status_code == 200


@pytest.mark.alone
def test_a_remembered_login_costs_a_few_milliseconds(shared_api: ApiClient) -> None:
    path = shared_api.repository()["pulp_href"]

    def seconds() -> float:
        before = time.perf_counter()
        answer: TestResponse = shared_api.get(path)
        assert answer.status_code == 200
        return time.perf_counter() - before

    assert min(seconds() for _ in range(20)) < 0.02


def test_the_admin_is_made_once_with_the_password_of_the_settings(
    settings: Settings, db: Database
) -> None:
    first = ensure_admin(db, replace(settings, admin_password="given"))
    again = ensure_admin(db, replace(settings, admin_password="ignored"))

    assert (first, again) == (None, None)
    assert _may_enter(settings, "given")
    assert not _may_enter(settings, "ignored")


def test_an_admin_without_a_password_in_the_settings_gets_one_that_is_told_once(
    settings: Settings, db: Database
) -> None:
    told = ensure_admin(db, replace(settings, admin_password=""))

    assert told is not None
    assert ensure_admin(db, replace(settings, admin_password="")) is None
    assert _may_enter(settings, told)


def test_an_object_that_is_not_there_is_told_apart_from_a_path_that_is_not(
    shared_api: ApiClient,
) -> None:
    task = refused(shared_api.get(f"{V3}tasks/{NOWHERE}/"), 404)
    worker = refused(shared_api.get(f"{V3}workers/{NOWHERE}/"), 404)

    assert task == {"detail": "No Task matches the given query."}
    assert worker == {"detail": "No AppStatus matches the given query."}


def _may_enter(settings: Settings, password: str) -> bool:
    with opened_api(settings) as client:
        answer = client.plain.get(REPOSITORIES, auth=("admin", password))
        return answer.status_code == 200
