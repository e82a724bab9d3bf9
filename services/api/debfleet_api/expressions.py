"""The ``q`` parameter: filters joined by NOT, AND, OR and parentheses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from debfleet_api.filters import Condition, Filter

_MOST_NODES = 8
_TOKEN = re.compile(
    r"""\s*(?: (?P<open>\() | (?P<close>\)) | (?P<equals>=)
        | "(?P<quoted>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)'
        | (?P<word>[^\s()="']+) )""",
    re.VERBOSE,
)
_SYNTAX = "Syntax error in expression."


def parse_expression(text: str, filters: Mapping[str, Filter]) -> Condition:
    """The condition that an expression stands for.

    Raises:
        ValueError: With a text for the user.
    """
    reader = _Reader(text, filters)
    made = reader.either(0)
    if reader.kind is not None:
        raise ValueError(_SYNTAX)
    return made


class _Reader:
    """Recursive descent over the tokens; depth and nodes are bounded."""

    def __init__(self, text: str, filters: Mapping[str, Filter]) -> None:
        self._tokens = _split(text)
        self._filters = filters
        self._place = 0
        self._nodes = 0

    @property
    def kind(self) -> str | None:
        return self._tokens[self._place][0] if self._place < len(self._tokens) else None

    def either(self, depth: int) -> Condition:
        return self._joined("OR", depth)

    def _joined(self, word: str, depth: int) -> Condition:
        parts = [self._operand(word, depth)]
        while self._is_word(word):
            self._place += 1
            parts.append(self._operand(word, depth))
        if len(parts) == 1:
            return parts[0]
        self._count()
        joint = sql.SQL(" OR ") if word == "OR" else sql.SQL(" AND ")
        return joint.join([sql.SQL("({})").format(p) for p in parts])

    def _operand(self, word: str, depth: int) -> Condition:
        return self._joined("AND", depth) if word == "OR" else self._single(depth)

    def _single(self, depth: int) -> Condition:
        if depth > 2 * _MOST_NODES:
            raise ValueError(_SYNTAX)
        if self._is_word("NOT"):
            self._place += 1
            self._count()
            return sql.SQL("({}) IS NOT TRUE").format(self._single(depth + 1))
        if self.kind == "open":
            self._place += 1
            inner = self.either(depth + 1)
            self._take("close")
            return inner
        return self._filter()

    def _filter(self) -> Condition:
        name = self._take("word")
        self._take("equals")
        value = self._take("word", "quoted", "single")
        self._count()
        make = self._filters.get(name)
        if make is None:
            raise ValueError(f"Filter '{name}' does not exist.")
        if "\0" in value:
            raise ValueError("Null characters are not allowed.")
        return make(value)

    def _take(self, *kinds: str) -> str:
        if self.kind not in kinds:
            raise ValueError(_SYNTAX)
        text = self._tokens[self._place][1]
        self._place += 1
        return text

    def _is_word(self, word: str) -> bool:
        return self.kind == "word" and self._tokens[self._place][1].upper() == word

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise ValueError("Filter expression exceeds allowed complexity.")


def _split(text: str) -> list[tuple[str, str]]:
    tokens = []
    place = 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise ValueError(_SYNTAX)
        value = match[match.lastgroup]
        if match.lastgroup in ("quoted", "single"):
            value = re.sub(r"\\(.)", r"\1", value)
        tokens.append((match.lastgroup, value))
        place = match.end()
    return tokens
