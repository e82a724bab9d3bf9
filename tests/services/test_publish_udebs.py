"""Packages of the installer in publications: indices of their own, served as the others are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from archive.build import write_archive
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.store import Store
from publish_flow import publish
from serving import Site, add_distribution, serving
from sync_flow import Flow, add_repository, crew_of

A, CONTRIB = Pkg("a"), Pkg("c")
UDEB = Pkg("disk", is_udeb=True, fields={"Source": "a", "Section": "debian-installer"})
UDEB_ALL = Pkg("rescue", architecture="all", is_udeb=True)
DIST = Dist("stable", {"main": [A, UDEB, UDEB_ALL], "contrib": [CONTRIB]}, architectures=("amd64",))
INDEX = "dists/stable/main/debian-installer/binary-amd64/Packages"
OF_ALL = "dists/stable/main/debian-installer/binary-all/Packages"


@dataclass(frozen=True)
class World:
    """A repository of packages and udebs, not published yet."""

    flow: Flow
    db: Database
    archive: Archive
    upstream: Upstream
    settings: Settings


@pytest.fixture
def world(settings: Settings, db: Database, store: Store, tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "archive"
    folder.mkdir()
    archive = write_archive(folder, [DIST])
    with crew_of(settings, db, store) as crew, Upstream(folder) as upstream:
        flow = Flow(db, crew, add_repository(db))
        flow.set_remote(upstream, sync_udebs=True)
        assert flow.sync().state == "completed"
        yield World(flow, db, archive, upstream, settings)


def get(site: Site, path: str) -> bytes:
    reply = site.get(f"debian/{path}")
    assert reply.status == 200, path
    return reply.body


def test_a_structured_publication_has_indices_of_udebs_and_release_names_them(
    world: World,
) -> None:
    made = publish(world.flow, structured=True)

    listed = made.listed("stable")
    for path in (INDEX, f"{INDEX}.gz", f"{INDEX}.xz", OF_ALL):
        digest, size = listed[path.removeprefix("dists/stable/")]
        assert (digest, size) == (
            hashlib.sha256(made.files[path]).hexdigest(),
            len(made.files[path]),
        )
    assert list(made.stanzas(INDEX)) == ["disk"]
    assert list(made.stanzas(OF_ALL)) == ["rescue"]
    assert list(made.stanzas("dists/stable/main/binary-amd64/Packages")) == ["a"]
    assert not [path for path in made.files if "contrib/debian-installer" in path]
    assert made.release("stable")["Components"] == "contrib main"


def test_a_simple_publication_has_packages_alone(world: World) -> None:
    made = publish(world.flow, simple=True, structured=False)

    assert not [path for path in made.files if "debian-installer" in path]
    assert list(made.stanzas("dists/default/all/binary-amd64/Packages")) == ["a", "c"]


def test_each_udeb_is_served_where_its_index_says(world: World) -> None:
    made = publish(world.flow, simple=True, structured=True)
    add_distribution(world.db, "debian", repository=world.flow.repository["id"])

    with serving(world.settings) as site:
        for index in (INDEX, OF_ALL):
            for fields in made.stanzas(index).values():
                body = get(site, fields["Filename"])
                assert hashlib.sha256(body).hexdigest() == fields["SHA256"]
        assert made.stanzas(INDEX)["disk"]["Filename"] == "pool/main/a/a/disk_1.0_amd64.udeb"
        assert "disk_1.0_amd64.udeb" in get(site, "pool/main/a/a/").decode()
        # What the simple index does not list lies nowhere in its pool.
        assert site.get("debian/pool/all/a/a/disk_1.0_amd64.udeb").status == 404


def test_a_verbatim_publication_serves_upstream_s_index_and_udebs(world: World) -> None:
    publish(world.flow, kind="verbatim")
    add_distribution(world.db, "debian", repository=world.flow.repository["id"])

    with serving(world.settings) as site:
        for ending in (".xz", ".gz"):
            theirs = (world.archive.folder / f"{INDEX}{ending}").read_bytes()
            assert get(site, f"{INDEX}{ending}") == theirs
        assert b"Package: disk\n" in get(site, INDEX)
        for path, digest in world.archive.files.items():
            assert hashlib.sha256(get(site, path)).hexdigest() == digest
        assert "disk_1.0_amd64.udeb" in get(site, "pool/main/a/a/").decode()


def test_udebs_that_an_additive_sync_asks_for_no_more_stay_published(world: World) -> None:
    world.flow.set_remote(world.upstream, sync_udebs=False)
    assert world.flow.sync(optimize=False).state == "completed"

    made = publish(world.flow, structured=True)

    assert list(made.stanzas(INDEX)) == ["disk"]
