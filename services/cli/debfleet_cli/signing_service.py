"""Let a script sign what is published: a key in an HSM, or on another machine.

The script gets the path of a Release file as its only argument and PULP_SIGNING_KEY_FINGERPRINT in
its environment, and prints {"signatures": {"inline": "…/InRelease", "detached": "…/Release.gpg"}}.
One for packages (--class) gets the path of a .deb, signs it as debsigs does (a member _gpgorigin),
and prints {"deb_package": "PATH"}. It may have several keys, of which each repository names its
own: give all their public keys in one file.

A script is tried before it is added. It runs on every worker's machine, so it must lie there too.

Works on the database itself, so on the server's machine.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from debfleet import pgp
from debfleet.db import signing_services
from debfleet.db.publications import SigningService
from debfleet.db.signing_services import PACKAGES, RELEASES, NewService
from debfleet.db.signings import key_of
from debfleet.deb.ar import MAGIC
from debfleet.errors import ConfigError
from debfleet_cli.keys import open_server, remove_service
from debfleet_cli.place import add_data_argument
from debfleet_worker.sign import sign_release
from debfleet_worker.sign_packages import Signer, sign_package

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
    _check_key(public, fingerprint, args.kind)
    new = NewService(args.name, public, fingerprint, args.kind, str(script), home)
    with open_server(args.data) as (db, sealer):
        service = SigningService(
            0, new.uuid, new.name, new.kind, public, fingerprint, new.script, home, None
        )
        # Both check what the script made.
        if new.kind == RELEASES:
            made = " and ".join(sorted(sign_release(service, sealer, _TRIAL)))
        else:
            made = _try_package(Signer(service, key_of(fingerprint)))
        print(f"tried: {made}, good signatures by {fingerprint}")
        db.run(lambda tx: signing_services.add_service(tx, new))
    print(f"added signing service {args.name}")
    return 0


def _try_package(signer: Signer) -> str:
    with tempfile.TemporaryDirectory(prefix="debfleet-sign-") as folder:
        path = Path(folder) / "trial_1.0_all.deb"
        path.write_bytes(_trial_deb())
        sign_package(signer, path)
    return "a package"


def _trial_deb() -> bytes:
    """The smallest package that dpkg takes."""
    control = b"Package: trial\nVersion: 1.0\nArchitecture: all\n"
    control += (
        b"Maintainer: debfleet <debfleet@localhost>\nDescription: a test of a signing service\n"
    )
    members = (
        ("debian-binary", b"2.0\n"),
        ("control.tar", _tar({"./control": control})),
        ("data.tar", _tar({})),
    )
    return MAGIC + b"".join(_ar_member(name, body) for name, body in members)


def _ar_member(name: str, body: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n"
    return header.encode() + body + b"\n" * (len(body) % 2)


def _tar(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, body in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return made.getvalue()


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


def _check_key(public: str, fingerprint: str, kind: str) -> None:
    """One of the keys, for Release files the only one, is this or has a subkey that is."""
    keyring = pgp.Keyring(public)
    if len(keyring.certs) != 1 and kind == RELEASES:
        raise ConfigError(f"there are {len(keyring.certs)} public keys, where one is wanted")
    if not keyring.only(key_of(fingerprint)).certs:
        shown = ", ".join(str(cert.fingerprint).upper() for cert in keyring.certs)
        raise ConfigError(f"the public key is {shown}, not {fingerprint}")
