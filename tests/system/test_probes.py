"""What each process answers to probes and to Prometheus, with what it stands on there and away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.fleet import Fleet, running, wait_for

_NO_BROKER = "amqp://guest:guest@127.0.0.1:1/"
_ENVIRON = {"DEBFLEET_METRICS_ADDRESS": "127.0.0.1:0", "DEBFLEET_API_PROCESSES": "2"}


@pytest.fixture
def fleet(database_url: str, store_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with running(Fleet(database_url, store_url, tmp_path, environ=_ENVIRON)) as made:
        yield made


def test_every_process_is_live_and_ready_and_counts_itself(fleet: Fleet) -> None:
    fleet.start_content()
    fleet.start(workers=1)

    for name in ("api", "content", "sweep", "worker-1"):
        kind = name.partition("-")[0]
        assert fleet.probe(name, "/livez") == (200, "live\n")
        wait_for(lambda name=name: fleet.probe(name, "/readyz")[0] == 200, f"{name} is ready")
        counted = rf'debfleet_processes_started{{process="{kind}",version="[^"]+"}} (\d)\.0'
        found = re.search(counted, fleet.probe(name, "/metrics")[1])
        assert found, name
        assert found[1] == ("2" if kind == "api" else "1")


def test_a_dead_broker_makes_no_part_unlive_and_its_worker_unready(fleet: Fleet) -> None:
    fleet.broker_url = _NO_BROKER
    fleet.start_content()
    fleet.start_api()
    fleet.start_sweep()
    fleet._start("worker", "worker")

    assert {fleet.probe(name, "/livez")[0] for name in fleet.processes} == {200}
    for name in ("api", "content", "sweep"):
        wait_for(lambda name=name: fleet.probe(name, "/readyz")[0] == 200, f"{name} is ready")
    status, text = fleet.probe("worker", "/readyz")
    assert (status, '"broker": false' in text) == (503, True)


def test_a_store_that_is_gone_makes_those_that_need_it_unready_but_live(fleet: Fleet) -> None:
    fleet.start_content()
    fleet.start(workers=1)
    for name in fleet.processes:
        wait_for(lambda name=name: fleet.probe(name, "/readyz")[0] == 200, f"{name} is ready")

    Path(fleet.store_url.removeprefix("file://")).rename(fleet.folder / "away")

    assert {n: fleet.probe(n, "/readyz")[0] for n in fleet.processes} == {
        "api": 503, "content": 503, "sweep": 200, "worker-1": 503,
    }  # fmt: skip
    assert {fleet.probe(name, "/livez")[0] for name in fleet.processes} == {200}
