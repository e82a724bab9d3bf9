"""References in a request to rows that must exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from debfleet.db import access, publications, repositories, signing_services
from debfleet.db.connect import Tx
from debfleet.identity import UnitId
from debfleet_api.bodies import refuse
from debfleet_api.errors import Refusal
from debfleet_api.hrefs import (
    CONTENT,
    KIND_OF_MODEL,
    PUBLICATION,
    REMOTE,
    REPOSITORY,
    SIGNING_SERVICE,
    VERBATIM,
    VERSION,
    Ref,
    find_ref,
)
from debfleet_api.permissions import sees
from debfleet_api.state import api


def find_remote(value: Any) -> UUID | None:
    """The remote that a body's field names; null is none."""
    if value in (None, ""):
        return None
    ref = read_reference(value, REMOTE)
    with api().db.transaction() as tx:
        if repositories.find_remote_row(tx, ref.uuid) is None or not sees(tx, REMOTE, ref.uuid):
            refuse("Invalid hyperlink - Object does not exist.")
    return ref.uuid


def find_repository(value: Any) -> UUID | None:
    """The repository that a body's field names; null is none."""
    if value in (None, ""):
        return None
    ref = read_reference(value, REPOSITORY)
    with api().db.transaction() as tx:
        row = repositories.find_repository_row(tx, ref.uuid)
        if row is None or not sees(tx, REPOSITORY, ref.uuid):
            refuse("Invalid hyperlink - Object does not exist.")
    return ref.uuid


def find_version(value: Any) -> UUID | None:
    """The version that a body's field names, by its own id; null is none."""
    if value in (None, ""):
        return None
    ref = read_reference(value, VERSION)
    with api().db.transaction() as tx:
        place = (ref.uuid, ref.number) if ref.number is not None else None
        if place is None:
            place = repositories.list_version_places(tx, [ref.uuid]).get(ref.uuid)
        version = None if place is None else repositories.find_version(tx, *place)
        if version is not None and not sees(tx, REPOSITORY, version.repository_uuid):
            version = None
    if version is None:
        refuse("Invalid hyperlink - Object does not exist.")
    return version.id


def find_publication(value: Any) -> UUID | None:
    """The publication, apt or verbatim, that a body's field names; null is none."""
    if value in (None, ""):
        return None
    ref = read_reference(value, PUBLICATION, VERBATIM)
    with api().db.transaction() as tx:
        found = publications.find_publication(tx, ref.uuid)
        if not sees(tx, ref.model, ref.uuid):
            found = None
    if found is None or (found.kind == "verbatim") != (ref.model == VERBATIM):
        refuse("Invalid hyperlink - Object does not exist.")
    return ref.uuid


def find_signing_service(value: Any) -> UUID | None:
    """The service for Release files that a body's field names; null is none."""
    return _find_service(value, signing_services.RELEASES)


def find_package_service(value: Any) -> UUID | None:
    """The service for packages that a body's field names; null is none."""
    return _find_service(value, signing_services.PACKAGES)


def _find_service(value: Any, kind: str) -> UUID | None:
    if value in (None, ""):
        return None
    ref = read_reference(value, SIGNING_SERVICE)
    with api().db.transaction() as tx:
        row = signing_services.find_service_row(tx, ref.uuid)
    if row is None or row["kind"] != kind:
        refuse("Invalid hyperlink - Object does not exist.")
    return ref.uuid


def find_guard(value: Any) -> UUID | None:
    """The content guard that a body's field names; null is none."""
    if value is None:
        return None
    ref = read_reference(value, *access.GUARD_MODELS.values())
    with api().db.transaction() as tx:
        row = access.find_guard(tx, ref.uuid)
        if row is None or not sees(tx, ref.model, ref.uuid):
            refuse("Invalid hyperlink - Object does not exist.")
    return ref.uuid


def read_reference(value: Any, *models: str) -> Ref:
    """What a body's field names, of one of these models; whether it exists is another question."""
    if not isinstance(value, str):
        kind = type(value).__name__
        refuse(f"Incorrect type. Expected URL string, received {kind}.")
    ref = find_ref(value)
    if ref is None:
        refuse("Invalid hyperlink - No URL match.")
    if ref.model not in models:
        refuse("Invalid hyperlink - Incorrect URL match.")
    return ref


def read_units(tx: Tx, values: Sequence[str]) -> list[UnitId]:
    """The content units that hrefs or PRNs name, whether they exist or not.

    Raises:
        Refusal: 400, as a list, for what names no unit.
    """
    found = []
    for value in values:
        unit = find_unit(tx, value)
        if unit is None:
            raise Refusal(400, [f"URI not valid: {value}"])
        found.append(unit)
    return found


def find_unit(tx: Tx, value: str) -> UnitId | None:
    """What an href or PRN of content stands for; None: it is no such reference, or forged."""
    ref = find_ref(value)
    kind = None if ref is None else KIND_OF_MODEL.get(ref.model)
    if ref is None or kind is None or kind not in CONTENT:
        return None
    unit = api().unit_ids(tx).read(ref.uuid)
    return unit if unit is not None and unit.kind == kind else None
