"""The content service over a bucket: streamed, or by redirect."""

from __future__ import annotations

import hashlib
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from archive.build import write_archive
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from bucket import Bucket
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.store import Store
from publish_flow import Published, publish
from serving import add_distribution, serving
from sync_flow import Flow, add_repository, crew_of

PATH = "pool/main/a/a/a_1.0_amd64.deb"


@pytest.fixture
def store_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    server = Bucket()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    yield server.url("/some/prefix")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def made(settings: Settings, db: Database, store: Store, tmp_path: Path) -> Iterator[Published]:
    """Served at ``debian``, its package fetched on demand."""
    folder = tmp_path / "archive"
    folder.mkdir()
    write_archive(folder, [Dist("stable", {"main": [Pkg("a", payload_size=400_000)]})])
    with crew_of(settings, db, store) as crew, Upstream(folder) as upstream:
        flow = Flow(db, crew, add_repository(db))
        flow.set_remote(upstream, policy="on_demand")
        assert flow.sync().state == "completed"
        made = publish(flow)
        add_distribution(db, "debian", repository=flow.repository["id"])
        yield made


def test_packages_are_redirected_and_indices_are_not(made: Published, settings: Settings) -> None:
    stanza = made.stanzas("dists/stable/main/binary-amd64/Packages")["a"]
    with serving(settings) as site:
        fetched = site.get(f"debian/{PATH}")
        assert hashlib.sha256(fetched.body).hexdigest() == stanza["SHA256"]
    with serving(settings) as site:
        for path, body in made.files.items():
            assert site.get(f"debian/{path}").body == body
        reply = site.get(f"debian/{PATH}")
        head = site.get(f"debian/{PATH}", "HEAD")

    assert (reply.status, head.status) == (302, 200)
    assert "X-Amz-Signature=" in reply.headers["location"]
    bare = reply.headers["location"].partition("?")[0]  # this bucket knows no signatures
    with urllib.request.urlopen(bare) as response:
        assert response.read() == fetched.body


def test_without_redirects_packages_are_streamed_in_whole_and_in_part(
    made: Published, settings: Settings
) -> None:
    changed = replace(settings, redirect_to_object_storage=False)
    with serving(changed) as site:
        fetched = site.get(f"debian/{PATH}").body
    with serving(changed) as site:
        whole = site.get(f"debian/{PATH}")
        part = site.get(f"debian/{PATH}", Range="bytes=1000-299999")
        few = site.get(f"debian/{PATH}", Range="bytes=-10")

    assert whole.body == fetched
    assert (part.status, part.body) == (206, fetched[1000:300000])
    assert (few.status, few.body) == (206, fetched[-10:])
