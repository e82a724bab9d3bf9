"""Let a script sign what is published: a key in an HSM, or on another machine.

The script gets the path of a Release file as its only argument and PULP_SIGNING_KEY_FINGERPRINT in
its environment, and prints {"signatures": {"inline": "…/InRelease", "detached": "…/Release.gpg"}}.
It is tried before it is added. It runs on every worker's machine, so it must lie there too.

Works on the database itself, so on the server's machine.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
from pathlib import Path

import pysequoia
from pysequoia.packet import PacketPile

from debfleet import pgp
from debfleet.db import signing_services
from debfleet.db.publications import SigningService
from debfleet.db.signing_services import PACKAGES, RELEASES, NewService
from debfleet.errors import ConfigError
from debfleet_cli.keys import open_server, remove_service
from debfleet_cli.place import add_data_argument
from debfleet_worker.sign import sign_release

_TRIAL = b"Origin: debfleet\nSuite: trial\nDescription: a test of the signing service\n"
_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet signing-service``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser("add", help="try a script and add it")
    add.add_argument("name", metavar="NAME")
    add.add_argument("script", metavar="SCRIPT", type=Path)
    add.add_argument("fingerprint", metavar="FINGERPRINT", help="of the key that it signs with")
    add.add_argument(
        "--class", dest="kind", choices=(RELEASES, PACKAGES), default=RELEASES,
        help="what it signs (default: %(default)s)",
    )  # fmt: skip
    add.add_argument("--gnupghome", metavar="DIR", type=Path, help="where gpg has the key")
    add.add_argument(
        "--public-key", metavar="FILE", type=Path, help="armoured; absent: gpg is asked for it"
    )
    add.set_defaults(act=_add)
    remove = commands.add_parser("remove", help="forget a script")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(act=_remove)
    for command in (add, remove):
        add_data_argument(command)


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    return int(args.act(args))


def _add(args: argparse.Namespace) -> int:
    script = args.script.expanduser().absolute()
    if not (script.is_file() and os.access(script, os.X_OK)):
        raise ConfigError(f"{script} is no program that can be run")
    fingerprint = _read_fingerprint(args.fingerprint)
    home = None if args.gnupghome is None else str(args.gnupghome.expanduser().absolute())
    if args.public_key is None:
        public = _ask_gpg(fingerprint, home)
    else:
        public = args.public_key.read_text(encoding="utf-8")
    _check_key(public, fingerprint)
    new = NewService(args.name, public, fingerprint, args.kind, str(script), home)
    with open_server(args.data) as (db, sealer):
        if new.kind == RELEASES:
            service = SigningService(
                0, new.uuid, new.name, new.kind, public, fingerprint, new.script, home, None
            )
            made = sign_release(service, sealer, _TRIAL)  # it checks what the script made
            print(f"tried: {' and '.join(sorted(made))}, good signatures by {fingerprint}")
        db.run(lambda tx: signing_services.add_service(tx, new))
    print(f"added signing service {args.name}")
    if new.kind == PACKAGES:
        print("  for clients that list it: this version of debfleet signs no packages itself")
    return 0


def _remove(args: argparse.Namespace) -> int:
    with open_server(args.data) as (db, _):
        db.run(lambda tx: remove_service(tx, args.name, is_held=False))
    print(f"removed signing service {args.name}")
    return 0


def _read_fingerprint(text: str) -> str:
    found = re.sub(r"\s+|^v[46]:|^0x", "", text.strip()).upper()
    if not _FINGERPRINT.fullmatch(found):
        raise ConfigError(f"{text!r} is no fingerprint: it has 40 or 64 hexadecimal digits")
    return found


def _ask_gpg(fingerprint: str, home: str | None) -> str:
    command = ["gpg", "--batch", "--no-tty", "--armor", "--export", fingerprint]
    environ = os.environ | ({"GNUPGHOME": home} if home else {})
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ConfigError("gpg is not here; give the key with --public-key FILE") from None
    if done.returncode or not done.stdout.strip():
        where = home or "its own keyring"
        raise ConfigError(
            f"gpg has no public key {fingerprint} in {where}; --gnupghome or --public-key says "
            f"where it is. {done.stderr.strip()}"
        )
    return done.stdout


def _check_key(public: str, fingerprint: str) -> None:
    """One key, which has this fingerprint or a subkey that has it."""
    certs = pgp.Keyring(public).certs
    if len(certs) != 1:
        raise ConfigError(f"there are {len(certs)} public keys, where one is wanted")
    if fingerprint not in _fingerprints(certs[0]):
        shown = str(certs[0].fingerprint).upper()
        raise ConfigError(f"the public key is {shown}, not {fingerprint}")


def _fingerprints(cert: pysequoia.Cert) -> set[str]:
    packets = PacketPile.from_bytes(bytes(cert))
    return {str(p.fingerprint).upper() for p in packets if p.fingerprint is not None}
