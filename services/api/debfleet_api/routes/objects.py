"""What every object with labels has: ``set_label``, ``unset_label``, and a delete by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import Blueprint, Response

from debfleet.changes import Change
from debfleet.db import distributions, repositories
from debfleet.errors import NotFound
from debfleet_api import asks
from debfleet_api.answers import answer
from debfleet_api.bodies import Body, LabelKey, LabelValue, read_body
from debfleet_api.errors import field_errors, no_such, not_found
from debfleet_api.hrefs import find_uuid
from debfleet_api.openapi.operations import STARTED, operation
from debfleet_api.shapes.base import Label, RemovedLabel
from debfleet_api.state import api


class SetLabelBody(Body, title="SetLabel"):
    """One label."""

    key: LabelKey
    value: LabelValue


class UnsetLabelBody(Body, title="UnsetLabel"):
    """The label to remove."""

    key: LabelKey


@dataclass(frozen=True, slots=True)
class Objects:
    """A resource whose objects have labels and are deleted by a task."""

    path: str  # of the list, below the API's own
    table: str
    model: str  # Pulp's word in "No … matches the given query."
    find_row: Callable[[UUID], Mapping[str, Any] | None]

    def row(self, key: str) -> Mapping[str, Any]:
        """The object that a path names; answers 404 where there is none."""
        row = self.find_row(path_uuid(key))
        if row is None:
            raise no_such(self.model)
        return row


def path_uuid(key: str) -> UUID:
    """The id in a path; answers 404 where it is none."""
    uuid = find_uuid(key)
    if uuid is None:
        raise not_found()
    return uuid


def add_object_routes(blueprint: Blueprint, of: Objects) -> None:
    """Add the calls that are the same everywhere."""
    resource = of.path.strip("/")

    @blueprint.delete(f"{of.path}<key>/")
    @operation(resource, "delete", STARTED)
    def delete(key: str) -> Response:
        """Delete it: 202 and a task, which is over at once where nothing stands in its way."""
        return asks.change(Change(of.table, "delete", of.row(key)["uuid"]))

    @blueprint.post(f"{of.path}<key>/set_label/")
    @operation(resource, "set_label", {201: Label}, body=SetLabelBody)
    def set_label(key: str) -> Response:
        """Set one label: 201, at once."""
        uuid = path_uuid(key)
        body = read_body(SetLabelBody)
        with api().db.transaction() as tx:
            if of.table == "distributions":
                found = distributions.set_label(tx, uuid, body.key, body.value)
            else:
                found = repositories.set_label(tx, of.table, uuid, body.key, body.value)
        if not found:
            raise no_such(of.model)
        return answer({"key": body.key, "value": body.value}, 201)

    @blueprint.post(f"{of.path}<key>/unset_label/")
    @operation(resource, "unset_label", {201: RemovedLabel}, body=UnsetLabelBody)
    def unset_label(key: str) -> Response:
        """Remove one label: 201 with what it was, at once."""
        uuid = of.row(key)["uuid"]
        body = read_body(UnsetLabelBody)
        try:
            with api().db.transaction() as tx:
                if of.table == "distributions":
                    value = distributions.unset_label(tx, uuid, body.key)
                else:
                    value = repositories.unset_label(tx, of.table, uuid, body.key)
        except NotFound:
            text = f"Label '{body.key}' is not set on the object."
            raise field_errors({"key": [text]}) from None
        return answer({"key": body.key, "value": value}, 201)
