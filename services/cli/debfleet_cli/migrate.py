"""Bring the database to this version's tables; does nothing when it is there.

`debfleet up` does this by itself. Elsewhere run it once before the new version's processes start;
those of the version before keep working.
"""

from __future__ import annotations

import argparse
import os

from debfleet.config import read_settings
from debfleet.db.migrate import migrate, pending
from debfleet_cli.place import add_data_argument, find_place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet migrate``."""
    add_data_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what is missing")


def run(args: argparse.Namespace) -> int:
    """Apply what is missing and name it; returns the exit status."""
    settings = find_place(args.data).complete(read_settings(os.environ))
    settings.need("database_url")
    names = pending(settings.database_url) if args.dry_run else migrate(settings.database_url)
    for name in names:
        print(("missing " if args.dry_run else "applied ") + name)
    if not names:
        print("nothing to apply")
    return 0
