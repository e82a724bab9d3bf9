"""`make demo`, without the make."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from archive.build import write_archive
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet_cli.apt_client import find_apt


def demo(folder: Path, *argv: str) -> str:
    """Run the demo with its data below this folder; returns what it printed."""
    done = subprocess.run(
        [Path(sys.executable).with_name("debfleet"), "demo", "--folder", str(folder), *argv],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


def assert_used_by_apt(said: str, package: str) -> None:
    """The source lines were printed, and apt took a package; or it says that there is no apt."""
    assert "Types: deb" in said
    assert "Signed-By:" in said
    if find_apt() is None:
        assert "apt-get is not on this machine" in said
    else:
        assert re.search(rf"apt has {package}, [\d,]+ bytes, verified", said), said


@pytest.mark.timeout(600)  # three starts, on a machine that may have much else to do
def test_the_demo_works_twice_and_with_an_upstream_of_ones_own(tmp_path: Path) -> None:
    first = demo(tmp_path)
    assert "synced: demo is at version 1 now" in first
    assert re.search(r"package +600 ", first)
    assert "unchanged: demo holds what upstream offers" in first
    assert "upstream answered 3 requests" in first
    assert str(tmp_path / "data") in first
    assert_used_by_apt(first, r"(main|contrib)-\d{3}_1\.0_\w+\.deb")

    second = demo(tmp_path)
    assert "unchanged: demo holds what upstream offers" in second
    assert re.search(r"package +600$", second, re.MULTILINE)
    assert_used_by_apt(second, r"(main|contrib)-\d{3}_1\.0_\w+\.deb")

    write_archive(tmp_path / "own", [Dist("sid", {"main": [Pkg("mine"), Pkg("yours")]})])
    with Upstream(tmp_path / "own") as upstream:
        own = demo(tmp_path, "--url", upstream.url, "--dist", "sid", "--components", "main",
                   "--architectures", "amd64", "--policy", "immediate")  # fmt: skip
    assert "synced: 127.0.0.1-sid is at version 1 now" in own
    assert re.search(r"package +2 ", own)
    assert_used_by_apt(own, r"(mine|yours)_1\.0_amd64\.deb")
