"""Publications: versions made ready for apt, written anew or passed through verbatim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response
from psycopg import sql
from pydantic import BeforeValidator, Field

from debfleet.db import holdings, publications, repositories
from debfleet.db.connect import Tx
from debfleet.db.tasks import NewTask
from debfleet.model import prn
from debfleet_api import asks
from debfleet_api.answers import answer, chosen_fields, no_content
from debfleet_api.bodies import Body, Flag, Names, choice, read_body
from debfleet_api.errors import field_errors, no_such, not_found
from debfleet_api.filters import (
    FALSE,
    Condition,
    Filter,
    Selection,
    all_of,
    choice_filters,
    flag,
    identity_filters,
    list_page,
    literal,
    read_ref,
    read_selection,
    time_filters,
    words,
)
from debfleet_api.hrefs import (
    PUBLICATION,
    REPOSITORY,
    SIGNING_SERVICE,
    VERBATIM,
    VERSION,
    find_uuid,
    href,
    version_href,
    wire_time,
)
from debfleet_api.openapi.operations import (
    NO_TX,
    STARTED,
    Answer,
    Listing,
    Operation,
    Paged,
    operation,
    operations,
)
from debfleet_api.paging import Page, page_answer, read_page
from debfleet_api.permissions import visible
from debfleet_api.references import (
    find_repository,
    find_signing_service,
    find_version,
    read_units,
)
from debfleet_api.shapes.serving import BasePublication, Publication, VerbatimPublication
from debfleet_api.state import api, current_user

blueprint = Blueprint("publications", __name__)

MODELS = {"apt": PUBLICATION, "verbatim": VERBATIM}
_NAMES = {"apt": "AptPublication", "verbatim": "VerbatimPublication"}
_PATH = "/publications/deb/"
_READ_ONLY = frozenset({"pulp_href", "prn", "pulp_created", "pulp_last_updated"})
_TASKS = {
    "apt": "pulp_deb.app.tasks.publishing.publish",
    "verbatim": "pulp_deb.app.tasks.publishing.publish_verbatim",
}


class VerbatimBody(Body, title="deb.VerbatimPublication"):
    """The version to publish: the latest of a repository, or one that is named."""

    repository: Annotated[UUID | None, BeforeValidator(find_repository)] = None
    repository_version: Annotated[UUID | None, BeforeValidator(find_version)] = None
    checkpoint: Flag = False


class AptBody(VerbatimBody, title="deb.AptPublication"):
    """What to publish, and how."""

    simple: Flag = False
    structured: Flag = True
    signing_service: Annotated[UUID | None, BeforeValidator(find_signing_service)] = None
    publish_upstream_release_fields: Flag = True
    publish_legacy_release_files: Flag = False
    excluded_package_metadata_fields: Names = Field(default_factory=list)
    layout: Annotated[
        str, choice("nested_alphabetically", "nested_by_digest", "nested_by_both")
    ] = "nested_alphabetically"


_SHAPES: Mapping[str, type[BasePublication]] = {
    "apt": Publication,
    "verbatim": VerbatimPublication,
}


def _of_kind(kind: str, action: str, answers: Mapping[int, Answer]) -> Operation:
    listing = (lambda: _listing(kind)) if action == "list" else None
    resource = f"publications/deb/{kind}"
    return Operation(resource, action, answers, listing=listing, values={"kind": kind})


@blueprint.get("/publications/")
@operation("publications", "list", {200: Paged(BasePublication)}, listing=lambda: _listing(None))
def list_publications() -> Response:
    """One page of publications of both kinds."""
    return _page(None)


@blueprint.get(f"{_PATH}<any(apt,verbatim):kind>/")
@operations([_of_kind(k, "list", {200: Paged(_SHAPES[k])}) for k in _SHAPES])
def list_publications_of_kind(kind: str) -> Response:
    """One page of publications of one kind."""
    return _page(kind)


@blueprint.post(f"{_PATH}apt/")
@operation("publications/deb/apt", "create", STARTED, body=AptBody)
def publish() -> Response:
    """202 and a task, which makes a publication."""
    body = read_body(AptBody, read_only=_READ_ONLY)
    if not (body.simple or body.structured):
        text = "one of simple or structured publishing mode must be selected"
        raise field_errors({"non_field_errors": [text]})
    service = body.signing_service
    given = body.given()  # null below: as the repository has it
    options = {
        "simple": body.simple,
        "structured": body.structured,
        "layout": body.layout,
        "signing_service": None if service is None else str(service),
        "publish_upstream_release_fields": given.get("publish_upstream_release_fields"),
        "publish_legacy_release_files": body.publish_legacy_release_files,
        "excluded_package_metadata_fields": given.get("excluded_package_metadata_fields"),
    }
    return _publish("apt", body, options)


@blueprint.post(f"{_PATH}verbatim/")
@operation("publications/deb/verbatim", "create", STARTED, body=VerbatimBody)
def publish_verbatim() -> Response:
    """202 and a task, which makes a publication of upstream's own files."""
    return _publish("verbatim", read_body(VerbatimBody, read_only=_READ_ONLY), {})


@blueprint.get(f"{_PATH}<any(apt,verbatim):kind>/<key>/")
@operations([_of_kind(k, "read", {200: _SHAPES[k]}) for k in _SHAPES])
def read_publication(kind: str, key: str) -> Response:
    """One publication."""
    return answer(chosen_fields(render_publication(_row(kind, key))))


@blueprint.delete(f"{_PATH}<any(apt,verbatim):kind>/<key>/")
@operations([_of_kind(k, "delete", {204: None}) for k in _SHAPES])
def delete_publication(kind: str, key: str) -> Response:
    """204, at once. A distribution of just this one serves nothing then."""
    uuid = _row(kind, key)["uuid"]
    if not api().db.run(lambda tx: publications.delete_publication(tx, uuid)):
        raise no_such(_NAMES[kind])
    return no_content()


def render_publication(row: Mapping[str, Any]) -> dict[str, Any]:
    """A publication as clients know it."""
    model = MODELS[row["kind"]]
    created = wire_time(row["created"])
    shown = {
        "pulp_href": href(model, row["uuid"]),
        "prn": prn(model, row["uuid"]),
        "pulp_created": created,
        # A publication never changes.
        "pulp_last_updated": created,
        "repository_version": version_href(row["repository_uuid"], row["number"]),
        "repository": href(REPOSITORY, row["repository_uuid"]),
    }
    if row["kind"] == "verbatim":
        return shown
    options = row["options"]
    service = options.get("signing_service")
    return shown | {
        "simple": row["simple"],
        "structured": row["structured"],
        "checkpoint": row["checkpoint"],
        "signing_service": None if service is None else href(SIGNING_SERVICE, UUID(service)),
        "publish_legacy_release_files": bool(options.get("publish_legacy_release_files")),
        "excluded_package_metadata_fields": options.get("excluded_package_metadata_fields") or [],
        "layout": row["layout"],
    }


def _render_base(row: Mapping[str, Any]) -> dict[str, Any]:
    """What publications of every type have."""
    return {n: v for n, v in render_publication(row).items() if n in BasePublication.model_fields}


_SELECTED = sql.SQL("p.*, r.uuid AS repository_uuid")
_SOURCE = sql.SQL("publications p JOIN repositories r ON r.id = p.repository")
_COLUMNS = ("checkpoint", "simple", "structured", "layout")
_ORDERINGS: dict[str, Condition] = {
    **{c: sql.Identifier("p", c) for c in _COLUMNS},
    "pulp_created": sql.Identifier("p", "created"),
    "pulp_last_updated": sql.Identifier("p", "created"),
    "pulp_type": sql.Identifier("p", "kind"),
    "complete": sql.Identifier("p", "is_complete"),
    "pulp_id": sql.Identifier("p", "uuid"),
    "pk": sql.Identifier("p", "uuid"),
}


_UUID = sql.Identifier("p", "uuid")


def _page(kind: str | None) -> Response:
    page = read_page()
    with api().db.transaction() as tx:
        read = read_selection(_filters(tx, kind), _ORDERINGS, sql.SQL("p.id DESC"))
        seen = [
            all_of([sql.SQL("p.kind = {}").format(literal(of)), visible(tx, model, _UUID)])
            for of, model in MODELS.items()
        ]
        selection = Selection(all_of([_complete(kind), read.where]), read.order)
        if not current_user().is_superuser:
            selection = selection.narrowed(sql.SQL("({}) OR ({})").format(*seen))
        count, rows = list_page(tx, _SELECTED, _SOURCE, selection, page)
    render = _render_base if kind is None else render_publication
    return page_answer(page, count, [render(r) for r in rows])


def _listing(kind: str | None) -> Listing:
    return Listing(_filters(NO_TX, kind), _ORDERINGS)


def _complete(kind: str | None) -> Condition:
    if kind is None:
        return sql.SQL("p.is_complete")
    return sql.SQL("p.is_complete AND p.kind = {}").format(literal(kind))


def _filters(tx: Tx, kind: str | None) -> dict[str, Filter]:
    def holding(value: str) -> Condition:
        return _of_versions(holdings.find_versions(tx, read_units(tx, words(value))))

    def of_version(value: str) -> Condition:
        ref = read_ref(value, VERSION)
        place = (ref.uuid, ref.number) if ref.number is not None else None
        if place is None:
            place = repositories.list_version_places(tx, [ref.uuid]).get(ref.uuid)
        found = None if place is None else repositories.find_version(tx, *place)
        return _of_versions([] if found is None else [(found.repository, found.number)])

    uuid = sql.Identifier("p", "uuid")
    types = {"deb.apt-publication": "apt", "deb.verbatim-publication": "verbatim"}
    made: dict[str, Filter] = {
        **time_filters("pulp_created", sql.Identifier("p", "created")),
        **identity_filters(MODELS[kind or "apt"], uuid),
        "repository": lambda v: sql.SQL("r.uuid = {}").format(
            literal(read_ref(v, REPOSITORY).uuid)
        ),
        "repository_version": of_version,
        "content": holding,
        "content__in": holding,
        "checkpoint": flag(sql.Identifier("p", "checkpoint")),
    }
    if kind is not None:
        return made

    def of_either(value: str) -> Condition:
        ids = [read_ref(w, PUBLICATION, VERBATIM).uuid for w in words(value)]
        return sql.SQL("p.uuid = ANY({}::uuid[])").format(literal([str(i) for i in ids]))

    of_type = choice_filters("pulp_type", sql.SQL("'deb.' || p.kind || '-publication'"), [*types])
    both = {name: of_type[name] for name in ("pulp_type", "pulp_type__in")}
    return made | both | {"pulp_href__in": of_either, "prn__in": of_either}


def _of_versions(places: list[tuple[int, int]]) -> Condition:
    if not places:
        return FALSE
    pairs = [sql.SQL("({}, {})").format(literal(r), literal(n)) for r, n in places]
    return sql.SQL("(p.repository, p.number) IN ({})").format(sql.SQL(", ").join(pairs))


def _row(kind: str, key: str) -> dict[str, Any]:
    uuid = find_uuid(key)
    if uuid is None:
        raise not_found()
    this = sql.SQL("p.uuid = {}").format(literal(uuid))
    where = all_of([_complete(kind), this])
    with api().db.transaction() as tx:
        selection = Selection(where, sql.SQL("p.id"))
        _, rows = list_page(tx, _SELECTED, _SOURCE, selection, Page(1, 0))
    if not rows:
        raise no_such(_NAMES[kind])
    return rows[0]


def _publish(kind: str, body: VerbatimBody, options: dict[str, Any]) -> Response:
    repository, number, uuid = _version(body)
    args = {
        "repository": repository,
        "number": number,
        "kind": kind,
        "checkpoint": body.checkpoint,
        **options,
    }
    return asks.ask(
        NewTask(
            kind="publish",
            name=_TASKS[kind],
            args=args,
            shared=[prn(REPOSITORY, uuid)],
            job_kind="publish",
        )
    )


def _version(body: VerbatimBody) -> tuple[int, int, UUID]:
    """Repository, number and the repository's UUID of the version to publish."""
    either = "Either the 'repository' or 'repository_version' need to be specified"
    if body.repository is None and body.repository_version is None:
        raise field_errors({"non_field_errors": [either]})
    if body.repository is not None and body.repository_version is not None:
        raise field_errors({"non_field_errors": [f"{either} but not both."]})
    with api().db.transaction() as tx:
        if body.repository is not None:
            row = repositories.find_repository_row(tx, body.repository)
            if row is not None:
                return row["id"], row["latest"], row["uuid"]
            raise field_errors({"repository": ["Invalid hyperlink - Object does not exist."]})
        if body.checkpoint:
            text = "A checkpoint publication needs 'repository', not 'repository_version'."
            raise field_errors({"checkpoint": [text]})
        assert body.repository_version is not None
        places = repositories.list_version_places(tx, [body.repository_version])
        place = places.get(body.repository_version)
        version = None if place is None else repositories.find_version(tx, *place)
    if version is None:
        raise field_errors({"repository_version": ["Invalid hyperlink - Object does not exist."]})
    return version.repository, version.number, version.repository_uuid
