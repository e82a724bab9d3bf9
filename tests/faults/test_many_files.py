"""A store that holds a million files already: a sync and a request do not feel them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest

import servers
from archive.build import write_archive
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet_cli.client import Api
from system.fleet import Fleet, add_pair, running, synced
from system.publishing import changed, distribute, get

FILES = int(os.environ.get("FILES", "1000000"))
PACKAGES = 300


@pytest.fixture
def folder() -> Iterator[Path]:
    made = servers.short_folder("many")
    yield made
    shutil.rmtree(made)


def test_a_million_files_in_the_store_do_not_slow_down_a_sync_or_a_request(
    database_url: str, folder: Path, tmp_path: Path
) -> None:
    store = folder / "store"
    store.mkdir()
    fleet = Fleet(database_url, f"file://{store}", folder)
    with running(fleet):
        fleet.start_content()
        with fleet.start().client() as api:
            few = _measure(fleet, api, tmp_path / "few", "few")
            began = time.monotonic()
            _fill(store, database_url)
            print(f"{FILES:,} files and their rows made in {time.monotonic() - began:.0f} s")
            many = _measure(fleet, api, tmp_path / "many", "many")

    print(f"few: {few}, many: {many}")
    # Twice is what a busy machine does by itself; a listing would take ten times and more.
    for what, seconds in many.items():
        assert seconds < 3 * few[what] + 3, (what, few, many)


def _measure(fleet: Fleet, api: Api, folder: Path, name: str) -> dict[str, float]:
    """Seconds of a first sync and publication, of one that finds nothing new, of a request."""
    archive = _archive(folder, name)
    with Upstream(folder) as upstream:
        _, repository = add_pair(api, name, upstream.url, distributions="stable")
        changed(api, repository["pulp_href"], {"autopublish": True})
        began = time.monotonic()
        synced(api, repository)
        first = time.monotonic() - began
        began = time.monotonic()
        synced(api, repository)
        again = time.monotonic() - began
    base = str(distribute(api, name, repository=repository["pulp_href"])["base_url"]).rstrip("/")
    index = get(f"{base}/dists/stable/main/binary-amd64/Packages").decode()
    paths = [line[10:] for line in index.splitlines() if line.startswith("Filename: ")]
    assert len(paths) == len(archive.listed)
    began = time.monotonic()
    for path in paths:
        with urlopen(f"{base}/{path}", timeout=30) as answer:
            assert answer.status == 200
    request = (time.monotonic() - began) / len(paths)
    found = {"sync": first, "nothing new": again, "request": request}
    return {what: round(seconds, 4) for what, seconds in found.items()}


def _archive(folder: Path, name: str) -> Archive:
    packages = [Pkg(f"{name}-{number}") for number in range(PACKAGES)]
    return write_archive(folder, [Dist("stable", {"main": packages})])


def _fill(store: Path, database_url: str) -> None:
    """Files without a byte, which cost a folder the same, and the rows that say they are there."""
    for first in range(256):
        (store / f"{first:02x}").mkdir(exist_ok=True)
    digests = [os.urandom(32) for _ in range(FILES)]

    def make(some: list[bytes]) -> None:
        for digest in some:
            name = digest.hex()
            os.close(os.open(store / name[:2] / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    step = 10_000
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, [digests[n : n + step] for n in range(0, FILES, step)]))
    insert = "copy artifacts (sha256, size) from stdin"
    with psycopg.connect(database_url) as db, db.cursor().copy(insert) as copy:
        for digest in sorted(digests):
            copy.write_row((digest, 0))
