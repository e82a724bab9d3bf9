"""Answers as JSON, and the choice of fields in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from flask import Response, request

Shown = dict[str, Any] | bytes
"""An object of an answer, or its JSON."""


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer. The type has no charset parameter: pulp-glue compares it literally."""
    return Response(
        _rendered(body),
        status=status,
        headers=dict(headers or {}),
        content_type="application/json",
    )


def created(body: dict[str, Any]) -> Response:
    """201 with the object, and where it is."""
    return answer(body, 201, {"Location": body["pulp_href"]})


def no_content() -> Response:
    """204 has neither body nor type."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def chosen_fields(body: dict[str, Any]) -> dict[str, Any]:
    """What ``fields`` and ``exclude_fields`` of the query leave of an object.

    Unknown names are ignored. A name that stands in ``hidden_fields`` is taken out there too.
    """
    return _chosen(body, _names("fields"), _names("exclude_fields"))


def chosen_fields_of_all(bodies: Sequence[Shown]) -> list[dict[str, Any] | orjson.Fragment]:
    """The same of each object of a list; JSON from which nothing is left out stays as it is."""
    wanted, unwanted = _names("fields"), _names("exclude_fields")
    if wanted or unwanted:
        read = (orjson.loads(body) if isinstance(body, bytes) else body for body in bodies)
        return [_chosen(body, wanted, unwanted) for body in read]
    return [orjson.Fragment(body) if isinstance(body, bytes) else body for body in bodies]


def _rendered(body: Any) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        # An error may echo what it refuses: a lone surrogate, a number of more than 64 bits.
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


def _chosen(body: dict[str, Any], wanted: set[str], unwanted: set[str]) -> dict[str, Any]:
    if wanted:
        body = {k: v for k, v in body.items() if k in wanted}
    if unwanted:
        body = {k: v for k, v in body.items() if k not in unwanted}
        if "hidden_fields" in body:
            kept = [h for h in body["hidden_fields"] if h["name"] not in unwanted]
            body["hidden_fields"] = kept
    return body


def _names(parameter: str) -> set[str]:
    """From a comma list, repeated parameters, or both."""
    return {n.strip() for v in request.args.getlist(parameter) for n in v.split(",") if n.strip()}
