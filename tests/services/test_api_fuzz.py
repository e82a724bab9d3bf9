"""Every operation of the API's own document, called with nonsense: 4xx or a task, never 500."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_client import NOWHERE, ApiClient

# Not asked with a body: what would end or fill this API itself.
_CALM = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
_METHODS = ("get", "post", "put", "patch", "delete")
_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *("", " ", "\0", "\ud800", "a" * 3000, "http://169.254.169.254/", "file:///etc/passwd"),
            *("http://[::1", "http://u:p@h/", "/pulp/api/v3/tasks/x/", "*", "null", "-1", "1e999"),
            *("%00", "../..", "a\r\nX-Bad: 1", str(NOWHERE), f"/pulp/api/v3/tasks/{NOWHERE}/"),
        ]
    ),
)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(width=32), _TEXTS
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def operations(shared_api: ApiClient) -> list[tuple[str, str, list[str]]]:
    """Method, path and the names of fields and parameters of every operation."""
    document = shared_api.get("/pulp/api/v3/docs/api.json").json or {}
    found = []
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                found.append((method, path, _names(document, item[method])))
    return found


def _names(document: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    names = [p["name"] for p in operation.get("parameters", []) if "name" in p]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content.get("schema", {})
        reference = schema.get("$ref", "").rpartition("/")[2]
        schema = document["components"]["schemas"].get(reference, schema)
        names += list(schema.get("properties", {}))
    return names or ["name"]


@_CALM
@given(st.data())
def test_nonsense_never_answers_500(
    shared_api: ApiClient, operations: list[tuple[str, str, list[str]]], data: st.DataObject
) -> None:
    method, path, names = data.draw(st.sampled_from(operations))
    while "{" in path:
        start, _, rest = path.partition("{")
        value = data.draw(st.sampled_from([str(NOWHERE), "x", "%00", "0", "-1", "\u00e9"]))
        path = f"{start.rstrip('/')}/{value}{rest.partition('}')[2]}"
    fields = data.draw(st.dictionaries(st.sampled_from(names), _VALUES, max_size=4))
    query = {n: v for n, v in fields.items() if isinstance(v, (str, int))}
    more = {"query_string": _sendable(query)} if method == "get" else {}
    body = None if method == "get" else data.draw(st.just(fields) | _VALUES)

    answer = getattr(shared_api, method)(
        path, *([] if method in ("get", "delete") else [body]), **more
    )

    assert answer.status_code < 500, (method, path, body, query, answer.get_data(as_text=True))


def _sendable(query: dict[str, Any]) -> dict[str, Any]:
    return {n: str(v).encode(errors="replace").decode() for n, v in query.items()}
