"""Bring the database to this version's tables; does nothing when it is there.

`debfleet up` does this by itself. Elsewhere run it once before the new version's processes start;
those of the version before keep working. With --wait, processes of the new version may be started
at once: each waits until the one that migrates is done.
"""

from __future__ import annotations

import argparse
import os
import time

import psycopg

from debfleet.config import read_settings
from debfleet.db.migrate import migrate, pending
from debfleet_cli.place import add_data_argument, find_place

_LOOK_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet migrate``."""
    add_data_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what is missing")
    parser.add_argument(
        "--wait", action="store_true", help="apply nothing; end when another has applied all"
    )


def run(args: argparse.Namespace) -> int:
    """Apply what is missing and name it; returns the exit status."""
    settings = find_place(args.data).complete(read_settings(os.environ))
    settings.need("database_url")
    if args.wait:
        return _wait(settings.database_url)
    names = pending(settings.database_url) if args.dry_run else migrate(settings.database_url)
    for name in names:
        print(("missing " if args.dry_run else "applied ") + name)
    if not names:
        print("nothing to apply")
    return 0


def _wait(url: str) -> int:
    """Until nothing is missing; a database that is not there yet is waited for too."""
    said = ""
    while True:
        try:
            missing = ", ".join(pending(url))
        except psycopg.OperationalError as e:
            missing = str(e).strip()
        if not missing:
            print("nothing to wait for")
            return 0
        if missing != said:
            print(f"waiting: {missing}", flush=True)
            said = missing
        time.sleep(_LOOK_SECONDS)
