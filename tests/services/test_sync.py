"""What a sync makes of an archive: each scenario from Release to version, with real services."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest

from archive import faults
from archive.keys import SigningKey
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet.db import units
from sync_flow import Flow, add_repository

Write = Callable[..., Archive]
A, B, C = Pkg("a"), Pkg("b"), Pkg("c", architecture="all")
AMD64 = "main/binary-amd64"


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return SigningKey.generate()


def stable(packages: Sequence[Pkg] = (A, B, C), **fields: Any) -> Dist:
    return Dist("stable", {"main": packages}, **fields)


# --- what comes out ------------------------------------------------------------------------------


def test_a_sync_brings_in_every_package_and_stores_every_file(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable())
    upstream.rotate(archive.folder)
    flow.set_remote(upstream)

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert [prn.split(":")[1] for prn in done.created] == ["core.repositoryversion"]
    assert flow.version() == 1
    assert flow.packages() == {("a", "1.0", "amd64"), ("b", "1.0", "amd64"), ("c", "1.0", "all")}
    assert set(archive.files.values()) <= flow.stored()
    assert done.kinds == ["plan", "index", "download", "assemble"]
    assert flow.counts() == {
        "package": 3,
        "package_release_component": 3,
        "package_index": 1,
        "release": 1,
        "release_architecture": 1,
        "release_component": 1,
        "release_file": 1,
    }


def test_on_demand_fetches_no_package(flow: Flow, write: Write, upstream: Upstream) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, policy="on_demand")

    done = flow.sync()

    assert done.state == "completed"
    assert len(flow.packages()) == 3
    assert not [path for path in upstream.paths() if path.startswith("pool/")]


def test_the_four_reports_count_what_happened(flow: Flow, write: Write, upstream: Upstream) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.reports["update.release_file"] == 1
    assert done.reports["update.packageindex"] == 1
    assert done.reports["associating.content"] == sum(flow.counts().values())
    assert done.reports["downloading.artifacts"] >= 3 + 1 + 3  # Release forms, the index, packages


def test_indices_are_fetched_by_hash_where_release_offers_it(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, policy="on_demand")

    flow.sync()

    indices = [p for p in upstream.paths() if "/main/" in p]
    assert len(indices) == 3  # .xz, .gz and the Release beside them
    assert all(p.startswith("dists/stable/main/binary-amd64/by-hash/SHA256/") for p in indices)


def test_an_archive_without_by_hash_is_fetched_by_name(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(), by_hash=False).folder)
    flow.set_remote(upstream, policy="on_demand")

    assert flow.sync().state == "completed"
    assert "dists/stable/main/binary-amd64/Packages.xz" in upstream.paths()


@pytest.mark.parametrize("encodings", [("gz",), ("xz",), ()])
def test_any_encoding_will_do(
    flow: Flow, write: Write, upstream: Upstream, encodings: tuple[str, ...]
) -> None:
    upstream.rotate(write(stable(), encodings=encodings, plain=not encodings).folder)
    flow.set_remote(upstream)

    assert flow.sync().state == "completed"
    assert len(flow.packages()) == 3


def test_several_dists_components_and_architectures_come_into_one_version(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(
        Dist("one", {"main": [A, Pkg("a", architecture="arm64")], "contrib": [B]}),
        Dist("two", {"main": [Pkg("d")]}),
    )
    upstream.rotate(archive.folder)
    flow.set_remote(upstream, distributions="one two")

    done = flow.sync()

    assert done.state == "completed"
    assert {name for name, _, _ in flow.packages()} == {"a", "b", "d"}
    assert ("contrib", "amd64", "b", "1.0") in flow.places()
    assert flow.counts()["release_file"] == 2
    assert flow.counts()["release_component"] == 3


def test_filters_leave_out_components_and_architectures(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    dist = Dist("stable", {"main": [A, Pkg("a", architecture="arm64")], "contrib": [B]})
    upstream.rotate(write(dist).folder)
    flow.set_remote(upstream, components="main", architectures="arm64 vax")

    done = flow.sync()

    assert flow.packages() == {("a", "1.0", "arm64")}
    assert done.reports["sync.skipped.architecture_unknown"] == 1
    assert ("architecture_unknown", "dists/stable/Release") in flow.tolerances(done.task)


@pytest.mark.parametrize("all_packages", ["each", "own", "both"])
def test_packages_for_all_come_in_once_wherever_they_are_listed(
    flow: Flow, write: Write, upstream: Upstream, all_packages: str
) -> None:
    packages = [A, Pkg("b", architecture="arm64"), C]
    upstream.rotate(write(stable(packages, all_packages=all_packages)).folder)
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.state == "completed"
    assert flow.packages() == {("a", "1.0", "amd64"), ("b", "1.0", "arm64"), ("c", "1.0", "all")}
    assert ("main", "all", "c", "1.0") in flow.places()
    assert flow.tolerances(done.task) == []


def test_a_hybrid_archive_without_its_binary_all_is_still_whole(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    dist = stable([A, C], all_packages="both", absent=["main/binary-all/*"])
    upstream.rotate(write(dist).folder)
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.state == "completed"
    assert flow.packages() == {("a", "1.0", "amd64"), ("c", "1.0", "all")}
    assert flow.tolerances(done.task) == [
        ("index_missing", "dists/stable/main/binary-all/Packages")
    ]
    assert set(write(dist).files.values()) <= flow.stored()


@pytest.mark.parametrize("name", ["./", "binary/"])
def test_a_flat_archive_comes_in_under_its_flat_names(
    flow: Flow, write: Write, upstream: Upstream, name: str
) -> None:
    upstream.rotate(write(Dist(name, {"main": [A, C]})).folder)
    flow.set_remote(upstream, distributions=name)

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert flow.packages() == {("a", "1.0", "amd64"), ("c", "1.0", "all")}
    assert flow.places() == {
        ("flat-repo-component", "amd64", "a", "1.0"),
        ("flat-repo-component", "all", "c", "1.0"),
    }
    assert flow.counts()["release_architecture"] == 2


def test_a_component_with_a_prefix_lies_in_its_plain_directory(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(Dist("stable/updates", {"updates/main": [A]})).folder)
    flow.set_remote(upstream, distributions="stable/updates", components="main")

    assert flow.sync().state == "completed"
    assert flow.places() == {("updates/main", "amd64", "a", "1.0")}


# --- a second time -----------------------------------------------------------------------------


def test_nothing_changed_costs_three_requests_and_makes_no_version(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream)
    flow.sync()
    upstream.clear()

    again = flow.sync()

    assert (again.state, again.created) == ("completed", [])
    assert flow.version() == 1
    assert len(upstream.paths()) == 3
    assert again.kinds == ["plan"]
    assert again.reports["sync.release_file.was_skipped"] == 1
    assert again.reports["downloading.artifacts"] == 3


def test_an_unchanged_mirror_is_skipped_whole(flow: Flow, write: Write, upstream: Upstream) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream)
    flow.sync(mirror=True)

    again = flow.sync(mirror=True)

    assert again.created == []
    assert again.reports["sync.complete_skip.was_skipped"] == 1
    assert again.kinds == ["plan"]


def test_without_optimize_everything_is_looked_at_and_nothing_fetched_twice(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream)
    flow.sync()
    upstream.clear()

    again = flow.sync(optimize=False)

    assert (again.state, again.created) == ("completed", [])
    assert again.kinds == ["plan", "assemble"]
    assert len(upstream.paths()) == 3


def test_an_additive_sync_keeps_what_upstream_dropped_and_mirror_does_not(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable([A, B])).folder)
    flow.set_remote(upstream)
    flow.sync()
    upstream.rotate(write(stable([B, C])).folder)

    flow.sync()
    additive = {name for name, _, _ in flow.packages()}
    flow.sync(mirror=True)

    assert additive == {"a", "b", "c"}
    assert {name for name, _, _ in flow.packages()} == {"b", "c"}
    assert flow.version() == 3
    assert flow.counts()["release_file"] == 1


def test_only_the_changed_index_is_fetched(flow: Flow, write: Write, upstream: Upstream) -> None:
    before = Dist("stable", {"main": [A], "contrib": [B]})
    upstream.rotate(write(before).folder)
    flow.set_remote(upstream)
    flow.sync()
    upstream.rotate(write(replace(before, components={"main": [A], "contrib": [B, C]})).folder)
    upstream.clear()

    again = flow.sync()

    assert again.state == "completed"
    assert {name for name, _, _ in flow.packages()} == {"a", "b", "c"}
    assert not [p for p in upstream.paths() if "/main/" in p and "dists" in p]
    assert again.reports["sync.package_index.was_skipped"] == 1


def test_a_changed_index_is_read_by_the_one_that_the_latest_version_has(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    path = "dists/stable/main/binary-amd64/Packages"

    def found() -> int | None:
        repository = flow.repository["id"]
        with flow.db.transaction() as tx:
            return units.find_index_before(tx, repository, path, units.PACKAGES)

    upstream.rotate(write(Dist("stable", {"main": [Pkg("a"), Pkg("b")]})).folder)
    flow.set_remote(upstream)
    assert found() is None
    flow.sync()
    first = found()
    upstream.rotate(write(Dist("stable", {"main": [Pkg("b"), Pkg("c")]})).folder)
    flow.sync(mirror=True)

    second = found()
    assert first is not None
    assert second not in (None, first)
    assert {name for name, *_ in flow.packages()} == {"b", "c"}


def test_the_same_build_with_other_bytes_replaces_the_one_before(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable([A])).folder)
    flow.set_remote(upstream)
    flow.sync()
    upstream.rotate(write(stable([replace(A, payload_size=2000)])).folder)

    assert flow.sync().state == "completed"
    assert flow.packages() == {("a", "1.0", "amd64")}
    assert flow.version() == 2


def test_two_builds_of_one_package_in_two_dists_are_refused(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    one = Dist("one", {"main": [replace(A, path="pool/one/a.deb")]})
    two = Dist("two", {"main": [replace(A, path="pool/two/a.deb", payload_size=2000)]})
    upstream.rotate(write(one, two).folder)
    flow.set_remote(upstream, distributions="one two")

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[DEB0009] Cannot create repository version since there are newly")
    assert "a 1.0 amd64" in done.error.replace("_", " ")
    assert flow.version() == 0


def test_immediate_after_on_demand_fetches_the_files_and_makes_no_version(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable())
    upstream.rotate(archive.folder)
    flow.set_remote(upstream, policy="on_demand")
    flow.sync()
    flow.set_remote(upstream, policy="immediate")

    done = flow.sync()

    assert (done.state, done.created) == ("completed", [])
    assert set(archive.files.values()) <= flow.stored()
    assert flow.sync().kinds == ["plan"]  # and its options are remembered


def test_a_second_repository_of_the_same_upstream_fetches_release_files_only(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream)
    flow.sync()
    other = Flow(flow.db, flow.crew, add_repository(flow.db))
    other.set_remote(upstream)
    upstream.clear()

    done = other.sync()

    assert done.state == "completed"
    assert other.packages() == flow.packages()
    assert len(upstream.paths()) == 3


def test_empty_indices_that_are_all_the_same_work_and_so_does_the_step_to_one_package(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    dist = Dist("stable", {"main": [], "contrib": []}, architectures=["amd64", "arm64"])
    upstream.rotate(write(dist).folder)
    flow.set_remote(upstream)
    empty = flow.sync()
    upstream.rotate(write(replace(dist, components={"main": [A], "contrib": []})).folder)

    one = flow.sync()

    assert (empty.state, one.state) == ("completed", "completed")
    assert flow.packages() == {("a", "1.0", "amd64")}
    assert flow.counts()["package_index"] == 4


# --- signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("forms", [None, ("InRelease",), ("Release", "Release.gpg")])
def test_a_signed_archive_is_verified_in_each_form(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey, forms: tuple[str, ...] | None
) -> None:
    upstream.rotate(write(stable(forms=forms), key=key).folder)
    flow.set_remote(upstream, gpgkey=key.public)

    assert flow.sync().state == "completed"


def test_a_release_by_another_key_is_refused_and_nothing_changes(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey
) -> None:
    upstream.rotate(write(stable(), key=SigningKey.generate()).folder)
    flow.set_remote(upstream, gpgkey=key.public)

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[DEB0002] Unable to verify any Release files from")
    assert "using the GPG key provided." in done.error
    assert flow.version() == 0
    assert flow.stored() == set()


def test_an_unsigned_release_is_refused_where_there_is_a_key(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, gpgkey=key.public)

    assert flow.sync().error.startswith("[DEB0002]")


def test_a_good_detached_signature_saves_a_bad_inrelease(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey
) -> None:
    archive = write(stable(), key=key)
    inrelease = archive.folder / "dists/stable/InRelease"
    inrelease.write_bytes(inrelease.read_bytes().replace(b"Codename: stable", b"Codename: stabel"))
    upstream.rotate(archive.folder)
    flow.set_remote(upstream, gpgkey=key.public)

    assert flow.sync().state == "completed"
    with flow.db.transaction() as tx:
        row = tx.execute("select codename, relative_path from release_files").fetchone()
    assert row == {"codename": "stable", "relative_path": "dists/stable/Release"}


# --- what is wrong with upstream ------------------------------------------------------------------


def test_no_release_names_the_place_and_what_to_check(flow: Flow, upstream: Upstream) -> None:
    flow.set_remote(upstream, distributions="nonesuch")

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[DEB0001] Could not find a Release file at '")
    assert f"{upstream.url}dists/nonesuch'" in done.error
    assert "must end with '/'" in done.error


def test_an_html_page_in_place_of_release_is_no_release(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    upstream.faults.append(faults.html_200("dists/stable/*"))
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.state == "failed"
    assert "Traceback" not in done.error
    assert flow.version() == 0


def test_a_missing_index_fails_and_names_the_ways_out(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(absent=["main/binary-amd64/Packages*", "*by-hash*"])).folder)
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[DEB0003] No suitable package index files")
    for words in ("dists/stable/main/binary-amd64", "amd64", "ignore_missing_package_indices"):
        assert words in done.error
    assert flow.version() == 0


@pytest.mark.parametrize("by", ["remote", "setting"])
def test_missing_indices_may_be_ignored_and_are_reported(
    flow: Flow, write: Write, upstream: Upstream, by: str
) -> None:
    dist = Dist(
        "stable",
        {"main": [A], "contrib": [B]},
        # The legacy Release beside the index is there: that is no index.
        absent=["contrib/binary-amd64/Packages*", "contrib/*by-hash*"],
    )
    upstream.rotate(write(dist).folder)
    worker = flow.crew.worker
    settings = replace(worker.settings, force_ignore_missing_package_indices=by == "setting")
    flow.crew = replace(flow.crew, worker=replace(worker, settings=settings))
    flow.set_remote(upstream, ignore_missing_package_indices=by == "remote")

    done = flow.sync()

    assert done.state == "completed"
    assert {name for name, _, _ in flow.packages()} == {"a"}
    assert done.reports["sync.skipped.index_missing"] == 1


def test_an_index_that_is_wrong_in_every_form_is_a_digest_mismatch(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    upstream.faults.append(faults.wrong_bytes("dists/stable/main/*"))
    flow.set_remote(upstream, ignore_missing_package_indices=True)

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[PLP0003]")
    assert "main/binary-amd64" in done.error
    assert flow.version() == 0


def test_an_xz_that_unpacks_to_another_index_than_the_signed_one_commits_nothing(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey
) -> None:
    plain = (write(stable(), plain=True).folder / f"dists/stable/{AMD64}/Packages").read_bytes()
    other = plain.replace(b"package a of", b"package z of")
    lying = stable(extra={f"{AMD64}/Packages.xz": lzma.compress(other)})
    upstream.rotate(write(lying, encodings=(), key=key).folder)  # both are in the signed Release
    flow.set_remote(upstream, gpgkey=key.public)

    done = flow.sync()

    assert len(other) == len(plain)
    assert other != plain
    assert (done.state, done.error[:9]) == ("failed", "[PLP0003]")
    assert done.error.endswith(
        f"dists/stable/{AMD64}/Packages.xz unpacked: expected SHA-256 "
        f"{sha256(plain).hexdigest()}, got {sha256(other).hexdigest()}"
    )
    assert flow.version() == 0
    assert sha256(other).hexdigest() not in flow.stored()
    with flow.db.transaction() as tx:
        row = tx.execute(
            "select (select count(*) from packages) as packages,"
            " (select count(*) from indices) as indices, (select count(*) from offers) as offers"
        ).fetchone()
    assert row == {"packages": 0, "indices": 0, "offers": 0}


def test_a_wrong_encoding_is_made_up_for_by_another(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable(), by_hash=False)
    upstream.rotate(archive.folder)
    upstream.faults.append(faults.wrong_bytes("*/Packages.xz"))
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.state == "completed"
    assert len(flow.packages()) == 3
    assert done.reports["sync.skipped.index_form_missing"] == 1


def test_a_missing_package_fails_the_sync_but_what_was_stored_stays(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable())
    upstream.rotate(archive.folder)
    gone = next(p for p in archive.files if "/a_" in p)
    upstream.faults.append(faults.status(gone, 404))
    flow.set_remote(upstream)

    done = flow.sync()
    kept = flow.stored()
    upstream.faults.clear()
    upstream.clear()
    again = flow.sync()

    assert done.state == "failed"
    assert "404, message='Not Found'" in done.error
    assert gone in done.error
    assert {archive.files[p] for p in archive.files if p != gone} <= kept
    assert again.state == "completed"
    assert [p for p in upstream.paths() if p.startswith("pool/")] == [gone]


def test_a_package_with_wrong_bytes_is_never_stored(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable([A]))
    upstream.rotate(archive.folder)
    upstream.faults.append(faults.wrong_bytes("pool/*"))
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.error.startswith("[PLP0003]")
    assert not set(archive.files.values()) & flow.stored()


def test_a_filename_that_leaves_the_archive_fails_the_sync_and_is_named(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    evil = replace(A, stanza={"Filename": "../../etc/passwd"})
    upstream.rotate(write(stable([evil])).folder)
    flow.set_remote(upstream, policy="on_demand")

    done = flow.sync()

    assert done.state == "failed"
    assert "../../etc/passwd" in done.error
    assert flow.version() == 0


def test_a_stanza_without_a_digest_is_left_out_and_reported(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable([A, replace(B, stanza={"SHA256": ""})])).folder)
    flow.set_remote(upstream)

    done = flow.sync()

    assert {name for name, _, _ in flow.packages()} == {"a"}
    assert done.reports["sync.skipped.stanza_incomplete"] == 1
    assert flow.tolerances(done.task) == [
        ("stanza_incomplete", "dists/stable/main/binary-amd64/Packages")
    ]


def test_weak_digests_alone_are_refused(flow: Flow, write: Write, upstream: Upstream) -> None:
    upstream.rotate(write(stable(digests=("MD5Sum", "SHA1"))).folder)
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.state == "failed"
    assert "SHA256" in done.error


# --- upstream moves under us -------------------------------------------------------------------


def test_a_release_that_rotates_before_its_indices_are_fetched_is_planned_anew(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    old = write(stable([A], date=datetime(2026, 1, 1, tzinfo=UTC)))
    new = write(stable([A, B], date=datetime(2026, 2, 1, tzinfo=UTC)))
    upstream.rotate(old.folder)
    flow.set_remote(upstream)
    run = flow.crew.steps["plan"]

    def plan_and_rotate(worker: Any, job: Any, lease: Any) -> None:
        run(worker, job, lease)
        upstream.rotate(new.folder)

    flow.crew = replace(flow.crew, steps={**flow.crew.steps, "plan": plan_and_rotate})

    done = flow.sync()

    assert done.state == "completed"
    assert {name for name, _, _ in flow.packages()} == {"a", "b"}
    assert flow.version() == 1
    with flow.db.transaction() as tx:
        row = tx.execute("select round from tasks where id = %s", (done.task,)).fetchone()
    assert row == {"round": 2}


def test_an_upstream_that_never_holds_still_fails_after_some_rounds(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    states = [
        write(stable([A], date=datetime(2026, 1, 1 + n, tzinfo=UTC))).folder for n in range(9)
    ]
    upstream.rotate(states[0])
    # No index can be had; each look at Release shows another one.
    upstream.faults.append(faults.status("dists/stable/main/*", 404))
    flow.set_remote(upstream)
    run = flow.crew.steps["index"]
    coming = iter(states[1:])

    def rotate_and_index(worker: Any, job: Any, lease: Any) -> None:
        upstream.rotate(next(coming))
        run(worker, job, lease)

    flow.crew = replace(flow.crew, steps={**flow.crew.steps, "index": rotate_and_index})

    done = flow.sync()

    assert done.state == "failed"
    assert "upstream changed each time" in done.error
    assert flow.version() == 0


def test_a_release_that_rotates_while_packages_are_fetched_costs_only_the_difference(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    old = write(stable([A, B, C], date=datetime(2026, 1, 1, tzinfo=UTC)))
    newer = Pkg("b", "2.0")
    new = write(stable([A, newer, C], date=datetime(2026, 1, 2, tzinfo=UTC)))
    upstream.rotate(old.folder)

    def rotate(reply: faults.Reply) -> None:
        upstream.rotate(new.folder)
        reply.status, reply.body = 404, b""

    upstream.faults.append(faults.Fault("pool/*/b_1.0*", rotate, times=1))
    flow.set_remote(upstream)

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert flow.packages() == {("a", "1.0", "amd64"), ("b", "2.0", "amd64"), ("c", "1.0", "all")}
    assert flow.counts()["release_file"] == 1
    fetched = [r.path.rpartition("/")[2] for r in upstream.requests if r.path.startswith("pool/")]
    assert sorted(fetched) == [
        "a_1.0_amd64.deb",
        "b_1.0_amd64.deb",
        "b_2.0_amd64.deb",
        "c_1.0_all.deb",
    ]


def test_a_file_that_a_lost_worker_stored_is_not_fetched_again(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable([A, B]))
    upstream.rotate(archive.folder)
    flow.set_remote(upstream)
    path = next(path for path in archive.files if "/a_" in path)
    with flow.crew.worker.store.receive() as receiver:  # and it died before its row was written
        receiver.write((archive.folder / path).read_bytes())
        receiver.keep()

    assert flow.sync().state == "completed"
    assert path not in upstream.paths()
    assert set(archive.files.values()) <= flow.stored()
