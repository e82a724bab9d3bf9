"""What workers cost that have nothing to do."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from threading import Event
from typing import LiteralString

import psycopg
from lab import mirror, postgres, until
from table import Place, Row, percentiles

from debfleet.config import Settings

_WORKERS = 100
_SECONDS = 60
_REQUESTS = 1000
_DONE = (
    "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()"
)


def idle_workers(place: Place) -> list[Row]:
    """100 workers without work: their transactions, and the API's answers with and without them."""
    row = Row(
        f"{_WORKERS} idle workers",
        goal="nothing but heartbeats; the API's p50 with them within 10 % of that without",
    )
    # Without a broker each worker LISTENs on a connection of its own.
    with (
        postgres(place.folder, max_connections="800") as url,
        mirror(place.folder, 0, {"DEBFLEET_DATABASE_URL": url}) as up,
        psycopg.connect(url, autocommit=True) as db,
    ):
        path = str(up.make("repositories/deb/apt/", name="idle")["pulp_href"])
        alone = _transactions(db)
        without = up.times([path] * _REQUESTS)
        workers = up.join(_WORKERS)
        try:
            until(lambda: _count_beating(db) >= _WORKERS, "the workers have started", 600)
            _transactions(db)  # what their start still brings
            each = (_transactions(db) - alone) / _WORKERS
            connections = _count_connections(db) / _WORKERS
            memory = statistics.median(_own_memory(worker.pid) for worker in workers)
            with_them = up.times([path] * _REQUESTS * 2)
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait(60)
        without += up.times([path] * _REQUESTS)
    row.notes += [
        f"One idle worker, without a RabbitMQ: {each:.1f} transactions in {_SECONDS} s, of which "
        f"{_SECONDS / Settings().heartbeat_seconds:.0f} are heartbeats; {connections:.1f} "
        f"connections; {memory / 1e6:.0f} MB of memory that it shares with no other process.",
        "",
        "| `GET` a repository, 1 connection | p50 | p99 |",
        "|---|---|---|",
        f"| without them | {percentiles(without)} |",
        f"| with them | {percentiles(with_them)} |",
    ]
    return [row]


def _transactions(db: psycopg.Connection[tuple[int]]) -> int:
    """How many there were on this database while nobody asked for anything."""
    before = _number(db, _DONE)
    Event().wait(_SECONDS)
    return _number(db, _DONE) - before


def _count_beating(db: psycopg.Connection[tuple[int]]) -> int:
    return _number(db, "select count(*) from processes where kind = 'worker'")


def _count_connections(db: psycopg.Connection[tuple[int]]) -> int:
    return _number(
        db,
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and application_name in ('debfleet worker', 'debfleet leases', 'listener')",
    )


def _number(db: psycopg.Connection[tuple[int]], query: LiteralString) -> int:
    row = db.execute(query).fetchone()
    assert row is not None
    return row[0]


def _own_memory(pid: int) -> int:
    """Bytes that no other process has too."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) * 1024 for size in re.findall(r"Private_\w+: +(\d+) kB", rollup))
