"""A fleet whose store is a bucket: synced by two workers, served to apt."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from archive.build import write_archive
from archive.faults import delay
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.store import open_store
from debfleet_cli.apt_client import AptClient
from system.fleet import Fleet, add_pair, running, synced
from system.publishing import clean_update, distribute, need_apt, new_key, publish

KEY = SigningKey.generate()
PACKAGES = [Pkg("app", fields={"Depends": "lib1"}, payload_size=9_000_000)]
PACKAGES += [Pkg(f"lib{n}") for n in range(1, 20)]


def test_two_workers_sync_into_a_bucket_and_apt_installs_from_it(
    database_url: str, s3_url: str, tmp_path: Path
) -> None:
    need_apt()
    archive = write_archive(tmp_path / "archive", [Dist("stable", {"main": PACKAGES})], key=KEY)
    folder = Path(tempfile.mkdtemp(prefix="bucket-", dir=tmp_path))
    aws = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    fleet = Fleet(database_url, s3_url, folder, environ={"DEBFLEET_CHUNK_FILES": "3", **aws})
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
