"""The parameters of an operation: of its path, its query and its headers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from debfleet_api.filters import Filter, schema_of
from debfleet_api.openapi.operations import Listing

_FIELDS = {
    "fields": "Of an object only these keys.",
    "exclude_fields": "Of an object all keys but these.",
}
_EVERY_LIST = {
    "limit": ({"type": "integer"}, "How many results; 100 if not given."),
    "offset": ({"type": "integer"}, "How many results to pass over."),
    "q": ({"type": "string"}, "Filters joined by NOT, AND, OR and parentheses."),
}
_TEXT = {"type": "string"}

DIAGNOSTICS = {
    "in": "header",
    "name": "X-Task-Diagnostics",
    "schema": {"type": "array", "items": _TEXT},
    "description": "Read by Pulp; here tasks are not profiled, so that it is taken and ignored.",
}
"""Clients may send it with everything."""


def path_parameter(name: str) -> dict[str, Any]:
    """A variable of the path."""
    return {"in": "path", "name": name, "schema": _TEXT, "required": True}


def header_parameter(name: str) -> dict[str, Any]:
    """A header that the route reads itself."""
    return {"in": "header", "name": name, "schema": _TEXT}


def field_parameters() -> list[dict[str, Any]]:
    """``fields`` and ``exclude_fields``: repeated, or a comma list."""
    array = {"type": "array", "items": _TEXT}
    return [_query(name, array, text) for name, text in _FIELDS.items()]


def list_parameters(listing: Listing) -> list[dict[str, Any]]:
    """Filters, order and paging, by name."""
    every = {k: v for k, v in _EVERY_LIST.items() if not (listing.is_bare and k == "q")}
    made = [_query(name, schema, text) for name, (schema, text) in every.items()]
    made += [_filter(name, make) for name, make in listing.filters.items()]
    made += [_query(name, schema) for name, schema in listing.extra.items()]
    if words := _order_words(listing.orderings):
        made.append(_query("ordering", {"type": "array", "items": {**_TEXT, "enum": words}}))
    return sorted(made, key=lambda p: str(p["name"]))


def _filter(name: str, make: Filter) -> dict[str, Any]:
    schema = schema_of(make)
    if schema is None:
        is_list = name.endswith(("__in", "__range"))
        schema = {"type": "array", "items": _TEXT} if is_list else _TEXT
    return _query(name, schema)


def _query(name: str, schema: Mapping[str, Any], text: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"in": "query", "name": name, "schema": schema}
    if schema.get("type") == "array" and name not in _FIELDS:
        made |= {"style": "form", "explode": False}  # one comma list
    return made | ({"description": text} if text else {})


def _order_words(names: Iterable[str]) -> list[str]:
    return [word for name in sorted(names) for word in (name, f"-{name}")]
