"""The apt client of its own root: it works for anyone, and leaves the machine's apt as it was."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import servers
from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet_cli.apt_client import AptClient, AptFailed, find_apt

KEY = SigningKey.generate()

pytestmark = pytest.mark.skipif(find_apt() is None, reason="no apt-get here")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    packages = [Pkg("mine", fields={"Depends": "yours"}), Pkg("yours", architecture="all")]
    return write_archive(tmp_path / "archive", [Dist("sid", {"main": packages})], key=KEY)


@pytest.fixture
def upstream(archive: Archive) -> Iterator[Upstream]:
    with Upstream(archive.folder) as started:
        yield started


def test_it_updates_and_fetches_in_its_own_root(
    upstream: Upstream, archive: Archive, tmp_path: Path
) -> None:
    before = _machine()
    client = AptClient(tmp_path / "client")
    client.add_source("made", upstream.url, "sid", "main", key=KEY.public)

    ran = client.update()
    files = client.install_download_only("mine")

    assert ran.is_clean, ran.text
    digests = {one.sha256 for one in archive.listed}
    assert set(client.packages().values()) == digests
    assert {hashlib.sha256(file.read_bytes()).hexdigest() for file in files} == digests
    assert [file.name for file in client.download("yours")] == ["yours_1.0_all.deb"]
    assert _machine() == before


def test_what_apt_only_warns_of_is_not_clean(upstream: Upstream, tmp_path: Path) -> None:
    client = AptClient(tmp_path / "client")
    client.add_source("made", upstream.url + "absent/", "sid", "main", key=KEY.public)

    ran = client.update()

    assert not ran.is_clean
    with pytest.raises(AptFailed, match="Unable to locate package"):
        client.install_download_only("mine")


def test_what_it_knew_is_forgotten(upstream: Upstream, tmp_path: Path) -> None:
    client = AptClient(tmp_path / "client")
    client.add_source("made", upstream.url, "sid", "main", key=KEY.public)
    client.update()

    client.forget()

    assert client.packages() == {}
    assert client.update().is_clean


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Where others than root can reach it."""
    made = servers.short_folder("apt")
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def test_an_ordinary_user_may_use_it(upstream: Upstream, open_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("every test here is this one")
    client = AptClient(open_folder / "client")
    client.add_source("made", upstream.url, "sid", "main", key=KEY.public)
    for path in (client.root, *client.root.rglob("*")):
        os.chown(path, 65534, 65534)
    config = client.root / "etc/apt/client.conf"
    config.write_text(config.read_text().replace('User "root"', 'User ""'))
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

    done = [
        subprocess.run(
            [*user, *client.command("apt-get", *argv)], env=client.environ,
            cwd=client.root / "tmp", stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
        for argv in (["update"], ["install", "--yes", "--download-only", "mine"])
    ]  # fmt: skip

    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert len(list((client.root / "var/cache/apt/archives").glob("*.deb"))) == 2


def _machine() -> dict[str, float]:
    """When the machine's own apt was changed last."""
    folders = ("/etc/apt", "/var/lib/apt/lists", "/var/lib/dpkg", "/var/cache/apt/archives")
    return {name: os.stat(name).st_mtime for name in folders if Path(name).is_dir()}
