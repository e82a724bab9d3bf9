"""``debfleet COMMAND …``: finds the command's module and hands it the rest of the line."""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence

import psycopg
from psycopg_pool import PoolTimeout

from debfleet.errors import ConfigError, DebfleetError

# Each module has add_arguments(parser) and run(args) -> exit status. Only the module of the command
# that runs is imported: a worker's machine has no need of what the API stands on.
COMMANDS = {
    "up": ("supervise", "run everything on this machine, with an embedded Postgres"),
    "sync": ("sync", "bring a repository to what its upstream offers, and watch it"),
    "upload": ("upload", "add packages of your own to a repository"),
    "publish": ("publish", "make a repository ready for apt, and serve it at a base path"),
    "sources": ("sources", "print what a machine needs to use a base path: a .sources file"),
    "rollback": ("rollback", "serve an earlier version at a base path again"),
    "keys": ("keys", "make, import, list, export and remove keys that sign what is published"),
    "signing-service": ("signing_service", "let a script sign what is published"),
    "schedule": ("schedule", "sync repositories at set times"),
    "store": ("store", "copy the store to another place: a directory to a bucket, or back"),
    "demo": ("demo", "start debfleet, make a small upstream and sync it"),
    "check": ("check", "say whether the settings, the database, the broker and the store work"),
    "config": (
        "config",
        "list every setting: its value, where that came from, what it means",
    ),
    "secrets": ("secret_keys", "replace the key that seals passwords and keys at rest"),
    "password": ("password", "give a user another password"),
    "migrate": ("migrate", "bring the database to this version's tables"),
    "api": ("api", "answer the REST API"),
    "content": ("content", "serve what is published, to apt"),
    "worker": ("worker", "do the work: one process, as many of them as wanted, on any machine"),
    "sweep": ("sweep", "ring again what was lost; run two, one of them acts"),
}

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 well, 1 it failed, 2 it was called or set up wrongly. ``debfleet sync`` adds 3: the API cannot
    be reached.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview(), end="")
        return OK if words else USAGE
    if words[0] in ("-V", "--version", "version"):
        print(f"debfleet {importlib.metadata.version('debfleet')}")
        return OK
    if words[0] not in COMMANDS:
        return _say(
            USAGE, f"there is no command {words[0]!r}{_hint(words[0])}; see debfleet --help"
        )
    try:
        return _run(words[0], words[1:])
    except ConfigError as e:
        return _say(USAGE, str(e))
    except DebfleetError as e:
        return _say(FAILED, str(e))
    except (psycopg.Error, PoolTimeout, OSError) as e:
        return _say(FAILED, f"{type(e).__name__}: {e}".strip())
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(name: str, words: Sequence[str]) -> int:
    module_name, summary = COMMANDS[name]
    try:
        module = importlib.import_module(f"debfleet_cli.{module_name}")
    except ModuleNotFoundError as e:
        raise ConfigError(
            f"debfleet {name} needs the Python package {e.name}, which is not installed: "
            "install debfleet[embedded] for everything (in a checkout: make venv)"
        ) from e
    parser = argparse.ArgumentParser(
        prog=f"debfleet {name}",
        description=(module.__doc__ or summary).strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    status: int = module.run(parser.parse_args(words))
    return status


def _overview() -> str:
    lines = ["usage: debfleet COMMAND …", ""]
    lines += [f"  {name:<16} {summary}" for name, (_, summary) in COMMANDS.items()]
    lines += ["", "debfleet COMMAND --help tells more. Settings: debfleet config.", ""]
    return "\n".join(lines)


def _hint(word: str) -> str:
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _say(status: int, text: str) -> int:
    print(f"debfleet: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
