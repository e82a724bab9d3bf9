"""Domains: there is one, whose name is default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response
from psycopg import sql

from debfleet.model import DOMAIN_UUID, prn
from debfleet_api.answers import answer, chosen_fields
from debfleet_api.errors import no_such
from debfleet_api.filters import (
    Condition,
    Selection,
    identity_filters,
    list_page,
    literal,
    read_selection,
    text_filters,
)
from debfleet_api.hrefs import DOMAIN_MODEL, href, wire_time
from debfleet_api.label_filter import label_filter
from debfleet_api.openapi.operations import Listing, Paged, operation
from debfleet_api.paging import Page, page_answer, read_page
from debfleet_api.routes.objects import path_uuid
from debfleet_api.shapes.tasks import Domain
from debfleet_api.state import api

blueprint = Blueprint("domains", __name__)

_PATH = "/domains/"
_SOURCE = sql.SQL(
    "(SELECT {}::uuid AS uuid, 'default' AS name, '{{}}'::jsonb AS labels, created"
    " FROM installation) d"
).format(literal(str(DOMAIN_UUID)))
_COLUMN: dict[str, Condition] = {
    name: sql.Identifier("d", name) for name in ("uuid", "name", "labels", "created")
}
_FILTERS = {
    **text_filters("name", _COLUMN["name"]),
    **identity_filters(DOMAIN_MODEL, _COLUMN["uuid"]),
    "pulp_label_select": label_filter(_COLUMN["labels"]),
}
_ORDERINGS = {
    "name": _COLUMN["name"],
    "pulp_created": _COLUMN["created"],
    "pulp_last_updated": _COLUMN["created"],
    "pulp_id": _COLUMN["uuid"],
    "pk": _COLUMN["uuid"],
}
_NEWEST = sql.SQL("d.created DESC")


@blueprint.get(_PATH)
@operation("domains", "list", {200: Paged(Domain)}, listing=lambda: Listing(_FILTERS, _ORDERINGS))
def list_domains() -> Response:
    """The one domain, where it fits the query."""
    selection = read_selection(_FILTERS, _ORDERINGS, _NEWEST)
    page = read_page()
    with api().db.transaction() as tx:
        count, rows = list_page(tx, sql.SQL("*"), _SOURCE, selection, page)
    return page_answer(page, count, [_render(r) for r in rows])


@blueprint.get(f"{_PATH}<key>/")
@operation("domains", "read", {200: Domain})
def read_domain(key: str) -> Response:
    """The one domain."""
    where = sql.SQL("d.uuid = {}::uuid").format(literal(str(path_uuid(key))))
    with api().db.transaction() as tx:
        _, rows = list_page(tx, sql.SQL("*"), _SOURCE, Selection(where, _NEWEST), Page(1, 0))
    if not rows:
        raise no_such("Domain")
    return answer(chosen_fields(_render(rows[0])))


def _render(row: Mapping[str, Any]) -> dict[str, Any]:
    settings = api().settings
    is_bucket = settings.store_url.startswith("s3:")
    return {
        "pulp_href": href(DOMAIN_MODEL, row["uuid"]),
        "prn": prn(DOMAIN_MODEL, row["uuid"]),
        "pulp_created": wire_time(row["created"]),
        "pulp_last_updated": wire_time(row["created"]),
        "name": row["name"],
        "description": None,
        "pulp_labels": row["labels"],
        "storage_class": (
            "storages.backends.s3.S3Storage"
            if is_bucket
            else "pulpcore.app.models.storage.FileSystem"
        ),
        "storage_settings": {},  # they are the server's own, and may hold secrets
        "redirect_to_object_storage": settings.redirect_to_object_storage,
        "hide_guarded_distributions": False,
        "default_content_guard": None,
        "default_content_guard_prn": None,
    }
