"""Serve what is published, to apt, at DEBFLEET_CONTENT_ADDRESS (or --address), until SIGTERM."""

from __future__ import annotations

import argparse
import dataclasses
import os

from debfleet.config import read_settings
from debfleet.log import start_logging
from debfleet_cli.process import add_process_arguments, with_flags
from debfleet_content.main import run_content


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet content``."""
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="instead of DEBFLEET_CONTENT_ADDRESS"
    )
    add_process_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; returns the exit status."""
    settings = with_flags(read_settings(os.environ), args)
    if args.address:
        settings = dataclasses.replace(settings, content_address=args.address)
    settings.need("database_url", "store_url", "secret_key")
    start_logging(settings.log_level, "content", settings.log_format)
    return run_content(settings)
