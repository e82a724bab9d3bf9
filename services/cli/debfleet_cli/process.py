"""The flags that every process of the fleet has, and the settings that they are instead of."""

from __future__ import annotations

import argparse
import dataclasses

from debfleet.config import Settings
from debfleet.errors import ConfigError


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """``--metrics`` and ``--log-format``."""
    parser.add_argument(
        "--metrics", metavar="HOST:PORT",
        help="where /metrics, /livez and /readyz are answered; off: nowhere (default: "
        "DEBFLEET_METRICS_ADDRESS)",
    )  # fmt: skip
    parser.add_argument(
        "--log-format", choices=("json", "text"),
        help="json for machines, text for people (default: DEBFLEET_LOG_FORMAT or json)",
    )  # fmt: skip


def with_flags(settings: Settings, args: argparse.Namespace) -> Settings:
    """The settings with what the flags say instead.

    Raises:
        ConfigError: ``--metrics`` is no address.
    """
    if args.metrics is not None:
        host, _, port = args.metrics.rpartition(":")
        if args.metrics != "off" and not (host and port.isdigit() and int(port) < 65536):
            raise ConfigError(f"--metrics: must be HOST:PORT or off, not {args.metrics}")
        settings = dataclasses.replace(settings, metrics_address=args.metrics)
    if args.log_format is not None:
        settings = dataclasses.replace(settings, log_format=args.log_format)
    return settings
