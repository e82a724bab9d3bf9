"""docs/backup.md as it stands there: its commands back a fleet up and bring it back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import servers
from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.deb.release import parse_release
from nursery import the_nursery
from system.up import Up, one_up

_ROOT = Path(__file__).parents[2]
_KEY = SigningKey.generate()
_DIST = "trixie"


@pytest.fixture
def folder() -> Iterator[Path]:
    made = servers.short_folder("backup")
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.mark.timeout(600)  # seconds on a busy machine; a few elsewhere
def test_after_backup_destruction_and_restore_apt_is_served_the_same_bytes(
    folder: Path, tmp_path: Path
) -> None:
    back_up, put_files_back, put_database_back = _blocks()
    backup = tmp_path / "backup"
    backup.mkdir()
    with Upstream(tmp_path / "upstream") as upstream, one_up(folder) as up:
        up.start("--workers", "1")
        _write(upstream, Pkg("app"), Pkg("data", architecture="all"))
        password = up.place.admin_password.read_text()
        key = tmp_path / "key.asc"
        key.write_text(_KEY.public)
        _debfleet(up, "sync", upstream.url, "--distributions", _DIST, "--name", "small",
                  "--gpgkey", str(key))  # fmt: skip
        _debfleet(up, "publish", "small", "--base-path", "small", "--data", str(up.place.folder))
        before = _served(up)

        _run(back_up, up, backup)
        up.end()
        shutil.rmtree(up.place.folder)
        # As root, Postgres' files may lie elsewhere, with a link to them in the data directory.
        _run(put_files_back, up, backup)
        up.start("--workers", "0")
        _run(put_database_back, up, backup)
        assert up.stop() == 0
        up.place.admin_password.write_text(password)  # of the user that the dump brought back
        up.start("--workers", "1")
        after = _served(up)
        _write(upstream, Pkg("app", "2.0"))
        _debfleet(up, "sync", "--repository", "small")
        _debfleet(up, "publish", "small", "--base-path", "small", "--data", str(up.place.folder))
        later = _served(up)

    assert before == after
    assert len([path for path in before if path.startswith("pool/")]) == 2
    # The key that signs was sealed in the database: the restored secret key opens it.
    assert later[f"dists/{_DIST}/InRelease"] != before[f"dists/{_DIST}/InRelease"]


def _write(upstream: Upstream, *packages: Pkg) -> None:
    write_archive(upstream.folder, [Dist(_DIST, {"main": packages})], key=_KEY)


def _blocks() -> list[str]:
    """The commands of the section on one machine: three blocks, as a shell reads them."""
    page = (_ROOT / "docs" / "backup.md").read_text(encoding="utf-8")
    section = re.split(r"(?m)^## ", page)[1]
    assert section.startswith("One machine")
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 3
    return [re.sub(r"(?m)^\$ ", "", block) for block in blocks]


def _run(commands: str, up: Up, backup: Path) -> None:
    # The page names the environment of a checkout; that of these tests may lie elsewhere.
    site = Path(sys.prefix)
    script = f"set -eux\n{commands.replace('.venv/', f'{site}/')}"
    environ = {**os.environ, "data": str(up.place.folder), "backup": str(backup)}
    done = subprocess.run(
        ["sh", "-c", script], env=environ, cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + up.logs()


def _debfleet(up: Up, *argv: str) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DEBFLEET_", "PULP_"))}
    environ["DEBFLEET_API_URL"] = f"http://{up.address}"
    environ["DEBFLEET_PASSWORD_FILE"] = str(up.place.admin_password)
    done = the_nursery().run(argv, environ, up.place.folder, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr + up.logs()


def _served(up: Up) -> dict[str, bytes]:
    """Path to bytes of all that apt can find from the Release file on."""
    with httpx.Client(base_url=f"http://{up.content}/pulp/content/small/", timeout=60) as http:

        def get(path: str) -> bytes:
            answer = http.get(path)
            answer.raise_for_status()
            return answer.content

        names = [f"dists/{_DIST}/{name}" for name in ("InRelease", "Release", "Release.gpg")]
        found = {name: get(name) for name in names}
        release = parse_release(found[names[1]])
        for name in release.files:
            path = f"dists/{_DIST}/{name}"
            found[path] = get(path)
            if path.endswith("/Packages"):
                for pool in re.findall(rb"(?m)^Filename: (.+)$", found[path]):
                    found[pool.decode()] = get(pool.decode())
        return found
