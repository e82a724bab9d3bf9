"""One sync, shared by two worker processes."""

from __future__ import annotations

from pathlib import Path

from archive.faults import delay
from archive.upstream import Upstream
from system.fleet import Fleet, add_pair, start_sync
from system.small import DIST, assert_synced, write_small


def test_a_sync_is_shared_by_two_workers_and_comes_out_right(fleet: Fleet, tmp_path: Path) -> None:
    archive = write_small(tmp_path / "archive", packages=20)
    fleet.environ = {"DEBFLEET_CHUNK_FILES": "5"}
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=2).client() as api:
        # Each file takes a moment, so that one worker cannot be done before the other begins.
        upstream.faults.append(delay("pool/*", 0.05))
        _, repository = add_pair(
            api, "shared", upstream.url, distributions=DIST, download_concurrency=4
        )

        totals = set()
        for state in api.watch(start_sync(api, repository)):
            assert isinstance(state, dict)
            totals.add(state["progress_reports"][0]["total"])
        task = state

        assert_synced(fleet, api, task, archive)
        fetched = [path for path in upstream.paths() if path.startswith("pool/")]
    assert totals - {None}  # known while it downloads, so that a client can tell the time left
    assert task["progress_reports"][0]["total"] is None  # as the user's page has it
    assert sorted(fetched) == sorted(entry.path for entry in archive.listed)  # each file once
    done = fleet.rows(
        "select worker::text as worker, count(*) as jobs, max(attempt) as attempt from jobs"
        " where kind in ('index', 'download') and state = 'done' group by worker"
    )
    workers = {fleet.name_of(row["worker"]) for row in done}
    assert workers == {"worker-1", "worker-2"}, done
    assert {row["attempt"] for row in done} == {1}
