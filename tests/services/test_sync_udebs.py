"""Packages of the installer (udebs): indices of their own, beside those of packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from sync_flow import Flow

Write = Callable[..., Archive]
A = Pkg("a")
UDEB = Pkg("a", is_udeb=True)  # name, version and architecture of a package
UDEB_ALL = Pkg("u-all", architecture="all", is_udeb=True)
INDEX = "dists/stable/main/debian-installer/binary-amd64/Packages"


def stable(packages: Sequence[Pkg] = (A, UDEB), **fields: Any) -> Dist:
    return Dist("stable", {"main": packages}, architectures=("amd64",), **fields)


def udebs(flow: Flow) -> set[tuple[str, str, str]]:
    """(name, version, architecture) of the latest version's installer packages."""
    query = """
        select p.name, p.version, p.architecture
          from repository_chunks c
          join content_lists l on l.id = c.list and l.kind = 2
         cross join generate_series(0, chunk_size() - 1) i
          join packages p on p.id = id_at(c.chunk, i)
         where c.repository = %s and c.removed is null and get_bit(c.bits, i) = 1"""
    with flow.db.transaction() as tx:
        rows = tx.execute(query, (flow.repository["id"],)).fetchall()
    return {(r["name"], r["version"], r["architecture"]) for r in rows}


def test_udebs_are_left_alone_unless_they_are_asked_for(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, policy="on_demand")

    assert flow.sync().state == "completed"

    assert udebs(flow) == set()
    assert not [path for path in upstream.paths() if "debian-installer" in path]


def test_udebs_are_units_of_their_own_beside_a_package_of_the_same_name(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable((A, UDEB, UDEB_ALL)))
    upstream.rotate(archive.folder)
    flow.set_remote(upstream, sync_udebs=True)

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert udebs(flow) == {("a", "1.0", "amd64"), ("u-all", "1.0", "all")}
    assert flow.packages() == {("a", "1.0", "amd64")}
    assert set(archive.files.values()) <= flow.stored()
    assert flow.counts() == {
        "package": 1,
        "installer_package": 2,
        "package_release_component": 1,
        "package_index": 2,
        "release": 1,
        "release_architecture": 1,
        "release_component": 1,
        "release_file": 1,
    }
    assert done.reports["update.packageindex"] == 2
    assert done.reports["associating.content"] == sum(flow.counts().values())


def test_the_filters_of_a_remote_hold_for_udebs_too(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    arm, contrib = replace(UDEB, architecture="arm64"), replace(UDEB, name="c")
    dist = Dist(
        "stable", {"main": (A, UDEB, arm), "contrib": (contrib,)}, architectures=("amd64", "arm64")
    )
    upstream.rotate(write(dist).folder)
    flow.set_remote(
        upstream, policy="on_demand", sync_udebs=True, components="main", architectures="arm64"
    )

    assert flow.sync().state == "completed"

    assert udebs(flow) == {("a", "1.0", "arm64")}


def test_a_component_without_udebs_is_reported_once(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    dist = Dist("stable", {"main": (A, UDEB), "contrib": (A,)}, architectures=("amd64", "arm64"))
    upstream.rotate(write(dist).folder)
    flow.set_remote(upstream, policy="on_demand", sync_udebs=True)

    done = flow.sync()

    assert done.state == "completed"
    assert flow.tolerances(done.task) == [("index_unlisted", "dists/stable/InRelease")] or (
        flow.tolerances(done.task) == [("index_unlisted", "dists/stable/Release")]
    )


def test_a_second_sync_neither_fetches_nor_parses_them_again(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, policy="on_demand", sync_udebs=True)
    flow.sync()
    upstream.rotate(write(stable((A, Pkg("b"), UDEB))).folder)
    before = len(upstream.paths())

    done = flow.sync()

    assert done.state == "completed"
    assert not [path for path in upstream.paths()[before:] if "debian-installer" in path]
    assert done.reports["sync.package_index.was_skipped"] == 1
    assert udebs(flow) == {("a", "1.0", "amd64")}


def test_a_new_build_of_a_udeb_replaces_the_old_and_leaves_the_package(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, sync_udebs=True, policy="on_demand")
    flow.sync()
    rebuilt = replace(UDEB, payload_size=2000, path="pool/main/a/a/a_1.0+b_amd64.udeb")
    upstream.rotate(write(stable((A, rebuilt))).folder)

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert flow.counts()["installer_package"] == 1
    assert flow.packages() == {("a", "1.0", "amd64")}


def test_two_builds_of_one_udeb_are_refused(flow: Flow, write: Write, upstream: Upstream) -> None:
    other = replace(UDEB, payload_size=2000, path="pool/main/a/a/other.udeb")
    upstream.rotate(write(stable((A, UDEB, other))).folder)
    flow.set_remote(upstream, sync_udebs=True, policy="on_demand")

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[DEB0009]")
    assert "a 1.0 amd64" in done.error


def test_a_mirror_that_stops_syncing_udebs_has_none(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, sync_udebs=True, policy="on_demand")
    flow.sync(mirror=True)
    flow.set_remote(upstream, sync_udebs=False)

    assert flow.sync(mirror=True).state == "completed"

    assert udebs(flow) == set()
    assert "installer_package" not in flow.counts()


def test_a_missing_index_of_udebs_is_named(flow: Flow, write: Write, upstream: Upstream) -> None:
    archive = write(stable(absent=("main/debian-installer/*",)))
    upstream.rotate(archive.folder)
    flow.set_remote(upstream, sync_udebs=True, policy="on_demand")

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[DEB0003]")
    assert INDEX.rpartition("/")[0] in done.error
