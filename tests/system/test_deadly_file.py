"""A file that kills its worker each time: it ends up alone, and costs the sync nothing else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from archive.build import write_archive
from archive.faults import stall
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from system.fleet import Fleet, add_pair, finished, start_sync, stored_digests, wait_for

ATTEMPTS = 2
# The download that has the deadly file: what it is to fetch, and who runs it.
CHUNK = """
select j.worker::text as worker, j.attempt, f.opener, f.chunk
  from task_files f join jobs j on j.task = f.task and j.kind = 'download' and j.state = 'running'
   and (j.args ->> 'opener')::bigint = f.opener and (j.args ->> 'chunk')::int = f.chunk
 where f.path = %s"""
# Files of other downloads that nobody has stored yet.
OTHERS = """
select count(*) from task_files f
 where (f.opener, f.chunk) <> (select opener, chunk from task_files where path = %s)
   and not exists (select from artifacts a where a.sha256 = f.sha256)"""


@pytest.mark.parametrize("fleet", ["notify"], indirect=True)
def test_a_file_that_kills_its_worker_each_time_ends_up_alone_and_the_others_are_stored(
    fleet: Fleet, tmp_path: Path
) -> None:
    packages = [Pkg(f"lib{number}") for number in range(4)]
    archive = write_archive(tmp_path / "archive", [Dist("stable", {"main": packages})])
    deadly = next(one for one in archive.listed if one.name == "lib3")
    fleet.environ = {"DEBFLEET_CHUNK_FILES": "2", "DEBFLEET_MAX_ATTEMPTS": str(ATTEMPTS)}
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=2).client() as api:
        # Whoever fetches it is in the middle of it when it dies.
        held = stall(deadly.path, 100, threading.Event())
        upstream.faults.append(held)
        _, repository = add_pair(api, "deadly", upstream.url, distributions="stable")
        href = start_sync(api, repository)
        deaths = 0
        while True:
            wait_for(
                lambda n=deaths: held.hits > n or _is_over(fleet), "somebody fetches the file", 90
            )
            if _is_over(fleet):
                break
            wait_for(lambda: fleet.count(OTHERS, deadly.path) == 0, "the others are stored", 90)
            [runner] = fleet.rows(CHUNK, deadly.path)
            fleet.kill(str(fleet.name_of(runner["worker"])))
            deaths += 1
            fleet.start_worker(f"worker-{deaths + 2}")
        task = finished(api, href)

    assert task["state"] == "failed"
    assert f"it was at: {deadly.path}." in task["error"]["description"]
    # Twice with another file, and as often as is left alone.
    assert deaths == 2 + ATTEMPTS - 1
    stored = stored_digests(fleet.store_url)
    wanted = {one.sha256 for one in archive.listed} - {deadly.sha256}
    assert wanted <= stored.keys()
    assert deadly.sha256 not in stored


def _is_over(fleet: Fleet) -> bool:
    return bool(fleet.count("select count(*) from tasks where finished is not null"))
