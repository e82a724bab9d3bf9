"""Servers that stop, workers that all die, a store that takes nothing: one fault at a time."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from archive import faults as upstream_faults
from archive.build import write_archive
from archive.debs import random_bytes
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet_cli.client import Refused, Unreachable
from faults import oracle
from faults.ground import Ground, ground
from faults.lane import CHUNK_BYTES, Lane


@pytest.fixture(scope="module")
def made() -> Iterator[Ground]:
    with ground(with_rabbit=True) as servers:
        yield servers


def held_sync(lane: Lane, seed: str) -> tuple[str, object, oracle.Served, threading.Event]:
    """A sync that stands in the middle of its downloads: its task, the archive, what was served."""
    archive = lane.next_state(random.Random(seed))
    before = lane.served()
    lane.upstream.clear()
    go_on = threading.Event()
    fault = upstream_faults.stall("pool/*", 100, go_on, times=1, skip=2)
    lane.upstream.faults.append(fault)
    task = lane.ask()
    lane.upstream.wait_for(lambda _: fault.hits == 1, 60)
    return task, archive, before, go_on


def ends_well(lane: Lane, sync: tuple[str, object, oracle.Served, threading.Event], n: int) -> None:
    task, archive, before, go_on = sync
    with lane.watched() as watch:
        go_on.set()
        lane.upstream.faults.clear()
        done = lane.finish(task)
    lane.judge(done, archive, before, watch, n)  # type: ignore[arg-type]


@pytest.mark.parametrize("at_once", [True, False], ids=["crashed", "stopped"])
def test_postgres_is_started_again_in_the_middle_of_a_sync(made: Ground, at_once: bool) -> None:
    lane = made.lane()
    for n in range(3):
        sync = held_sync(lane, f"postgres {at_once} {n}")

        made.restart_postgres(at_once=at_once)

        ends_well(lane, sync, 4)


@pytest.mark.parametrize("is_empty", [False, True], ids=["with what it held", "empty"])
def test_rabbitmq_is_killed_and_started_again_in_the_middle_of_a_sync(
    made: Ground, is_empty: bool
) -> None:
    if made.rabbit is None:
        pytest.skip("rabbitmq-server is not installed")
    lane = made.lane(with_rabbit=True)
    sync = held_sync(lane, f"rabbit {is_empty}")

    made.rabbit.stop(kill=True)
    if is_empty:
        shutil.rmtree(made.rabbit.folder / "mnesia")
    made.rabbit.start()
    if is_empty:
        name = lane.broker_url.rpartition("/")[2]
        made.rabbit.evaluate(
            f'begin rabbit_vhost:add(<<"{name}">>, <<"tests">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{name}">>, '
            '<<".*">>, <<".*">>, <<".*">>, <<"tests">>) end'
        )

    ends_well(lane, sync, 4)


def test_all_workers_are_killed_and_others_start_later(made: Ground) -> None:
    lane = made.lane()
    sync = held_sync(lane, "workers")

    for name in lane.workers():
        lane.end(name, signal.SIGKILL)
    time.sleep(4)  # beyond the lease, and a few sweeps
    assert lane.api.get(sync[0])["state"] == "running"
    for name in lane.workers():
        lane.start(name)

    ends_well(lane, sync, 4)


def test_a_store_that_takes_no_large_file_holds_a_sync_up_and_nothing_else(made: Ground) -> None:
    lane = made.lane(file_bytes=60_000)
    lane.limits["file_bytes"] = 6_000
    for name in lane.workers():
        lane.stop(name)
    archive = lane.next_state(random.Random("full"))
    before = lane.served()
    lane.upstream.clear()

    task = lane.ask()
    until = time.monotonic() + 60
    while not _was_refused(lane) and time.monotonic() < until:
        time.sleep(0.1)
    assert lane.served() == before
    assert lane.api.get(task)["state"] == "running"
    lane.limits.clear()
    for name in lane.workers():
        lane.stop(name)

    with lane.watched() as watch:
        done = lane.finish(task)
    # A file that does not fit is asked for again with each attempt.
    lane.judge(done, archive, before, watch, 60)
    assert "File too large" in _logs(lane)


def _was_refused(lane: Lane) -> bool:
    return "the store refused" in _logs(lane)


def _logs(lane: Lane) -> str:
    return "".join(p.read_text(errors="replace") for p in lane.folder.glob("worker-*.log"))


def test_every_process_is_replaced_in_turn_during_ten_syncs(made: Ground, tmp_path: Path) -> None:
    lane = made.lane()
    names = [f"d{n}" for n in range(10)]
    dists = [
        Dist(name, {"main": [_package(f"{name}-{k}") for k in range(12)]}, architectures=["amd64"])
        for name in names
    ]
    archive = write_archive(tmp_path, dists)
    with Upstream(tmp_path) as upstream:
        upstream.faults.append(upstream_faults.drip("pool/*", 40_000))
        repositories = [_pair(lane, upstream, name) for name in names]
        lane.store.check()
        tasks = [lane.api.ask(href + "sync/", {}) for href in repositories]

        replaced = 0
        for _ in range(2):
            for part in list(lane.parts):
                lane.stop(part)
                replaced += part.startswith("worker")
        states = [_finished(lane, task) for task in tasks]

        sent: dict[str, int] = {}
        for request in upstream.requests:
            sent[request.path] = sent.get(request.path, 0) + request.sent
    assert [state["state"] for state in states] == ["completed"] * 10, states
    assert set(archive.files.values()) <= lane.store.check()
    sizes = {package.path: package.size for package in archive.listed}
    oracle.check_repair(sent, sizes, replaced * CHUNK_BYTES)


def _package(name: str) -> Pkg:
    return Pkg(name, deb=random_bytes(name, 4_000))


def _pair(lane: Lane, upstream: Upstream, name: str) -> str:
    body = {"name": name, "url": upstream.url, "distributions": name, "max_retries": 5}
    remote = lane.api.post("/pulp/api/v3/remotes/deb/apt/", body)
    made = lane.api.post(
        "/pulp/api/v3/repositories/deb/apt/", {"name": name, "remote": remote["pulp_href"]}
    )
    return str(made["pulp_href"])


def _finished(lane: Lane, task: str) -> dict[str, object]:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            state = lane.api.get(task)
        except (Unreachable, Refused):
            time.sleep(0.1)
            continue
        if state["finished_at"] is not None:
            return state
        time.sleep(0.1)
    raise AssertionError(f"{task} does not end")


def test_a_broker_that_blocks_publishers_holds_up_the_bell_and_no_request(made: Ground) -> None:
    if made.rabbit is None:
        pytest.skip("rabbitmq-server is not installed")
    lane = made.lane(with_rabbit=True)
    archive = lane.next_state(random.Random("alarm"))
    before = lane.served()
    lane.upstream.clear()
    made.rabbit.evaluate("rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []})")
    try:
        task = lane.ask()
        assert lane.api.get(task)["state"] in ("waiting", "running", "completed")
        assert lane.served() == before
    finally:
        made.rabbit.evaluate("rabbit_alarm:clear_alarm({resource_limit, memory, node()})")

    with lane.watched() as watch:
        done = lane.finish(task)
    lane.judge(done, archive, before, watch, 4)


def test_connections_to_postgres_run_out_and_come_back(made: Ground) -> None:
    lane = made.lane()
    sync = held_sync(lane, "connections")
    taken: list[psycopg.Connection[tuple[object, ...]]] = []

    with suppress(psycopg.OperationalError):
        while len(taken) < 1000:
            taken.append(psycopg.connect(made.postgres.url("postgres")))
    for part in lane.parts.values():
        part.wires["postgres"].cut()  # so that each needs a new one
    time.sleep(5)
    for connection in taken:
        connection.close()

    assert len(taken) < 1000
    ends_well(lane, sync, 8)
