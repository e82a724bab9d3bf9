"""Upkeep of the store: cleaning up, looking whether all is whole, and making room."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, Response
from pydantic import Field

from debfleet.db import contents, repositories
from debfleet.db.connect import Tx
from debfleet.db.upkeep import new_cleanup, new_reclaim, new_repair_of_all
from debfleet_api import asks
from debfleet_api.bodies import Body, Items, Minutes, read_body
from debfleet_api.errors import field_errors
from debfleet_api.hrefs import REPOSITORY, VERSION, find_ref
from debfleet_api.openapi.operations import STARTED, operation
from debfleet_api.references import find_unit
from debfleet_api.routes.versions import RepairBody
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


class ReclaimBody(Body, title="ReclaimSpace"):
    """Of which repositories, and which versions keep their files."""

    repo_hrefs: Items
    repo_versions_keeplist: Items = Field(default_factory=list)


@blueprint.post("/repair/")
@operation("repair", "post", STARTED, body=RepairBody)
def repair_all() -> Response:
    """202 and a task that looks at every stored file."""
    body = read_body(RepairBody)
    return asks.ask(new_repair_of_all(verify_checksums=body.verify_checksums))


@blueprint.post("/repositories/reclaim_space/")
@operation("repositories/reclaim_space", "reclaim", STARTED, body=ReclaimBody)
def reclaim_space() -> Response:
    """202 and a task that deletes stored files which a remote offers."""
    body = read_body(ReclaimBody)
    with api().db.transaction() as tx:
        found = _repositories(tx, body.repo_hrefs)
        kept = [_version(tx, value) for value in body.repo_versions_keeplist]
    return asks.ask(new_reclaim(found, kept))


def _repositories(tx: Tx, values: list[Any]) -> dict[int, UUID]:
    """Id and uuid of those that are named; ``*`` is all of them."""
    if not values:
        raise field_errors({"repo_hrefs": ["Must not be []."]})
    if values == ["*"]:
        return repositories.list_ids(tx)
    if "*" in values:
        text = "Must be a list of repository hrefs/PRNs or ['*'], not both."
        raise field_errors({"repo_hrefs": [text]})
    found = {}
    for value in values:
        ref = find_ref(value) if isinstance(value, str) else None
        if ref is None or ref.model != REPOSITORY:
            raise field_errors({"repo_hrefs": [f"URI not valid: {value}"]})
        row = repositories.find_repository_row(tx, ref.uuid)
        if row is None:
            text = f"URI {value} not found for repository."
            raise field_errors({"repo_hrefs": [text]})
        found[row["id"]] = row["uuid"]
    return found


def _version(tx: Tx, value: Any) -> tuple[int, int]:
    ref = find_ref(value) if isinstance(value, str) else None
    if ref is None or ref.model != VERSION:
        raise field_errors({"repo_versions_keeplist": [f"URI not valid: {value}"]})
    place = (ref.uuid, ref.number) if ref.number is not None else None
    if place is None:
        place = repositories.list_version_places(tx, [ref.uuid]).get(ref.uuid)
    version = None if place is None else repositories.find_version(tx, *place)
    if version is None:
        text = f"URI {value} not found for repositoryversion."
        raise field_errors({"repo_versions_keeplist": [text]})
    return version.repository, version.number


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
