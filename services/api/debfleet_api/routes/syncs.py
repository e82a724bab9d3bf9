"""What makes a repository's next version: sync and modify."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response
from pydantic import BeforeValidator, Field

from debfleet.db import contents, repositories, signings
from debfleet.db.connect import Tx
from debfleet.db.tasks import NewTask
from debfleet.identity import UnitId
from debfleet.model import REPOSITORY, Kind, prn
from debfleet.syncs import Pair, new_sync
from debfleet_api import asks
from debfleet_api.bodies import Body, Flag, Items, OptionalText, read_body
from debfleet_api.errors import field_errors, no_such
from debfleet_api.hrefs import VERSION, find_ref
from debfleet_api.openapi.operations import STARTED, operation
from debfleet_api.package_signing import SERVICE
from debfleet_api.permissions import list_unseen, sees
from debfleet_api.references import find_remote, find_unit
from debfleet_api.routes.content.creates import Word
from debfleet_api.routes.objects import path_uuid
from debfleet_api.routes.repositories import repository_row
from debfleet_api.state import api

blueprint = Blueprint("syncs", __name__)

_RESOURCE = "repositories/deb/apt"
_PATH = f"/{_RESOURCE}/<key>/"


class SyncBody(Body, title="AptRepositorySyncURL"):
    """What to sync from, and how."""

    remote: Annotated[UUID | None, BeforeValidator(find_remote)] = None
    mirror: Flag = False
    optimize: Flag = True


class ModifyBody(Body, title="AptRepositoryAddRemoveContent"):
    """What the next version has more and less than its base."""

    add_content_units: Items = Field(default_factory=list)
    remove_content_units: Items = Field(default_factory=list)
    base_version: OptionalText = None
    overwrite: Flag = True
    distribution: Word | None = None
    component: Word | None = None


@blueprint.post(f"{_PATH}sync/")
@operation(_RESOURCE, "sync", STARTED, body=SyncBody)
def sync(key: str) -> Response:
    """202 and a task; what is wrong with the remote fails the task, not the call."""
    with api().db.single() as tx:
        row = repositories.find_pair(tx, path_uuid(key))
    if row is None:
        raise no_such("AptRepository")
    body = read_body(SyncBody)
    id, remote = row["remote"], row["remote_uuid"]
    if body.remote is not None:
        remote = body.remote
        with api().db.single() as tx:
            found = repositories.find_remote_row(tx, remote)
        if found is None:
            raise field_errors({"remote": ["Invalid hyperlink - Object does not exist."]})
        id = found["id"]
    if remote is None:
        text = "This field is required since a remote is not set on the repository."
        raise field_errors({"remote": [text]})
    pair = Pair(row["id"], row["uuid"], id, remote)
    return asks.ask(new_sync(pair, mirror=body.mirror, optimize=body.optimize))


@blueprint.post(f"{_PATH}modify/")
@operation(_RESOURCE, "modify", STARTED, body=ModifyBody)
def modify(key: str) -> Response:
    """202 and a task; every unit named must exist."""
    row = repository_row(key)
    body = read_body(ModifyBody)
    with api().db.transaction() as tx:
        add = _units(tx, "add_content_units", body.add_content_units)
        everything = body.remove_content_units == ["*"]
        if "*" in body.remove_content_units and not everything:
            text = "Cannot supply content units and '*'."
            raise field_errors({"remove_content_units": [text]})
        remove = [] if everything else body.remove_content_units
        removed = _units(tx, "remove_content_units", remove)
        base = _base(tx, body.base_version)
        if row[SERVICE] is not None:
            _check_downloaded(tx, add)
    args = {
        "repository": row["id"],
        "base_version": None if base is None else base[1],
        "add": [_packed(u) for u in add],
        "remove": "*" if everything else [_packed(u) for u in removed],
        "overwrite": body.overwrite,
    }
    if body.distribution is not None or body.component is not None:
        args["place"] = [body.distribution or "pulp", body.component or "default"]
    if base is not None and base[0] != row["id"]:
        text = "The base version must be one of this repository's."
        raise field_errors({"base_version": [text]})
    return asks.ask(
        NewTask(
            kind="modify",
            name="pulp_deb.app.tasks.signing.signed_add_and_remove",
            args=args,
            exclusive=[prn(REPOSITORY, row["uuid"])],
        )
    )


def _packed(unit: UnitId) -> list[int]:
    return [int(unit.kind), unit.id, unit.list]


def _units(tx: Tx, field: str, values: list[Any]) -> list[UnitId]:
    """Answers 400 naming the units that do not exist."""
    found: dict[str, UnitId | None] = {}
    for value in values:
        if not isinstance(value, str) or not (ref := find_ref(value)):
            raise field_errors({field: [f"URI not valid: {value}"]})
        found[value] = find_unit(tx, value) if ref else None
    units = [u for u in found.values() if u is not None]
    # Who knows the name of a unit only is not given it.
    known = contents.list_known(tx, units) - list_unseen(tx, units)
    missing = [v for v, u in found.items() if u is None or u not in known]
    if missing:
        shown = f"{missing[:100]}" + (f" and {len(missing) - 100} more" * (len(missing) > 100))
        text = f"Could not find the following content units: {shown}"
        raise field_errors({field: [text]})
    return [u for u in found.values() if u is not None]


def _check_downloaded(tx: Tx, units: list[UnitId]) -> None:
    """Answers 400 where a package cannot be signed, since it is not here."""
    ids = [unit.id for unit in units if unit.kind == Kind.PACKAGE]
    missing = [p.relative_path for p in signings.list_packages(tx, ids) if p.stored is None]
    if missing:
        text = (
            "Cannot add on-demand content to a repository that signs packages; not downloaded: "
            + ", ".join(missing[:10])
            + (f" and {len(missing) - 10} more" * (len(missing) > 10))
        )
        raise field_errors({"add_content_units": [text]})


def _base(tx: Tx, value: str | None) -> tuple[int, int] | None:
    """Repository and number of the version to start from."""
    if value is None:
        return None
    ref = find_ref(value)
    if ref is None:
        raise field_errors({"base_version": ["Invalid hyperlink - No URL match."]})
    if ref.model != VERSION:
        raise field_errors({"base_version": ["Invalid hyperlink - Incorrect URL match."]})
    place = (ref.uuid, ref.number) if ref.number is not None else None
    if place is None:
        place = repositories.list_version_places(tx, [ref.uuid]).get(ref.uuid)
    version = None if place is None else repositories.find_version(tx, *place)
    if version is None or not sees(tx, REPOSITORY, version.repository_uuid):
        raise field_errors({"base_version": ["Invalid hyperlink - Object does not exist."]})
    return version.repository, version.number
