"""The list filters: query parameters in, a condition and an order out.

The one place where SQL is composed. Column names come from the tables that the routes hold, and
values go in as ``psycopg.sql.Literal``, which quotes them; so a query made here is executed
without parameters and may hold a bare percent sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flask import request
from psycopg import sql

from debfleet.db.connect import Tx
from debfleet_api.errors import Refusal, field_errors
from debfleet_api.expressions import parse_expression
from debfleet_api.hrefs import Ref, find_ref, find_uuid
from debfleet_api.paging import PARAMETERS, Page

Condition = sql.Composable
Filter = Callable[[str], Condition]
"""Makes a condition of a parameter's value; raises ValueError with a text for the user."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A filter whose values are not any text, and what the OpenAPI document says of them."""

    make: Filter
    schema: Mapping[str, Any]

    def __call__(self, value: str) -> Condition:
        return self.make(value)


def schema_of(make: Filter) -> Mapping[str, Any] | None:
    """What a filter's values are; None: a text, or a comma list of texts."""
    return make.schema if isinstance(make, Typed) else None


def many(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A comma list."""
    return {"type": "array", "items": schema}


_TIME = {"type": "string", "format": "date-time"}
_NUMBER = {"type": "integer"}
_FLAG = {"type": "boolean"}


_EVERYWHERE = frozenset({*PARAMETERS, "ordering", "q"})
TRUE = sql.SQL("true")
FALSE = sql.SQL("false")


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list request asks for, beside its page."""

    where: Condition
    order: Condition

    def narrowed(self, condition: Condition) -> Selection:
        """The same, of the rows for which this is true too."""
        return self if condition is TRUE else Selection(all_of([self.where, condition]), self.order)


def read_selection(
    filters: Mapping[str, Filter],
    orderings: Mapping[str, Condition],
    default: Condition,
    extra: Sequence[str] = (),
) -> Selection:
    """Read this request's query.

    Args:
        filters: By parameter.
        orderings: Column by wire name.
        default: The order when none is asked for, and the tie-break of any other.
        extra: Parameters that the route reads itself.
    """
    check_parameters(_EVERYWHERE | filters.keys() | set(extra))
    conditions: list[Condition] = []
    for name, make in filters.items():
        for value in request.args.getlist(name):
            conditions.append(_made(name, make, value))
    for value in request.args.getlist("q"):
        if value.strip():
            try:
                conditions.append(parse_expression(value, filters))
            except ValueError as e:
                raise field_errors({"q": [str(e)]}) from None
    return Selection(all_of(conditions), _order(orderings, default))


def check_parameters(known: Collection[str]) -> None:
    """Answer 400 to a parameter that the list does not know."""
    for name in request.args:
        if name not in known:
            raise Refusal(400, {"errors": [f"Invalid Filter: '{name}'"]})


def _made(name: str, make: Filter, value: str) -> Condition:
    if "\0" in value:
        raise field_errors({name: ["Null characters are not allowed."]})
    try:
        return make(value)
    except ValueError as e:
        raise field_errors({name: [str(e)]}) from None


def _order(orderings: Mapping[str, Condition], default: Condition) -> Condition:
    parts: list[Condition] = []
    for word in ",".join(request.args.getlist("ordering")).split(","):
        name = word.strip()
        if not name:
            continue
        column = orderings.get(name.removeprefix("-"))
        if column is None:
            text = f"Select a valid choice. {name} is not one of the available choices."
            raise field_errors({"ordering": [text]})
        parts.append(column + sql.SQL(" DESC" if name.startswith("-") else " ASC"))
    return sql.SQL(", ").join([*parts, default])


def list_page(
    tx: Tx, columns: sql.Composable, source: sql.Composable, selection: Selection, page: Page
) -> tuple[int, list[dict[str, Any]]]:
    """Count of all and rows of one page. A pattern from outside may run for ten seconds."""
    tx.execute("SET LOCAL statement_timeout = '10s'")
    counted = tx.execute(
        sql.SQL("SELECT count(*) AS n FROM {} WHERE {}").format(source, selection.where)
    ).fetchone()
    rows = tx.execute(
        sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {} OFFSET {}").format(
            columns, source, selection.where, selection.order,
            sql.Literal(page.limit), sql.Literal(page.offset),
        )
    ).fetchall()  # fmt: skip
    return (counted["n"] if counted else 0), rows


def all_of(conditions: Sequence[Condition]) -> Condition:
    """True if every one is; so also if there is none."""
    if not conditions:
        return TRUE
    return sql.SQL(" AND ").join([sql.SQL("({})").format(c) for c in conditions])


# --- the sets of filters that the contract names -----------------------------------------------


def text_filters(name: str, column: sql.Composable) -> dict[str, Filter]:
    """NAME: exact and its suffixes."""

    def like(pattern: str, operator: str) -> Filter:
        def make(value: str) -> Condition:
            escaped = re.sub(r"([\\%_])", r"\\\1", value)
            return _compare(column, operator, pattern.replace("*", escaped))

        return make

    return {
        name: exact(column),
        f"{name}__iexact": lambda v: sql.SQL("lower({}) = lower({})").format(
            column, sql.Literal(v)
        ),
        f"{name}__in": one_of(column),
        f"{name}__contains": like("%*%", "LIKE"),
        f"{name}__icontains": like("%*%", "ILIKE"),
        f"{name}__startswith": like("*%", "LIKE"),
        f"{name}__istartswith": like("*%", "ILIKE"),
        f"{name}__regex": lambda v: _compare(column, "~", v),
        f"{name}__iregex": lambda v: _compare(column, "~*", v),
    }


def time_filters(name: str, column: sql.Composable) -> dict[str, Filter]:
    """TIME."""
    return _ordered_filters(name, column, read_time, _TIME)


def number_filters(name: str, column: sql.Composable, *, ne: bool = True) -> dict[str, Filter]:
    """NUM; ``ne`` only where the contract has it."""
    made = _ordered_filters(name, column, read_number, _NUMBER)
    if ne:
        differs = sql.SQL("{} IS DISTINCT FROM {}")
        made[f"{name}__ne"] = Typed(
            lambda v: differs.format(column, sql.Literal(read_number(v))), _NUMBER
        )
    return made


def choice_filters(name: str, column: sql.Composable, choices: Sequence[str]) -> dict[str, Filter]:
    """Exact, ``__in`` and ``__ne`` of a word out of a few."""

    def chosen(value: str) -> str:
        if value not in choices:
            raise ValueError(f"Select a valid choice. {value} is not one of the available choices.")
        return value

    one = {"type": "string", "enum": sorted(choices)}
    return {
        name: Typed(lambda v: _compare(column, "=", chosen(v)), one),
        f"{name}__in": Typed(lambda v: _any(column, [chosen(w) for w in words(v)]), many(one)),
        f"{name}__ne": Typed(lambda v: _compare(column, "<>", chosen(v)), one),
    }


def type_filters(own: str) -> dict[str, Filter]:
    """``pulp_type`` and ``pulp_type__in``, for a list that holds one type."""
    made = choice_filters("pulp_type", sql.Literal(own), (own,))
    return {name: made[name] for name in ("pulp_type", "pulp_type__in")}


def identity_filters(
    model: str, column: sql.Composable, *, with_id: bool = True
) -> dict[str, Filter]:
    """``pulp_id__in``, ``pulp_href__in`` and ``prn__in``, on a UUID column."""

    def ids(value: str) -> Condition:
        found = [find_uuid(w) for w in words(value)]
        if None in found:
            raise ValueError("Enter a valid UUID.")
        return _any(column, found)

    def refs(value: str) -> Condition:
        return _any(column, [read_ref(w, model).uuid for w in words(value)])

    made: dict[str, Filter] = {"pulp_href__in": refs, "prn__in": refs}
    uuids = many({"type": "string", "format": "uuid"})
    return made | ({"pulp_id__in": Typed(ids, uuids)} if with_id else {})


def exact(column: sql.Composable) -> Filter:
    """Equal to a text."""
    return lambda v: _compare(column, "=", v)


def one_of(column: sql.Composable) -> Filter:
    """Equal to one of several texts."""
    return lambda v: _any(column, words(v))


def flag(true: Condition) -> Filter:
    """A boolean parameter: the condition, or its contrary."""

    def make(value: str) -> Condition:
        return true if read_flag(value) else sql.SQL("NOT ({})").format(true)

    return Typed(make, _FLAG)


# --- reading values ------------------------------------------------------------------------


def words(value: str) -> list[str]:
    """The parts of a comma list."""
    return [w.strip() for w in value.split(",") if w.strip()]


def read_flag(value: str) -> bool:
    """A boolean."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if value.lower() not in known:
        raise ValueError("Must be a valid boolean.")
    return known[value.lower()]


def read_number(value: str) -> int:
    """A whole number that Postgres' int can hold."""
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,10}\s*", value) or abs(int(value)) >= 2**31:
        raise ValueError("Enter a number.")
    return int(value)


def read_time(value: str) -> datetime:
    """A time or a date, in UTC; without a zone it is one there.

    Raises:
        ValueError: It is none, or Postgres cannot hold it (a zone of many hours, the year 0).
    """
    try:
        time = datetime.fromisoformat(value.strip())
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError("Enter a valid date/time.") from None


def read_ref(value: str, *models: str) -> Ref:
    """A reference to an object of one of these models; answers 400 as a list otherwise."""
    ref = find_ref(value)
    if ref is None:
        raise Refusal(400, [f"URI not valid: {value}"])
    if models and ref.model not in models:
        word = models[0].rpartition(".")[2]
        raise Refusal(400, [f"URI {value} not found for {word}."])
    return ref


def literal(value: UUID | str | int | bool | list[Any] | None) -> sql.Literal:
    """A quoted value for a condition."""
    return sql.Literal(value)


# --- pieces ----------------------------------------------------------------------------------


def _ordered_filters(
    name: str, column: sql.Composable, read: Callable[[str], Any], schema: Mapping[str, Any]
) -> dict[str, Filter]:
    def comparing(operator: str) -> Filter:
        return Typed(lambda v: _compare(column, operator, read(v)), schema)

    def between(value: str) -> Condition:
        ends = [read(w) for w in words(value)]
        if len(ends) != 2:
            raise ValueError("Range query expects two values.")
        low, high = (sql.Literal(e) for e in ends)
        return sql.SQL("{} BETWEEN {} AND {}").format(column, low, high)

    made: dict[str, Filter] = {
        f"{name}__{suffix}": comparing(operator)
        for suffix, operator in (("lt", "<"), ("lte", "<="), ("gt", ">"), ("gte", ">="))
    }
    made[name] = comparing("=")
    made[f"{name}__range"] = Typed(between, many(schema))
    made[f"{name}__isnull"] = flag(sql.SQL("{} IS NULL").format(column))
    return made


_OPERATORS = {
    o: sql.SQL(f"{{}} {o} {{}}")
    for o in ("=", "<>", "<", "<=", ">", ">=", "LIKE", "ILIKE", "~", "~*")
}


def _compare(column: sql.Composable, operator: str, value: Any) -> Condition:
    return _OPERATORS[operator].format(column, sql.Literal(value))


def _any(column: sql.Composable, values: Sequence[Any]) -> Condition:
    if not values:
        return FALSE
    joined = sql.SQL(", ").join([sql.Literal(v) for v in values])
    return sql.SQL("{} IN ({})").format(column, joined)
