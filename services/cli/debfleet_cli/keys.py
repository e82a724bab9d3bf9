"""Keys that sign what is published: debfleet holds them, sealed by DEBFLEET_SECRET_KEY.

Works on the database itself, so on the server's machine: no secret key ever goes over the API.

examples:
  debfleet keys create                    the key `default`, which `debfleet publish` uses
  debfleet keys import ours secret.asc    one that you have (gpg --export-secret-keys --armor ID)
  debfleet keys export default            its public half, for clients
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from debfleet.config import read_settings
from debfleet.db import repositories, signing_services
from debfleet.db.connect import Database, Tx
from debfleet.db.installation import check_secret_key
from debfleet.db.signing_services import NewService
from debfleet.errors import ConfigError, DebfleetError
from debfleet.sealed import Sealer, sealer_of
from debfleet_cli.client import Body, is_loopback
from debfleet_cli.place import add_data_argument, find_place
from debfleet_cli.published import UsageError
from debfleet_worker.sign import KeyPair, make_key, read_key

DEFAULT = "default"
_USER = "debfleet archive <archive@localhost>"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet keys``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    create = commands.add_parser("create", help="make a key")
    create.add_argument("name", metavar="NAME", nargs="?", default=DEFAULT)
    create.add_argument("--user-id", metavar="TEXT", default=_USER, help="what gpg shows of it")
    create.set_defaults(act=_create)
    bring = commands.add_parser("import", help="bring a secret key, without a passphrase")
    bring.add_argument("name", metavar="NAME")
    bring.add_argument("file", metavar="FILE", help="armoured; - is standard input")
    bring.set_defaults(act=_import)
    show = commands.add_parser("list", help="names, fingerprints and who uses them")
    show.set_defaults(act=_list)
    export = commands.add_parser("export", help="print the public key")
    export.add_argument("name", metavar="NAME", nargs="?", default=DEFAULT)
    export.set_defaults(act=_export)
    remove = commands.add_parser("remove", help="forget a key, for good")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(act=_remove)
    for command in (create, bring, show, export, remove):
        add_data_argument(command)


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    with open_server(args.data) as (db, sealer):
        return int(args.act(db, sealer, args))


@contextmanager
def open_server(data: Path | None) -> Iterator[tuple[Database, Sealer]]:
    """The server's database and the key that seals its secrets.

    Raises:
        ConfigError: It is not known here, or sealed with another key.
    """
    place = find_place(data)
    settings = place.complete(read_settings(os.environ))
    if not (settings.database_url and settings.secret_key):
        raise ConfigError(
            f"no `debfleet up` has its data in {place.folder}: name its directory with --data, or "
            "set DEBFLEET_DATABASE_URL and DEBFLEET_SECRET_KEY"
        )
    sealer = sealer_of(settings)
    with Database(settings.database_url, size=1, name="debfleet keys", patience=5) as db:
        try:
            db.run(lambda tx: check_secret_key(tx, sealer))
        except PoolTimeout:
            raise ConfigError(
                "the server's database cannot be reached: is `debfleet up` running here, and with "
                "this --data (or DEBFLEET_DATABASE_URL)?"
            ) from None
        yield db, sealer


def make_default(api_url: str, repository: Body, data: Path | None) -> None:
    """Make the key `default` for `debfleet publish`, where this is the server's machine.

    Raises:
        UsageError: It is not, or cannot be seen to be.
    """
    hint = (
        f"there is no signing service {DEFAULT}; on the server's machine make one with "
        "`debfleet keys create`, or name one with --signing-service, or publish with --unsigned"
    )
    if not is_loopback(api_url):
        raise UsageError(hint)
    uuid = UUID(str(repository["prn"]).rpartition(":")[2])
    try:
        with open_server(data) as (db, sealer):
            if not db.run(lambda tx: _make_default(tx, sealer, uuid)):
                raise UsageError(f"{hint} (the database found here is not this API's)")
    except (DebfleetError, psycopg.Error) as e:
        raise UsageError(f"{hint} ({e})") from None


def _make_default(tx: Tx, sealer: Sealer, repository: UUID) -> bool:
    """False: this is not the database that has the repository."""
    if repositories.find_repository_row(tx, repository) is None:
        return False
    if signing_services.find_service(tx, DEFAULT) is None:
        _add(tx, sealer, DEFAULT, make_key(_USER))
    return True


def _add(tx: Tx, sealer: Sealer, name: str, pair: KeyPair) -> None:
    secret = sealer.seal(pair.secret)
    new = NewService(name, pair.public, pair.fingerprint, secret=secret)
    signing_services.add_service(tx, new)


def _create(db: Database, sealer: Sealer, args: argparse.Namespace) -> int:
    pair = make_key(args.user_id)
    db.run(lambda tx: _add(tx, sealer, args.name, pair))
    print(f"made key {args.name}: {pair.fingerprint}")
    return 0


def _import(db: Database, sealer: Sealer, args: argparse.Namespace) -> int:
    text = sys.stdin.read() if args.file == "-" else Path(args.file).read_text(encoding="utf-8")
    pair = read_key(text)
    db.run(lambda tx: _add(tx, sealer, args.name, pair))
    print(f"imported key {args.name}: {pair.fingerprint}")
    return 0


def _list(db: Database, sealer: Sealer, args: argparse.Namespace) -> int:
    with db.transaction() as tx:
        rows = signing_services.list_services(tx)
        used = {row["name"]: signing_services.list_users(tx, row["name"]) for row in rows}
    for row in rows:
        by = row["script"] or "held here"
        users = ", ".join(used[row["name"]]) or "no repository"
        print(f"{row['name']}\n  {row['fingerprint']}\n  signs: {by}\n  for: {users}")
    if not rows:
        print("there is none; make one with: debfleet keys create", file=sys.stderr)
    return 0


def _export(db: Database, sealer: Sealer, args: argparse.Namespace) -> int:
    with db.transaction() as tx:
        row = signing_services.find_service(tx, args.name)
    if row is None:
        raise ConfigError(f"there is no key {args.name}")
    print(row["public_key"].strip())
    return 0


def _remove(db: Database, sealer: Sealer, args: argparse.Namespace) -> int:
    db.run(lambda tx: remove_service(tx, args.name, is_held=True))
    print(f"removed key {args.name}")
    return 0


def remove_service(tx: Tx, name: str, *, is_held: bool) -> None:
    """Delete a signing service that nobody uses.

    Raises:
        ConfigError: There is none, it is of the other sort, or a repository names it.
    """
    users = signing_services.list_users(tx, name)
    row: dict[str, Any] | None = signing_services.find_service(tx, name)
    if row is None:
        raise ConfigError(f"there is no {'key' if is_held else 'signing service'} {name}")
    if (row["script"] is None) != is_held:
        other = "debfleet signing-service remove" if is_held else "debfleet keys remove"
        raise ConfigError(f"{name} is of the other sort: {other} {name}")
    if users:
        raise ConfigError(f"{name} signs {', '.join(users[:10])}; let them name another first")
    signing_services.delete_service(tx, name)
