"""gpg with a keyring of its own, and scripts that sign with it, as an operator's would."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

SIGN_PACKAGE = r"""
work=$(mktemp -d "$PULP_TEMP_WORKING_DIR/XXXXXX")
cd "$work"
ar x "$1"
cat debian-binary control.tar* data.tar* > text
gpg --batch --yes --quiet --local-user "$PULP_SIGNING_KEY_FINGERPRINT" \
    --detach-sign --output _gpgorigin text
ar r "$1" _gpgorigin
"""
"""As debsigs signs: of the members, one after the other; lines of a shell script."""

ANSWER = """printf '{"deb_package": "%s"}' "$1"\n"""


@dataclass(frozen=True)
class Gpg:
    """A keyring."""

    home: Path

    def make_key(self, user: str = "a <a@example.org>") -> str:
        """The fingerprint of a new key without a passphrase."""
        before = set(self.fingerprints())
        self("--passphrase", "", "--quick-generate-key", user, "ed25519", "sign", "never")
        (made,) = set(self.fingerprints()) - before
        return made

    def fingerprints(self) -> list[str]:
        """Of all primary keys."""
        lines = self("--with-colons", "--list-keys").splitlines()
        pairs = pairwise(lines)
        return [after.split(":")[9] for line, after in pairs if line.startswith("pub:")]

    def public(self, *fingerprints: str) -> str:
        """Their public keys, armoured."""
        return self("--armor", "--export", *fingerprints)

    def __call__(self, *words: str) -> str:
        return subprocess.run(
            ["gpg", "--homedir", str(self.home), "--batch", *words],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip


@contextmanager
def gpg_keyring() -> Iterator[Gpg]:
    """A keyring without a key."""
    if shutil.which("gpg") is None:
        pytest.skip("no gpg here")
    # Short: the path of a socket has a hundred characters at most.
    home = Path(tempfile.mkdtemp(prefix="gpg-"))
    yield Gpg(home)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
    shutil.rmtree(home)


def write_script(path: Path, text: str) -> Path:
    """A shell script that ends with the first command that fails."""
    path.write_text(f"#!/bin/sh\nset -e\n{text}")
    path.chmod(0o755)
    return path
