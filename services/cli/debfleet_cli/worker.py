"""Do the work: one process with one step at a time and one download chunk beside it.

More speed is more processes, here or on any machine that reaches the database, the broker and the
store; with --data, beside the `debfleet up` of that directory. SIGTERM lets it finish or hand
back what it does.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from debfleet.config import read_settings
from debfleet.errors import ConfigError
from debfleet.log import start_logging
from debfleet.model import KINDS
from debfleet_cli.place import find_place
from debfleet_cli.process import add_process_arguments, with_flags
from debfleet_worker.main import run_worker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet worker``."""
    parser.add_argument(
        "--queues", metavar="KIND", nargs="+", default=[],
        help=f"only jobs of these kinds (default: all, {' '.join(KINDS)})",
    )  # fmt: skip
    parser.add_argument(
        "--data", metavar="DIR", type=Path, default=None,
        help="beside the `debfleet up` of this directory: what is not set is taken from there",
    )  # fmt: skip
    add_process_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Work until told to stop; returns the exit status."""
    kinds = [kind for word in args.queues for kind in word.split(",") if kind]
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ConfigError(f"--queues: there is no {', '.join(unknown)}; known: {' '.join(KINDS)}")
    settings = with_flags(read_settings(os.environ), args)
    # Only when it is named: a worker of a fleet that lacks a setting must not use a local store.
    if args.data is not None:
        settings = find_place(args.data).complete(settings)
    settings.need("database_url", "store_url", "secret_key")
    start_logging(settings.log_level, "worker", settings.log_format)
    return run_worker(settings, kinds) or 0
