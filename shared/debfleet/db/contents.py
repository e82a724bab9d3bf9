"""Lists of content units: pages, counts and filters over the bitmaps of repository versions.

A version's set of units is a few dozen rows of 4,096 bits, so a count adds up bits and a page
opens the one or two chunks it falls into, at the last page as at the first. Newest first is id
descending: two inserts that run at once may differ from ``created`` by their overlap.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from heapq import merge
from itertools import islice
from typing import Any, LiteralString
from uuid import UUID

from psycopg import sql as compose
from psycopg.rows import DictRow

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.identity import UnitId
from debfleet.model import Kind

_q = sql.load("contents.sql")

LINKS: Mapping[Kind, Kind] = {
    Kind.PACKAGE_RELEASE_COMPONENT: Kind.PACKAGE,
    Kind.SOURCE_PACKAGE_RELEASE_COMPONENT: Kind.SOURCE_PACKAGE,
}
"""Each kind of link, and what it links to a release component; links have no rows."""

TABLES: Mapping[Kind, LiteralString] = {
    Kind.PACKAGE: "packages",
    Kind.INSTALLER_PACKAGE: "packages",
    Kind.GENERIC: "generic_contents",
    Kind.RELEASE_FILE: "release_files",
    Kind.PACKAGE_INDEX: "package_indices",
    Kind.INSTALLER_FILE_INDEX: "installer_file_indices",
    Kind.RELEASE: "releases",
    Kind.RELEASE_ARCHITECTURE: "release_architectures",
    Kind.RELEASE_COMPONENT: "release_components",
    Kind.SOURCE_INDEX: "source_indices",
    Kind.SOURCE_PACKAGE: "source_packages",
}
"""The table of each kind that has rows; links are bits and nothing else."""

SHARED_TABLE = (Kind.PACKAGE, Kind.INSTALLER_PACKAGE)
"""Kinds whose table has rows of another kind too, told apart by its column ``kind``."""


@dataclass(frozen=True, slots=True)
class Place:
    """A version, by repository and number."""

    repository: int
    number: int


@dataclass(frozen=True, slots=True)
class Held:
    """The units that one version holds and another, if given, does not."""

    version: Place | None  # None: what any version holds
    without: Place | None = None
    components: tuple[int, ...] | None = None
    """Only what is linked to these release components; for packages of either kind, and links."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which units of a kind a list shows, and in which order."""

    kind: Kind
    sets: tuple[Held, ...] = ()  # in each of them; (): every unit there is
    ids: tuple[UnitId, ...] | None = None  # only these
    # On the unit's row, which is called u; values are quoted in it, nothing is a parameter.
    # Of a link, u is its package and l its list; there a condition may ask for their ids alone.
    where: compose.Composable | None = None
    order: compose.Composable | None = None  # None: newest first
    orphaned_for: int | None = None  # minutes: only what is in no version and nobody wanted since


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a list and the length of the whole."""

    count: int
    rows: list[DictRow]


def list_units(tx: Tx, selection: Selection, limit: int, offset: int) -> Page:
    """One page of a list, and how many units it has in all.

    A row holds the unit's columns and its ``labels``, None where it has none. A package's has
    ``artifact``, the id of its artifact or None; a release file's, an index's or a source package's
    has ``files``, by path the id of the artifact or None; a link's has ``list``, ``package`` (of
    its kind), ``release_component``, ``index_architecture`` and ``created``.
    """
    return _Query(selection).page(tx, limit, offset)


def list_version(
    tx: Tx, repository: UUID, number: int, kind: Kind, limit: int, offset: int
) -> Page | None:
    """The same of one version's units of a kind of ``TABLES``; None: there is no such version.

    ``list_units`` finds the same. This is what is asked for most: two statements, whose text does
    not have to be put together.
    """
    asked = {"repository": repository, "number": number, "kind": int(kind)}
    upto = {"offset": offset, "upto": offset + limit}
    chunks = tx.execute(_q["chunks_of_version"], asked | upto).fetchall()
    return _page_of_chunks(tx, kind, chunks, limit, offset) if chunks else None


def list_mixed(
    tx: Tx, selections: Sequence[Selection], limit: int, offset: int
) -> tuple[int, list[tuple[Kind, DictRow]]]:
    """One page of several kinds, one kind after the other as given, and the count of all."""
    rows: list[tuple[Kind, DictRow]] = []
    before = 0
    for selection in selections:
        start = max(offset - before, 0)
        page = _Query(selection).page(tx, limit - len(rows), start)
        rows += [(selection.kind, row) for row in page.rows]
        before += page.count
    return before, rows


def find_unit(tx: Tx, unit: UnitId) -> DictRow | None:
    """One unit, as a row of ``list_units``; a link while some version holds it, or made by hand."""
    rows = list_units(tx, Selection(unit.kind, ids=(unit,)), 1, 0).rows
    return rows[0] if rows else None


def list_known(tx: Tx, units: Iterable[UnitId]) -> set[UnitId]:
    """Those of the units that exist."""
    by_kind: dict[Kind, list[UnitId]] = {}
    for unit in units:
        by_kind.setdefault(unit.kind, []).append(unit)
    known: set[UnitId] = set()
    for kind, wanted in by_kind.items():
        if kind in TABLES:
            query = compose.SQL("select id from {} where id = any(%(ids)s)").format(
                compose.Identifier(TABLES[kind])
            )
            found = {row["id"] for row in tx.execute(query, {"ids": [u.id for u in wanted]})}
            known |= {u for u in wanted if u.id in found and u.list == 0}
        elif kind in LINKS:
            given = Selection(kind, ids=tuple(wanted))
            found_links = list_units(tx, given, len(wanted), 0).rows
            known |= {UnitId(kind, row["package"], row["list"]) for row in found_links}
    return known


def labels_hold(kind: Kind, condition: compose.Composable) -> compose.Composable:
    """A condition for ``Selection.where``: that one is true of a unit's labels, ``t.labels``.

    Of a unit without labels none is.
    """
    return _piece("labels_hold", list=_own_list(kind), condition=condition)


# --- artifacts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArtifactSelection:
    """Which artifacts a list shows."""

    version: Place | None = None  # only files of units of this version
    where: compose.Composable | None = None  # on the artifact's row, which is called u
    order: compose.Composable | None = None  # None: newest first
    orphaned_for: int | None = None  # minutes: only what no unit names and nobody wanted since


def list_artifacts(tx: Tx, selection: ArtifactSelection, limit: int, offset: int) -> Page:
    """One page of artifacts (id, sha256, size, created), and how many there are."""
    where = [] if selection.where is None else [selection.where]
    if selection.orphaned_for is not None:
        where.append(_piece("artifact_is_orphaned", minutes=selection.orphaned_for))
    if selection.version is not None:
        where.append(_piece("artifact_is_of_a_version", **asdict(selection.version)))
    source = _piece("rows_of_table", table=compose.Identifier("artifacts"), where=_all_of(where))
    row = tx.execute(_piece("count_rows", sets=_NOTHING, source=source)).fetchone()
    page = _piece(
        "page_of_artifacts",
        source=source,
        order=_NEWEST if selection.order is None else selection.order,
        limit=limit,
        offset=offset,
    )
    return Page(int(row["n"]) if row else 0, tx.execute(page).fetchall())


def find_artifact(tx: Tx, id: int) -> DictRow | None:
    """One artifact, or nothing."""
    where = compose.SQL("u.id = {}").format(compose.Literal(id))
    rows = list_artifacts(tx, ArtifactSelection(where=where), 1, 0).rows
    return rows[0] if rows else None


# --- how a list is asked ----------------------------------------------------------------------


class _Query:
    """The statements of one selection, made of the pieces in contents.sql."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._is_link = selection.kind in LINKS
        self._table = _table(selection.kind)
        where = [] if selection.where is None or self._is_link else [selection.where]
        if not self._is_link and selection.ids is not None:
            where.append(_piece("is_given", ids=[u.id for u in selection.ids]))
        if not self._is_link and selection.orphaned_for is not None:
            lists = _list_of_units(selection.kind)
            minutes = selection.orphaned_for
            where.append(_piece("unit_is_orphaned", lists=lists, minutes=minutes))
        self._has_sets = bool(selection.sets) or self._is_link
        if selection.kind in SHARED_TABLE and not self._has_sets:
            where.append(_piece("is_of_kind", kind=int(selection.kind)))
        self._where = _all_of(where)
        self._sets = self._compose_sets() if self._has_sets else _NOTHING
        self._by_bits = self._has_sets and not where

    def page(self, tx: Tx, limit: int, offset: int) -> Page:
        if self._is_link and self._selection.orphaned_for is not None:
            return Page(0, [])  # a link is there because a version holds it
        if self._by_bits and self._selection.order is None:
            chunks = tx.execute(self._chunks(limit, offset)).fetchall()
            return _page_of_chunks(tx, self._selection.kind, chunks, limit, offset)
        count = self._count(tx)
        if offset >= count or limit < 1:
            return Page(count, [])
        rows = _piece("rows_in_order", table=self._table)
        query = self._in_order(limit, offset) + _shown(self._selection.kind, rows)
        return Page(count, tx.execute(query).fetchall())

    def _chunks(self, limit: int, offset: int) -> compose.Composed:
        return _piece(
            "chunks_of_page",
            sets=self._sets,
            list=compose.SQL("list" if self._is_link else "0"),
            offset=offset,
            upto=offset + limit,
        )

    def _count(self, tx: Tx) -> int:
        if self._by_bits:
            query = _piece("count_bits", sets=self._sets)
        else:
            query = _piece("count_rows", sets=self._sets, source=self._source())
        row = tx.execute(query).fetchone()
        return int(row["n"]) if row else 0

    def _in_order(self, limit: int, offset: int) -> compose.Composable:
        order = self._selection.order
        return _piece(
            "page_of_links" if self._is_link else "page_of_rows",
            sets=self._sets + compose.SQL(", ") if self._has_sets else compose.SQL("with "),
            source=_NOTHING if self._is_link else self._source(),
            table=self._table,
            order=_NEWEST if order is None else order,
            limit=limit,
            offset=offset,
        )

    def _source(self) -> compose.Composable:
        form = "rows_of_sets" if self._has_sets else "rows_of_table"
        return _piece(form, table=self._table, where=self._where)

    def _compose_sets(self) -> compose.Composable:
        """``with … wanted (chunk, bits)``, for links ``(list, chunk, bits)``."""
        sets = [self._held(held) for held in self._selection.sets]
        if self._is_link:
            sets = sets or [self._held(Held(None))]
            if self._selection.ids is not None:
                ids = self._selection.ids
                sets.append(
                    _piece("given_links", lists=[u.list for u in ids], ids=[u.id for u in ids])
                )
        names = [compose.Identifier(f"set_{number}") for number in range(len(sets))]
        key = compose.SQL("list, chunk" if self._is_link else "chunk")
        joined: compose.Composable = names[0]
        for name in names[1:]:
            joined = compose.SQL("{} join {} using ({})").format(joined, name, key)
        condition = self._selection.where if self._is_link else None
        return _piece(
            "with_wanted" if condition is None else "with_wanted_links",
            condition=_NOTHING if condition is None else condition,
            sets=compose.SQL(",\n").join(
                compose.SQL("{} as materialized ({})").format(name, text)
                for name, text in zip(names, sets, strict=True)
            ),
            key=key,
            bits=compose.SQL(" & ").join(name + compose.SQL(".bits") for name in names),
            joined=joined,
        )

    def _held(self, held: Held) -> compose.Composable:
        """One set as (chunk, bits), for links (list, chunk, bits)."""
        kind = self._selection.kind
        if held.components is not None:
            of = next(link for link, linked in LINKS.items() if kind in (link, linked))
            lists = _piece("lists_of_components", kind=int(of), components=list(held.components))
        elif self._is_link:
            lists = _piece("lists_of_links", kind=int(kind))
        else:
            lists = _list_of_units(kind)
        key = compose.SQL("c.list, c.chunk" if self._is_link else "c.chunk")
        if held.version is None:
            form = "links_anywhere" if self._is_link else "held_anywhere"
            return _piece(form, key=key, lists=lists)
        at = {"r": held.version.repository, "n": held.version.number}
        if held.without is None:
            return _piece("held", key=key, lists=lists, **at)
        without = {"wr": held.without.repository, "wn": held.without.number}
        return _piece("held_without", key=key, lists=lists, **at, **without)


def _page_of_chunks(tx: Tx, kind: Kind, chunks: Sequence[DictRow], limit: int, offset: int) -> Page:
    """A page, newest first, of what chunks hold; only those that it falls into come with bits."""
    count = sum(chunk["n"] for chunk in chunks)
    if offset >= count or limit < 1:
        return Page(count, [])
    near = [chunk for chunk in chunks if chunk["bits"] is not None]
    skipped = offset - min(chunk["before"] for chunk in near)
    if len(near) == 1:  # nearly always: no need to look at what is skipped
        found = list(islice(_newest_of(near[0], skipped), limit))
    else:
        found = list(islice(merge(*map(_newest_of, near)), skipped, skipped + limit))
    # Literals of arrays: psycopg looks at each element of a list.
    ids = ",".join(str(-minus_id) for minus_id, _ in found)
    lists = ",".join(str(list_id) for _, list_id in found)
    given = {"ids": f"{{{ids}}}", "lists": f"{{{lists}}}"}
    return Page(count, tx.execute(_text_of_given(kind), given).fetchall())


def _newest_of(chunk: DictRow, skipped: int = 0) -> Iterator[tuple[int, int]]:
    """What the bits of a chunk stand for, newest first, but for the first ``skipped``: minus the
    id, and the list.
    """
    bits: str = chunk["bits"]
    first = chunk["chunk"] * len(bits)
    # The place that has just so many bits set from there on.
    end = bisect_left(range(len(bits)), -skipped, key=lambda place: -bits.count("1", place))
    while (end := bits.rfind("1", 0, end)) >= 0:
        yield -(first + end), chunk["list"]


@cache
def _text_of_given(kind: Kind) -> str:
    """Shows what has these ids, in these lists where they are links; newest first."""
    ids = compose.Placeholder("ids")
    if kind in LINKS:
        given = _piece("ids_given", ids=ids, lists=compose.Placeholder("lists"))
        return (given + _shown(kind, _NOTHING)).as_string()
    return _shown(kind, _piece("rows_newest_first", table=_table(kind), ids=ids)).as_string()


def _shown(kind: Kind, rows: compose.Composable) -> compose.Composed:
    """Shows the units of ``rows``; links are those of the ``ids`` that stand before it."""
    unit = compose.SQL("ids.id" if kind in LINKS else "u.id")
    labels = _piece("labels_of", list=_own_list(kind), unit=unit)
    return _piece(_SHOWN[kind], table=_table(kind), labels=labels, rows=rows)


def _table(kind: Kind) -> compose.Identifier:
    return compose.Identifier(TABLES[LINKS.get(kind, kind)])


def _own_list(kind: Kind) -> compose.Composable:
    """The list that a unit's bit stands in; a link's list is called l."""
    return compose.SQL("l.id") if kind in LINKS else _piece("id_of_list", kind=int(kind))


def _list_of_units(kind: Kind) -> compose.Composed:
    return _piece("list_of_units", list=_own_list(kind))


_NOTHING = compose.SQL("")
_NEWEST = compose.SQL("u.id desc")


def _all_of(conditions: Sequence[compose.Composable]) -> compose.Composable:
    if not conditions:
        return compose.SQL("true")
    return compose.SQL(" and ").join(compose.SQL("({})").format(c) for c in conditions)


def _piece(name: str, **parts: Any) -> compose.Composed:
    """A piece of SQL with its braces filled: by other pieces, or by quoted values."""
    filled = {
        key: part if isinstance(part, compose.Composable) else compose.Literal(part)
        for key, part in parts.items()
    }
    return compose.SQL(_q[name] + "\n").format(**filled)


_SHOWN: Mapping[Kind, str] = {kind: f"show_{table}" for kind, table in TABLES.items()} | (
    dict.fromkeys(LINKS, "show_links")
)
