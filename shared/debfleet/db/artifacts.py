"""Artifacts as rows: what the store must hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from debfleet.db import sql
from debfleet.db.connect import Database, Tx

_q = sql.load("artifacts.sql")


@dataclass(frozen=True, slots=True)
class Artifact:
    """The bytes of one file."""

    id: int
    sha256: bytes
    size: int


def walk_artifacts(db: Database, batch: int) -> Iterator[list[Artifact]]:
    """All artifacts, those too that are added meanwhile; each batch in a transaction of its own."""
    after = 0
    while True:
        values = {"after": after, "limit": batch}
        with db.transaction() as tx:
            rows = tx.execute(_q["list_artifacts"], values).fetchall()
        if not rows:
            return
        yield [Artifact(**row) for row in rows]
        after = rows[-1]["id"]


def list_present(tx: Tx, digests: Sequence[bytes]) -> set[bytes]:
    """Those of ``digests`` that the store must hold."""
    rows = tx.execute(_q["list_present"], {"digests": list(digests)})
    return {row["sha256"] for row in rows}
