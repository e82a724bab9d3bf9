"""RabbitMQ stopped in the middle of the work, and started again."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import servers
from archive.faults import stall
from archive.upstream import Upstream
from system.fleet import Fleet, add_pair, finished, start_sync, wait_for
from system.small import DIST, assert_synced, write_small


@pytest.mark.parametrize("fleet", ["rabbitmq"], indirect=True)
def test_with_rabbitmq_down_the_api_takes_syncs_and_they_run_when_it_is_back(
    fleet: Fleet, rabbit: servers.RabbitNode, tmp_path: Path
) -> None:
    archive = write_small(tmp_path / "archive")
    go_on = threading.Event()
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=2).client() as api:
        _, first = add_pair(api, "first", upstream.url, distributions=DIST)
        _, second = add_pair(api, "second", upstream.url, distributions=DIST, architectures="amd64")
        held = stall("pool/*", 1000, go_on, times=1)
        upstream.faults.append(held)
        running = start_sync(api, first)
        wait_for(lambda: held.hits == 1, "the first sync downloads")

        rabbit.stop()
        try:
            began = time.monotonic()
            asked = start_sync(api, second)
            seconds = time.monotonic() - began
            state = api.get(asked)["state"]
            go_on.set()
            api.get("/pulp/api/v3/status/")
        finally:
            rabbit.start()

        task = finished(api, running, 90)
        assert task["state"] == "completed", task["error"]
        assert_synced(fleet, api, task, archive)
        later = finished(api, asked, 90)
        assert later["state"] == "completed", later["error"]
    assert state == "waiting"
    assert seconds < 2
