"""A worker killed while it publishes: apt sees what was before, then the whole new publication."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet_cli.apt_client import AptClient
from system.fleet import Fleet, add_pair, finished, start_sync, synced, wait_for
from system.publishing import changed, clean_update, distribute, need_apt, new_key

KEY = SigningKey.generate()


# Where its first index file is noted, and where the finished publication becomes the served one.
@pytest.mark.parametrize("table", ["published_files", "served"])
@pytest.mark.parametrize("fleet", ["notify"], indirect=True)
def test_a_worker_killed_while_it_publishes_is_replaced_and_apt_does_not_notice(
    fleet: Fleet, tmp_path: Path, table: str
) -> None:
    need_apt()
    client = AptClient(tmp_path / "client")
    _write(tmp_path / "archive", "old")
    fleet.start_content()
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=1).client() as api:
        service = new_key(fleet, api, "k")
        _, repository = add_pair(
            api, "killed", upstream.url, distributions="sid", gpgkey=KEY.public
        )
        settings = {"autopublish": True, "signing_service": service["pulp_href"]}
        changed(api, repository["pulp_href"], settings)
        synced(api, repository)
        made = distribute(api, "killed", repository=repository["pulp_href"])
        client.add_source("ours", made["base_url"], "sid", "main", key=service["public_key"])
        clean_update(client)
        _write(tmp_path / "archive", "new")

        with psycopg.connect(fleet.database_url) as locker:
            locker.execute(f"lock table {table} in exclusive mode")  # type: ignore[arg-type]
            task = start_sync(api, repository, mirror=True)
            blocked = "select count(*) from pg_locks where not granted and relation = %s::regclass"
            wait_for(lambda: fleet.count(blocked, table) > 0, "a publish job waits")
            assert fleet.runner("publish") == "worker-1"
            fleet.kill("worker-1")
            clean_update(client)
            assert {name for name, _ in client.packages()} == {"old", "same"}
        fleet.start_worker("worker-2")
        state = finished(api, task)

        assert state["state"] == "completed", state["error"]
        clean_update(client)
        assert {name for name, _ in client.packages()} == {"new", "same"}
        assert client.install_download_only("new")
    assert fleet.count("select count(*) from publications") == 2
    assert fleet.count("select count(*) from publications where not is_complete") == 0


def _write(folder: Path, name: str) -> None:
    write_archive(folder, [Dist("sid", {"main": [Pkg(name), Pkg("same")]})], key=KEY)
