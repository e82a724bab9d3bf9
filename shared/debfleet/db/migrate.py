"""Apply ``migrations/`` in order, each once, under an advisory lock."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import LiteralString

import psycopg

from debfleet.errors import ConfigError

_LOCK = 0x6465_6266  # any number that nobody else locks
_TABLE: LiteralString = """
create table if not exists migrations (
  name text primary key, sha256 text not null, applied timestamptz not null default now())
"""


def migrations() -> list[tuple[str, str]]:
    """Name and text of every migration that this version knows, in order."""
    folder = files("debfleet.db").joinpath("migrations")
    found = [p for p in folder.iterdir() if p.name.endswith(".sql")]
    return [(p.name, p.read_text(encoding="utf-8")) for p in sorted(found, key=lambda p: p.name)]


def pending(url: str) -> list[str]:
    """Names of the migrations that the database lacks."""
    with psycopg.connect(url, autocommit=True) as db:
        row = db.execute("select to_regclass('migrations') is not null").fetchone()
        if row is None or not row[0]:
            return [name for name, _ in migrations()]
        applied = {name for (name,) in db.execute("select name from migrations")}
    return [name for name, _ in migrations() if name not in applied]


def migrate(url: str) -> list[str]:
    """Bring the database to this version; returns the names of what was applied.

    Several processes may call this at once: one works, the others wait and find nothing to do.

    Raises:
        ConfigError: A migration that was applied before has another text now.
    """
    done = []
    with psycopg.connect(url) as db:
        db.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        db.execute(_TABLE)
        applied: dict[str, str] = dict(db.execute("select name, sha256 from migrations").fetchall())
        for name, text in migrations():
            digest = hashlib.sha256(text.encode()).hexdigest()
            if name not in applied:
                # The text comes from our own package, never from outside.
                db.execute(text)
                db.execute("insert into migrations (name, sha256) values (%s, %s)", (name, digest))
                done.append(name)
            elif applied[name] != digest:
                raise ConfigError(
                    f"migration {name} was applied with another text: this database was made by "
                    "a different build of debfleet"
                )
    return done
