"""``pulp_label_select``: terms about labels, all of which must hold."""

from __future__ import annotations

import re
from collections.abc import Callable

from psycopg import sql

from debfleet_api.filters import Condition, Filter, all_of

_LABEL = re.compile(r"(!?)([\w .\-]+)(?:(!=|=|~)(.*))?", re.DOTALL)


def label_filter(
    column: sql.Composable, among: Callable[[Condition], Condition] = lambda c: c
) -> Filter:
    """``pulp_label_select``.

    Args:
        column: The labels.
        among: Where they stand in rows of their own, that there is one for which this is true.
    """

    def make(value: str) -> Condition:
        return all_of([_label(column, among, t) for t in re.split(r"(?<!\\),", value)])

    return make


def _label(column: sql.Composable, among: Callable[[Condition], Condition], term: str) -> Condition:
    match = _LABEL.fullmatch(term)
    if match is None:
        raise ValueError(f"Invalid search term: '{term}'.")
    denied, key, operator, value = match.groups()
    present = sql.SQL("jsonb_exists({}, {})").format(column, sql.Literal(key))
    if denied and operator:
        raise ValueError(f"Cannot use an operator with '!{key}'.")
    if denied:
        return sql.SQL("NOT {}").format(among(present))
    if not operator:
        return among(present)
    text = sql.SQL("{} ->> {}").format(column, sql.Literal(key))
    wanted = sql.Literal(value.replace("\\,", ","))
    if operator == "=":
        return among(sql.SQL("({}) = {}").format(text, wanted))
    if operator == "!=":
        return among(sql.SQL("{} AND ({}) IS DISTINCT FROM {}").format(present, text, wanted))
    return among(sql.SQL("strpos(lower({}), lower({})) > 0").format(text, wanted))
