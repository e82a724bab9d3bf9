"""The OpenAPI document: it says what the routes do, and clients can read it."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from api_client import V3, ApiClient, a_name
from debfleet_api.openapi.document import list_silent

API_JSON = f"{V3}docs/api.json"
VERBS = ("get", "post", "put", "patch", "delete")
PAGES = ["docs.read_page", "docs.read_script", "docs.read_style"]


@pytest.fixture
def document(shared_api: ApiClient) -> dict[str, Any]:
    answer = shared_api.plain.get(API_JSON)
    assert answer.status_code == 200
    return dict(answer.get_json(force=True))


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By id, each with its path and verb."""
    return {
        of["operationId"]: {**of, "path": path, "verb": verb}
        for path, verbs in document["paths"].items()
        for verb, of in verbs.items()
    }


def test_every_route_is_in_the_document(shared_api: ApiClient) -> None:
    assert list_silent(shared_api.app) == PAGES


def test_the_document_needs_no_login_and_has_its_own_type(shared_api: ApiClient) -> None:
    answer = shared_api.plain.get(API_JSON, headers={"Accept": "application/yaml"})

    assert answer.headers["Content-Type"] == "application/vnd.oai.openapi+json"


def test_the_document_claims_the_versions_of_the_status_page(
    shared_api: ApiClient, document: dict[str, Any]
) -> None:
    status = shared_api.plain.get(f"{V3}status/").get_json()

    claimed = {v["component"]: v["version"] for v in status["versions"]}
    own = document["info"]["x-pulp-app-versions"]
    assert own == {name: claimed[name] for name in ("core", "deb")}
    assert document["info"]["x-pulp-domain-enabled"] is status["domain_enabled"]


def test_paths_have_one_placeholder_for_a_whole_href(document: dict[str, Any]) -> None:
    found = operations(document)

    sync = found["repositories_deb_apt_sync"]
    assert (sync["path"], sync["verb"]) == ("{deb_apt_repository_href}sync/", "post")
    assert found["repositories_deb_apt_versions_read"]["path"] == (
        "{deb_apt_repository_version_href}"
    )
    assert sync["tags"] == ["Repositories: Apt"]
    assert sync["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/AptRepositorySyncURL"
    }


def test_every_variable_of_a_path_is_a_required_parameter(document: dict[str, Any]) -> None:
    for of in operations(document).values():
        declared = {p["name"] for p in of["parameters"] if p["in"] == "path" and p["required"]}
        assert declared == set(re.findall(r"\{(\w+)\}", of["path"])), of["operationId"]


def test_every_reference_leads_to_a_schema(document: dict[str, Any]) -> None:
    names = set(re.findall(r"#/components/schemas/([\w.]+)", str(document)))

    assert names <= set(document["components"]["schemas"])


def test_the_parameters_of_a_list_are_those_that_it_takes(
    shared_api: ApiClient, document: dict[str, Any]
) -> None:
    values = {"string": "x", "integer": "1", "number": "1", "boolean": "true"}
    for of in operations(document).values():
        if not of["operationId"].endswith("_list") or "{" in of["path"]:
            continue
        for parameter in of["parameters"]:
            kind = parameter["schema"].get("type")
            if parameter["in"] != "query" or kind == "array":
                continue
            answer = shared_api.get(of["path"], query_string={parameter["name"]: values[kind]})
            said = answer.get_data(as_text=True)
            assert answer.status_code in (200, 400), (of["path"], parameter["name"], said)
            assert "Invalid Filter" not in said, (of["path"], parameter["name"])


def test_arrays_in_a_query_are_one_comma_list_but_for_fields(document: dict[str, Any]) -> None:
    parameters = {p["name"]: p for p in operations(document)["tasks_list"]["parameters"]}

    assert parameters["state__in"]["explode"] is False
    assert parameters["ordering"]["schema"]["items"]["enum"][:2] == ["finished_at", "-finished_at"]
    assert "explode" not in parameters["fields"]
    assert parameters["started_at__gte"]["schema"]["format"] == "date-time"
    assert parameters["pulp_created__isnull"]["schema"] == {"type": "boolean"}


def test_nothing_is_required_of_a_patch(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert schemas["deb.AptRemote"]["required"] == ["name", "url", "distributions"]
    assert schemas["deb.AptRemote"]["properties"]["policy"]["default"] == "immediate"
    patch = schemas["Patcheddeb.AptRemote"]
    assert "required" not in patch
    assert patch["properties"].keys() == schemas["deb.AptRemote"]["properties"].keys()
    assert not [name for name, of in patch["properties"].items() if "default" in of]


def test_a_bound_of_a_number_is_written_as_openapi_has_it(document: dict[str, Any]) -> None:
    retained = document["components"]["schemas"]["deb.AptRepository"]["properties"]

    assert retained["retain_repo_versions"] == {
        "type": ["integer", "null"], "minimum": 1, "maximum": 2**31 - 1,
    }  # fmt: skip


def test_the_options_choose_ids_paths_and_components(shared_api: ApiClient) -> None:
    short = shared_api.plain.get(f"{API_JSON}?bindings").get_json(force=True)
    by_id = shared_api.plain.get(f"{API_JSON}?pk_path=1").get_json(force=True)
    deb = shared_api.plain.get(f"{API_JSON}?component=deb&include_html=1").get_json(force=True)

    assert short["paths"]["{deb_apt_repository_href}sync/"]["post"]["operationId"] == "sync"
    assert f"{V3}repositories/deb/apt/{{pulp_id}}/sync/" in by_id["paths"]
    assert f"{V3}tasks/" not in deb["paths"]
    assert f"{V3}remotes/deb/apt/" in deb["paths"]
    assert "TaskResponse" not in deb["components"]["schemas"]


def test_the_document_is_answered_from_memory(shared_api: ApiClient) -> None:
    shared_api.plain.get(API_JSON)

    started = time.process_time()
    for _ in range(20):
        shared_api.plain.get(API_JSON)
    assert (time.process_time() - started) / 20 < 0.05


def test_the_page_loads_nothing_from_elsewhere(shared_api: ApiClient) -> None:
    page = shared_api.plain.get(f"{V3}docs/", headers={"Accept": "text/html"})

    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    text = page.get_data(as_text=True)
    linked = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert linked
    for name in linked:
        assert shared_api.plain.get(f"{V3}docs/{name}").status_code == 200
    assert shared_api.plain.get(f"{V3}docs").status_code == 301


def test_an_answer_has_the_keys_of_its_shape(
    shared_api: ApiClient, document: dict[str, Any]
) -> None:
    schemas = document["components"]["schemas"]
    repository, remote = shared_api.repository(), shared_api.remote()
    task = shared_api.task(shared_api.post(
        f"{V3}distributions/deb/apt/", {"name": a_name(), "base_path": a_name()}
    ))  # fmt: skip
    distribution = shared_api.get(task["created_resources"][0]).get_json()
    version = shared_api.get(repository["latest_version_href"]).get_json()
    base = shared_api.get(f"{V3}distributions/?limit=1").get_json()["results"][0]

    for shape, shown in (
        ("deb.AptRepositoryResponse", repository),
        ("deb.AptRemoteResponse", remote),
        ("deb.AptDistributionResponse", distribution),
        ("DistributionResponse", base),
        ("RepositoryVersionResponse", version),
        ("TaskResponse", task),
        ("StatusResponse", shared_api.plain.get(f"{V3}status/").get_json()),
    ):
        assert set(shown) == set(schemas[shape]["properties"]), shape
