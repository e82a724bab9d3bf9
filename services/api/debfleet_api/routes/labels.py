"""``set_label`` and ``unset_label``, the same on every object that has labels."""

from __future__ import annotations

from uuid import UUID

from flask import Response

from debfleet.db import distributions, repositories
from debfleet.errors import NotFound
from debfleet_api.answers import answer
from debfleet_api.bodies import Body, LabelKey, LabelValue, read_body
from debfleet_api.errors import field_errors, no_such
from debfleet_api.state import api


class SetLabelBody(Body):
    """One label."""

    key: LabelKey
    value: LabelValue


class UnsetLabelBody(Body):
    """The label to remove."""

    key: LabelKey


def set_label(table: str, uuid: UUID, what: str) -> Response:
    """201 with the label."""
    body = read_body(SetLabelBody)
    with api().db.transaction() as tx:
        if table == "distributions":
            found = distributions.set_label(tx, uuid, body.key, body.value)
        else:
            found = repositories.set_label(tx, table, uuid, body.key, body.value)
    if not found:
        raise no_such(what)
    return answer({"key": body.key, "value": body.value}, 201)


def unset_label(table: str, uuid: UUID) -> Response:
    """201 with the label that was removed."""
    body = read_body(UnsetLabelBody)
    try:
        with api().db.transaction() as tx:
            if table == "distributions":
                value = distributions.unset_label(tx, uuid, body.key)
            else:
                value = repositories.unset_label(tx, table, uuid, body.key)
    except NotFound:
        text = f"Label '{body.key}' is not set on the object."
        raise field_errors({"key": [text]}) from None
    return answer({"key": body.key, "value": value}, 201)
