"""Source packages: synced, kept together with their files, published and served."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from archive import faults
from archive.model import Archive, Dist, Pkg, Source
from archive.upstream import Upstream
from chore_runs import run_chore
from debfleet.db import contents, holdings, versions
from debfleet.db.contents import Held, Place, Selection
from debfleet.identity import UnitId
from debfleet.model import Kind
from ground import Ground
from publish_flow import publish
from servers import PostgresForTests
from serving import Site, add_distribution, serving
from sync_flow import Flow, Synced, add_repository
from synced_world import Made, World, copied_world, made_once

Write = Callable[..., Archive]
FOO, BAR = Source("foo", "1:2.0-1"), Source("bar", "3.0")
SHARED = {"files": {"foo_2.0.orig.tar.gz": b"orig"}}


def stable(
    sources: Sequence[Source] = (FOO, BAR), packages: Sequence[Pkg] = (Pkg("a"),), **fields: Any
) -> Dist:
    return Dist("stable", {"main": packages}, sources={"main": sources}, **fields)


def synced(flow: Flow, upstream: Upstream, archive: Archive, **fields: Any) -> Synced:
    """Sync an archive with its sources; mirror and optimize are for the sync."""
    how = {name: fields.pop(name) for name in ("mirror", "optimize") if name in fields}
    upstream.rotate(archive.folder)
    flow.set_remote(upstream, **({"sync_sources": True} | fields))
    done = flow.sync(**how)
    assert done.state == "completed", done.error
    return done


def failed(flow: Flow, upstream: Upstream, archive: Archive, **fields: Any) -> str:
    upstream.rotate(archive.folder)
    flow.set_remote(upstream, **({"sync_sources": True} | fields))
    done = flow.sync()
    assert done.state == "failed"
    return done.error


@pytest.fixture(scope="module")
def made(common_ground: Ground) -> Iterator[Made]:
    with made_once(common_ground, stable(), sync_sources=True) as made:
        yield made


@pytest.fixture
def world(made: Made, postgres: PostgresForTests, tmp_path: Path) -> Iterator[World]:
    """For a test that changes it."""
    with copied_world(made, postgres, tmp_path) as copy:
        yield copy


@pytest.fixture(scope="module")
def seen(
    made: Made, postgres: PostgresForTests, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """For tests that only look at it, or publish it."""
    with copied_world(made, postgres, tmp_path_factory.mktemp("seen")) as copy:
        yield copy


@pytest.fixture(scope="module")
def site(seen: World) -> Iterator[Site]:
    """What is published of ``seen``."""
    with serving(seen.ground.settings) as running:
        yield running


def digests(archive: Archive) -> set[str]:
    return {hashlib.sha256(body).hexdigest() for body in archive.source_files.values()}


def asked_sources(upstream: Upstream) -> list[str]:
    return [path for path in upstream.paths() if path.rpartition("/")[2][:3] in ("foo", "bar")]


# --- sync ----------------------------------------------------------------------------------------


def test_a_sync_brings_in_every_source_package_with_all_its_files(seen: World) -> None:
    flow, archive, done = seen.flow, seen.archive, seen.done

    assert flow.sources() == {("main", "foo", "1:2.0-1"), ("main", "bar", "3.0")}
    assert len(archive.source_files) == 5  # two .dsc, an orig and a debian tarball, a native one
    assert digests(archive) <= flow.stored()
    assert flow.counts() == {
        "package": 1,
        "package_release_component": 1,
        "package_index": 1,
        "source_index": 1,
        "source_package": 2,
        "source_package_release_component": 2,
        "release": 1,
        "release_architecture": 1,
        "release_component": 1,
        "release_file": 1,
    }
    assert done.reports["update.packageindex"] == 2
    assert done.reports["associating.content"] == sum(flow.counts().values())


def test_without_the_option_no_source_is_looked_at(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    synced(flow, upstream, write(stable()), sync_sources=False)

    assert not flow.sources()
    assert not [path for path in upstream.paths() if "source" in path]


@pytest.mark.parametrize("dist", ["./", "suite/"])
def test_a_flat_archive_has_its_sources_beside_its_packages(
    flow: Flow, write: Write, upstream: Upstream, dist: str
) -> None:
    archive = write(Dist(dist, {"": [Pkg("a")]}, sources={"": [FOO]}))

    synced(flow, upstream, archive, distributions=dist)

    assert flow.sources() == {("flat-repo-component", "foo", "1:2.0-1")}
    assert digests(archive) <= flow.stored()
    assert flow.counts()["source_index"] == flow.counts()["package_index"] == 1
    assert flow.counts()["release_architecture"] == 1  # amd64; source is none


def test_an_archive_may_have_nothing_but_sources(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(
        Dist("stable", {"main": []}, architectures=("amd64",), sources={"main": [FOO]}),
    )

    synced(flow, upstream, archive)

    assert flow.sources() == {("main", "foo", "1:2.0-1")}


@pytest.mark.parametrize("policy", ["on_demand", "streamed"])
def test_a_lazy_sync_fetches_no_source(
    flow: Flow, write: Write, upstream: Upstream, policy: str
) -> None:
    synced(flow, upstream, write(stable()), policy=policy)

    assert len(flow.sources()) == 2
    assert not asked_sources(upstream)


def test_a_policy_that_becomes_immediate_brings_the_files(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable())
    synced(flow, upstream, archive, policy="on_demand")

    done = synced(flow, upstream, archive, policy="immediate")

    assert digests(archive) <= flow.stored()
    assert done.created == []
    assert flow.version() == 1


def test_what_is_known_is_neither_fetched_nor_parsed_again(world: World) -> None:
    flow, upstream = world.flow, world.upstream
    other = Flow(flow.db, flow.crew, add_repository(flow.db))

    done = synced(other, upstream, world.archive)

    assert len(other.sources()) == 2
    assert done.kinds == ["plan", "assemble"]
    assert sorted(path.rpartition("/")[2] for path in upstream.paths()) == [
        *("InRelease", "Release", "Release.gpg"),
    ]


def test_nothing_changed_is_no_new_version(world: World) -> None:
    flow, archive, upstream = world.flow, world.archive, world.upstream

    assert synced(flow, upstream, archive).created == []
    assert synced(flow, upstream, archive, optimize=False).created == []
    assert synced(flow, upstream, archive, mirror=True).created == []


def test_an_unchanged_index_of_sources_stays_as_it_is(write: Write, world: World) -> None:
    flow = world.flow

    done = synced(flow, world.upstream, write(stable(packages=[Pkg("a"), Pkg("b")])))

    assert done.reports["sync.package_index.was_skipped"] == 1
    assert len(flow.sources()) == 2
    assert flow.counts()["source_index"] == 1


def test_an_additive_sync_keeps_what_upstream_dropped_and_a_mirror_does_not(
    write: Write, world: World
) -> None:
    flow, upstream = world.flow, world.upstream
    less = write(stable([BAR]))

    synced(flow, upstream, less)
    added = flow.sources()
    synced(flow, upstream, less, mirror=True)

    assert added == {("main", "foo", "1:2.0-1"), ("main", "bar", "3.0")}
    assert flow.sources() == {("main", "bar", "3.0")}


def test_sources_that_are_not_asked_for_any_more_stay_until_a_mirror(world: World) -> None:
    flow, archive, upstream = world.flow, world.archive, world.upstream

    synced(flow, upstream, archive, sync_sources=False)
    kept = flow.sources()
    synced(flow, upstream, archive, sync_sources=False, mirror=True)

    assert len(kept) == 2
    assert not flow.sources()


def test_empty_indices_of_packages_and_sources_have_the_same_digest(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    dist = Dist("stable", {"main": []}, architectures=("amd64",), sources={"main": []})

    synced(flow, upstream, write(dist))

    assert flow.counts()["package_index"] == flow.counts()["source_index"] == 1


def test_a_component_without_sources_is_reported(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    dist = Dist("stable", {"main": [Pkg("a")], "contrib": [Pkg("b")]}, sources={"main": [FOO]})

    done = synced(flow, upstream, write(dist))

    assert done.reports["sync.skipped.index_unlisted"] == 1
    assert flow.sources() == {("main", "foo", "1:2.0-1")}


def test_sources_that_are_named_and_not_there_are_reported(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable(absent=["main/source/*"]), by_hash=False)

    done = synced(flow, upstream, archive)

    assert not flow.sources()
    assert flow.tolerances(done.task) == [("index_missing", "dists/stable/main/source/Sources")]


def test_a_wrong_index_of_sources_fails_the_sync(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable(), by_hash=False)
    for form in ("xz", "gz"):
        (archive.folder / f"dists/stable/main/source/Sources.{form}").write_bytes(b"wrong")

    error = failed(flow, upstream, archive)

    assert "Sources" in error
    assert flow.version() == 0


def test_a_stanza_without_sha256_is_left_out_and_reported(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    old = Source("foo", "1:2.0-1", stanza={"Checksums-Sha256": ""})

    done = synced(flow, upstream, write(stable([old, BAR])))

    assert flow.sources() == {("main", "bar", "3.0")}
    assert done.reports["sync.skipped.stanza_incomplete"] == 1
    assert flow.tolerances(done.task) == [("stanza_incomplete", "dists/stable/main/source/Sources")]


@pytest.mark.parametrize(
    "stanza",
    [
        {"Directory": "../../etc"},
        {"Checksums-Sha256": f"\n {'ab' * 32} 1 ../../../etc/x.dsc"},
    ],
)
def test_a_way_out_of_the_archive_fails_the_sync(
    flow: Flow, write: Write, upstream: Upstream, stanza: dict[str, str]
) -> None:
    lists = {"Files": "", "Checksums-Sha1": ""}

    error = failed(flow, upstream, write(stable([Source("foo", stanza=lists | stanza)])))

    assert "foo" in error
    assert ".." in error
    assert flow.version() == 0


def test_a_dsc_that_lies_fails_the_sync_and_is_not_kept(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable([FOO]))
    dsc = next(path for path in archive.source_files if path.endswith(".dsc"))
    body = archive.source_files[dsc]
    (archive.folder / dsc).write_bytes(body.replace(b"Format", b"format"))

    error = failed(flow, upstream, archive)

    assert "foo_2.0-1.dsc" in error
    assert hashlib.sha256(body).hexdigest() not in flow.stored()
    assert flow.version() == 0


def test_a_tarball_that_is_gone_fails_the_sync(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable())
    upstream.faults = [faults.status("*/foo_2.0.orig.tar.gz", 404)]

    error = failed(flow, upstream, archive)

    assert "404, message='Not Found'" in error


def test_a_source_package_goes_without_its_files_where_the_guard_says_so(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable())
    upstream.faults = [faults.status("*/foo_2.0.orig.tar.gz", 404)]

    synced(flow, upstream, archive, guards={"missing_files": "warn"})

    assert flow.sources() == {("main", "bar", "3.0")}


# --- what may stand together ---------------------------------------------------------------------


def test_source_packages_share_a_tarball(flow: Flow, write: Write, upstream: Upstream) -> None:
    sources = [
        Source("foo", "2.0-1", files={**SHARED["files"], "foo_2.0-1.debian.tar.xz": b"1"}),
        Source("foo", "2.0-2", files={**SHARED["files"], "foo_2.0-2.debian.tar.xz": b"2"}),
    ]

    synced(flow, upstream, write(stable(sources)))

    assert len(flow.sources()) == 2


def test_two_builds_of_one_source_version_are_refused(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    other = Source("foo", "1:2.0-1", fields={"Binary": "other"}, directory="pool/other")
    dists = [
        stable([FOO]),
        Dist("testing", {"main": [Pkg("a")]}, sources={"main": [other]}),
    ]

    error = failed(flow, upstream, write(*dists), distributions="stable testing")

    assert "[PLP0022]" in error
    assert "foo 1:2.0-1" in error


def test_a_rebuilt_source_replaces_the_older_one(write: Write, world: World) -> None:
    flow, upstream = world.flow, world.upstream
    rebuilt = Source("foo", "1:2.0-1", fields={"Binary": "other"}, directory="pool/new")

    synced(flow, upstream, write(stable([rebuilt, BAR])))

    assert flow.sources() == {("main", "foo", "1:2.0-1"), ("main", "bar", "3.0")}
    assert {unit["relative_path"] for unit in listed(flow)} == {
        "pool/new/foo_2.0-1.dsc",
        "pool/main/b/bar/bar_3.0.dsc",
    }


def test_two_files_at_one_path_are_refused(flow: Flow, write: Write, upstream: Upstream) -> None:
    sources = [
        Source("foo", "2.0-1", files={"foo_2.0.orig.tar.gz": b"one"}),
        Source("foo", "2.0-2", files={"foo_2.0.orig.tar.gz": b"two"}),
    ]

    error = failed(flow, upstream, write(stable(sources)), policy="on_demand")

    assert "[PLP0022]" in error
    assert "foo_2.0.orig.tar.gz" in error


# --- chores --------------------------------------------------------------------------------------


def listed(flow: Flow, kind: Kind = Kind.SOURCE_PACKAGE) -> list[dict[str, Any]]:
    """The units of a kind in the latest version."""
    with flow.db.transaction() as tx:
        held = Held(Place(flow.repository["id"], flow.version()))
        return contents.list_units(tx, Selection(kind, sets=(held,)), 100, 0).rows


def modified(flow: Flow, **units: Any) -> None:
    args = {"repository": flow.repository["id"], "base_version": None, "add": [], "remove": []}
    done = run_chore(flow.crew.worker, "modify", {**args, "overwrite": True, **units})
    assert done["state"] == "completed", done["error"]


def cleaned(flow: Flow) -> None:
    done = run_chore(flow.crew.worker, "orphans", {"units": None, "protection_minutes": 0})
    assert done["state"] == "completed", done["error"]


def counted(flow: Flow, table: str) -> int:
    with flow.db.transaction() as tx:
        query: Any = f"select count(*) as n from {table}"
        row = tx.execute(query).fetchone()
    assert row is not None
    return int(row["n"])


def test_modify_takes_a_source_package_out_with_its_place_and_back_in(world: World) -> None:
    flow = world.flow
    foo = next(u["id"] for u in listed(flow) if u["relative_path"].endswith("foo_2.0-1.dsc"))

    modified(flow, remove=[[int(Kind.SOURCE_PACKAGE), foo, 0]])
    without = flow.sources(), flow.counts()["source_package"]
    modified(flow, add=[[int(Kind.SOURCE_PACKAGE), foo, 0]])

    assert without == ({("main", "bar", "3.0")}, 1)
    assert flow.sources() == {("main", "bar", "3.0")}  # a place is a unit of its own
    assert flow.counts()["source_package"] == 2
    assert "source_index" not in flow.counts()  # it was upstream's


def test_modify_adds_the_place_of_a_source_package(world: World) -> None:
    links = listed(world.flow, Kind.SOURCE_PACKAGE_RELEASE_COMPONENT)
    flow = Flow(world.flow.db, world.flow.crew, add_repository(world.flow.db))

    modified(
        flow,
        add=[
            *([int(Kind.SOURCE_PACKAGE), row["package"], 0] for row in links),
            *([int(Kind.SOURCE_PACKAGE_RELEASE_COMPONENT), r["package"], r["list"]] for r in links),
            [int(Kind.RELEASE_COMPONENT), links[0]["release_component"], 0],
        ],
    )

    assert flow.repository["id"] != world.flow.repository["id"]
    assert flow.sources() == {("main", "foo", "1:2.0-1"), ("main", "bar", "3.0")}


def test_a_version_can_begin_from_an_older_one_and_its_sources(write: Write, world: World) -> None:
    flow = world.flow
    synced(flow, world.upstream, write(stable([BAR])), mirror=True)

    modified(flow, base_version=1)

    assert flow.version() == 3
    assert flow.sources() == {("main", "foo", "1:2.0-1"), ("main", "bar", "3.0")}
    flow.db.run(lambda tx: versions.delete_version(tx, flow.repository["id"], 2))
    assert len(flow.sources()) == 2


def test_cleanup_removes_a_source_package_that_no_version_holds_with_its_files(
    write: Write, world: World
) -> None:
    flow, archive, upstream = world.flow, world.archive, world.upstream
    cleaned(flow)
    kept = counted(flow, "source_packages"), digests(archive) <= flow.stored()
    synced(flow, upstream, write(stable([BAR])), mirror=True)

    flow.db.run(lambda tx: versions.delete_version(tx, flow.repository["id"], 1))
    cleaned(flow)

    assert kept == (2, True)
    assert counted(flow, "source_packages") == 1
    assert counted(flow, "source_indices") == 1
    assert len(digests(archive) & flow.stored()) == 2  # bar's
    synced(flow, upstream, archive)
    assert digests(archive) <= flow.stored()


def test_the_index_that_offers_a_source_on_demand_is_kept(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    synced(flow, upstream, write(stable()), policy="on_demand")
    synced(flow, upstream, write(stable([BAR])), policy="on_demand")

    cleaned(flow)

    offered = "offers o join index_chunks c using (index) where c.kind = 12"
    assert counted(flow, offered) >= 2  # foo is in the older index alone


def test_a_source_in_use_cannot_be_deleted(seen: World) -> None:
    with pytest.raises(Exception, match="still in a version"), seen.flow.db.transaction() as tx:
        tx.execute("delete from source_packages")


def test_repair_brings_back_a_file_of_a_source_package(world: World) -> None:
    flow, archive = world.flow, world.archive
    lost = sorted(bytes.fromhex(digest) for digest in digests(archive))[:2]
    for digest in lost:
        flow.crew.worker.store.delete(digest)

    args = {"repository": flow.repository["id"], "number": 1, "verify_checksums": True}
    done = run_chore(flow.crew.worker, "repair", args)

    assert done["state"] == "completed"
    assert digests(archive) <= flow.stored()


# --- publish and serve ---------------------------------------------------------------------------


TARBALL = "pool/main/f/foo/foo_2.0.orig.tar.gz"


@pytest.mark.parametrize(
    "first",
    [
        None,  # both at once
        stable([FOO]),
        stable([], [Pkg("a", path=TARBALL)]),
    ],
)
def test_a_package_and_a_source_s_file_at_one_path_fail(
    flow: Flow, write: Write, upstream: Upstream, first: Dist | None
) -> None:
    if first is not None:
        synced(flow, upstream, write(first), policy="on_demand")
    held = flow.counts()

    error = failed(
        flow, upstream, write(stable([FOO], [Pkg("a", path=TARBALL)])), policy="on_demand"
    )

    assert f"[PLP0022] Cannot create repository version. Path is duplicated: {TARBALL}." in error
    assert flow.counts() == held


def test_a_file_of_the_installer_and_a_source_s_file_at_one_path_fail(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    place = "main/installer-amd64/current/images"
    source = Source("foo", "1.0", directory=f"dists/stable/{place}")
    archive = write(stable([source], installer={place: {"foo_1.0.dsc": b"another"}}))

    error = failed(flow, upstream, archive, policy="on_demand", sync_installer=True)

    assert f"Path is duplicated: dists/stable/{place}/foo_1.0.dsc." in error


def sources_of(files: dict[str, bytes], path: str) -> dict[str, str]:
    """Directory by source package."""
    found = {}
    for text in files[path].decode().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in text.split("\n") if ": " in line)
        found[fields["Package"]] = fields["Directory"]
    return found


@pytest.mark.parametrize(
    ("options", "index", "component"),
    [
        ({}, "dists/stable/main/source/Sources", "main"),
        ({"simple": True, "structured": False}, "dists/default/all/source/Sources", "all"),
        ({"layout": "nested_by_digest"}, "dists/stable/main/source/Sources", "main"),
        ({"layout": "nested_by_both"}, "dists/stable/main/source/Sources", "main"),
    ],
)
def test_a_publication_lists_sources_and_serves_their_files(
    seen: World, site: Site, options: dict[str, Any], index: str, component: str
) -> None:
    made = publish(seen.flow, **options)

    directories = sources_of(made.files, index)
    plain = {"foo": f"pool/{component}/f/foo", "bar": f"pool/{component}/b/bar"}
    dist = index.split("/")[1]
    below = index.removeprefix(f"dists/{dist}/")
    assert {below, f"{below}.gz", f"{below}.xz"} <= made.listed(dist).keys()
    if options.get("layout", "nested_alphabetically") == "nested_alphabetically":
        assert directories == plain
    base = made.publication.uuid.hex
    add_distribution(seen.flow.db, base, publication=made.publication.id)
    for path, body in seen.archive.source_files.items():
        name = path.rpartition("/")[2]
        place = directories[name[:3]]
        assert site.get(f"{base}/{place}/{name}").body == body, place
        assert name in site.get(f"{base}/{place}/").text
        status = 404 if options.get("layout") == "nested_by_digest" else 200
        assert site.get(f"{base}/{plain[name[:3]]}/{name}").status == status
    assert site.get(f"{base}/pool/contrib/f/foo/{name}").status == 404


def test_a_component_without_sources_has_an_empty_index(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    parts = {"main": [Pkg("a")], "contrib": [Pkg("b")]}
    synced(flow, upstream, write(Dist("stable", parts, sources={"main": [FOO]})))

    made = publish(flow)

    assert made.files["dists/stable/contrib/source/Sources"] == b""
    assert list(sources_of(made.files, "dists/stable/main/source/Sources")) == ["foo"]


def test_sources_with_other_bytes_under_one_name_get_directories_of_their_own(
    flow: Flow, write: Write, upstream: Upstream, settings: Any
) -> None:
    sources = [
        Source("foo", f"2.0-{n}", files={"foo_2.0.orig.tar.gz": bytes(n)}, directory=f"v{n}")
        for n in (1, 2)
    ]
    archive = write(stable(sources))
    synced(flow, upstream, archive)

    made = publish(flow)

    add_distribution(flow.db, "debian", publication=made.publication.id)
    text = made.files["dists/stable/main/source/Sources"].decode()
    places = [line.split(" ")[1] for line in text.split("\n") if line.startswith("Directory:")]
    assert len(set(places)) == 2
    with serving(settings) as site:
        bodies = [site.get(f"debian/{place}/foo_2.0.orig.tar.gz").body for place in places]
    assert bodies == [bytes(1), bytes(2)]


def test_a_package_named_like_a_source_s_file_shares_no_path_with_it(
    flow: Flow, write: Write, upstream: Upstream, settings: Any
) -> None:
    tarball = "foo_2.0.orig.tar.gz"
    archive = write(stable([FOO], [Pkg("foo", path=f"odd/{tarball}")]))
    synced(flow, upstream, archive)

    made = publish(flow)

    add_distribution(flow.db, "debian", publication=made.publication.id)
    text = made.files["dists/stable/main/binary-amd64/Packages"].decode()
    filename = re.findall(r"^Filename: (.+)$", text, re.MULTILINE)[0]
    place = sources_of(made.files, "dists/stable/main/source/Sources")["foo"]
    with serving(settings) as site:
        assert (
            site.get(f"debian/{filename}").body == (archive.folder / "odd" / tarball).read_bytes()
        )
        for path, body in archive.source_files.items():
            assert site.get(f"debian/{place}/{path.rpartition('/')[2]}").body == body


@pytest.mark.parametrize("dist", ["stable", "./"])
def test_a_verbatim_publication_serves_upstreams_sources(
    flow: Flow, write: Write, upstream: Upstream, settings: Any, dist: str
) -> None:
    archive = write(Dist(dist, {"main": [Pkg("a")]}, sources={"main": [FOO]}))
    synced(flow, upstream, archive, distributions=dist)

    made = publish(flow, kind="verbatim")

    index = "Sources.xz" if dist == "./" else "dists/stable/main/source/Sources.xz"
    add_distribution(flow.db, "debian", publication=made.publication.id)
    with serving(settings) as site:
        assert site.get(f"debian/{index}").body == (archive.folder / index).read_bytes()
        for path, body in archive.source_files.items():
            assert site.get(f"debian/{path}").body == body
        folder = next(iter(archive.source_files)).rpartition("/")[0]
        assert "foo_2.0-1.dsc" in site.get(f"debian/{folder}/".replace("//", "/")).text


def test_a_source_that_nobody_asked_for_is_fetched_when_a_client_does(
    flow: Flow, write: Write, upstream: Upstream, settings: Any
) -> None:
    archive = write(stable([FOO]))
    synced(flow, upstream, archive, policy="on_demand")
    made = publish(flow)
    add_distribution(flow.db, "debian", publication=made.publication.id)

    with serving(settings) as site:
        for _ in range(2):
            for path, body in archive.source_files.items():
                assert site.get(f"debian/{path}").body == body

    assert sorted(asked_sources(upstream)) == sorted(archive.source_files)
    assert digests(archive) <= flow.stored()


@pytest.mark.parametrize("kind", ["apt", "verbatim"])
def test_debfleet_syncs_the_sources_of_debfleet(
    flow: Flow, write: Write, upstream: Upstream, settings: Any, kind: str
) -> None:
    archive = write(stable())
    synced(flow, upstream, archive, policy="on_demand")
    made = publish(flow, kind=kind)
    add_distribution(flow.db, "debian", publication=made.publication.id)
    other = Flow(flow.db, flow.crew, add_repository(flow.db))

    with serving(settings) as site:
        synced(other, upstream, archive, url=f"http://{site.address}/pulp/content/debian/")

    assert other.sources() == flow.sources()
    assert digests(archive) <= other.stored()


def test_the_wrong_bytes_of_a_dsc_never_reach_a_client(
    flow: Flow, write: Write, upstream: Upstream, settings: Any, tmp_path: Path
) -> None:
    archive = write(stable([FOO]))
    synced(flow, upstream, archive, policy="on_demand")
    made = publish(flow)
    add_distribution(flow.db, "debian", publication=made.publication.id)
    dsc = next(path for path in archive.source_files if path.endswith(".dsc"))
    body = archive.source_files[dsc]
    (archive.folder / dsc).write_bytes(body.replace(b"Format", b"format"))

    with serving(settings) as site:
        try:
            got = site.get(f"debian/{dsc}").body
        except Exception:  # noqa: BLE001 - a cut connection has many faces
            got = b""

    assert got != body.replace(b"Format", b"format")
    assert hashlib.sha256(body).hexdigest() not in flow.stored()


def test_a_unit_is_found_by_its_versions(seen: World) -> None:
    flow = seen.flow
    source = listed(flow)[0]["id"]
    link = listed(flow, Kind.SOURCE_PACKAGE_RELEASE_COMPONENT)[0]

    with flow.db.transaction() as tx:
        for unit in (
            UnitId(Kind.SOURCE_PACKAGE, source),
            UnitId(Kind.SOURCE_PACKAGE_RELEASE_COMPONENT, link["package"], link["list"]),
        ):
            assert holdings.find_versions(tx, [unit]) == [(flow.repository["id"], 1)]
            assert contents.list_known(tx, [unit]) == {unit}
