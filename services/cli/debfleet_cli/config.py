"""List every setting: its name, its value, where that came from, and what it means.

Settings are environment variables, or KEY=value lines of the file that DEBFLEET_SETTINGS_FILE
names. Secrets are shown as ***.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os

from debfleet.config import explain_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet config``."""
    parser.add_argument("--json", action="store_true", help="one JSON list, for machines")


def run(args: argparse.Namespace) -> int:
    """Print them; returns the exit status."""
    origins = explain_settings(os.environ)
    if args.json:
        print(json.dumps([dataclasses.asdict(origin) for origin in origins], indent=2))
        return 0
    for origin in origins:
        print(f"{origin.name}={origin.value}")
        print(f"    {origin.meaning}")
        print(f"    from: {origin.source}")
    return 0
