"""One debfleet up, and Pulp's clients in an environment of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import servers
from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg, Source
from archive.upstream import Upstream
from clients.pulp import CLIENTS, Pulp
from system.up import Up, one_up

KEY = SigningKey.generate()
PACKAGES = {
    "main": [
        Pkg("app", "2.0-1", fields={"Section": "net", "Multi-Arch": "foreign"}),
        Pkg("app", "2.0-1", architecture="arm64"),
        Pkg("app-doc", "2.0-1", architecture="all", fields={"Essential": "yes"}),
    ],
    "contrib": [Pkg("extra", "1.0")],
}


@pytest.fixture(scope="session")
def clients() -> Path:
    """The folder of the clients' commands."""
    if not (CLIENTS / "bin" / "pulp").exists():
        text = "Pulp's clients are not installed: make clients does it"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    return CLIENTS / "bin"


@pytest.fixture(scope="session")
def up() -> Iterator[Up]:
    """A fleet of two workers, for all tests of a file."""
    folder = servers.short_folder("clients")
    with one_up(folder) as made:
        yield made.start("--workers", "2")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """A signed archive of one dist; ``key.asc`` lies beside it."""
    folder = tmp_path_factory.mktemp("upstream")
    sources = {"main": [Source("app", "2.0-1", binary="app, app-doc")]}
    write_archive(folder, [Dist("stable", PACKAGES, sources=sources)], key=KEY)
    (folder / "key.asc").write_text(KEY.public)
    with Upstream(folder) as server:
        yield server


@pytest.fixture(scope="session")
def pulp(clients: Path, up: Up, tmp_path_factory: pytest.TempPathFactory) -> Pulp:
    """The command ``pulp``, as admin."""
    password = up.place.admin_password.read_text().strip()
    home = tmp_path_factory.mktemp("home")
    return Pulp(clients / "pulp", f"http://{up.address}", password, home)
