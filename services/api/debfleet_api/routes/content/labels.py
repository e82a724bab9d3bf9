"""Labels of content units: set and taken away at once, by who may label content."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response

from debfleet.db import labels
from debfleet.db.connect import Tx
from debfleet.errors import NotFound
from debfleet.identity import UnitId
from debfleet_api.answers import answer
from debfleet_api.bodies import Body, read_body
from debfleet_api.errors import field_errors, no_such
from debfleet_api.hrefs import CONTENT
from debfleet_api.openapi.operations import Answer, Operation, operations
from debfleet_api.routes.content.shown import MODELS
from debfleet_api.routes.content.units import kind_of, read_seen
from debfleet_api.routes.objects import SetLabelBody, UnsetLabelBody
from debfleet_api.shapes.base import Label, RemovedLabel
from debfleet_api.state import api

blueprint = Blueprint("labels", __name__)

_PATH = "/content/deb/<endpoint>/<key>/"


def _of_all_kinds(action: str, answers: Mapping[int, Answer], body: type[Body]) -> list[Operation]:
    endpoints = [content.endpoint for content in CONTENT.values()]
    return [
        Operation(f"content/deb/{e}", action, answers, body=body, values={"endpoint": e})
        for e in endpoints
    ]


@blueprint.post(f"{_PATH}set_label/")
@operations(_of_all_kinds("set_label", {201: Label}, SetLabelBody))
def set_label(endpoint: str, key: str) -> Response:
    """Set one label of a unit: 201, at once."""
    body = read_body(SetLabelBody)

    def work(tx: Tx) -> None:
        labels.set_label(tx, _unit(tx, endpoint, key), body.key, body.value)

    try:
        api().db.run(work)
    except NotFound:
        raise no_such(MODELS[kind_of(endpoint)]) from None
    return answer({"key": body.key, "value": body.value}, 201)


@blueprint.post(f"{_PATH}unset_label/")
@operations(_of_all_kinds("unset_label", {201: RemovedLabel}, UnsetLabelBody))
def unset_label(endpoint: str, key: str) -> Response:
    """Remove one label of a unit: 201 with what it was, at once."""
    body = read_body(UnsetLabelBody)

    def work(tx: Tx) -> str | None:
        return labels.unset_label(tx, _unit(tx, endpoint, key), body.key)

    try:
        value = api().db.run(work)
    except NotFound:
        text = f"Label '{body.key}' is not set on the object."
        raise field_errors({"key": [text]}) from None
    return answer({"key": body.key, "value": value}, 201)


def _unit(tx: Tx, endpoint: str, key: str) -> UnitId:
    """The unit that a path names; answers 404 where there is none that the user may read."""
    kind = kind_of(endpoint)
    unit = read_seen(tx, kind, key)
    if unit is None:
        raise no_such(MODELS[kind])
    return unit
