"""The installer's files in publications, as clients get them: stored, or fetched when asked for."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from archive import faults
from archive.build import write_archive
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.store import Store
from publish_flow import publish
from serving import Site, add_distribution, serving
from sync_flow import Flow, add_repository, crew_of
from system.up import until

PLACE = "main/installer-amd64/current/images"
IMAGES = f"dists/stable/{PLACE}"
ISO = b"".join(n.to_bytes(4, "big") for n in range(100_000))
FILES = {"MANIFEST": b"what is here\n", "netboot/mini.iso": ISO}
ISO_PATH = f"{IMAGES}/netboot/mini.iso"


def stable(files: dict[str, bytes]) -> Dist:
    packages = [Pkg("a"), Pkg("b", path="dists/stable/main/b_1.0_amd64.deb")]
    return Dist("stable", {"main": packages}, architectures=("amd64",), installer={PLACE: files})


@dataclass(frozen=True)
class World:
    """A synced repository with an installer."""

    flow: Flow
    db: Database
    upstream: Upstream
    store: Store
    settings: Settings

    def sync(self, files: dict[str, bytes], policy: str, **fields: object) -> None:
        folder = self.upstream.folder.with_name(f"archive{self.flow.version()}")
        folder.mkdir()
        write_archive(folder, [stable(files)])
        self.upstream.rotate(folder)
        self.flow.set_remote(self.upstream, sync_installer=True, policy=policy, **fields)
        done = self.flow.sync(mirror=True)
        assert done.state == "completed", done.error
        self.upstream.clear()

    @contextmanager
    def serve(self, **how: object) -> Iterator[Site]:
        publish(self.flow, **how)
        add_distribution(self.db, "debian", repository=self.flow.repository["id"])
        with serving(self.settings) as site:
            yield site

    def has_stored(self, content: bytes) -> bool:
        digest = hashlib.sha256(content).digest()
        with self.db.transaction() as tx:
            row = tx.execute("select size from artifacts where sha256 = %s", (digest,)).fetchone()
        return row is not None and row["size"] == len(content) == self.store.size(digest)

    def wait_until_idle(self) -> None:
        def is_idle() -> bool:
            with self.db.transaction() as tx:
                return tx.execute("select from fetches").fetchone() is None

        until(is_idle, "a fetch goes on")


@pytest.fixture
def world(settings: Settings, db: Database, store: Store, tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "archive"
    folder.mkdir()
    with crew_of(settings, db, store) as crew, Upstream(folder) as upstream:
        yield World(Flow(db, crew, add_repository(db)), db, upstream, store, settings)


def get(site: Site, path: str) -> bytes:
    reply = site.get(f"debian/{path}")
    assert reply.status == 200, (path, reply.text)
    return reply.body


# --- where they lie ------------------------------------------------------------------------------


def test_a_verbatim_publication_serves_the_lists_and_files_at_upstream_s_paths(
    world: World,
) -> None:
    world.sync(FILES, "immediate")

    with world.serve(kind="verbatim") as site:
        for path, content in FILES.items():
            assert get(site, f"{IMAGES}/{path}") == content
        for name in ("SHA256SUMS", "MD5SUMS"):
            theirs = (world.upstream.folder / IMAGES / name).read_bytes()
            assert get(site, f"{IMAGES}/{name}") == theirs
        assert f"{PLACE}/SHA256SUMS" in get(site, "dists/stable/Release").decode()


def test_a_structured_publication_names_the_lists_in_its_release_and_serves_all(
    world: World,
) -> None:
    world.sync(FILES, "immediate")

    made = publish(world.flow, structured=True)

    sums = (world.upstream.folder / IMAGES / "SHA256SUMS").read_bytes()
    sha512 = hashlib.sha512(sums).hexdigest()
    assert made.listed("stable")[f"{PLACE}/SHA256SUMS"] == (
        hashlib.sha256(sums).hexdigest(),
        len(sums),
    )
    assert made.listed("stable", "SHA512")[f"{PLACE}/SHA256SUMS"] == (sha512, len(sums))
    add_distribution(world.db, "debian", repository=world.flow.repository["id"])
    with serving(world.settings) as site:
        assert get(site, f"{IMAGES}/SHA256SUMS") == sums
        assert get(site, f"{IMAGES}/by-hash/SHA512/{sha512}") == sums
        for path, content in FILES.items():
            assert get(site, f"{IMAGES}/{path}") == content


def test_a_simple_publication_has_no_installer(world: World) -> None:
    world.sync(FILES, "immediate")

    with world.serve(simple=True, structured=False) as site:
        assert site.get(f"debian/{ISO_PATH}").status == 404
        assert site.get(f"debian/{IMAGES}/SHA256SUMS").status == 404


@pytest.mark.parametrize("kind", ["verbatim", "apt"])
def test_folders_of_the_installer_are_listed(world: World, kind: str) -> None:
    world.sync(FILES, "on_demand")

    with world.serve(kind=kind) as site:
        top = get(site, f"{IMAGES}/").decode()
        assert all(f'href="./{name}"' in top for name in ("MANIFEST", "SHA256SUMS", "netboot/"))
        assert f"mini.iso</a>{' ' * 92}" in get(site, f"{IMAGES}/netboot/").decode()
        for folder, name in (("", "dists"), ("dists/", "stable"), ("dists/stable/", "main")):
            assert get(site, folder).decode().count(f'href="./{name}/"') == 1


def test_files_of_what_was_served_before_are_served_for_a_while(world: World) -> None:
    world.sync(FILES, "immediate")
    with world.serve(kind="verbatim") as site:
        world.sync({"MANIFEST": b"newer\n"}, "immediate")
        publish(world.flow, kind="verbatim")

        assert get(site, f"{IMAGES}/MANIFEST") == b"newer\n"
        assert get(site, ISO_PATH) == ISO


# --- files that are not stored --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["verbatim", "apt"])
def test_a_file_is_fetched_once_when_it_is_asked_for_and_kept(world: World, kind: str) -> None:
    world.sync(FILES, "on_demand")

    with world.serve(kind=kind) as site:
        assert not world.has_stored(ISO)
        assert get(site, ISO_PATH) == ISO
        until(lambda: world.has_stored(ISO), "it is not stored")
        assert get(site, ISO_PATH) == ISO

    assert world.upstream.paths() == [ISO_PATH]


def test_head_and_ranges_know_the_size_before_anything_is_fetched(world: World) -> None:
    world.sync(FILES, "on_demand")

    with world.serve(kind="verbatim") as site:
        head = site.get(f"debian/{ISO_PATH}", method="HEAD")
        assert (head.status, head.headers["content-length"]) == (200, str(len(ISO)))
        assert not world.upstream.paths()
        part = site.get(f"debian/{ISO_PATH}", Range="bytes=1000-1999")
        assert (part.status, part.body) == (206, ISO[1000:2000])


def test_streamed_files_are_handed_on_and_not_kept(world: World) -> None:
    world.sync(FILES, "streamed")

    with world.serve(kind="verbatim") as site:
        assert get(site, ISO_PATH) == ISO
        world.wait_until_idle()

    assert not world.has_stored(ISO)


def test_wrong_bytes_cut_the_connection_and_are_not_kept(world: World) -> None:
    world.sync(FILES, "on_demand")
    world.upstream.faults.append(faults.wrong_bytes("*/mini.iso"))

    with world.serve(kind="verbatim") as site:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            site.get(f"debian/{ISO_PATH}")
        world.wait_until_idle()

    assert not world.has_stored(ISO)


@pytest.mark.parametrize("said", [len(ISO) - 70_000, len(ISO) + 70_000])
@pytest.mark.parametrize("policy", ["on_demand", "streamed"])
def test_a_size_that_upstream_had_wrong_breaks_one_answer_and_no_more(
    world: World, said: int, policy: str
) -> None:
    world.sync(FILES, policy)
    with world.db.transaction() as tx:
        tx.execute(
            "update generic_contents set size = %s where relative_path = %s", (said, ISO_PATH)
        )

    with world.serve(kind="verbatim") as site:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            site.get(f"debian/{ISO_PATH}")
        world.wait_until_idle()
        assert get(site, ISO_PATH) == ISO

    assert world.has_stored(ISO) == (policy == "on_demand")
