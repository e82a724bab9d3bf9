"""A fleet whose store is a bucket: synced by many workers, served to apt."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from pathlib import Path

from archive.build import write_archive
from archive.faults import delay, stall
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.store import open_store
from debfleet_cli.apt_client import AptClient
from system.fleet import Fleet, add_pair, finished, running, start_sync, synced, wait_for
from system.publishing import clean_update, distribute, need_apt, new_key, publish

WORKERS = 10
KEY = SigningKey.generate()
PACKAGES = [Pkg("app", fields={"Depends": "lib1"}, payload_size=9_000_000)]
PACKAGES += [Pkg(f"lib{n}") for n in range(1, 20)]


def test_two_workers_sync_into_a_bucket_and_apt_installs_from_it(
    database_url: str, s3_url: str, tmp_path: Path
) -> None:
    need_apt()
    archive = write_archive(tmp_path / "archive", [Dist("stable", {"main": PACKAGES})], key=KEY)
    fleet = fleet_on_bucket(database_url, s3_url, tmp_path, chunk_files=3)
    with running(fleet), Upstream(tmp_path / "archive") as upstream:
        # Each file takes a moment, so that one worker cannot be done before the other begins.
        upstream.faults.append(delay("pool/*", 0.1))
        fleet.start_content()
        with fleet.start(workers=2).client() as api:
            _, repository = add_pair(
                api, "debian", upstream.url, distributions="stable", gpgkey=KEY.public
            )
            synced(api, repository)
            service = new_key(fleet, api, "held")
            made = publish(api, repository, signing_service=service["pulp_href"])
            base = distribute(api, "debian", publication=made["pulp_href"])["base_url"]
            client = AptClient(tmp_path / "client")
            client.add_source("ours", str(base), "stable", "main", key=str(service["public_key"]))
            clean_update(client)
            files = client.install_download_only("app")

    offered = {one.sha256 for one in archive.listed}
    got = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    wanted = {one.sha256 for one in archive.listed if "/app_" in one.path or "/lib1_" in one.path}
    assert got == wanted
    store = open_store(s3_url, str(tmp_path))
    assert store.missing([bytes.fromhex(digest) for digest in offered]) == set()
    query = "select count(distinct worker) from jobs where kind = 'download' and state = 'done'"
    assert fleet.count(query) == 2


def test_ten_workers_on_rabbitmq_all_take_part_in_one_sync_into_a_bucket(
    database_url: str, broker_url: str, s3_url: str, tmp_path: Path
) -> None:
    packages = [Pkg(f"lib{number}") for number in range(6 * WORKERS)]
    archive = write_archive(tmp_path / "archive", [Dist("stable", {"main": packages})], key=KEY)
    fleet = fleet_on_bucket(database_url, s3_url, tmp_path, chunk_files=3, broker_url=broker_url)
    busy = "select count(distinct worker) from jobs where kind = 'download' and state = 'running'"
    with running(fleet), Upstream(tmp_path / "archive") as upstream:
        # No file ends before each worker has its part: it takes one download at a time.
        all_are_busy = threading.Event()
        upstream.faults.append(stall("pool/*", 0, all_are_busy))
        with fleet.start(workers=WORKERS).client() as api:
            _, repository = add_pair(
                api, "debian", upstream.url, distributions="stable", gpgkey=KEY.public,
                download_concurrency=4 * WORKERS,
            )  # fmt: skip
            href = start_sync(api, repository)
            wait_for(lambda: fleet.count(busy) == WORKERS, "all workers download", 50)
            all_are_busy.set()
            task = finished(api, href)
        fetched = [path for path in upstream.paths() if path.startswith("pool/")]

    assert task["state"] == "completed", task["error"]
    done = fleet.rows(
        "select worker::text as worker, max(attempt) as attempt from jobs"
        " where kind = 'download' and state = 'done' group by worker"
    )
    assert len(done) == WORKERS
    assert {row["attempt"] for row in done} == {1}
    assert sorted(fetched) == sorted(one.path for one in archive.listed)  # each file once
    store = open_store(s3_url, str(tmp_path))
    for one in archive.listed:
        with store.open(bytes.fromhex(one.sha256)) as stored:
            assert hashlib.sha256(stored.read()).hexdigest() == one.sha256, one.path


def fleet_on_bucket(
    database_url: str, s3_url: str, tmp_path: Path, *, chunk_files: int, broker_url: str = ""
) -> Fleet:
    """A fleet without a process yet, whose store is the bucket."""
    folder = Path(tempfile.mkdtemp(prefix="bucket-", dir=tmp_path))
    aws = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    environ = {"DEBFLEET_CHUNK_FILES": str(chunk_files), **aws}
    return Fleet(database_url, s3_url, folder, broker_url, environ)
