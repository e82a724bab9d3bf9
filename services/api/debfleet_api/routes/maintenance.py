"""Cleaning up what no version holds any more."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from debfleet.db import contents
from debfleet.db.upkeep import new_cleanup
from debfleet_api import asks
from debfleet_api.bodies import Body, Items, Minutes, read_body
from debfleet_api.errors import field_errors
from debfleet_api.openapi.operations import STARTED, operation
from debfleet_api.references import find_unit
from debfleet_api.state import api

blueprint = Blueprint("maintenance", __name__)


class CleanupBody(Body, title="OrphansCleanup"):
    """What to remove: everything unused, or some units, after how many minutes."""

    content_hrefs: Items | None = None
    orphan_protection_time: Minutes = None


@blueprint.post("/orphans/cleanup/")
@operation("orphans/cleanup", "cleanup", STARTED, body=CleanupBody)
def clean_up() -> Response:
    """202 and a task."""
    body = read_body(CleanupBody)
    minutes = body.orphan_protection_time
    return _ask(_units(body.content_hrefs), minutes)


@blueprint.delete("/orphans/")
@operation("orphans", "delete", STARTED)
def clean_up_as_before() -> Response:
    """The older call, which Pulp still answers."""
    return _ask(None, None)


def _ask(units: list[list[int]] | None, minutes: int | None) -> Response:
    default = api().settings.orphan_protection_time
    return asks.ask(new_cleanup(default if minutes is None else minutes, units))


def _units(values: list[Any] | None) -> list[list[int]] | None:
    if values is None:
        return None
    if not values:
        raise field_errors({"content_hrefs": ["Must not be []."]})
    with api().db.transaction() as tx:
        found = [find_unit(tx, v) if isinstance(v, str) else None for v in values]
        known = contents.list_known(tx, [u for u in found if u is not None])
    missing = [v for v, u in zip(values, found, strict=True) if u is None or u not in known]
    if missing:
        text = f"Could not find the following content units: {missing[:100]}"
        raise field_errors({"content_hrefs": [text]})
    return [[int(u.kind), u.id, u.list] for u in found if u is not None]
