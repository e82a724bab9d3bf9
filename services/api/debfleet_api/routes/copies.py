"""Copy: content of some repository versions, into other repositories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

from flask import Blueprint, Response

from debfleet.db import contents, repositories
from debfleet.db.connect import Tx
from debfleet.db.tasks import NewTask
from debfleet.model import prn
from debfleet_api import asks
from debfleet_api.bodies import Body, Flag, Items, not_built, read_body
from debfleet_api.errors import field_errors
from debfleet_api.hrefs import REPOSITORY, VERSION, find_ref
from debfleet_api.openapi.operations import STARTED, operation
from debfleet_api.permissions import require, sees
from debfleet_api.references import find_unit
from debfleet_api.state import api

blueprint = Blueprint("copies", __name__)

_REQUIRED = ("source_repo_version", "dest_repo")
_KNOWN = (*_REQUIRED, "dest_base_version", "content")


class CopyBody(Body, title="Copy"):
    """What goes where."""

    config: Items
    structured: Flag = True
    # The reference accepts true, and fails the task: it has no such solver.
    dependency_solving: Annotated[bool, not_built(False)] = False


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry, for the task, and the resources that it needs."""

    args: dict[str, Any]
    source: str  # PRN of its repository
    target: str


@blueprint.post("/deb/copy/")
@operation("deb/copy", "copy", STARTED, body=CopyBody, id="copy_content")
def copy_content() -> Response:
    """202 and a task; every repository, version and unit that is named must exist."""
    body = read_body(CopyBody)
    if not body.config:
        _refuse(None, "name at least one copy")
    with api().db.transaction() as tx:
        entries = [_read(tx, n, item) for n, item in enumerate(body.config)]
    targets = list(dict.fromkeys(e.target for e in entries))
    return asks.ask(
        NewTask(
            kind="copy",
            name="pulp_deb.app.tasks.copy.copy_content",
            args={"entries": [e.args for e in entries], "structured": body.structured},
            exclusive=targets,
            shared=list(dict.fromkeys(e.source for e in entries if e.source not in targets)),
        )
    )


def _read(tx: Tx, place: int, item: Any) -> _Entry:
    if not isinstance(item, dict):
        _refuse(place, f"expected an object, and not {type(item).__name__}")
    if missing := [name for name in _REQUIRED if name not in item]:
        _refuse(place, f"'{missing[0]}' is a required property")
    if unknown := [name for name in item if name not in _KNOWN]:
        _refuse(place, f"'{unknown[0]}' was unexpected")
    source = _version(tx, place, item["source_repo_version"])
    target = _repository(tx, place, item["dest_repo"])
    require(REPOSITORY, "modify_content", target["uuid"])
    args = {
        "source": source.repository,
        "number": source.number,
        "target": target["id"],
        "base_number": _base(tx, place, item, target),
        "units": _units(tx, place, item.get("content")),
    }
    source_name = prn(REPOSITORY, source.repository_uuid)
    return _Entry(args, source_name, prn(REPOSITORY, target["uuid"]))


def _version(tx: Tx, place: int, value: Any) -> Any:
    ref = find_ref(value) if isinstance(value, str) else None
    found = None
    if ref is not None and ref.model == VERSION:
        at = (ref.uuid, ref.number) if ref.number is not None else None
        if at is None:
            at = repositories.list_version_places(tx, [ref.uuid]).get(ref.uuid)
        found = None if at is None else repositories.find_version(tx, *at)
    if found is None or not sees(tx, REPOSITORY, found.repository_uuid):
        _refuse(place, f"source_repo_version: no repository version {value!r}")
    return found


def _repository(tx: Tx, place: int, value: Any) -> Mapping[str, Any]:
    ref = find_ref(value) if isinstance(value, str) else None
    found = None
    if ref is not None and ref.model == REPOSITORY:
        found = repositories.find_repository_row(tx, ref.uuid)
    if found is None or not sees(tx, REPOSITORY, found["uuid"]):
        _refuse(place, f"dest_repo: no repository {value!r}")
    return found


def _base(tx: Tx, place: int, item: Mapping[str, Any], target: Mapping[str, Any]) -> int | None:
    """The number of the target's version to start from; 0 is the latest, as in the reference."""
    number = item.get("dest_base_version")
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**31:
        _refuse(place, "dest_base_version: a number of a version is required")
    if number == 0:
        return None
    if repositories.find_version(tx, target["uuid"], number) is None:
        _refuse(place, f"dest_base_version: {target['name']} has no version {number}")
    return number


def _units(tx: Tx, place: int, values: Any) -> list[list[int]] | None:
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        _refuse(place, "content: a list of hrefs is required")
    found = [find_unit(tx, value) for value in values]
    known = contents.list_known(tx, [u for u in found if u is not None])
    missing = [v for v, u in zip(values, found, strict=True) if u is None or u not in known]
    if missing:
        _refuse(place, f"content: could not find {missing[:100]}")
    return [[int(u.kind), u.id, u.list] for u in found if u is not None]


def _refuse(place: int | None, text: str) -> NoReturn:
    where = "" if place is None else f" entry {place}:"
    raise field_errors({"config": [f"Provided copy criteria is invalid:{where} {text}."]})
