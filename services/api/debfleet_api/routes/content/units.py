"""Content units: lists and reads of every kind, and of all kinds together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flask import Blueprint, Response, request
from psycopg import sql

from debfleet.db import contents, holdings
from debfleet.db.connect import Tx
from debfleet.db.contents import LINKS, Held, Selection
from debfleet.identity import UnitId
from debfleet.model import Kind
from debfleet_api.answers import answer, chosen_fields
from debfleet_api.errors import Refusal, field_errors, no_such, not_found
from debfleet_api.filters import TRUE, Condition, many, read_selection, words
from debfleet_api.hrefs import CONTENT, REPOSITORY, VERSION, find_ref, find_uuid
from debfleet_api.openapi.operations import Answer, Listing, Operation, Paged, operation, operations
from debfleet_api.paging import PARAMETERS, Page, page_answer, read_page
from debfleet_api.permissions import sees, sees_unit
from debfleet_api.routes.content.filters import (
    GIVEN,
    LINK_ORDERINGS,
    NO_IDS,
    SCOPE_SCHEMAS,
    SCOPES,
    ids_filters,
    kind_filters,
    labels_filter,
    orderings,
    read_given,
    read_scope,
    read_two_parts,
    read_unit,
)
from debfleet_api.routes.content.shown import MODELS, render_unit, show_any, show_unit
from debfleet_api.shapes.content import UNITS, AnyUnit
from debfleet_api.state import api

blueprint = Blueprint("content", __name__)

# Newest first, as a sync makes them: the order of the list of all kinds.
_ALL_KINDS = (
    Kind.SOURCE_PACKAGE_RELEASE_COMPONENT,
    Kind.PACKAGE_RELEASE_COMPONENT,
    Kind.SOURCE_PACKAGE,
    Kind.PACKAGE,
    Kind.INSTALLER_PACKAGE,
    Kind.GENERIC,
    Kind.SOURCE_INDEX,
    Kind.INSTALLER_FILE_INDEX,
    Kind.PACKAGE_INDEX,
    Kind.RELEASE_COMPONENT,
    Kind.RELEASE_ARCHITECTURE,
    Kind.RELEASE,
    Kind.RELEASE_FILE,
)
_LINKED = {  # by kind of link: the field and filter that names what it links
    Kind.PACKAGE_RELEASE_COMPONENT: "package",
    Kind.SOURCE_PACKAGE_RELEASE_COMPONENT: "source_package",
}
_TEXT = {"type": "string"}
_ASKED_OF_A_VERSION = frozenset(("repository_version", *PARAMETERS))
_CREATION = ("pulp_created", "pulp_last_updated", "pk", "pulp_id")  # one order: that of the ids
_PATTERN_SECONDS = "SET LOCAL statement_timeout = '10s'"  # for a pattern from outside


def _of_kind(kind: Kind, action: str, answers: Mapping[int, Answer]) -> Operation:
    endpoint = CONTENT[kind].endpoint
    listing = (lambda: _listing(kind)) if action == "list" else None
    resource = f"content/deb/{endpoint}"
    return Operation(resource, action, answers, listing=listing, values={"endpoint": endpoint})


@blueprint.get("/content/")
@operation("content", "list", {200: Paged(AnyUnit)}, listing=lambda: _listing_of_all())
def list_content() -> Response:
    """Units of all kinds, one kind after the other, within a kind newest first."""
    extra = (*SCOPES, "pulp_type", "pulp_type__in", "pulp_id__in", "pulp_href__in", "prn__in")
    page = read_page()
    with api().db.transaction() as tx:
        kinds, order = _kinds(), None
        if _is_oldest_first():
            kinds, order = kinds[::-1], sql.SQL("u.id")
        given = read_given(api().unit_ids(tx))
        orders = dict.fromkeys(_CREATION, TRUE)
        wanted = {
            k: read_selection(labels_filter(k), orders, TRUE, extra).where for k in _ALL_KINDS
        }
        scope = read_scope(tx)
        selections = [
            Selection(
                kind,
                sets=scope.sets,
                ids=None if given is None else tuple(u for u in given if u.kind == kind),
                where=_where(wanted[kind]),
                order=order,
                orphaned_for=scope.orphaned_for,
            )
            for kind in kinds
            if not scope.is_empty
        ]
        count, rows = contents.list_mixed(tx, selections, page.limit, page.offset)
        ids = api().unit_ids(tx)
        shown = [show_any(ids, kind, row) for kind, row in rows]
    return page_answer(page, count, shown)


@blueprint.get("/content/deb/<endpoint>/")
@operations([_of_kind(k, "list", {200: Paged(UNITS[k])}) for k in CONTENT])
def list_kind(endpoint: str) -> Response:
    """One page of the units of a kind, newest first."""
    kind = kind_of(endpoint)
    page = read_page()
    with api().db.single() as tx:
        found = _of_a_version(tx, kind, page)
        if found is None:
            selection = _links(tx, kind) if kind in LINKS else _units(tx, kind)
            if selection is None:
                return page_answer(page, 0, [])
            with _bounded(tx, selection):
                found = contents.list_units(tx, selection, page.limit, page.offset)
        ids = api().unit_ids(tx)
        shown = [render_unit(ids, kind, row) for row in found.rows]
    return page_answer(page, found.count, shown)


@blueprint.get("/content/deb/<endpoint>/<key>/")
@operations([_of_kind(k, "read", {200: UNITS[k]}) for k in CONTENT])
def read_content(endpoint: str, key: str) -> Response:
    """One unit; a link while some version holds it, or when it was made by hand."""
    kind = kind_of(endpoint)
    with api().db.transaction() as tx:
        unit = read_seen(tx, kind, key)
        row = None if unit is None else contents.find_unit(tx, unit)
        if row is None:
            raise no_such(MODELS[kind])
        return answer(chosen_fields(show_unit(api().unit_ids(tx), kind, row)))


def read_seen(tx: Tx, kind: Kind, key: str) -> UnitId | None:
    """The unit of this kind that a path names; None: the user may not read such a one.

    Whether it is there is another question, but for users who may not read everything.
    """
    uuid = find_uuid(key)
    if uuid is None:
        raise not_found()
    unit = api().unit_ids(tx).read(uuid)
    if unit is None or unit.kind != kind or not sees_unit(tx, unit):
        return None
    return unit


def kind_of(endpoint: str) -> Kind:
    """The kind of unit that a path names; answers 404 where it is none."""
    for kind, content in CONTENT.items():
        if content.endpoint == endpoint:
            return kind
    raise not_found()


@contextmanager
def _bounded(tx: Tx, selection: Selection) -> Iterator[None]:
    """What looks at rows to find the page may do so for ten seconds; bits need no such bound."""
    looks_at_rows = (selection.where, selection.order, selection.orphaned_for) != (None,) * 3
    if selection.sets and not looks_at_rows:
        yield
        return
    with tx.transaction():
        tx.execute(_PATTERN_SECONDS)
        yield


def _listing(kind: Kind) -> Listing:
    if kind in LINKS:
        filters = {**labels_filter(kind), **ids_filters(NO_IDS, kind)}
        texts = (_LINKED[kind], "release_component")
        return Listing(filters, LINK_ORDERINGS, SCOPE_SCHEMAS | dict.fromkeys(texts, _TEXT))
    two_parts = [name for name, of in _READERS if of == kind]
    filters = {**labels_filter(kind), **ids_filters(NO_IDS, kind), **kind_filters(kind)}
    return Listing(filters, orderings(kind), SCOPE_SCHEMAS | dict.fromkeys(two_parts, _TEXT))


def _listing_of_all() -> Listing:
    lists = dict.fromkeys(("pulp_type__in", *GIVEN), many(_TEXT))
    extra = {**SCOPE_SCHEMAS, **lists, "pulp_type": _TEXT}
    return Listing(labels_filter(Kind.PACKAGE), dict.fromkeys(_CREATION, TRUE), extra)


def _of_a_version(tx: Tx, kind: Kind, page: Page) -> contents.Page | None:
    """The page of a request that asks for one version's units of a kind, as most do.

    None: it asks for something else, or there is no such version, of which ``_units`` speaks.
    """
    versions = request.args.getlist("repository_version")
    if len(versions) != 1 or kind in LINKS or not _ASKED_OF_A_VERSION.issuperset(request.args):
        return None
    ref = find_ref(versions[0])
    if ref is None or ref.model != VERSION or ref.number is None:
        return None
    if not sees(tx, REPOSITORY, ref.uuid):
        return None
    return contents.list_version(tx, ref.uuid, ref.number, kind, page.limit, page.offset)


def _units(tx: Tx, kind: Kind) -> Selection | None:
    """What this request asks for of a kind that has rows; None: nothing can be in it."""
    two_parts = [name for name, of in _READERS if of == kind]
    filters = {**labels_filter(kind), **ids_filters(api().unit_ids(tx), kind), **kind_filters(kind)}
    asked = read_selection(
        filters, orderings(kind), sql.SQL("u.id DESC"), extra=(*SCOPES, *two_parts)
    )
    scope = read_scope(tx)
    sets = scope.sets
    conditions = [] if asked.where is TRUE else [asked.where]
    for name in two_parts:
        for value in request.args.getlist(name):
            found = _READERS[name, kind](tx, value)
            if found is None:
                return None
            if isinstance(found, Held):
                sets = (*sets, found)
            else:
                conditions.append(sql.SQL("u.id = ANY({}::bigint[])").format(sql.Literal(found)))
    if scope.is_empty:
        return None
    return Selection(
        kind,
        sets=sets,
        where=sql.SQL(" AND ").join(conditions) if conditions else None,
        order=None if _is_newest_first() else asked.order,
        orphaned_for=scope.orphaned_for,
    )


# --- links ------------------------------------------------------------------------------------


def _links(tx: Tx, kind: Kind) -> Selection | None:
    """What this request asks for of links, which are bits of packages in lists."""
    linked = _LINKED[kind]
    extra = (*SCOPES, linked, "release_component", "pulp_id__in", "pulp_href__in", "prn__in")
    asked = read_selection(labels_filter(kind), LINK_ORDERINGS, sql.SQL("u.id DESC"), extra)
    scope = read_scope(tx)
    ids = read_given(api().unit_ids(tx))
    sets = scope.sets
    for value in request.args.getlist("release_component"):
        component = read_unit(tx, "release_component", value, Kind.RELEASE_COMPONENT)
        sets = (*sets, Held(None, components=(component.id,)))
    for value in request.args.getlist(linked):
        package = read_unit(tx, linked, value, LINKS[kind])
        of_package = holdings.list_links_of_package(tx, kind, package.id)
        ids = of_package if ids is None else [u for u in of_package if u in set(ids)]
    if scope.is_empty:
        return None
    return Selection(
        kind,
        sets=sets,
        ids=None if ids is None else tuple(u for u in ids if u.kind == kind),
        where=_where(asked.where),
        order=None if _is_newest_first() else asked.order,
        orphaned_for=scope.orphaned_for,
    )


# --- filters of two parts: a unit and the version in which it is looked at ---------------------


def _packages_of_release(tx: Tx, value: str) -> Held | list[int] | None:
    release, place = read_two_parts(tx, "release", value, Kind.RELEASE)
    if not holdings.holds(tx, place, release):
        return None
    components = holdings.list_components_of_release(tx, place, release.id)
    return Held(place, components=tuple(components))


def _packages_of_component(tx: Tx, value: str) -> Held | list[int] | None:
    component, place = read_two_parts(tx, "release_component", value, Kind.RELEASE_COMPONENT)
    if not holdings.holds(tx, place, component):
        return None
    return Held(place, components=(component.id,))


def _releases_of_package(tx: Tx, value: str) -> Held | list[int] | None:
    package, place = read_two_parts(tx, "package", value, Kind.PACKAGE)
    return holdings.list_releases_of_package(tx, place, package.id)


def _components_of_package(tx: Tx, value: str) -> Held | list[int] | None:
    package, place = read_two_parts(tx, "package", value, Kind.PACKAGE)
    return holdings.list_components_of_package(tx, place, package.id)


_READERS = {
    ("release", Kind.PACKAGE): _packages_of_release,
    ("release_component", Kind.PACKAGE): _packages_of_component,
    ("release", Kind.SOURCE_PACKAGE): _packages_of_release,
    ("release_component", Kind.SOURCE_PACKAGE): _packages_of_component,
    ("package", Kind.RELEASE): _releases_of_package,
    ("package", Kind.RELEASE_COMPONENT): _components_of_package,
}


# --- small questions --------------------------------------------------------------------------


def _kinds() -> list[Kind]:
    """The kinds that ``pulp_type`` and ``pulp_type__in`` leave."""
    names = {CONTENT[kind].name: kind for kind in CONTENT}
    kinds = list(_ALL_KINDS)
    for parameter in ("pulp_type", "pulp_type__in"):
        for value in request.args.getlist(parameter):
            wanted = words(value) if parameter.endswith("__in") else [value]
            unknown = [w for w in wanted if w not in names]
            if unknown:
                text = f"Select a valid choice. {unknown[0]} is not one of the available choices."
                raise field_errors({parameter: [text]})
            kinds = [k for k in kinds if k in {names[w] for w in wanted}]
    return kinds


def _where(condition: Condition) -> Condition | None:
    """Nothing was asked for: the fast way."""
    return None if condition is TRUE else condition


def _ordering() -> list[str]:
    return words(",".join(request.args.getlist("ordering")))


def _is_newest_first() -> bool:
    """Nothing else was asked for: the fast way."""
    asked = _ordering()
    return not asked or (asked[0].startswith("-") and asked[0][1:] in _CREATION)


def _is_oldest_first() -> bool:
    asked = _ordering()
    if len(asked) > 1:
        raise Refusal(400, {"ordering": ["All kinds together are ordered by one field."]})
    return bool(asked) and asked[0] in _CREATION
