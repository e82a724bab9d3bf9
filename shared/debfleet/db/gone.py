"""Files that nobody has any more: asked of every remote that offers them, each time in vain.

A file counts as gone when each answered 404 or 410; one that did not answer, or answered with an
error, may have it still. It is remembered until the file is stored, a client gets it after all, or
a sync finds it listed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import LiteralString

from debfleet.db import sql
from debfleet.db.connect import Tx

_q = sql.load("gone.sql")


def is_gone(tx: Tx, sha256: bytes) -> bool:
    """Whether that is known of a file."""
    row = tx.execute(_q["is_gone"], {"sha256": sha256}).fetchone()
    return row is not None and bool(row["is_gone"])


def note(tx: Tx, digests: Iterable[bytes], said: Iterable[tuple[bytes, int]]) -> list[bytes]:
    """Remember the files that are gone, unless they are stored or another remote offers them.

    Args:
        digests: Of files that could not be had.
        said: Which remote said of which file that it does not have it.

    Returns:
        Those of which that is news.
    """
    pairs = list(said)
    values = {
        "digests": list(digests),
        "said": [digest for digest, _ in pairs],
        "remotes": [remote for _, remote in pairs],
    }
    return [bytes(row["sha256"]) for row in tx.execute(_q["note"], values)]


def forget(tx: Tx, digests: Sequence[bytes]) -> None:
    """These can be had, as somebody just did."""
    tx.execute(_q["forget"], {"digests": list(digests)})


def forget_listed(tx: Tx, task: int) -> None:
    """At the end of a sync: what upstream lists now, it is to be asked for again."""
    tx.execute(_q["forget_listed"], {"task": task})


def forget_unnamed(tx: Tx) -> None:
    """Those that no unit has any more."""
    tx.execute(_q["forget_unnamed"])


def count_in_versions(tx: Tx, versions: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """How many files of some versions (repository, number) are gone; 0 is left out."""
    values = {
        "repositories": [repository for repository, _ in versions],
        "numbers": [number for _, number in versions],
    }
    rows = tx.execute(_with_units("count_in_versions"), values)
    return {(row["repository"], row["number"]): row["files"] for row in rows}


def count_held(tx: Tx) -> int:
    """How many files that some version holds are gone."""
    row = tx.execute(_with_units("count_held")).fetchone()
    assert row is not None
    return int(row["files"])


def _with_units(name: str) -> LiteralString:
    return _q[name].replace("{with_units}", _q["with_units"])
