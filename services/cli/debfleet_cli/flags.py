"""The flags of `debfleet sync`, and what they ask for."""

from __future__ import annotations

import argparse
import textwrap
from base64 import b64encode
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from debfleet.guards import GUARDS, LEVELS
from debfleet_cli.client import TASKS
from debfleet_cli.ensure import Source, default_name

_POLICIES = ("immediate", "on_demand", "streamed")
_EPILOG = """\
A remote and a repository of one name are made on the first call; a later call with other values
shows the difference and changes nothing unless --update is given. Absent --components and
--architectures mean all; an absent --policy or --gpgkey leaves an existing remote's as it is.

The API is found by DEBFLEET_API_URL (http://127.0.0.1:24817); DEBFLEET_USERNAME (admin) and
DEBFLEET_PASSWORD, or DEBFLEET_PASSWORD_FILE, say who asks; on the machine of a `debfleet up` with
its default --data, the password that it made is found.

With --idempotency-key, or DEBFLEET_IDEMPOTENCY_KEY, a run that is tried again within a day waits
for the sync that the first one started, and ends with its outcome.

exit status: 0 synced or unchanged, 1 the task failed, 2 wrong usage or refused by the API,
3 the API cannot be reached, 130 interrupted (the sync goes on).

examples:
  debfleet sync http://nginx.org/packages/debian --distributions bookworm \\
      --components nginx --architectures amd64 --policy on_demand
  debfleet sync --repository nginx.org-bookworm
"""


class UsageError(Exception):
    """The command line asks for something that makes no sense."""


@dataclass(frozen=True)
class Request:
    """What is to be synced: a source, a repository's name, or only a task to watch."""

    source: Source | None = None
    name: str = ""  # of remote and repository
    task: str = ""
    mirror: bool = False
    is_update: bool = False
    is_waiting: bool = True
    key: str = ""  # Idempotency-Key; empty: one of this run's own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command to argparse."""
    parser.description = "Bring a repository to what its upstream offers."
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("url", metavar="URL", nargs="?", help="where the upstream archive is")
    parser.add_argument("--repository", metavar="NAME", help="sync this one, from its remote")
    words: dict[str, Any] = {"nargs": "+", "action": "extend", "default": None}
    parser.add_argument(
        "--distributions", metavar="DIST", **words, help="bookworm …; one ending in / is flat"
    )
    parser.add_argument("--components", metavar="COMPONENT", **words, help="main …; absent: all")
    parser.add_argument("--architectures", metavar="ARCH", **words, help="amd64 …; absent: all")
    parser.add_argument("--policy", choices=_POLICIES, help="when packages are downloaded")
    yes_or_no: dict[str, Any] = {"action": argparse.BooleanOptionalAction, "default": None}
    parser.add_argument("--sources", **yes_or_no, help="the source packages too")
    parser.add_argument("--udebs", **yes_or_no, help="the installer's packages too")
    parser.add_argument("--installer", **yes_or_no, help="the installer's images and files too")
    parser.add_argument(
        "--gpgkey", metavar="FILE", help="public keys that Release must verify with"
    )
    parser.add_argument(
        "--guard",
        metavar="GUARD=LEVEL",
        action="append",
        help="off, warn, refuse or default for replay, expired, future, renamed, shrink, "
        "weak_digests or missing_files; may be repeated",
    )
    parser.add_argument(
        "--vanishing",
        choices=("leave", "fetch"),
        help="files that upstream drops and that are not stored: fetch them before they are gone",
    )
    parser.add_argument("--mirror", action="store_true", help="drop what upstream has no more")
    parser.add_argument("--name", help="of remote and repository; default: <host>-<first dist>")
    parser.add_argument("--update", action="store_true", help="change the remote where it differs")
    parser.add_argument("--no-wait", action="store_true", help="return when the task is accepted")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of prose")
    parser.add_argument(
        "--idempotency-key", metavar="KEY",
        help="a run with the same key within a day joins this sync (DEBFLEET_IDEMPOTENCY_KEY)",
    )  # fmt: skip
    parser.add_argument("--watch", metavar="TASK", help="only watch a task that was started before")


def read_request(args: argparse.Namespace, key: str = "") -> Request:
    """What the flags ask for.

    Args:
        key: The Idempotency-Key of the settings, where no flag says another.

    Raises:
        UsageError: They contradict each other, or say too little.
    """
    if args.watch and args.idempotency_key:
        raise UsageError("--watch asks for no sync, so that --idempotency-key means nothing there")
    return replace(_read_flags(args), key=_checked_key(args.idempotency_key or key))


def _checked_key(key: str) -> str:
    if not (key.isascii() and (key.isprintable() or not key)):
        raise UsageError("an idempotency key is made of printable ASCII characters")
    return key.strip()


def _read_flags(args: argparse.Namespace) -> Request:
    described = {
        "--distributions": args.distributions,
        "--components": args.components,
        "--architectures": args.architectures,
        "--policy": args.policy,
        "--sources": args.sources is not None,
        "--udebs": args.udebs is not None,
        "--installer": args.installer is not None,
        "--gpgkey": args.gpgkey,
        "--guard": args.guard,
        "--vanishing": args.vanishing,
        "--name": args.name,
        "--update": args.update,
    }
    given = [flag for flag, value in described.items() if value]
    others = [word for word in (args.url and "a URL", args.repository and "--repository") if word]
    if args.watch:
        if others or given:
            raise UsageError(f"--watch takes a task alone, not with {(others + given)[0]}")
        return Request(task=_task_href(args.watch))
    if args.repository:
        if args.url or given:
            raise UsageError(
                f"--repository syncs from its own remote; {'a URL' if args.url else given[0]} "
                "describes another: give one of the two"
            )
        return Request(name=args.repository, mirror=args.mirror, is_waiting=not args.no_wait)
    return _read_source(args)


def _read_source(args: argparse.Namespace) -> Request:
    distributions = _words(args.distributions)
    components, architectures = _words(args.components), _words(args.architectures)
    url = args.url
    for words in (distributions, components, architectures):
        # `--distributions bookworm http://…`: argparse takes the URL for one more of the words.
        while not url and words and "://" in words[-1]:
            url = words.pop()
    if not url:
        raise UsageError("what is to be synced? Give a URL with --distributions, or --repository")
    if "://" not in url:
        raise UsageError(f"{url!r} is no URL: it starts with http:// or https://")
    if not distributions:
        raise UsageError("--distributions is missing: which of the archive's, e.g. bookworm?")
    source = Source(
        url,
        tuple(distributions),
        tuple(components),
        tuple(architectures),
        args.policy,
        read_key(args.gpgkey),
        _guards(args.guard),
        args.sources,
        also=tuple(
            (field, said)
            for field, said in (("sync_udebs", args.udebs), ("sync_installer", args.installer))
            if said is not None
        ),
        vanishing=args.vanishing,
    )
    return Request(
        source=source,
        name=args.name or default_name(url, distributions),
        mirror=args.mirror,
        is_update=args.update,
        is_waiting=not args.no_wait,
    )


def read_key(path: str | None) -> str | None:
    """The armoured text of a file of public keys, binary or armoured.

    Raises:
        UsageError: It cannot be read, or is empty.
    """
    if path is None:
        return None
    try:
        key = Path(path).read_bytes()
    except OSError as e:
        raise UsageError(f"--gpgkey: {path} cannot be read: {e.strerror}") from None
    if not key.strip():
        raise UsageError(f"--gpgkey: {path} is empty")
    if key[0] & 0x80:  # RFC 9580 4.2: so begins a binary packet, and no armour
        return _armoured(key)
    return key.decode("utf-8", errors="replace")


def _armoured(key: bytes) -> str:
    """A binary key (as in /usr/share/keyrings) as the text that the API takes."""
    lines = textwrap.wrap(b64encode(key).decode(), 64)
    block = "PGP PUBLIC KEY BLOCK"
    return "\n".join([f"-----BEGIN {block}-----", "", *lines, f"-----END {block}-----", ""])


def _guards(values: list[str] | None) -> tuple[tuple[str, str | None], ...]:
    """Guards and their levels; None for the default."""
    found: dict[str, str | None] = {}
    for value in values or []:
        name, _, level = value.partition("=")
        name = name.replace("-", "_")
        if name not in GUARDS:
            raise UsageError(f"--guard: {name!r} is none of {', '.join(GUARDS)}")
        if level not in (*LEVELS, "default"):
            raise UsageError(f"--guard: {value!r} is not {name}=off, warn, refuse or default")
        found[name] = None if level == "default" else level
    return tuple(found.items())


def _words(values: list[str] | None) -> list[str]:
    """Words of a flag that may be repeated, and may hold several with blanks or commas."""
    found: list[str] = []
    for word in " ".join(values or []).split():
        found += [word] if "://" in word else word.replace(",", " ").split()
    return found


def _task_href(text: str) -> str:
    """A task's href from its href, its full URL or its bare id."""
    start = text.find(TASKS)
    return f"{text[start:] if start >= 0 else TASKS + text}".rstrip("/") + "/"
