"""Copy the store to another place: from a directory to a bucket, back, or between two of a kind.

Every artifact that the database knows is brought to the target, verified by its SHA-256 on the way.
It can be stopped and started again at any time, and may run while debfleet works; how to change
over without losing what is stored meanwhile: docs/operating.md.

exit status: 0 the target holds all, 1 not all could be copied, 2 wrong usage.

examples:
  debfleet store migrate --to 's3://mirror/store?endpoint=https://s3.example.org&region=eu'
  debfleet store migrate --from file:///srv/store --to s3://mirror --verify
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass

from debfleet.config import read_settings
from debfleet.db import artifacts
from debfleet.db.connect import Database
from debfleet.errors import ConfigError, StoreError
from debfleet.store import open_store
from debfleet.store.migrate import Copied, copy_artifacts
from debfleet_cli.outcome import Speaker
from debfleet_cli.place import add_data_argument, find_place

_BATCH = 500  # artifacts
_SHOWN = 20  # of those that could not be copied


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet store``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    migrate = commands.add_parser("migrate", help="copy every artifact to another store")
    migrate.add_argument(
        "--from", dest="source", metavar="URL", help="default: the store of the settings"
    )
    migrate.add_argument("--to", dest="target", metavar="URL", required=True)
    migrate.add_argument(
        "--verify", action="store_true", help="read what the target holds already, too"
    )
    migrate.add_argument(
        "--parallel", metavar="N", type=int, default=8, help="artifacts at once (default: 8)"
    )
    migrate.add_argument("--json", action="store_true", help="one JSON object instead of prose")
    add_data_argument(migrate)


def run(args: argparse.Namespace) -> int:
    """Copy; returns the exit status."""
    speaker = Speaker(is_json=args.json, command="store")
    settings = find_place(args.data).complete(read_settings(os.environ))
    source_url = args.source or settings.store_url
    if not source_url or not settings.database_url:
        raise ConfigError(
            "the store and the database are not known here: name the directory of `debfleet up` "
            "with --data, or set DEBFLEET_DATABASE_URL, and DEBFLEET_STORE_URL or --from"
        )
    if source_url == args.target:
        raise ConfigError("--from and --to are the same store")
    if args.parallel < 1:
        raise ConfigError("--parallel must be 1 or more")
    source = open_store(source_url, settings.work_directory)
    target = open_store(args.target, settings.work_directory)
    speaker.say(f"to {target.check()}")
    with Database(settings.database_url, size=1, name="debfleet store", patience=5) as db:
        batches = artifacts.walk_artifacts(db, _BATCH)
        try:
            counts = Copied()
            for counts in copy_artifacts(
                source, target, batches, parallel=args.parallel, verify=args.verify
            ):
                speaker.say(_line(counts))
        except StoreError as e:
            raise StoreError(f"{e}; start it again to go on from here") from None
        return _end(db, counts, speaker)


def _end(db: Database, counts: Copied, speaker: Speaker) -> int:
    """Say what came of it; what cleanup has deleted meanwhile is missed by nobody."""
    with db.transaction() as tx:
        missing = artifacts.list_present(tx, counts.missing)
        damaged = artifacts.list_present(tx, counts.damaged)
    lost = [_Lost("missing", d) for d in sorted(missing)]
    lost += [_Lost("damaged", d) for d in sorted(damaged)]
    speaker.put(
        {
            "outcome": "incomplete" if lost else "complete",
            "present": counts.present,
            "copied": counts.copied,
            "bytes": counts.copied_bytes,
            "missing": [d.hex() for d in sorted(missing)],
            "damaged": [d.hex() for d in sorted(damaged)],
        }
    )
    for line in _told(lost):
        speaker.say(line)
    if not lost:
        speaker.say(f"complete: {_line(counts)}")
    return 1 if lost else 0


@dataclass(frozen=True)
class _Lost:
    word: str
    sha256: bytes


def _told(lost: list[_Lost]) -> Iterator[str]:
    for one in lost[:_SHOWN]:
        yield f"{one.word} in the source: {one.sha256.hex()}"
    if len(lost) > _SHOWN:
        yield f"… and {len(lost) - _SHOWN} more"
    if lost:
        yield "a repair of the repositories fetches them again, then start this once more"


def _line(counts: Copied) -> str:
    return (
        f"{counts.seen:,} artifacts: {counts.present:,} were there, {counts.copied:,} copied "
        f"({counts.copied_bytes / (1 << 20):,.1f} MiB)"
    )
