"""Files that upstream drops from its indices: left, or fetched before its pool has them no more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from api_client import REPOSITORIES, ApiClient
from archive import faults
from archive.model import Archive, Dist, Pkg, Source
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db import tasks
from publish_flow import publish
from serving import add_distribution, serving
from sync_flow import Flow, Synced

Write = Callable[..., Archive]
A, B, C = Pkg("a"), Pkg("b"), Pkg("c")
NEWER_A = Pkg("a", "2.0")
SAME_B = Pkg("b", stanza={"Phased-Update-Percentage": "10"})  # of the same file
OLD_A = "pool/main/a/a/a_1.0_amd64.deb"
FETCHING = ["plan", "index", "index", "download", "assemble"]


def stable(*packages: Pkg, **fields: Any) -> Dist:
    return Dist("stable", {"main": packages}, **fields)


@dataclass(frozen=True)
class Stage:
    """An on-demand repository that has synced a, b and c from its upstream."""

    flow: Flow
    write: Write
    upstream: Upstream
    first: Archive

    def turn_to(self, *dists: Dist) -> None:
        """Upstream has another state; its pool keeps what it had."""
        new = self.write(*dists)
        for part in ("pool", "dists"):
            for file in (self.first.folder / part).rglob("*"):
                place = new.folder / file.relative_to(self.first.folder)
                is_kept = part == "pool" or "installer-" in str(file)
                if file.is_file() and is_kept and not place.exists():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, place)
        self.upstream.rotate(new.folder)
        self.upstream.clear()

    def sync(self, *, mirror: bool = True) -> Synced:
        done = self.flow.sync(mirror=mirror)
        assert (done.state, done.error) == ("completed", "")
        return done

    def asked(self) -> list[str]:
        """The files that upstream was asked for, without its indices."""
        got = [r.path for r in self.upstream.requests if r.method == "GET"]
        return sorted(p for p in got if p.startswith("pool/") or p.endswith("/linux"))

    def drop(self, path: str) -> None:
        self.upstream.faults.append(faults.status(path, 404))


@pytest.fixture
def first() -> list[Dist]:
    return [stable(A, B, C)]


@pytest.fixture
def stage(flow: Flow, write: Write, upstream: Upstream, first: list[Dist]) -> Stage:
    archive = write(*first)
    upstream.rotate(archive.folder)
    names = " ".join(dist.name for dist in first)
    flow.set_remote(upstream, policy="on_demand", distributions=names, vanishing="fetch")
    made = Stage(flow, write, upstream, archive)
    made.sync()
    return made


@pytest.mark.parametrize("mirror", [True, False])
def test_what_upstream_drops_is_fetched_and_served_after_it_is_gone(
    stage: Stage, settings: Settings, mirror: bool
) -> None:
    publish(stage.flow)
    add_distribution(stage.flow.db, "debian", repository=stage.flow.repository["id"])
    stage.turn_to(stable(NEWER_A, SAME_B, C))

    done = stage.sync(mirror=mirror)

    assert done.kinds == FETCHING
    assert stage.asked() == [OLD_A]  # b is another unit now, of a file that is listed still
    assert len(stage.flow.packages()) == (3 if mirror else 4)
    stage.drop("pool/*")
    with serving(settings) as site:
        served = site.get(f"debian/{OLD_A}")
    assert (served.status, served.body) == (200, (stage.first.folder / OLD_A).read_bytes())


def test_without_the_option_nothing_is_fetched(stage: Stage) -> None:
    stage.flow.set_remote(stage.upstream, vanishing="leave")
    stage.turn_to(stable(NEWER_A, B, C))

    assert stage.sync().kinds == ["plan", "index", "assemble"]

    assert stage.asked() == []


def test_what_is_gone_already_is_reported_and_counted_and_the_sync_completes(
    stage: Stage, api: ApiClient
) -> None:
    stage.turn_to(stable(NEWER_A, B))
    stage.drop(OLD_A)

    done = stage.sync()

    assert done.reports["sync.skipped.vanished_files"] == 1
    assert stage.flow.tolerances(done.task) == [("vanished_files", OLD_A)]
    assert stage.asked() == [OLD_A, "pool/main/c/c/c_1.0_amd64.deb"]
    href = f"{REPOSITORIES}{stage.flow.repository['uuid']}/versions/"
    listed = (api.get(href).json or {})["results"]
    assert {v["number"]: v["missing_files"] for v in listed} == {2: 0, 1: 1, 0: 0}
    assert (api.get(f"{href}1/").json or {})["missing_files"] == 1
    stage.turn_to(stable(A))
    stage.sync()  # it is listed again
    assert (api.get(f"{href}1/").json or {})["missing_files"] == 0


@pytest.mark.parametrize("patience", [3600, 0])
def test_a_host_in_trouble_is_waited_for_and_in_the_end_stops_no_sync(
    stage: Stage, patience: int
) -> None:
    worker = stage.flow.crew.worker
    settings = replace(worker.settings, upstream_patience_seconds=patience)
    stage.flow.crew = replace(stage.flow.crew, worker=replace(worker, settings=settings))
    stage.turn_to(stable(NEWER_A, B, C))
    stage.upstream.faults.append(faults.status(OLD_A, 500))

    done = stage.flow.sync(mirror=True)

    assert done.state == ("running" if patience else "completed")
    assert stage.flow.version() == (1 if patience else 2)
    reported = [("vanished_files", OLD_A)]
    assert stage.flow.tolerances(done.task) == ([] if patience else reported)
    with stage.flow.db.transaction() as tx:
        assert tx.execute("select from gone_files").fetchall() == []


def test_a_sync_that_is_canceled_while_it_fetches_changes_nothing_and_the_next_does_it_all(
    stage: Stage,
) -> None:
    stage.turn_to(stable(NEWER_A, B, C))
    task = stage.flow.ask_sync(mirror=True)
    stage.flow.go_on_to(task, "download", vanishing=True)
    with stage.flow.db.transaction() as tx:
        row = tx.execute("select uuid from tasks where id = %s", (task,)).fetchone()
        assert row is not None
        tasks.cancel(tx, row["uuid"])

    assert stage.flow.version() == 1
    assert stage.sync().kinds == ["plan", "index", "download", "assemble"]  # the index is known
    assert stage.first.files[OLD_A] in stage.flow.stored()


@pytest.mark.parametrize("is_served", [True, False])
def test_for_versions_that_go_nothing_is_fetched(stage: Stage, is_served: bool) -> None:
    with stage.flow.db.transaction() as tx:
        tx.execute("update repositories set retain_repo_versions = 1")
    if is_served:
        publish(stage.flow)
        add_distribution(stage.flow.db, "debian", repository=stage.flow.repository["id"])
    stage.turn_to(stable(NEWER_A, B, C))

    stage.sync()

    assert stage.asked() == ([OLD_A] if is_served else [])


@pytest.mark.parametrize("first", [[stable(A), Dist("other", {"main": [B, C]})]])
def test_a_dist_that_is_not_asked_for_any_more_is_not_dropped_by_upstream(stage: Stage) -> None:
    stage.flow.set_remote(stage.upstream, distributions="stable")
    stage.turn_to(stable(NEWER_A))

    stage.sync()

    assert stage.asked() == [OLD_A]


def test_a_mirror_that_a_guard_refuses_fetches_nothing(stage: Stage) -> None:
    stage.flow.set_remote(stage.upstream, guards={"shrink": "refuse"})
    stage.turn_to(stable(NEWER_A))

    done = stage.flow.sync(mirror=True)

    assert (done.state, done.error[:9]) == ("failed", "[DBF0001]")
    assert stage.asked() == []


ORIG = {"foo_1.0.orig.tar.gz": b"orig"}
FOO = [Source("foo", f"1.0-{n}", files={**ORIG, f"foo_1.0-{n}.debian.tar.xz": b"%d" % n})
       for n in (1, 2)]  # fmt: skip
UDEB, NEWER_UDEB = Pkg("u", is_udeb=True), Pkg("u", "2.0", is_udeb=True)
CURRENT = "main/installer-amd64/current/images"


def with_all(source: Source, udeb: Pkg, image: bytes) -> Dist:
    installer = {CURRENT: {"linux": image, "MANIFEST": b"the same"}}
    return stable(A, udeb, sources={"main": [source]}, installer=installer)


def test_sources_udebs_and_the_installer_vanish_too_file_by_file(
    stage: Stage,
) -> None:
    fields = {"sync_sources": True, "sync_udebs": True, "sync_installer": True}
    stage.flow.set_remote(stage.upstream, **fields)
    first = with_all(FOO[0], UDEB, b"one")
    stage.turn_to(first)
    stage.sync()
    stage = replace(stage, first=stage.write(first))
    stage.turn_to(with_all(FOO[1], NEWER_UDEB, b"other"))
    image = f"dists/stable/{CURRENT}/linux"
    shutil.copyfile(stage.first.folder / image, stage.upstream.folder / image)  # it is not new yet

    stage.sync()

    assert [path.rpartition("/")[2] for path in stage.asked()] == [
        "linux", "foo_1.0-1.debian.tar.xz", "foo_1.0-1.dsc", "u_1.0_amd64.udeb",
    ]  # fmt: skip
