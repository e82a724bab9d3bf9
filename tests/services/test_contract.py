"""Answers against our own OpenAPI document: requests made up by Schemathesis, from a fixed seed.

Whatever comes in, nothing answers 5xx, and no answer is outside what the document says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api_client import NOWHERE, PASSWORD, V3, ApiClient, a_name
from debfleet_api.app import routed_app
from debfleet_api.openapi.document import Options, build_document
from debfleet_api.routes.status import VERSIONS
from publication_rows import published

# requests an operation; more in `make fuzz`
_EXAMPLES = int(os.environ.get("DEBFLEET_TEST_CONTRACT_EXAMPLES", "2"))
_DOCUMENT = build_document(routed_app(), VERSIONS, Options(pk_path=True))
_LABELS = sorted(
    f"{verb.upper()} {path}"
    for path, verbs in _DOCUMENT["paths"].items()
    for verb in verbs
    if "/docs/" not in path  # the document itself, which Schemathesis leaves out
)
_CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance,
]  # fmt: skip
# Hypothesis begins with the simplest of all, of each choice the first: an honest request for an
# object that is there. What it makes up follows.
_FIRST_WHERE_IT_IS = st.sampled_from([True, False])
Maker = Callable[[ApiClient], str]


def _repository(api: ApiClient) -> str:
    return str(api.repository()["pulp_href"])


def _publication(api: ApiClient) -> str:
    return published(api, api.repository())


def _distribution(api: ApiClient) -> str:
    body = {"name": a_name(), "base_path": a_name()}
    task = api.task(api.post(f"{V3}distributions/deb/apt/", body))
    return str(task["created_resources"][0])


def _task(api: ApiClient) -> str:
    repository = _repository(api)
    return str((api.delete(repository).json or {})["task"])


def _upload(api: ApiClient) -> str:
    return str((api.post(f"{V3}uploads/", {"size": 10}).json or {})["pulp_href"])


_MAKERS: dict[str, Maker] = {
    "repositories/deb/apt": _repository,
    "remotes/deb/apt": lambda api: str(api.remote()["pulp_href"]),
    "distributions/deb/apt": _distribution,
    "publications/deb/apt": _publication,
    "tasks": _task,
    "uploads": _upload,
}


def _values(api: ApiClient, path: str) -> dict[str, Any]:
    """The variables of a path, of an object that is there, where one can be made quickly."""
    resource = path.removeprefix(V3).partition("/{")[0]
    make = _MAKERS.get(resource)
    uuid = str(NOWHERE) if make is None else make(api).rstrip("/").rpartition("/")[2]
    return {"pulp_id": uuid, "deb_apt_repository_pk": uuid, "number": "0"}


@pytest.fixture(scope="module")
def operations(shared_api: ApiClient) -> dict[str, Any]:
    """By verb and path."""
    schema = schemathesis.openapi.from_wsgi(f"{V3}docs/api.json?pk_path=1", shared_api.app)
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


# The API's threads draw random numbers too (the jitter of a pool), whatever Hypothesis does then.
@pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)
@pytest.mark.parametrize("label", _LABELS)
def test_every_answer_is_as_the_document_says(
    shared_api: ApiClient, operations: dict[str, Any], label: str
) -> None:
    operation = operations[label]
    negative = schemathesis.GenerationMode.NEGATIVE
    cases = st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=negative))

    @given(case=cases, is_there=_FIRST_WHERE_IT_IS)
    @settings(
        max_examples=_EXAMPLES, derandomize=True, database=None, deadline=None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def holds(case: Any, is_there: bool) -> None:
        if is_there and case.path_parameters:
            known = _values(shared_api, operation.path)
            case.path_parameters.update({k: known[k] for k in case.path_parameters if k in known})
        response = case.call(auth=("admin", PASSWORD))
        case.validate_response(response, checks=_CHECKS)

    holds()
