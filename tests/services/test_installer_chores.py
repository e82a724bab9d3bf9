"""Udebs and the installer's files beside a sync: lists of the API, modify, repair, cleanup."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from api_client import V3, ApiClient
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from chore_runs import made_worker, run_chore
from debfleet.config import Settings
from debfleet.db import contents, holdings, repositories
from debfleet.db.contents import Held, Selection
from debfleet.model import Kind
from debfleet.store import Store
from debfleet_worker.worker import Worker
from sync_flow import Flow

Write = Callable[..., Archive]
PLACE = "main/installer-amd64/current/images"
FILES = {"MANIFEST": b"what is here\n", "netboot/mini.iso": b"i" * 70_000}
UDEB = Pkg("a", is_udeb=True, fields={"Section": "debian-installer"})
DIST = Dist(
    "stable", {"main": [Pkg("a"), UDEB]}, architectures=("amd64",), installer={PLACE: FILES}
)
OURS = (Kind.INSTALLER_PACKAGE, Kind.GENERIC, Kind.INSTALLER_FILE_INDEX)


@pytest.fixture
def worker(settings: Settings, store: Store) -> Iterator[Worker]:
    with made_worker(settings, store) as made:
        yield made


@pytest.fixture
def synced(flow: Flow, write: Write, upstream: Upstream) -> Flow:
    """A repository of everything that DIST has."""
    upstream.rotate(write(DIST).folder)
    flow.set_remote(upstream, sync_udebs=True, sync_installer=True)
    done = flow.sync()
    assert done.state == "completed", done.error
    return flow


def ids(flow: Flow, kind: Kind) -> list[int]:
    """Units of a kind in the latest version."""
    with flow.db.transaction() as tx:
        place = holdings.find_latest(tx, flow.repository["id"])
        assert place is not None
        page = contents.list_units(tx, Selection(kind, sets=(Held(place),)), 100, 0)
    return sorted(row["id"] for row in page.rows)


def rows_of(flow: Flow, table: str) -> int:
    query: Any = f"select count(*) as n from {table}"
    with flow.db.transaction() as tx:
        row = tx.execute(query).fetchone()
        assert row is not None
        return int(row["n"])


def clean(worker: Worker) -> dict[str, Any]:
    return run_chore(worker, "orphans", {"protection_minutes": 0, "units": None})


def modify(worker: Worker, flow: Flow, **more: Any) -> dict[str, Any]:
    args = {"repository": flow.repository["id"], "base_version": None, "add": [], "remove": []}
    return run_chore(worker, "modify", {**args, "overwrite": True, **more})


# --- the API --------------------------------------------------------------------------------------


def test_the_api_lists_them_by_kind_and_filter(api: ApiClient, synced: Flow) -> None:
    version = f"{V3}repositories/deb/apt/{synced.repository['uuid']}/versions/1/"

    def listed(endpoint: str, **query: str) -> list[dict[str, Any]]:
        answer = api.get(f"{V3}content/deb/{endpoint}/", query_string=query)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return list(answer.json["results"])

    for scope in ({}, {"repository_version": version}):
        [package] = listed("packages", **scope)
        [udeb] = listed("installer_packages", **scope)
        assert (package["package"], udeb["package"]) == ("a", "a")
        assert udeb["relative_path"] == "pool/main/a/a/a_1.0_amd64.udeb"
        assert udeb["artifact"]
        assert udeb["pulp_href"].startswith(f"{V3}content/deb/installer_packages/")
        assert len(listed("generic_contents", **scope)) == 2
        assert len(listed("installer_file_indices", **scope)) == 1
    assert len(listed("installer_packages", package="a", version="1.0")) == 1
    assert listed("installer_packages", package="b") == []
    iso = f"dists/stable/{PLACE}/netboot/mini.iso"
    [generic] = listed("generic_contents", relative_path=iso)
    assert generic["sha256"] == hashlib.sha256(FILES["netboot/mini.iso"]).hexdigest()
    assert api.get(generic["pulp_href"]).json == generic
    [index] = listed("installer_file_indices", component="main", architecture="amd64")
    assert sorted(path.rpartition("/")[2] for path in index["artifacts"]) == [
        "MD5SUMS",
        "SHA256SUMS",
    ]
    assert api.get(f"{V3}content/", query_string={"pulp_type": "deb.generic"}).json["count"] == 2
    present = api.get(version).json["content_summary"]["present"]
    assert {name: present[name]["count"] for name in present if "package" not in name} == {
        "deb.generic": 2,
        "deb.installer_file_index": 1,
        "deb.release": 1,
        "deb.release_architecture": 1,
        "deb.release_component": 1,
        "deb.release_file": 1,
    }
    assert present["deb.installer_package"]["count"] == 1


# --- modify ---------------------------------------------------------------------------------------


def test_modify_drops_the_lists_and_keeps_what_they_named(synced: Flow, worker: Worker) -> None:
    [udeb] = ids(synced, Kind.INSTALLER_PACKAGE)
    generics = ids(synced, Kind.GENERIC)

    modify(worker, synced, remove=[[int(Kind.GENERIC), generics[0], 0]])

    assert ids(synced, Kind.INSTALLER_FILE_INDEX) == []
    assert ids(synced, Kind.GENERIC) == generics[1:]
    assert ids(synced, Kind.INSTALLER_PACKAGE) == [udeb]
    modify(worker, synced, remove=[[int(Kind.INSTALLER_PACKAGE), udeb, 0]])
    assert ids(synced, Kind.INSTALLER_PACKAGE) == []
    assert len(ids(synced, Kind.PACKAGE)) == 1
    assert synced.sync(optimize=False).state == "completed"
    assert ids(synced, Kind.INSTALLER_PACKAGE) == [udeb]
    assert ids(synced, Kind.GENERIC) == generics


# --- cleanup --------------------------------------------------------------------------------------


def test_cleanup_leaves_what_a_version_holds(synced: Flow, worker: Worker) -> None:
    before = synced.stored()
    with synced.db.transaction() as tx:
        for table in ("indices", "packages", "generic_contents", "artifacts"):
            query: Any = f"update {table} set last_wanted = now() - interval '1 day'"
            tx.execute(query)

    clean(worker)

    assert [len(ids(synced, kind)) for kind in OURS] == [1, 2, 1]
    assert (rows_of(synced, "packages"), rows_of(synced, "generic_contents")) == (2, 2)
    assert {hashlib.sha256(c).hexdigest() for c in FILES.values()} <= synced.stored() <= before


def test_cleanup_takes_all_of_a_deleted_repository(
    synced: Flow, worker: Worker, store: Store
) -> None:
    with synced.db.transaction() as tx:
        repositories.delete_repository(tx, synced.repository["uuid"])
        assert synced.remote is not None
        repositories.delete_remote(tx, synced.remote.uuid)
        tx.execute("delete from tasks")

    clean(worker)

    for table in ("packages", "generic_contents", "installer_file_indices", "unit_files"):
        assert rows_of(synced, table) == 0, table
    for table in ("indices", "index_chunks", "artifacts", "doomed_files"):
        assert rows_of(synced, table) == 0, table
    digests = [hashlib.sha256(content).digest() for content in FILES.values()]
    assert store.missing(digests) == set(digests)


def test_cleanup_of_the_named_udeb_leaves_packages_alone(
    synced: Flow, worker: Worker, write: Write, upstream: Upstream
) -> None:
    [udeb] = ids(synced, Kind.INSTALLER_PACKAGE)
    [package] = ids(synced, Kind.PACKAGE)
    with synced.db.transaction() as tx:
        repositories.delete_repository(tx, synced.repository["uuid"])
        assert synced.remote is not None
        repositories.delete_remote(tx, synced.remote.uuid)
        tx.execute("delete from tasks")
    units = [[int(Kind.INSTALLER_PACKAGE), udeb, 0], [int(Kind.INSTALLER_PACKAGE), package, 0]]

    run_chore(worker, "orphans", {"protection_minutes": 0, "units": units})

    with synced.db.transaction() as tx:
        left = [row["id"] for row in tx.execute("select id from packages")]
    assert left == [package]


# --- repair ---------------------------------------------------------------------------------------


def test_repair_brings_back_udebs_images_and_lists(
    synced: Flow, worker: Worker, upstream: Upstream, store: Store
) -> None:
    lost = set(FILES.values())
    lost.add((upstream.folder / f"dists/stable/{PLACE}/SHA256SUMS").read_bytes())
    lost.add((upstream.folder / "pool/main/a/a/a_1.0_amd64.udeb").read_bytes())
    digests = {hashlib.sha256(content).digest() for content in lost}
    for digest in digests:
        store.delete(digest)
    with synced.db.transaction() as tx:  # upstream's own files are had again from there
        assert synced.remote is not None
        values = (synced.remote.id, synced.repository["id"])
        tx.execute("update repositories set remote = %s where id = %s", values)

    done = run_chore(
        worker,
        "repair",
        {"repository": synced.repository["id"], "number": 1, "verify_checksums": True},
    )

    assert done["reports"]["repair.missing"][0] == len(digests)
    assert done["reports"]["repair.repaired"][0] == len(digests)
    assert not store.missing(list(digests))
