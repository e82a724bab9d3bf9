"""Signing services: shown here, made on the server's machine only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response
from psycopg import sql

from debfleet.db import signing_services
from debfleet.model import prn
from debfleet_api.answers import answer, chosen_fields
from debfleet_api.errors import no_such, not_found
from debfleet_api.filters import (
    Condition,
    identity_filters,
    list_page,
    read_selection,
    text_filters,
)
from debfleet_api.hrefs import SIGNING_SERVICE, find_uuid, href, wire_time
from debfleet_api.openapi.operations import Listing, Paged, operation
from debfleet_api.paging import page_answer, read_page
from debfleet_api.shapes.repositories import SigningService
from debfleet_api.state import api

blueprint = Blueprint("signing_services", __name__)

_PATH = "/signing-services/"
_COLUMN: dict[str, Condition] = {
    c: sql.Identifier("signing_services", c)
    for c in ("name", "script", "public_key", "fingerprint", "created", "updated", "uuid")
}
_ORDERINGS = {
    "name": _COLUMN["name"],
    "script": _COLUMN["script"],
    "public_key": _COLUMN["public_key"],
    "pubkey_fingerprint": _COLUMN["fingerprint"],
    "pulp_created": _COLUMN["created"],
    "pulp_last_updated": _COLUMN["updated"],
    "pulp_id": _COLUMN["uuid"],
    "pk": _COLUMN["uuid"],
}


_FILTERS = {
    "name": text_filters("name", _COLUMN["name"])["name"],
    **identity_filters(SIGNING_SERVICE, _COLUMN["uuid"]),
}


@blueprint.get(_PATH)
@operation(
    "signing-services",
    "list",
    {200: Paged(SigningService)},
    listing=lambda: Listing(_FILTERS, _ORDERINGS),
)
def list_services() -> Response:
    """One page of signing services."""
    selection = read_selection(_FILTERS, _ORDERINGS, sql.SQL("signing_services.id DESC"))
    page = read_page()
    with api().db.transaction() as tx:
        count, rows = list_page(tx, sql.SQL("*"), sql.SQL("signing_services"), selection, page)
    return page_answer(page, count, [render_service(r) for r in rows])


@blueprint.get(f"{_PATH}<key>/")
@operation("signing-services", "read", {200: SigningService})
def read_service(key: str) -> Response:
    """One signing service."""
    uuid = find_uuid(key)
    if uuid is None:
        raise not_found()
    with api().db.transaction() as tx:
        row = signing_services.find_service_row(tx, uuid)
    if row is None:
        raise no_such("SigningService")
    return answer(chosen_fields(render_service(row)))


def render_service(row: Mapping[str, Any]) -> dict[str, Any]:
    """A signing service as clients know it; its secret key is never shown."""
    return {
        "pulp_href": href(SIGNING_SERVICE, row["uuid"]),
        "prn": prn(SIGNING_SERVICE, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["updated"]),
        "name": row["name"],
        "public_key": row["public_key"],
        "pubkey_fingerprint": row["fingerprint"],
        # Clients expect a text; the key of this one is held by debfleet itself.
        "script": row["script"] or "",
    }
