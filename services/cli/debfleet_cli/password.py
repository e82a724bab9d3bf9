"""Give a user another password; the old one is refused from then on.

It is asked for twice at a terminal, and read as one line from standard input otherwise.
"""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import sys

from debfleet.config import read_settings
from debfleet.db.connect import Database
from debfleet.db.users import set_password
from debfleet.errors import ConfigError
from debfleet_cli.place import add_data_argument, find_place, read_secret, write_secret


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet password``."""
    parser.add_argument("user", metavar="USER")
    parser.add_argument("--generate", action="store_true", help="make one and print it")
    add_data_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Set it; returns the exit status."""
    place = find_place(args.data)
    given = read_settings(os.environ)
    settings = place.complete(given)
    settings.need("database_url")
    password = new_password() if args.generate else _ask()
    with Database(settings.database_url, size=1, name="debfleet password") as db:
        db.run(lambda tx: set_password(tx, args.user, password))
    if args.user == "admin" and not given.database_url and read_secret(place.admin_password):
        write_secret(place.admin_password, password)
    print(password if args.generate else f"the password of {args.user} is changed")
    return 0


def new_password() -> str:
    """24 characters that need no quoting."""
    return secrets.token_urlsafe(18)


def _ask() -> str:
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("New password: ")
        if getpass.getpass("Again: ") != password:
            raise ConfigError("the two differ; nothing is changed")
    if not password:
        raise ConfigError("an empty password is no password; nothing is changed")
    return password
