"""The files of the Debian installer: their lists, what the lists name, and what may go wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from archive import faults
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from sync_flow import Flow, add_repository

Write = Callable[..., Archive]
CURRENT = "main/installer-amd64/current/images"
DATED = "main/installer-amd64/20230607+deb12u12/images"
FILES = {
    "MANIFEST": b"what is here\n",
    "netboot/mini.iso": b"i" * 70_000,
    "netboot/debian-installer/amd64/linux": b"k" * 5_000,
}
LIST = f"dists/stable/{CURRENT}/SHA256SUMS"


def stable(files: Mapping[str, bytes] = FILES, *, dated: bool = False, **fields: Any) -> Dist:
    installer = {CURRENT: files} | ({DATED: files} if dated else {})
    said: dict[str, Any] = {"architectures": ("amd64", "arm64"), "installer": installer}
    return Dist("stable", {"main": [Pkg("a")], "contrib": []}, **(said | fields))


def digests(files: Mapping[str, bytes]) -> set[str]:
    return {hashlib.sha256(content).hexdigest() for content in files.values()}


def generics(flow: Flow) -> dict[str, int | None]:
    """Path and size of the latest version's generic content."""
    query = """
        select g.relative_path, g.size
          from repository_chunks c
          join content_lists l on l.id = c.list and l.kind = 3
         cross join generate_series(0, chunk_size() - 1) i
          join generic_contents g on g.id = id_at(c.chunk, i)
         where c.repository = %s and c.removed is null and get_bit(c.bits, i) = 1"""
    with flow.db.transaction() as tx:
        rows = tx.execute(query, (flow.repository["id"],)).fetchall()
    return {r["relative_path"]: r["size"] for r in rows}


def sizes(files: Mapping[str, bytes], place: str = CURRENT) -> dict[str, int]:
    return {f"dists/stable/{place}/{path}": len(content) for path, content in files.items()}


def asked(upstream: Upstream, method: str = "GET") -> list[str]:
    """What was asked for below an installer's directory, the lists left out."""
    return [
        r.path
        for r in upstream.requests
        if r.method == method and "/installer-" in r.path and not r.path.endswith("SUMS")
    ]


# --- what comes out ------------------------------------------------------------------------------


def test_the_installer_is_left_alone_unless_it_is_asked_for(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream)

    assert flow.sync().state == "completed"

    assert not [path for path in upstream.paths() if "/installer-" in path]


def test_every_file_that_a_list_names_is_stored(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, sync_installer=True)

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert generics(flow) == sizes(FILES)
    assert digests(FILES) <= flow.stored()
    assert LIST in upstream.paths()  # by its name: not every archive has these by hash
    assert not asked(upstream, "HEAD")
    assert flow.counts()["generic"] == 3
    assert flow.counts()["installer_file_index"] == 1
    assert done.reports["update.installerfileindex"] == 1
    assert done.reports["associating.content"] == sum(flow.counts().values())
    with flow.db.transaction() as tx:
        files = tx.execute("select path from unit_files where kind = 7 order by path").fetchall()
    assert [f["path"] for f in files] == [LIST.replace("SHA256", "MD5"), LIST]


def test_two_directories_of_the_same_files_cost_one_download_of_each(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(dated=True)).folder)
    flow.set_remote(upstream, sync_installer=True)

    assert flow.sync().state == "completed"

    assert generics(flow) == sizes(FILES) | sizes(FILES, DATED)
    assert len(asked(upstream)) == len(FILES)


def test_the_filters_of_a_remote_hold_for_the_installer_too(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    arm = "main/installer-arm64/current/images"
    contrib = "contrib/installer-arm64/current/images"
    upstream.rotate(write(stable(installer={CURRENT: FILES, arm: FILES, contrib: FILES})).folder)
    flow.set_remote(
        upstream, sync_installer=True, policy="on_demand", components="main", architectures="arm64"
    )

    assert flow.sync().state == "completed"

    assert generics(flow) == sizes(FILES, arm)


def test_an_archive_without_an_installer_is_reported(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(installer={})).folder)
    flow.set_remote(upstream, sync_installer=True, policy="on_demand")

    done = flow.sync()

    assert done.state == "completed"
    assert [reason for reason, _ in flow.tolerances(done.task)] == ["index_unlisted"]


@pytest.mark.parametrize("policy", ["on_demand", "streamed"])
def test_on_demand_asks_for_sizes_and_fetches_no_file(
    flow: Flow, write: Write, upstream: Upstream, policy: str
) -> None:
    upstream.rotate(write(stable(dated=True)).folder)
    flow.set_remote(upstream, sync_installer=True, policy=policy)

    assert flow.sync().state == "completed"

    assert generics(flow) == sizes(FILES) | sizes(FILES, DATED)
    assert not asked(upstream)
    assert not digests(FILES) & flow.stored()


def test_a_file_whose_size_nobody_tells_is_fetched_after_all(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    upstream.faults.append(faults.status("*/mini.iso", 405, times=1))
    flow.set_remote(upstream, sync_installer=True, policy="on_demand")

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert [path.rpartition("/")[2] for path in asked(upstream)] == ["mini.iso"]
    assert generics(flow) == sizes(FILES)


# --- again ---------------------------------------------------------------------------------------


def test_an_unchanged_list_is_neither_fetched_nor_read_again(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, sync_installer=True)
    flow.sync()
    upstream.rotate(write(replace(stable(), components={"main": [Pkg("b")]})).folder)
    upstream.clear()

    done = flow.sync()

    assert done.state == "completed"
    assert not [path for path in upstream.paths() if "/installer-" in path]
    assert done.reports["sync.installer_file_index.was_skipped"] == 1
    assert generics(flow) == sizes(FILES)
    assert flow.counts()["installer_file_index"] == 1


def test_another_repository_relies_on_the_list_that_was_read(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, sync_installer=True)
    flow.sync()
    upstream.clear()
    other = Flow(flow.db, flow.crew, add_repository(flow.db))
    other.set_remote(upstream, sync_installer=True)

    done = other.sync()

    assert done.state == "completed"
    assert not [path for path in upstream.paths() if "/installer-" in path]
    assert generics(other) == sizes(FILES)
    assert done.reports["update.installerfileindex"] == 1


@pytest.mark.parametrize("mirror", [False, True])
def test_a_new_installer_takes_the_place_of_the_old(
    flow: Flow, write: Write, upstream: Upstream, mirror: bool
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, sync_installer=True)
    flow.sync(mirror=mirror)
    new = {"MANIFEST": b"newer\n", "netboot/mini.iso": FILES["netboot/mini.iso"]}
    upstream.rotate(write(stable(new)).folder)
    upstream.clear()

    done = flow.sync(mirror=mirror)

    assert (done.state, done.error) == ("completed", "")
    gone = {} if mirror else sizes({p: c for p, c in FILES.items() if p not in new})
    assert generics(flow) == sizes(new) | gone
    assert [path.rpartition("/")[2] for path in asked(upstream)] == ["MANIFEST"]


def test_immediate_after_on_demand_brings_the_files_without_a_new_version(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, sync_installer=True, policy="on_demand")
    flow.sync()
    flow.set_remote(upstream, policy="immediate")

    assert flow.sync().state == "completed"

    assert flow.version() == 1
    assert digests(FILES) <= flow.stored()


def test_nothing_changed_asks_for_three_release_files(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    flow.set_remote(upstream, sync_installer=True)
    flow.sync()
    upstream.clear()

    done = flow.sync()

    assert (done.state, len(upstream.paths()), flow.version()) == ("completed", 3, 1)


# --- MD5SUMS alone --------------------------------------------------------------------------------


def test_md5sums_alone_are_refused_with_the_way_out(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(installer_sums=("MD5SUMS",))).folder)
    flow.set_remote(upstream, sync_installer=True)

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith(f"[PLP0019] dists/stable/{CURRENT}/MD5SUMS")
    assert "weak_digests" in done.error


@pytest.mark.parametrize("policy", ["immediate", "on_demand"])
def test_md5sums_alone_are_taken_where_the_guard_allows_and_reported(
    flow: Flow, write: Write, upstream: Upstream, policy: str
) -> None:
    upstream.rotate(write(stable(installer_sums=("MD5SUMS",))).folder)
    flow.set_remote(upstream, sync_installer=True, policy=policy, guards={"weak_digests": "warn"})

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert generics(flow) == sizes(FILES)
    assert digests(FILES) <= flow.stored()
    assert done.reports["sync.guard.weak_digests"] == 1
    upstream.clear()
    assert flow.sync(optimize=False).state == "completed"
    assert not asked(upstream)


def test_a_file_with_another_md5_fails_the_sync_by_its_name(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(installer_sums=("MD5SUMS",))).folder)
    upstream.faults.append(faults.wrong_bytes("*/mini.iso"))
    flow.set_remote(upstream, sync_installer=True, guards={"weak_digests": "warn"})

    done = flow.sync()

    assert done.state == "failed"
    assert f"dists/stable/{CURRENT}/netboot/mini.iso (MD5)" in done.error


# --- broken and hostile upstreams ---------------------------------------------------------------


def test_a_file_with_another_digest_fails_the_sync_by_its_name(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable()).folder)
    upstream.faults.append(faults.wrong_bytes("*/mini.iso"))
    flow.set_remote(upstream, sync_installer=True)

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[PLP0003]")
    assert "netboot/mini.iso" in done.error
    assert flow.version() == 0


def test_a_file_that_is_not_there_fails_the_sync_by_its_name(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(absent=("*/linux",))).folder)
    flow.set_remote(upstream, sync_installer=True)

    done = flow.sync()

    assert done.state == "failed"
    assert "amd64/linux" in done.error
    assert "404" in done.error


def test_a_file_that_is_not_there_is_left_out_where_the_guard_allows(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(absent=("*/linux",))).folder)
    flow.set_remote(upstream, sync_installer=True, guards={"missing_files": "warn"})

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert generics(flow) == sizes({p: c for p, c in FILES.items() if not p.endswith("linux")})


def test_a_list_with_another_digest_fails_the_sync_by_its_name(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(), by_hash=False).folder)
    upstream.faults.append(faults.wrong_bytes("*/SHA256SUMS"))
    flow.set_remote(upstream, sync_installer=True)

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[PLP0003]")
    assert "SHA256SUMS" in done.error


def test_a_missing_list_is_named_with_the_way_out(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(absent=(f"{CURRENT}/*SUMS",)), by_hash=False).folder)
    flow.set_remote(upstream, sync_installer=True)

    done = flow.sync()

    assert done.state == "failed"
    assert LIST.rpartition("/")[0] in done.error
    assert "sync_installer" in done.error
    flow.set_remote(upstream, ignore_missing_package_indices=True)
    assert flow.sync().state == "completed"
    assert generics(flow) == {}


@pytest.mark.parametrize("path", ["../../../../Release", "/etc/passwd", "a/../../../b", "a\\b"])
def test_a_path_that_leads_elsewhere_is_refused_with_its_line(
    flow: Flow, write: Write, upstream: Upstream, path: str
) -> None:
    line = f"{hashlib.sha256(b'x').hexdigest()}  {path}\n".encode()
    upstream.rotate(write(with_list(line)).folder)
    flow.set_remote(upstream, sync_installer=True)

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith(f"[PLP0001] Line 1 of {LIST}")


@pytest.mark.parametrize(
    "text",
    [
        b"<html>",
        b"",
        "\n".join(f"{hashlib.sha256(b'x').hexdigest()}  f{n}" for n in range(20_001)).encode(),
    ],
)
def test_what_is_no_list_is_refused_by_name(
    flow: Flow, write: Write, upstream: Upstream, text: bytes
) -> None:
    upstream.rotate(write(with_list(text)).folder)
    flow.set_remote(upstream, sync_installer=True)

    done = flow.sync()

    assert done.state == "failed"
    assert LIST in done.error


def test_a_list_of_absurd_size_is_not_even_asked_for(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(with_list(b"#" * (9 << 20))).folder)
    flow.set_remote(upstream, sync_installer=True)

    done = flow.sync()

    assert done.state == "failed"
    assert f"{CURRENT}/SHA256SUMS has 9437184 bytes" in done.error
    assert LIST not in upstream.paths()


def test_a_file_where_a_package_lies_is_refused(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    package = Pkg("a", path=f"dists/stable/{CURRENT}/MANIFEST")
    dist = Dist("stable", {"main": [package]}, architectures=("amd64",), installer={CURRENT: FILES})
    upstream.rotate(write(dist).folder)
    flow.set_remote(upstream, sync_installer=True, policy="on_demand")

    done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[PLP0022]")
    assert f"{CURRENT}/MANIFEST" in done.error


def with_list(text: bytes) -> Dist:
    """A dist whose SHA256SUMS says this."""
    return stable(installer={}, extra={f"{CURRENT}/SHA256SUMS": text})


# --- a Release without SHA-256 --------------------------------------------------------------------


def test_a_release_of_md5_alone_leads_to_the_installer_where_the_guard_allows(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable(digests=("MD5Sum",))).folder)
    flow.set_remote(upstream, sync_installer=True, guards={"weak_digests": "warn"})

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")
    assert generics(flow) == sizes(FILES)
