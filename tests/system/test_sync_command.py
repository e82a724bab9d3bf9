"""`debfleet sync` as a person or a script runs it, against a real fleet."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from nursery import the_nursery
from system.fleet import PASSWORD, Fleet

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(fleet: Fleet, tmp_path: Path) -> Command:
    """Run `debfleet sync` with these arguments."""

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": os.environ["PATH"],
            "XDG_DATA_HOME": str(tmp_path),
            "DEBFLEET_API_URL": fleet.url,
            "DEBFLEET_PASSWORD": PASSWORD,
        }
        return the_nursery().run(["sync", *argv], environ, tmp_path, timeout=90)

    return run


@pytest.mark.parametrize("fleet", ["notify"], indirect=True)
def test_the_life_of_a_repository_by_debfleet_sync(
    fleet: Fleet, command: Command, tmp_path: Path
) -> None:
    key = SigningKey.generate()
    (tmp_path / "key.asc").write_text(key.public)
    (tmp_path / "key.gpg").write_bytes(key.public_bytes)
    archive = tmp_path / "archive"
    write_archive(archive, [_dist(["one", "two"])], key=key)
    fleet.start()

    with Upstream(archive) as upstream:
        upwards = [upstream.url, "--distributions", "trixie", "--components", "main"]
        first = command(*upwards, "--gpgkey", str(tmp_path / "key.asc"))
        _says(first, 0, ["syncing", "Downloading Artifacts:", "synced: 127.0.0.1-trixie is at",
                         "version 1 now", "  2  (+2 -0)"])  # fmt: skip
        again = command(*upwards)
        _says(again, 0, ["unchanged: 127.0.0.1-trixie"])

        differs = command(upstream.url, "--distributions", "trixie", "--components", "contrib")
        _says(differs, 2, ["components: main -> contrib", "--update"])
        other = command(
            upstream.url, "--distributions", "trixie", "--components", "contrib", "--update"
        )
        _says(other, 1, ["changed components: main -> contrib", "[DEB0003]", "contrib"])
        back = command(*upwards, "--update", "--gpgkey", str(tmp_path / "key.gpg"))
        _says(back, 0, ["unchanged"])

        write_archive(archive, [_dist(["one", "two", "three"])], key=key)
        machine = command("--repository", "127.0.0.1-trixie", "--json")
    assert machine.returncode == 0, machine
    told = json.loads(machine.stdout)
    assert told["outcome"] == "synced"
    assert told["version"]["number"] == 2
    assert told["version"]["content"]["deb.package"] == {"present": 3, "added": 1, "removed": 0}
    later = command("--repository", "127.0.0.1-trixie", "--no-wait", "--json")
    task = json.loads(later.stdout)["task"]
    # By now nobody listens at the upstream's port.
    _says(command("--watch", task), 1, ["failed", "Cannot connect"])


@pytest.mark.parametrize("fleet", ["notify"], indirect=True)
def test_a_run_that_is_tried_again_with_its_key_joins_the_first_ones_sync(
    fleet: Fleet, command: Command, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    write_archive(archive, [_dist(["one", "two"])])
    fleet.start()

    with Upstream(archive) as upstream, ThreadPoolExecutor(2) as pool:
        words = [
            upstream.url,
            "--distributions",
            "trixie",
            "--idempotency-key",
            "nightly-28",
            "--json",
        ]
        together = [pool.submit(command, *words) for _ in range(2)]
        told = [json.loads(run.result(timeout=90).stdout) for run in together]
        later = json.loads(command(*words).stdout)

    assert [t["outcome"] for t in [*told, later]] == ["synced"] * 3
    assert len({t["task"] for t in [*told, later]}) == 1
    assert fleet.count("select count(*) from tasks where kind = 'sync'") == 1


def _dist(names: Sequence[str]) -> Dist:
    return Dist("trixie", {"main": [Pkg(name) for name in names]})


def _says(done: subprocess.CompletedProcess[str], status: int, words: Sequence[str]) -> None:
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    for word in words:
        assert word in said, said
    assert "Traceback" not in said
