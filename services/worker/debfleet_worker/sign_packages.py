"""Sign packages that come into a repository, by an operator's script.

The script gets the path of a copy of the package as its only argument, and the key in
PULP_SIGNING_KEY_FINGERPRINT; it prints ``{"deb_package": "PATH"}``, or nothing if it signed the
file where it lies. What it made is looked at before anybody gets it: the same package, with a good
signature by that key (``debfleet.deb.debsig``).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from debfleet import pgp
from debfleet.db.publications import SigningService
from debfleet.deb.debfile import read_deb
from debfleet.deb.debsig import ORIGIN, find_origin
from debfleet.errors import MalformedFile, NotASignature, SigningFailed
from debfleet_worker.scripts import SCRIPT_SECONDS, run_script

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, and with which key: ``v4:FINGERPRINT`` or ``keyid:ID``."""

    service: SigningService
    key: str
    seconds: float = SCRIPT_SECONDS  # that the script may take for one package


def sign_package(signer: Signer, path: Path, correlation_id: str = "") -> Path:
    """Let the script sign a copy of a package that nobody else uses; where the signed one lies.

    Raises:
        SigningFailed: The script failed, or what it made is not good.
    """
    service = signer.service
    with path.open("rb") as opened:
        control = read_deb(opened, path.stat().st_size).control
    fingerprint = signer.key.rpartition(":")[2]
    answer = run_script(service, path, fingerprint, correlation_id, seconds=signer.seconds)
    made = _named(service, path, answer)
    try:
        with made.open("rb") as opened, _scratch(path.parent) as scratch:
            size = made.stat().st_size
            if read_deb(opened, size).control != control:
                raise SigningFailed(service.name, "it made another package of it")
            _check(signer, opened, size, scratch)
    except MalformedFile as e:
        raise SigningFailed(service.name, f"it made no package that dpkg takes: {e}") from None
    except NotASignature as e:
        raise SigningFailed(service.name, f"what it made is not accepted: {e}") from None
    except OSError as e:
        raise SigningFailed(service.name, f"{made} cannot be read: {e.strerror}") from None
    return made


def is_signed(signer: Signer, file: BinaryIO, size: int, scratch: Path) -> bool:
    """Whether a package has a good signature by the key; one by another key is none."""
    try:
        _check(signer, file, size, scratch)
    except NotASignature:
        return False
    return True


def _check(signer: Signer, file: BinaryIO, size: int, scratch: Path) -> None:
    """Look at the signature of a package.

    Raises:
        NotASignature: There is none, or no good one by the key.
        MalformedFile: It is no package.
    """
    covered, signature = find_origin(file, size)
    if signature is None:
        raise NotASignature(f"Package is unsigned: it has no member {ORIGIN}.")
    keys = pgp.Keyring(signer.service.public_key).only(signer.key)
    if not keys.certs:
        raise NotASignature(f"The service's public keys hold none that is {signer.key}.")
    text = scratch / "covered"
    with text.open("wb") as out:
        for place, length in covered:
            _copy(file, place, length, out)
    pgp.verify_detached(keys, text, signature)
    text.unlink()


def _copy(file: BinaryIO, place: int, length: int, out: BinaryIO) -> None:
    file.seek(place)
    while length > 0:
        block = file.read(min(length, _BLOCK))
        if not block:
            raise MalformedFile("it is cut off")
        out.write(block)
        length -= len(block)


def _named(service: SigningService, path: Path, answer: bytes) -> Path:
    """The file that a script says it made."""
    if not answer.strip():
        return path
    try:
        made: Path = path.parent / json.loads(answer)["deb_package"]
    except (ValueError, KeyError, TypeError) as e:
        raise SigningFailed(
            service.name, f'it did not print {{"deb_package": "PATH"}}: {e!r}'
        ) from None
    if not made.is_file():
        raise SigningFailed(service.name, f"it names {made}, and no file is there")
    return made


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        yield Path(made)
