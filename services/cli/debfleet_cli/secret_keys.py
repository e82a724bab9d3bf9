"""The key that seals passwords and keys at rest: replace it while everything runs.

`rotate` puts a new key in front of the file that holds it (that of `debfleet up`, or the one that
DEBFLEET_SECRET_KEY_FILE names), which running processes notice, and seals every secret anew. Where
the key is in DEBFLEET_SECRET_KEY there is no file to write: set that to new,old everywhere first.
`retire` takes the keys out of the file that no secret is sealed with any more; `list` counts.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from debfleet.config import Settings, read_settings
from debfleet.db import secrets
from debfleet.db.connect import Database
from debfleet.errors import ConfigError
from debfleet.sealed import key_id, new_key, sealer_of
from debfleet_cli.place import add_data_argument, find_place, write_secret


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet secrets``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, act, text in (
        ("rotate", _rotate, "seal every secret with a new key"),
        ("retire", _retire, "take keys out of the file that nothing is sealed with"),
        ("list", _list, "say which keys there are, and how many secrets each seals"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        add_data_argument(action)
        action.set_defaults(act=act)


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    settings = find_place(args.data).complete(read_settings(os.environ))
    settings.need("database_url", "secret_key")
    with Database(settings.database_url, size=1, name="debfleet secrets", patience=10) as db:
        return int(args.act(db, settings))


def _rotate(db: Database, settings: Settings) -> int:
    file, keys = settings.secret_key_file, _keys(settings)
    used = set(db.run(secrets.count_by_key))
    # A rotation that was cut off is finished first, rather than begun anew.
    if file and used <= {key_id(keys[0]).hex()}:
        write_secret(Path(file), ",".join([new_key(), *keys]))
    elif not file and len(keys) == 1:
        raise ConfigError(
            "there is one key, and it is in DEBFLEET_SECRET_KEY: put a new one in front (new,old) "
            "for every process, then call this again; or keep it in DEBFLEET_SECRET_KEY_FILE"
        )
    sealer = sealer_of(settings)
    count = secrets.seal_anew(db, sealer)
    print(f"{count} rows are sealed with the key {sealer.first.hex()} now")
    where = file or "DEBFLEET_SECRET_KEY"
    print(f"keep a copy of {where}; `debfleet secrets retire` says when the old key may go")
    return 0


def _retire(db: Database, settings: Settings) -> int:
    keys, used = _keys(settings), db.run(secrets.count_by_key)
    kept = [key for n, key in enumerate(keys) if n == 0 or key_id(key).hex() in used]
    stale = [key_id(key).hex() for key in kept[1:]]
    if stale:
        print(f"still in use: {', '.join(stale)}; `debfleet secrets rotate` seals anew")
        return 1
    if len(kept) == len(keys):
        print("there is one key, and it is in use")
    elif settings.secret_key_file:
        write_secret(Path(settings.secret_key_file), ",".join(kept))
        print(f"{len(keys) - len(kept)} keys taken out of {settings.secret_key_file}")
    else:
        print("nothing is sealed with the later keys: take them out of DEBFLEET_SECRET_KEY")
    return 0


def _list(db: Database, settings: Settings) -> int:
    used = db.run(secrets.count_by_key)
    known = [key_id(key).hex() for key in _keys(settings)]
    for id in [*known, *(id for id in used if id not in known)]:
        parts = ", ".join(f"{what} {count}" for what, count in used.get(id, {}).items())
        note = " (seals)" if id == known[0] else "" if id in known else " (NOT KNOWN HERE)"
        print(f"{id}{note}: {parts or 'nothing'}")
    return 0


def _keys(settings: Settings) -> list[str]:
    """The keys, the one that seals first; a file's are read anew."""
    text = settings.secret_key
    if settings.secret_key_file:
        text = Path(settings.secret_key_file).read_text(encoding="utf-8")
    return [word.strip() for word in text.strip().split(",")]
