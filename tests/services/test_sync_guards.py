"""The guards of a remote: what each stops, lets through and reports, and where it keeps out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from archive import faults
from archive.keys import SigningKey
from archive.model import NEW_YEAR, Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet.measure import REGISTRY
from sync_flow import Flow

Write = Callable[..., Archive]
A, B, C = Pkg("a"), Pkg("b"), Pkg("c")
OLDER, NEWER = NEW_YEAR, NEW_YEAR + timedelta(days=3)


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return SigningKey.generate()


def stable(packages: Sequence[Pkg] = (A, B, C), **fields: Any) -> Dist:
    return Dist("stable", {"main": packages}, **fields)


def names(flow: Flow) -> set[str]:
    return {name for name, _, _ in flow.packages()}


# --- replay --------------------------------------------------------------------------------------


def test_an_older_release_is_refused_where_there_is_a_key(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey
) -> None:
    upstream.rotate(write(stable(date=NEWER), key=key).folder)
    flow.set_remote(upstream, gpgkey=key.public)
    assert flow.sync().state == "completed"
    upstream.rotate(write(stable([A], date=OLDER), key=key).folder)

    done = flow.sync(mirror=True)

    assert done.state == "failed"
    assert done.error.startswith("[DBF0001] dists/stable/InRelease: its Date 2026-01-01")
    assert "set guard_replay to 'warn'" in done.error
    assert (flow.version(), names(flow)) == (1, {"a", "b", "c"})


@pytest.mark.parametrize(("level", "reported"), [(None, 1), ("warn", 1), ("off", 0)])
def test_an_older_release_without_a_key_is_let_through_and_reported(
    flow: Flow, write: Write, upstream: Upstream, level: str | None, reported: int
) -> None:
    upstream.rotate(write(stable(date=NEWER)).folder)
    flow.set_remote(upstream, guards={"replay": level})
    flow.sync()
    upstream.rotate(write(stable([A, B], date=OLDER)).folder)

    done = flow.sync(mirror=True)

    assert (done.state, names(flow)) == ("completed", {"a", "b"})
    assert done.reports.get("sync.guard.replay", 0) == reported
    assert flow.tolerances(done.task) == [("guard_replay", "dists/stable/Release")] * reported


def test_an_older_release_of_another_url_is_none_of_a_replay(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey
) -> None:
    upstream.rotate(write(stable(date=NEWER), key=key).folder)
    flow.set_remote(upstream, gpgkey=key.public)
    flow.sync()
    upstream.rotate(write(stable(date=OLDER), key=key).folder)
    flow.set_remote(upstream, url=upstream.url.rstrip("/"))

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")


def test_an_upstream_that_alternates_between_two_states_stays_at_the_newest(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey
) -> None:
    states = [write(stable([A], date=OLDER), key=key), write(stable([B], date=NEWER), key=key)]
    flow.set_remote(upstream, gpgkey=key.public)
    outcomes = []

    for turn in range(6):
        upstream.rotate(states[turn % 2].folder)
        outcomes.append(flow.sync(mirror=True).state)

    assert outcomes == ["completed", "completed", "failed", "completed", "failed", "completed"]
    assert (flow.version(), names(flow)) == (2, {"b"})


# --- dates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guard", "fields"),
    [
        ("expired", {"valid_until": datetime(2026, 1, 2, tzinfo=UTC)}),
        ("future", {"date": datetime(2999, 1, 1, tzinfo=UTC)}),
    ],
)
def test_a_date_out_of_bounds_warns_or_refuses(
    flow: Flow, write: Write, upstream: Upstream, guard: str, fields: dict[str, Any]
) -> None:
    upstream.rotate(write(stable(**fields)).folder)
    flow.set_remote(upstream)

    warned = flow.sync()
    again = flow.sync()
    flow.set_remote(upstream, guards={guard: "refuse"})
    refused = flow.sync()

    assert (warned.state, warned.reports[f"sync.guard.{guard}"]) == ("completed", 1)
    assert (again.state, again.reports[f"sync.guard.{guard}"]) == ("completed", 1)
    assert (refused.state, refused.error[:9]) == ("failed", "[DBF0001]")
    assert f"guard_{guard}" in refused.error


def test_an_ordinary_archive_sets_off_no_guard(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey
) -> None:
    fields = {"valid_until": datetime.now(UTC) + timedelta(days=7), "date": datetime.now(UTC)}
    upstream.rotate(write(stable(**fields), key=key).folder)
    every = ("replay", "expired", "future", "renamed", "shrink", "weak_digests", "missing_files")
    flow.set_remote(upstream, gpgkey=key.public, guards=dict.fromkeys(every, "refuse"))

    for mirror in (False, True, True):
        done = flow.sync(mirror=mirror)

        assert (done.state, done.error) == ("completed", "")
        assert not [code for code in done.reports if code.startswith("sync.guard")]


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["codename", "origin", "label"])
def test_another_name_of_a_dist_warns_or_refuses(
    flow: Flow, write: Write, upstream: Upstream, field: str
) -> None:
    upstream.rotate(write(stable(**{field: "one"})).folder)
    flow.set_remote(upstream, guards={"renamed": "refuse"})
    flow.sync()
    upstream.rotate(write(stable(**{field: "two"})).folder)

    refused = flow.sync()
    flow.set_remote(upstream, guards={"renamed": None})
    warned = flow.sync()

    assert refused.state == "failed"
    assert f"its {field.title()} was one and is two" in refused.error
    assert (warned.state, warned.reports["sync.guard.renamed"]) == ("completed", 1)


# --- size ----------------------------------------------------------------------------------------


def test_a_mirror_with_a_key_refuses_to_lose_most_of_its_packages(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey
) -> None:
    upstream.rotate(write(stable(date=OLDER), key=key).folder)
    flow.set_remote(upstream, gpgkey=key.public)
    flow.sync(mirror=True)
    upstream.rotate(write(stable([A], date=NEWER), key=key).folder)

    done = flow.sync(mirror=True)

    assert done.state == "failed"
    assert "dists/stable: it gives 1 packages; last time there were 3" in done.error
    assert (flow.version(), names(flow)) == (1, {"a", "b", "c"})
    flow.set_remote(upstream, guards={"shrink": "warn"})
    consented = flow.sync(mirror=True)
    assert (consented.state, names(flow)) == ("completed", {"a"})
    assert consented.reports["sync.guard.shrink"] == 1
    assert "sync.guard.shrink" not in flow.sync(mirror=True, optimize=False).reports


def test_an_empty_suite_warns_where_nothing_is_lost_by_it(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    dist = {"architectures": ["amd64"]}
    upstream.rotate(write(stable(**dist)).folder)
    flow.set_remote(upstream)
    flow.sync()
    upstream.rotate(write(stable([], **dist)).folder)

    done = flow.sync()

    assert (done.state, names(flow)) == ("completed", {"a", "b", "c"})
    assert done.reports["sync.guard.shrink"] == 1


def test_fewer_packages_for_a_narrower_remote_are_no_shrinking(
    flow: Flow, write: Write, upstream: Upstream, key: SigningKey
) -> None:
    dist = Dist("stable", {"main": [A, B], "contrib": [Pkg("d"), Pkg("e"), Pkg("f")]})
    upstream.rotate(write(dist, key=key).folder)
    flow.set_remote(upstream, gpgkey=key.public)
    flow.sync(mirror=True)
    flow.set_remote(upstream, components="main")

    done = flow.sync(mirror=True)

    assert (done.state, names(flow)) == ("completed", {"a", "b"})


# --- weak digests --------------------------------------------------------------------------------


@pytest.mark.parametrize("digests", [["MD5Sum"], ["SHA1"], ["MD5Sum", "SHA1"]])
def test_md5_and_sha1_alone_are_refused_unless_the_remote_says_otherwise(
    flow: Flow, write: Write, upstream: Upstream, digests: list[str]
) -> None:
    archive = write(stable(digests=digests))
    upstream.rotate(archive.folder)
    flow.set_remote(upstream)

    refused = flow.sync()
    flow.set_remote(upstream, guards={"weak_digests": "warn"})
    warned = flow.sync()

    assert (refused.state, refused.error[:9]) == ("failed", "[PLP0019]")
    assert "guard_weak_digests" in refused.error
    assert (warned.state, warned.error) == ("completed", "")
    assert warned.reports["sync.guard.weak_digests"] == 1
    assert names(flow) == {"a", "b", "c"}
    assert set(archive.files.values()) <= flow.stored()


@pytest.mark.parametrize("name", ["stable", "./"])
def test_sha512_alone_is_strong_enough(
    flow: Flow, write: Write, upstream: Upstream, name: str
) -> None:
    upstream.rotate(write(Dist(name, {"main": [A, B]}, digests=["SHA512"])).folder)
    flow.set_remote(upstream, distributions=name)

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert names(flow) == {"a", "b"}
    assert "sync.guard.weak_digests" not in done.reports


def test_an_index_that_its_weak_digest_contradicts_is_refused(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(digests=["MD5Sum"])).folder)
    upstream.faults.append(faults.wrong_bytes("*/Packages.xz"))
    flow.set_remote(upstream, guards={"weak_digests": "off"})

    done = flow.sync()

    assert (done.state, done.error[:9]) == ("failed", "[PLP0003]")
    assert flow.version() == 0


# --- missing files -------------------------------------------------------------------------------


@pytest.fixture
def lacking(flow: Flow, write: Write, upstream: Upstream) -> Archive:
    """An upstream without the file of b, and a wrong one of c."""
    archive = write(stable())
    upstream.rotate(archive.folder)
    upstream.faults.append(faults.status("pool/*/b_*", 404))
    upstream.faults.append(faults.wrong_bytes("pool/*/c_*"))
    flow.set_remote(upstream)
    return archive


def test_a_sync_fails_for_missing_files_and_lists_them(flow: Flow, lacking: Archive) -> None:
    done = flow.sync()

    assert done.state == "failed"
    assert "pool/main/b/b/b_1.0_amd64.deb" in done.error or "c_1.0" in done.error
    assert sorted(flow.tolerances(done.task)) == [
        ("missing_files", "pool/main/b/b/b_1.0_amd64.deb"),
        ("missing_files", "pool/main/c/c/c_1.0_amd64.deb"),
    ]
    assert flow.version() == 0
    assert set(lacking.files.values()) & flow.stored()  # what came whole is kept


def test_a_sync_may_go_without_the_packages_of_missing_files(
    flow: Flow, upstream: Upstream, lacking: Archive
) -> None:
    flow.set_remote(upstream, guards={"missing_files": "warn"})

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert names(flow) == {"a"}
    assert {place[2] for place in flow.places()} == {"a"}
    assert done.reports["sync.skipped.missing_files"] == 2
    assert len(flow.tolerances(done.task)) == 2
    upstream.faults.clear()
    assert flow.sync().state == "completed"
    assert names(flow) == {"a", "b", "c"}  # though upstream's Release is the same
    assert set(lacking.files.values()) <= flow.stored()


def test_a_sync_may_keep_packages_whose_files_are_missing(
    flow: Flow, upstream: Upstream, lacking: Archive
) -> None:
    flow.set_remote(upstream, guards={"missing_files": "off"})

    done = flow.sync()

    assert (done.state, names(flow)) == ("completed", {"a", "b", "c"})
    assert done.reports["sync.guard.missing_files"] == 2
    assert lacking.files["pool/main/b/b/b_1.0_amd64.deb"] not in flow.stored()


def test_a_host_in_trouble_is_no_missing_file(
    flow: Flow, upstream: Upstream, lacking: Archive
) -> None:
    upstream.faults.append(faults.status("pool/*/a_*", 500))
    flow.set_remote(upstream, guards={"missing_files": "warn"})

    done = flow.sync()

    assert done.state == "running"  # put off, to be tried again
    assert flow.version() == 0


# --- the metric ----------------------------------------------------------------------------------


def test_what_the_guards_meet_is_counted(flow: Flow, write: Write, upstream: Upstream) -> None:
    upstream.rotate(write(stable(valid_until=datetime(2026, 1, 2, tzinfo=UTC))).folder)
    before = {level: met("expired", level) for level in ("warn", "refuse")}

    for level in ("warn", "refuse", "off"):
        flow.set_remote(upstream, guards={"expired": level})
        flow.sync(optimize=False)

    assert met("expired", "warn") == before["warn"] + 1
    assert met("expired", "refuse") == before["refuse"] + 1


def met(guard: str, level: str) -> float:
    labels = {"guard": guard, "level": level}
    return REGISTRY.get_sample_value("debfleet_guards_met_total", labels) or 0
