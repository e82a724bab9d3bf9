"""No request and no sync lists a folder of the store: millions of files cost them nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from chore_runs import run_chore
from debfleet.config import Settings
from publish_flow import set_repository
from serving import add_distribution, serving
from sync_flow import Flow

Write = Callable[..., Archive]
EVENTS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "glob.glob", "pathlib.Path.glob")


class Ear:
    """Hears every listing of a folder below ``root`` in this process, by whatever module."""

    def __init__(self) -> None:
        self.root = ""
        self.heard: list[str] = []
        sys.addaudithook(self._hear)  # for good: it cannot be taken out

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.root and event in EVENTS and args:
            path = args[0]
            if isinstance(path, int):
                path = os.readlink(f"/proc/self/fd/{path}")
            if os.fsdecode(path or ".").startswith(self.root):
                self.heard.append(f"{event} {path}")


EAR = Ear()


@pytest.fixture
def listings(store_url: str) -> Iterator[list[str]]:
    EAR.root, EAR.heard = store_url.removeprefix("file://"), []
    yield EAR.heard
    EAR.root = ""


def test_a_sync_a_publication_and_a_request_list_no_folder_of_the_store(
    flow: Flow, upstream: Upstream, write: Write, settings: Settings, listings: list[str]
) -> None:
    upstream.rotate(write(Dist("stable", {"main": [Pkg("a"), Pkg("b")]})).folder)
    flow.set_remote(upstream)
    set_repository(flow, autopublish=True)
    synced = [flow.sync(), flow.sync(optimize=False)]
    add_distribution(flow.db, "debs", repository=flow.repository["id"])

    with serving(settings) as site:
        answers = [
            site.get(f"debs/{path}").status
            for path in (
                "dists/stable/Release",
                "dists/stable/main/binary-amd64/Packages",
                "pool/main/a/a/a_1.0_amd64.deb",
                "pool/main/a/a/no-such-file",
                "pool/main/a/",
                "",
            )
        ]

    assert [done.state for done in synced] == ["completed", "completed"]
    assert answers[:3] == [200, 200, 200]
    assert listings == []


def test_a_cleanup_lists_what_is_on_its_way_and_no_folder_of_artifacts(
    flow: Flow, upstream: Upstream, write: Write, listings: list[str]
) -> None:
    upstream.rotate(write(Dist("stable", {"main": [Pkg("a")]})).folder)
    flow.set_remote(upstream)
    flow.sync()

    run_chore(flow.crew.worker, "orphans", {"protection_minutes": 0, "units": None})

    assert {listing.rpartition("/")[2] for listing in listings} <= {"temporary"}


def test_the_ear_hears(listings: list[str], store_url: str) -> None:
    folder = Path(store_url.removeprefix("file://"))

    list(folder.iterdir())
    with os.scandir(folder):
        pass
    list(folder.rglob("*"))

    assert len(listings) >= 3
