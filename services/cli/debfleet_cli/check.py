"""Say whether debfleet can work here: settings, database, broker, store, each with its verdict.

Reads the same settings as every other command; with --data (or nothing set) those of `debfleet up`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import psycopg

from debfleet.config import Settings, read_settings
from debfleet.db.connect import Database, Tx
from debfleet.db.installation import check_secret_key
from debfleet.db.migrate import pending
from debfleet.errors import ConfigError, DebfleetError
from debfleet.sealed import sealer_of
from debfleet.store import open_store
from debfleet_cli.place import add_data_argument, find_place

_OLDEST_POSTGRES = 140000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet check``."""
    add_data_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print a line for each part; returns 0 if all is well, 1 if anything is not."""
    try:
        settings = find_place(args.data).complete(read_settings(os.environ))
    except ConfigError as e:
        return _show("settings", False, str(e))
    status = _show("settings", True, "every value can be read; `debfleet config` lists them")
    parts: dict[str, Callable[[Settings], str]] = {
        "database": _check_database,
        "broker": _check_broker,
        "store": _check_store,
    }
    for name, check in parts.items():
        try:
            said, is_well = check(settings), True
        except (DebfleetError, psycopg.Error, OSError) as e:
            said, is_well = str(e).strip() or type(e).__name__, False
        status |= _show(name, is_well, said)
    return status


def _check_database(settings: Settings) -> str:
    if not settings.database_url:
        raise ConfigError("DEBFLEET_DATABASE_URL is not set, and no `debfleet up` has run here")
    with psycopg.connect(settings.database_url, connect_timeout=10) as db:
        version = db.info.server_version
    if version < _OLDEST_POSTGRES:
        raise ConfigError(f"Postgres {version // 10000} is too old: 14 or later is needed")
    missing = pending(settings.database_url)
    if missing:
        raise ConfigError(f"run `debfleet migrate`: the database lacks {', '.join(missing)}")
    _prove_key(settings)
    return (
        f"Postgres {version // 10000}.{version % 10000}, its tables are this version's, "
        "and the secret key is the one its secrets were sealed with"
    )


def _prove_key(settings: Settings) -> None:
    settings.need("secret_key")
    sealer = sealer_of(settings)

    def prove(tx: Tx) -> None:
        check_secret_key(tx, sealer)

    with Database(settings.database_url, size=1, name="debfleet check") as db:
        db.run(prove)


def _check_broker(settings: Settings) -> str:
    if not settings.broker_url:
        return "none is set: Postgres wakes the workers"
    # Imported here: a machine without a broker needs no client of one.
    from dramatiq.errors import ConnectionClosed

    from debfleet.bell import check_broker

    try:
        check_broker(settings.broker_url)
    except ConnectionClosed as e:
        raise ConfigError(f"RabbitMQ cannot be reached: {e or type(e.__cause__).__name__}") from e
    return "RabbitMQ answers, and the queues are ours"


def _check_store(settings: Settings) -> str:
    settings.need("store_url")
    return open_store(settings.store_url).check()


def _show(name: str, is_well: bool, said: str) -> int:
    print(f"{name:<9} {'ok  ' if is_well else 'FAIL'}  {said}", flush=True)
    return 0 if is_well else 1
