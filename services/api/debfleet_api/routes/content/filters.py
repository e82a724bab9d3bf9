"""The filters of content lists: what a query parameter stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import cast

from flask import request
from psycopg import sql

from debfleet.db import contents, holdings, repositories
from debfleet.db.connect import Tx
from debfleet.db.contents import Held, Place
from debfleet.deb import sources
from debfleet.deb.packages import ATTRIBUTES
from debfleet.identity import UnitId, UnitIds
from debfleet.model import Kind
from debfleet_api.errors import Refusal, field_errors
from debfleet_api.filters import (
    FALSE,
    Condition,
    Filter,
    exact,
    many,
    read_number,
    read_ref,
    text_filters,
    words,
)
from debfleet_api.hrefs import CONTENT, KIND_OF_MODEL, REPOSITORY, VERSION, find_uuid
from debfleet_api.label_filter import label_filter
from debfleet_api.permissions import require_narrowed, sees
from debfleet_api.state import api

SCOPES = (
    "repository_version",
    "repository_version_added",
    "repository_version_removed",
    "added_between",
    "removed_between",
    "orphaned_for",
)
"""Parameters that ``read_scope`` reads."""

SCOPE_SCHEMAS = {
    **{name: {"type": "string"} for name in SCOPES},
    **dict.fromkeys(("added_between", "removed_between"), many({"type": "string"})),
    "orphaned_for": {"type": "number"},
}
NO_IDS = cast(UnitIds, None)
"""For tables of filters that read an id only when a filter is used."""

GIVEN = ("pulp_id__in", "pulp_href__in", "prn__in")
"""Parameters that name units."""


def _columns(*names: str) -> dict[str, Condition]:
    return {name: sql.Identifier("u", name) for name in names}


_OF_A_PACKAGE: dict[str, Condition] = {
    "package": sql.Identifier("u", "name"),
    **_columns("version", "architecture", "source", "section", "priority", "multi_arch"),
    **_columns("relative_path", "architecture_variant"),
}
# By kind: the columns that can be filtered and ordered by, by their names on the wire.
COLUMNS: dict[Kind, dict[str, Condition]] = {
    Kind.PACKAGE: _OF_A_PACKAGE,
    Kind.INSTALLER_PACKAGE: _OF_A_PACKAGE,
    Kind.GENERIC: _columns("relative_path"),
    Kind.RELEASE_FILE: _columns("codename", "suite", "relative_path"),
    Kind.PACKAGE_INDEX: _columns("component", "architecture", "relative_path"),
    Kind.RELEASE: _columns("codename", "suite", "distribution", "version", "label", "origin"),
    Kind.RELEASE_ARCHITECTURE: _columns(
        "architecture", "distribution", "base_architecture", "variant_architecture"
    ),
    Kind.RELEASE_COMPONENT: _columns("component", "distribution"),
    Kind.SOURCE_INDEX: _columns("component", "relative_path"),
    Kind.INSTALLER_FILE_INDEX: _columns("component", "architecture", "relative_path"),
    Kind.SOURCE_PACKAGE: {
        "source": sql.Identifier("u", "name"),
        **_columns("version", "relative_path"),
    },
}
_ONLY_ORDERED = frozenset({"architecture_variant"})
_ALSO_ORDERED = {
    Kind.RELEASE_FILE: _columns("distribution", "components", "architectures"),
    Kind.RELEASE: _columns("description"),
}
_NOT_FILTERED = {Kind.INSTALLER_PACKAGE: frozenset({"relative_path"})}  # as in Pulp

# By kind: fields that have no column, and how they are called in the stanza, where they are read.
_IN_STANZA: dict[Kind, dict[str, str]] = {
    kind: {a: field for field, a in attributes.items() if a not in COLUMNS[kind]}
    for kind, attributes in (
        (Kind.PACKAGE, ATTRIBUTES),
        (Kind.INSTALLER_PACKAGE, ATTRIBUTES),
        (Kind.SOURCE_PACKAGE, sources.ATTRIBUTES),
    )
}
_FILTERED_IN_STANZA = (
    "origin", "tag", "essential", "build_essential", "installed_size", "maintainer",
    "original_maintainer", "built_using", "auto_built_package",
)  # fmt: skip
_ONCE = {  # by creation; an id is given when a unit is made
    name: sql.SQL("u.id") for name in ("pulp_created", "pulp_last_updated", "pulp_id", "pk")
}
_DIGESTED = (
    Kind.PACKAGE, Kind.INSTALLER_PACKAGE, Kind.GENERIC, Kind.RELEASE_FILE, Kind.PACKAGE_INDEX,
    Kind.SOURCE_INDEX, Kind.INSTALLER_FILE_INDEX,
)  # fmt: skip


@cache
def kind_filters(kind: Kind) -> Mapping[str, Filter]:
    """The filters of one kind's own fields."""
    left_out = _ONLY_ORDERED | _NOT_FILTERED.get(kind, frozenset())
    filters: dict[str, Filter] = {
        name: exact(column) for name, column in COLUMNS[kind].items() if name not in left_out
    }
    if kind in _DIGESTED:
        filters["sha256"] = is_digest
    if kind == Kind.PACKAGE:
        filters |= text_filters("package", COLUMNS[kind]["package"])
    if kind in (Kind.PACKAGE, Kind.INSTALLER_PACKAGE):
        of_package = _IN_STANZA[kind]
        filters |= {name: _in_stanza(of_package[name]) for name in _FILTERED_IN_STANZA}
    if kind == Kind.SOURCE_PACKAGE:
        filters |= {name: _in_stanza(field) for name, field in _IN_STANZA[kind].items()}
    return filters


@cache
def orderings(kind: Kind) -> Mapping[str, Condition]:
    """What a kind's list can be ordered by."""
    found = {**COLUMNS.get(kind, {}), **_ALSO_ORDERED.get(kind, {}), **_ONCE}
    found["pulp_type"] = sql.SQL("1 + 0")  # there is one
    found["timestamp_of_interest"] = sql.SQL("u.last_wanted")
    if kind in _DIGESTED:
        found["sha256"] = sql.Identifier("u", "sha256")
    found |= {name: _field(field) for name, field in _IN_STANZA.get(kind, {}).items()}
    return found


LINK_ORDERINGS: dict[str, Condition] = {
    **dict.fromkeys(
        ("pulp_created", "pulp_last_updated"), sql.SQL("greatest(u.created, l.created)")
    ),
    **dict.fromkeys(("pulp_id", "pk"), sql.SQL("u.id")),
    "index_architecture": sql.SQL("l.index_architecture"),
}
"""Of a link, u is its package and l its list."""


def labels_filter(kind: Kind) -> dict[str, Filter]:
    """``pulp_label_select`` of units, whose labels are rows of their own."""
    labels = sql.Identifier("t", "labels")
    return {"pulp_label_select": label_filter(labels, lambda c: contents.labels_hold(kind, c))}


def ids_filters(ids: UnitIds, kind: Kind) -> dict[str, Filter]:
    """``pulp_id__in``, ``pulp_href__in`` and ``prn__in`` as conditions on a unit's row."""

    def among(name: str) -> Filter:
        def make(value: str) -> Condition:
            found = [u.id for u in _read_ids(ids, name, value) if u.kind == kind]
            return sql.SQL("u.id = ANY({}::bigint[])").format(sql.Literal(found))

        return make

    return {name: among(name) for name in GIVEN}


def read_given(ids: UnitIds) -> list[UnitId] | None:
    """The units of any kind that ``pulp_id__in`` and its like name; None: there is none of them."""
    found: list[UnitId] | None = None
    for name in GIVEN:
        for value in request.args.getlist(name):
            try:
                units = _read_ids(ids, name, value)
            except ValueError as e:
                raise field_errors({name: [str(e)]}) from None
            found = units if found is None else [u for u in found if u in set(units)]
    return found


# --- which versions -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scope:
    """The sets that the version parameters stand for."""

    sets: tuple[Held, ...]
    orphaned_for: int | None
    is_empty: bool  # nothing can be in all of them


def read_scope(tx: Tx) -> Scope:
    """Read repository_version and its like, and orphaned_for, from this request's query."""
    sets: list[Held | None] = []
    for value in request.args.getlist("repository_version"):
        sets.append(Held(read_place(tx, value)))
    for value in request.args.getlist("repository_version_added"):
        place = read_place(tx, value)
        sets.append(Held(place, without=holdings.find_previous(tx, place)))
    for value in request.args.getlist("repository_version_removed"):
        place = read_place(tx, value)
        before = holdings.find_previous(tx, place)
        sets.append(None if before is None else Held(before, without=place))
    for name in ("added_between", "removed_between"):
        for value in request.args.getlist(name):
            base, target = _read_two_places(tx, name, value)
            added = name == "added_between"
            sets.append(Held(target, without=base) if added else Held(base, without=target))
    orphaned = [_read_minutes(value) for value in request.args.getlist("orphaned_for")]
    require_narrowed(tx, bool(sets))
    kept = tuple(held for held in sets if held is not None)
    return Scope(kept, max(orphaned, default=None), len(kept) < len(sets))


def read_place(tx: Tx, value: str, *, or_repository: bool = False) -> Place:
    """The version that an href or PRN names; of a repository its latest, where that may be given.

    Raises:
        Refusal: 400, as a list, if there is none.
    """
    ref = read_ref(value, VERSION, *([REPOSITORY] if or_repository else []))
    place: Place | None = None
    owner = ref.uuid
    if ref.model == REPOSITORY:
        row = repositories.find_repository_row(tx, ref.uuid)
        place = None if row is None else Place(row["id"], row["latest"])
    else:
        named = (ref.uuid, ref.number) if ref.number is not None else None
        named = named or repositories.list_version_places(tx, [ref.uuid]).get(ref.uuid)
        version = None if named is None else repositories.find_version(tx, *named)
        if version is not None:
            owner = version.repository_uuid
            place = Place(version.repository, version.number)
    if place is not None and not sees(tx, REPOSITORY, owner):
        place = None
    if place is None:
        word = "repository" if ref.model == REPOSITORY else "repositoryversion"
        raise Refusal(400, [f"URI {value} not found for {word}."])
    return place


def read_two_parts(tx: Tx, name: str, value: str, kind: Kind) -> tuple[UnitId, Place]:
    """A unit and the version to look at it in, joined by a comma."""
    parts = value.split(",")
    if len(parts) != 2 or not all(part.strip() for part in parts):
        text = f"Must be the href of the {name} and of a repository or version, with a comma."
        raise field_errors({name: [text]})
    unit = read_unit(tx, name, parts[0], kind)
    return unit, read_place(tx, parts[1], or_repository=True)


def read_unit(tx: Tx, name: str, value: str, kind: Kind) -> UnitId:
    """A unit that exists, of one kind.

    Raises:
        Refusal: 400 otherwise.
    """
    ref = read_ref(value, CONTENT[kind].model)
    unit = api().unit_ids(tx).read(ref.uuid)
    if unit is None or unit.kind != kind or unit not in contents.list_known(tx, [unit]):
        raise Refusal(400, [f"URI {value} not found for {name.replace('_', '')}."])
    return unit


def _read_two_places(tx: Tx, name: str, value: str) -> tuple[Place, Place]:
    parts = words(value)
    if len(parts) != 2:
        raise field_errors({name: ["Must be a base and a target version, with a comma."]})
    return read_place(tx, parts[0]), read_place(tx, parts[1])


def _read_minutes(value: str) -> int:
    try:
        return read_number(value)
    except ValueError as e:
        raise field_errors({"orphaned_for": [str(e)]}) from None


# --- values ---------------------------------------------------------------------------------------


def is_digest(value: str) -> Condition:
    """Equal to a SHA-256 in hex."""
    try:
        digest = bytes.fromhex(value.strip())
    except ValueError:
        return FALSE
    return sql.SQL("u.sha256 = {}").format(sql.Literal(digest))


def _field(field: str) -> sql.Composed:
    return sql.SQL("stanza_field(u.stanza, {})").format(sql.Literal(field))


_YES_OR_NO = ("essential", "build-essential")
_FLAGS = {"true": "yes", "1": "yes", "false": "no", "0": "no"}  # as the bindings say it


def _in_stanza(field: str) -> Filter:
    """Equal to a field of the stanza; a search for the text alone spares most of the reading."""

    def make(value: str) -> Condition:
        if field in _YES_OR_NO:
            value = _FLAGS.get(value.lower(), value)
        return sql.SQL("strpos(u.stanza, {0}) > 0 AND {1} = {0}").format(
            sql.Literal(value), _field(field)
        )

    return make


def _read_ids(ids: UnitIds, name: str, value: str) -> list[UnitId]:
    """Units by UUID, href or PRN; those that we never made are left out."""
    found = []
    for word in words(value):
        if name == "pulp_id__in":
            uuid = find_uuid(word)
            if uuid is None:
                raise ValueError("Enter a valid UUID.")
            unit = ids.read(uuid)
        else:
            ref = read_ref(word, *KIND_OF_MODEL)
            unit = ids.read(ref.uuid)
            unit = unit if unit is not None and unit.kind == KIND_OF_MODEL[ref.model] else None
        if unit is not None:
            found.append(unit)
    return found
