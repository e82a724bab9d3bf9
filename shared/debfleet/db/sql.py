"""Load a .sql file into named queries.

A file holds statements, each below a line ``-- name: <name>``; comment lines may stand anywhere
and are sent along (they show up in pg_stat_activity, which is welcome).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import LiteralString

_NAME = re.compile(r"^-- name: ([a-z_0-9]+).*$", re.MULTILINE)


class Queries(Mapping[str, LiteralString]):
    """The statements of one .sql file by name.

    Raises:
        KeyError: On access, naming the file, when it has no such statement.
    """

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._texts: dict[str, LiteralString] = {}
        parts = _NAME.split(text)
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            if name in self._texts:
                raise ValueError(f"{file}: two statements are named {name}")
            # The text comes from our own package, never from outside.
            self._texts[name] = f"-- {name}\n{body.strip()}"

    def __getitem__(self, name: str) -> LiteralString:
        try:
            return self._texts[name]
        except KeyError:
            raise KeyError(f"{self._file} has no statement {name}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def load(file: str) -> Queries:
    """Read ``debfleet/db/<file>``."""
    return Queries(file, files("debfleet.db").joinpath(file).read_text(encoding="utf-8"))
