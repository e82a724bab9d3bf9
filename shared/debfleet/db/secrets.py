"""The sealed columns of the database: what they are sealed with, and how that is changed."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from debfleet.db import sql
from debfleet.db.connect import Database, Tx
from debfleet.db.repositories import SEALED
from debfleet.sealed import Sealer

_q = sql.load("secrets.sql")


def count_by_key(tx: Tx) -> dict[str, dict[str, int]]:
    """By key id (hex), by what holds them: how many sealed values there are."""
    found: dict[str, dict[str, int]] = {}
    for row in tx.execute(_q["count_by_key"], {"sealed": list(SEALED)}):
        found.setdefault(row["key"], {})[row["what"]] = row["count"]
    return found


def seal_anew(db: Database, sealer: Sealer) -> int:
    """Seal every value with the first key, in short transactions; how many rows had another.

    Raises:
        ConfigError: A value was sealed with a key that we do not have.
    """
    done = 0
    for work in (_seal_remotes, _seal_services, _seal_changes):
        while count := db.run(lambda tx, work=work: work(tx, sealer)):  # type: ignore[misc]
            done += count
    db.run(lambda tx: _seal_check(tx, sealer))
    return done


def _seal_remotes(tx: Tx, sealer: Sealer) -> int:
    rows = tx.execute(_q["list_remotes_to_seal"], {"key": sealer.first}).fetchall()
    if rows:
        columns = {name: [_anew(sealer, row[name]) for row in rows] for name in SEALED}
        tx.execute(_q["seal_remotes"], {"ids": [row["id"] for row in rows], **columns})
    return len(rows)


def _seal_services(tx: Tx, sealer: Sealer) -> int:
    rows = tx.execute(_q["list_services_to_seal"], {"key": sealer.first}).fetchall()
    if rows:
        values = [_anew(sealer, row["secret"]) for row in rows]
        tx.execute(_q["seal_services"], {"ids": [r["id"] for r in rows], "secrets": values})
    return len(rows)


def _seal_changes(tx: Tx, sealer: Sealer) -> int:
    values = {"key": sealer.first, "sealed": list(SEALED)}
    rows = tx.execute(_q["list_changes_to_seal"], values).fetchall()
    if rows:
        args = [Jsonb(_args_anew(sealer, row["args"])) for row in rows]
        tx.execute(_q["seal_changes"], {"ids": [row["id"] for row in rows], "args": args})
    return len(rows)


def _seal_check(tx: Tx, sealer: Sealer) -> None:
    value = sealer.check(None)
    tx.execute(_q["seal_check"], {"key": sealer.first, "value": value})


def _args_anew(sealer: Sealer, args: dict[str, Any]) -> dict[str, Any]:
    values = {
        name: value
        if value is None or name not in SEALED
        else sealer.seal(sealer.open(bytes.fromhex(value))).hex()
        for name, value in args["values"].items()
    }
    return {**args, "values": values}


def _anew(sealer: Sealer, value: bytes | None) -> bytes | None:
    return None if value is None else sealer.seal(sealer.open(value))
