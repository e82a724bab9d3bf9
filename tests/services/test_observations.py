"""What is looked up in Postgres for metrics, after real syncs; and what processes count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from archive import faults
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet import metrics
from debfleet.bell import open_bell
from debfleet.db import observations, sweeps, tasks
from debfleet.db.connect import Database
from debfleet.db.tasks import NewTask
from debfleet.measure import REGISTRY, Metric, host_label
from debfleet_worker.observe import Observer
from debfleet_worker.sweep import Sweeper
from sync_flow import Flow, add_repository

Write = Callable[..., Archive]
DATE = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
VALID_UNTIL = DATE + timedelta(days=7)
STABLE = Dist("stable", {"main": [Pkg("a"), Pkg("b")]}, date=DATE, valid_until=VALID_UNTIL)


def looked_up(db: Database) -> dict[Metric, dict[tuple[str, ...], float]]:
    """All looks at once."""
    found: dict[Metric, dict[tuple[str, ...], float]] = {}
    for what in observations.LOOKS:
        for metric, values in db.run(lambda tx, what=what: observations.look(tx, what)).items():
            found[metric] = dict(values)
    return found


def counted(metric: Metric, **labels: str) -> float:
    """What this process counted so far."""
    return REGISTRY.get_sample_value(metric.name, labels) or 0.0


# --- repositories ---------------------------------------------------------------------------------


def test_a_synced_repository_shows_when_what_and_how_old(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(STABLE).folder)
    flow.set_remote(upstream)
    before = datetime.now(UTC).timestamp()

    flow.sync()

    found, name = looked_up(flow.db), (flow.repository["name"],)
    assert before - 60 < found[metrics.SYNCED][name] < before + 600
    assert found[metrics.FAILED_SYNCS][name] == 0
    assert found[metrics.PACKAGES][name] == 2
    assert found[metrics.UPSTREAM_DATE][name] == DATE.timestamp()
    assert found[metrics.VALID_UNTIL][name] == VALID_UNTIL.timestamp()
    assert found[metrics.REPOSITORIES] == {(): 1}
    assert found[metrics.ARTIFACTS][()] == len(flow.stored())
    assert found[metrics.ARTIFACT_BYTES][()] > 0


def test_failed_syncs_are_counted_until_one_succeeds_even_without_a_change(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(STABLE).folder)
    flow.set_remote(upstream)
    flow.sync()
    name = (flow.repository["name"],)
    first = looked_up(flow.db)[metrics.SYNCED][name]
    upstream.faults.append(faults.status("*", 404, times=6))

    states = [flow.sync().state for _ in range(2)]
    after_failures = looked_up(flow.db)
    last = flow.sync()

    assert (states, last.state) == (["failed"] * 2, "completed")
    assert after_failures[metrics.FAILED_SYNCS][name] == 2
    assert after_failures[metrics.SYNCED][name] == first
    assert looked_up(flow.db)[metrics.FAILED_SYNCS][name] == 0
    assert looked_up(flow.db)[metrics.SYNCED][name] > first


def test_a_repository_that_was_never_synced_has_no_time(db: Database) -> None:
    repository = add_repository(db)

    found = looked_up(db)

    assert found[metrics.SYNCED] == {}
    assert found[metrics.PACKAGES] == {(repository["name"],): 0}


def test_a_purge_of_the_tasks_forgets_no_sync(flow: Flow, write: Write, upstream: Upstream) -> None:
    upstream.rotate(write(STABLE).folder)
    flow.set_remote(upstream)
    flow.sync()

    with flow.db.transaction() as tx:
        tx.execute("delete from tasks")

    assert looked_up(flow.db)[metrics.SYNCED]


def test_a_very_long_name_is_cut_and_still_its_own(db: Database) -> None:
    for letter in "xy":
        add_repository(db, name="n" * 400 + letter)

    names = [name for (name,) in looked_up(db)[metrics.PACKAGES]]

    assert len(set(names)) == 2
    assert max(map(len, names)) <= 100


# --- queues ---------------------------------------------------------------------------------------


def ask(db: Database, *resources: str) -> int:
    new = NewTask("modify", "modify", exclusive=resources)
    task = db.run(lambda tx: tasks.ask(tx, new)).id
    db.run(lambda tx: tasks.start(tx, task))
    return task


def test_jobs_are_ready_or_held_by_another_task(db: Database) -> None:
    for _ in range(2):
        ask(db, "r:1")

    found = looked_up(db)

    jobs = found[metrics.QUEUE_JOBS]
    assert (jobs["chore", "ready"], jobs["chore", "held"], jobs["chore", "running"]) == (1, 1, 0)
    assert jobs["download", "ready"] == 0
    assert found[metrics.QUEUE_AGE]["chore",] >= 0
    assert found[metrics.TASKS] == {("waiting",): 2, ("running",): 0}


def test_a_job_whose_host_is_closed_is_held(db: Database) -> None:
    task = ask(db, "r:1")
    with db.transaction() as tx:
        tx.execute("update jobs set host = 'host:h' where task = %s", (task,))
        tx.execute("insert into gates (scope, closed_until) values ('host:h', 'infinity')")

    assert looked_up(db)[metrics.QUEUE_JOBS]["chore", "held"] == 1


def test_the_look_at_the_queues_reads_no_job_that_is_over(db: Database) -> None:
    with db.transaction() as tx:
        tx.execute(
            "insert into tasks (kind, name, state, finished) "
            "select 'x', 'x', 'completed', now() from generate_series(1, 2000)"
        )
        tx.execute("insert into jobs (task, kind, state) select id, 'chore', 'done' from tasks")
    with db.transaction() as tx:
        tx.execute("analyze jobs")
        plan = "\n".join(
            row["QUERY PLAN"]
            for row in tx.execute("explain " + observations._q["count_jobs"].partition("\n")[2])
        )

    assert "open_jobs" in plan


# --- who looks ------------------------------------------------------------------------------------


def text_of(observer: Observer) -> str:
    registry = CollectorRegistry()
    registry.register(observer)
    return generate_latest(registry).decode()


@pytest.fixture
def observer(db: Database, settings: Any) -> Iterator[Observer]:
    made = Observer(settings)
    made.start(db)
    yield made
    made.stop()


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_only_the_sweeper_that_leads_shows_what_stands_in_postgres(observer: Observer) -> None:
    assert text_of(observer) == ""

    observer.is_leading = True
    until(lambda: "debfleet_store_artifacts" in text_of(observer))
    shown = text_of(observer)
    observer.is_leading = False

    assert 'debfleet_queue_jobs{kind="plan",state="ready"} 0.0' in shown
    assert "debfleet_observed_timestamp_seconds" in shown
    assert text_of(observer) == ""


# --- what is counted ------------------------------------------------------------------------------


def test_a_sync_counts_its_jobs_files_bytes_and_retries(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(STABLE)
    upstream.rotate(archive.folder)
    flow.set_remote(upstream, max_retries=2)
    upstream.faults.append(faults.wrong_bytes("pool/*", times=1))
    host = host_label(upstream.url)  # many hosts share a label, after tests of many upstreams
    done = counted(metrics.JOBS, kind="assemble", outcome="done")
    digests = counted(metrics.UPSTREAM_DIGESTS, host=host)
    retries = counted(metrics.UPSTREAM_RETRIES, host=host, cause="digest")
    files = counted(metrics.UPSTREAM_FILES, host=host, outcome="fetched")
    size = counted(metrics.UPSTREAM_BYTES, host=host)

    done_sync = flow.sync()
    assert done_sync.state == "completed", done_sync.error

    assert counted(metrics.JOBS, kind="assemble", outcome="done") == done + 1
    assert counted(metrics.UPSTREAM_FILES, host=host, outcome="fetched") >= files + 4
    least = sum(entry.size for entry in archive.listed)
    assert counted(metrics.UPSTREAM_BYTES, host=host) > size + least
    assert counted(metrics.UPSTREAM_DIGESTS, host=host) == digests + 1
    assert counted(metrics.UPSTREAM_RETRIES, host=host, cause="digest") == retries + 1


def test_a_job_that_is_given_up_is_counted_as_quarantined(db: Database, settings: Any) -> None:
    task = ask(db, "r:1")
    quarantined = counted(metrics.QUARANTINED, kind="chore")
    expired = counted(metrics.LEASES_EXPIRED)
    with db.transaction() as tx:
        tx.execute("update tasks set state = 'running' where id = %s", (task,))
        tx.execute(
            "update jobs set state = 'running', attempt = %s, leased_until = now() - interval '1 s'"
            " where task = %s",
            (settings.max_attempts, task),
        )
    bell = open_bell(settings)

    Sweeper(db, bell, settings, uuid4()).run_once()

    bell.close()
    assert counted(metrics.QUARANTINED, kind="chore") == quarantined + 1
    assert counted(metrics.LEASES_EXPIRED) == expired + 1
    assert not db.run(lambda tx: sweeps.list_unrung_scopes(tx))
