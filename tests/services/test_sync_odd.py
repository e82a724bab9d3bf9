"""Archives and remotes that are unusual, and what a sync makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from archive import faults
from archive.keys import SigningKey
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet.db import sweeps, versions
from debfleet.errors import LeaseLost
from debfleet.identity import UnitId
from debfleet.model import Job, Kind
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker
from sync_flow import Flow

Write = Callable[..., Archive]
A, B, C = Pkg("a"), Pkg("b"), Pkg("c", architecture="all")


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


def stable(packages: Sequence[Pkg] = (A, B, C), **fields: object) -> Dist:
    return Dist("stable", {"main": packages}, **fields)  # type: ignore[arg-type]


# --- Release files --------------------------------------------------------------------------------


@pytest.mark.parametrize("digests", [("MD5Sum",), ("MD5Sum", "SHA1"), ()])
@pytest.mark.parametrize("name", ["stable", "./"])
def test_a_release_without_a_strong_digest_is_refused(
    flow: Flow, write: Write, upstream: Upstream, name: str, digests: Sequence[str]
) -> None:
    upstream.rotate(write(Dist(name, {"main": [A]}, digests=digests)).folder)
    flow.set_remote(upstream, distributions=name)

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[PLP0019]")
    assert "SHA256" in done.error
    assert flow.version() == 0


@pytest.mark.parametrize("forms", [("Release",), ("InRelease",), ("Release", "Release.gpg")])
def test_a_release_with_crlf_is_read(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey, forms: Sequence[str]
) -> None:
    archive = write(stable(forms=("Release",)))
    release = archive.folder / "dists/stable/Release"
    text = release.read_bytes().replace(b"\n", b"\r\n")
    release.unlink()
    for form in forms:
        body = {
            "Release": lambda: text,
            "InRelease": lambda: key.clearsign(text),
            "Release.gpg": lambda: key.detach(text),
        }[form]()
        (release.parent / form).write_bytes(body)
    upstream.rotate(archive.folder)
    flow.set_remote(upstream, gpgkey=key.public if len(forms) > 1 or "InRelease" in forms else None)

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert len(flow.packages()) == 3


def test_a_hybrid_archive_whose_release_lists_no_binary_all_is_still_whole(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    dist = stable([A, C], all_packages="both")
    archive = write(dist)
    release = archive.folder / "dists/stable/Release"
    lines = release.read_text().splitlines(keepends=True)
    release.write_text("".join(line for line in lines if "binary-all/" not in line))
    upstream.rotate(archive.folder)
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.state == "completed"
    assert flow.packages() == {("a", "1.0", "amd64"), ("c", "1.0", "all")}
    assert "sync.skipped.architecture_foreign" not in done.reports


# --- remotes --------------------------------------------------------------------------------------


def test_two_flat_dists_come_into_one_version(flow: Flow, write: Write, upstream: Upstream) -> None:
    upstream.rotate(write(Dist("one/", {"": [A]}), Dist("two/", {"": [B, C]})).folder)
    flow.set_remote(upstream, distributions="one/ two/")

    done = flow.sync()
    again = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert {name for name, _, _ in flow.packages()} == {"a", "b", "c"}
    assert flow.counts()["package_index"] == 2
    assert flow.counts()["release_file"] == 2
    assert again.kinds == ["plan"]
    assert again.created == []


def test_a_flat_dist_beside_a_structured_one(flow: Flow, write: Write, upstream: Upstream) -> None:
    upstream.rotate(write(stable([A]), Dist("flat/", {"": [B]})).folder)
    flow.set_remote(
        upstream, distributions="stable flat/", components="main", architectures="amd64"
    )

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert {name for name, _, _ in flow.packages()} == {"a", "b"}


@pytest.mark.parametrize("names", ["./ /", "stable stable", "flat/ flat//"])
def test_a_dist_that_is_named_twice_is_taken_once(
    flow: Flow, write: Write, upstream: Upstream, names: str
) -> None:
    first = names.split()[0]
    upstream.rotate(write(Dist(first, {"main": [A]})).folder)
    flow.set_remote(upstream, distributions=names)

    done = flow.sync(mirror=True)
    upstream.clear()
    again = flow.sync(mirror=True)

    assert (done.state, done.error) == ("completed", "")
    assert done.reports["update.release_file"] == 1
    assert again.reports["sync.complete_skip.was_skipped"] == 1
    assert len(upstream.paths()) == 3


def test_a_url_without_a_slash_and_with_a_query_works_and_its_query_stays_secret(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, url=upstream.url.rstrip("/") + "?token=secret")

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    errors = []
    for fields in (
        {"distributions": "nonesuch"},
        {"distributions": "stable", "gpgkey": key.public},
    ):
        flow.set_remote(upstream, **fields)
        errors.append(flow.sync().error)
    flow.set_remote(upstream, gpgkey=None)
    archive = write(stable([B], absent=["main/*"]))
    upstream.rotate(archive.folder)
    errors.append(flow.sync(optimize=False).error)

    assert [error[:9] for error in errors] == ["[DEB0001]", "[DEB0002]", "[DEB0003]"]
    assert not [error for error in errors if "secret" in error]


def test_streamed_after_on_demand_makes_no_version(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, policy="on_demand")
    flow.sync()
    flow.set_remote(upstream, policy="streamed")

    done = flow.sync()

    assert (done.state, done.created) == ("completed", [])
    assert flow.sync().kinds == ["plan"]


def test_two_dists_that_share_an_index(flow: Flow, write: Write, upstream: Upstream) -> None:
    upstream.rotate(write(Dist("one", {"main": [A]}), Dist("two", {"main": [A]})).folder)
    flow.set_remote(upstream, distributions="one two")

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert flow.packages() == {("a", "1.0", "amd64")}
    assert flow.counts()["package_index"] == 2
    assert flow.counts()["package_release_component"] == 2


# --- files ----------------------------------------------------------------------------------------


def test_a_by_hash_address_that_is_gone_leaves_the_name(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(absent=["*by-hash*"])).folder)
    upstream.faults.append(faults.status("*by-hash*", 404))
    flow.set_remote(upstream)

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert not [code for code in done.reports if code.startswith("sync.skipped")]


def test_forms_of_an_index_survive_a_new_one_under_their_names(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    upstream.faults.append(faults.wrong_bytes("*/Packages.*"))
    flow.set_remote(upstream)

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert "sync.skipped.index_form_missing" not in done.reports


def test_a_form_of_an_index_is_not_given_up_for_a_moments_trouble(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(), by_hash=False).folder)
    upstream.faults.append(faults.status("*/Packages.gz", 503, times=1))
    flow.set_remote(upstream)

    waiting = flow.sync()
    with flow.db.transaction() as tx:
        tx.execute("delete from gates")
        tx.execute("update jobs set not_before = '-infinity' where state = 'queued'")
    done = flow.go_on(waiting.task)

    assert waiting.state == "running"
    assert done.state == "completed"
    assert "sync.skipped.index_form_missing" not in done.reports


def test_a_package_with_a_wrong_size_is_refused_and_named(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable([replace(A, stanza={"Size": "7"})])).folder)
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[PLP0004]")
    assert "/a_1.0_amd64.deb" in done.error


def test_a_stored_file_under_another_size_is_refused(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable([A])).folder)
    flow.set_remote(upstream)
    flow.sync()
    upstream.rotate(write(stable([replace(A, stanza={"Size": "7"})])).folder)

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[PLP0004]")
    assert "/a_1.0_amd64.deb" in done.error
    assert flow.version() == 1
    flow.stored()


def test_a_wrong_size_never_costs_others_a_stored_file(
    flow: Flow, write: Write, upstream: Upstream, tmp_path: Path
) -> None:
    good = write(stable([A]))
    [(path, digest)] = good.files.items()
    upstream.rotate(write(stable([replace(A, stanza={"Size": "7"})])).folder)
    flow.set_remote(upstream)
    store = flow.crew.worker.store
    # Another sync has stored the file and not come to say so yet.
    with store.receive() as receiver:
        receiver.write((good.folder / path).read_bytes())
        receiver.keep(bytes.fromhex(digest))

    done = flow.sync()

    assert done.error.startswith("[PLP0004]")
    assert store.size(bytes.fromhex(digest)) == (good.folder / path).stat().st_size


def test_sizes_beyond_measure_are_an_ordinary_failure(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    huge = {"Size": "9" * 18}
    packages = [Pkg(f"p{n}", stanza=huge) for n in range(12)]
    upstream.rotate(write(stable(packages)).folder)
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.error.startswith("[PLP0004]")


# --- versions -------------------------------------------------------------------------------------


def test_only_the_retained_versions_are_kept(flow: Flow, write: Write, upstream: Upstream) -> None:
    with flow.db.transaction() as tx:
        tx.execute("update repositories set retain_repo_versions = 1")
    flow.set_remote(upstream, policy="on_demand")
    for packages in ([A], [A, B], [B, C]):
        upstream.rotate(write(stable(packages)).folder)
        assert flow.sync(mirror=True).state == "completed"

    with flow.db.transaction() as tx:
        numbers = [r["number"] for r in tx.execute("select number from repository_versions")]
    assert numbers == [3]
    assert {name for name, _, _ in flow.packages()} == {"b", "c"}


def test_a_sync_after_a_change_by_hand_looks_at_everything(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream)
    done = flow.sync()
    first = flow.counts()
    with flow.db.transaction() as tx:
        row = tx.execute("select id from packages where name = 'a'").fetchone()
        assert row is not None
        unit = UnitId(Kind.PACKAGE, row["id"])
        versions.modify(tx, repository=flow.repository["id"], task=done.task, add=[], remove=[unit])
    assert {name for name, _, _ in flow.packages()} == {"b", "c"}
    upstream.clear()

    again = flow.sync()

    assert again.kinds == ["plan", "assemble"]
    assert len(upstream.paths()) == 3
    assert flow.version() == 3
    assert flow.counts() == first
    assert flow.sync().kinds == ["plan"]


# --- an upstream in trouble -----------------------------------------------------------------------


@pytest.mark.parametrize("glob", ["pool/*", "dists/stable/main/*"])
@pytest.mark.parametrize("trouble", ["status", "cut"])
def test_an_upstream_in_trouble_is_waited_for_once_files_are_stored(
    flow: Flow, write: Write, upstream: Upstream, glob: str, trouble: str
) -> None:
    upstream.rotate(write(stable()).folder)
    upstream.faults.append(
        faults.status(glob, 500) if trouble == "status" else faults.cut(glob, after=0)
    )
    flow.set_remote(upstream)

    waiting = flow.sync()
    upstream.faults.clear()
    with flow.db.transaction() as tx:
        tx.execute("update jobs set not_before = '-infinity' where state = 'queued'")
    done = flow.go_on(waiting.task)

    assert (waiting.state, waiting.error) == ("running", "")
    assert (done.state, done.error) == ("completed", "")
    assert len(flow.packages()) == 3


def test_an_upstream_in_trouble_is_not_waited_for_without_end(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    upstream.faults.append(faults.status("pool/*", 500))
    flow.set_remote(upstream)

    waiting = flow.sync()
    with flow.db.transaction() as tx:
        tx.execute(
            "update jobs set not_before = '-infinity', started = now() - interval '11 minutes' "
            "where state = 'queued'"
        )
    done = flow.go_on(waiting.task)

    assert done.state == "failed"
    assert done.error.startswith("[PLP0025] 500, message='Internal Server Error'")


def test_a_file_that_is_gone_fails_the_sync_beside_others_in_trouble(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable())
    upstream.rotate(archive.folder)
    gone = sorted(archive.files)[-1]
    upstream.faults.append(faults.status("pool/*", 500))
    upstream.faults.append(faults.status(gone, 404))
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.state == "failed"
    assert gone in done.error


def test_a_release_that_cannot_be_had_fails_the_sync_at_once(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    upstream.faults.append(faults.status("dists/stable/Release", 500))
    flow.set_remote(upstream)

    assert flow.sync().error.startswith("[PLP0025] 500, message='Internal Server Error'")


@pytest.mark.parametrize("kind", ["index", "download"])
def test_a_job_that_takes_its_worker_down_says_at_which_file(
    flow: Flow, write: Write, upstream: Upstream, kind: str
) -> None:
    archive = write(stable())
    upstream.rotate(archive.folder)
    flow.set_remote(upstream)

    def dies(worker: Worker, job: Job, lease: Lease) -> None:
        with flow.db.transaction() as tx:
            tx.execute("update jobs set leased_until = now(), attempt = 5 where state = 'running'")
            tx.execute("update slot_leases set until = now()")
        raise LeaseLost(kind)

    flow.crew = replace(flow.crew, steps={**flow.crew.steps, kind: dies})
    done = flow.sync()
    while done.state == "running":  # a chunk is halved before a file of it is given up
        flow.db.run(lambda tx: sweeps.end_lost_leases(tx, flow.crew.worker.settings))
        done = flow.go_on(done.task)

    index, last = "dists/stable/main/binary-amd64/Packages", sorted(archive.files)[-1]
    assert done.state == "failed"
    assert done.error.startswith(f"[PLP0000] the {kind} job")
    assert f"it was at: {index if kind == 'index' else last}." in done.error
    with flow.db.transaction() as tx:
        states = {r["code"]: r["state"] for r in tx.execute("select * from progress_reports")}
    if kind == "download":
        assert states["downloading.artifacts"] == "failed"
        assert states["update.packageindex"] == "canceled"
