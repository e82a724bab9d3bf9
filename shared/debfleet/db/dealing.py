"""How the files that a task is to fetch are dealt out to its download jobs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import LiteralString

from debfleet.db import sql
from debfleet.db.connect import Tx

_q = sql.load("dealing.sql")


@dataclass(frozen=True, slots=True)
class Dealing:
    """How files are dealt into chunks, a download job for each (``dealt``)."""

    opener: int  # the job that opens the downloads
    most_files: int
    most_bytes: int
    slots: int  # workers that there are chunks for, at least 1


def dealt(query: LiteralString) -> LiteralString:
    """A statement that deals files, with the part of it that says how."""
    return query.replace("/* dealt */", _q["dealt"])


def deal_files(tx: Tx, task: int, dealing: Dealing) -> dict[int, int]:
    """Deal the files that are in no chunk yet: chunk to files in it."""
    rows = tx.execute(dealt(_q["deal_files"]), {"task": task, **asdict(dealing)})
    return {r["chunk"]: r["files"] for r in rows}
