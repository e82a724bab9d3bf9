"""Ring again what was lost, end lost leases, prune heartbeats.

Run two copies for safety: one is elected by a lease row, the other waits.
"""

from __future__ import annotations

import argparse
import os

from debfleet.config import read_settings
from debfleet.log import start_logging
from debfleet_cli.process import add_process_arguments, with_flags
from debfleet_worker.sweep import run_sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet sweep``."""
    add_process_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Sweep until told to stop; returns the exit status."""
    settings = with_flags(read_settings(os.environ), args)
    settings.need("database_url")
    start_logging(settings.log_level, "sweep", settings.log_format)
    return run_sweep(settings) or 0
