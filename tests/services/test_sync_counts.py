"""The numbers in a sync's progress reports: each is of something that happened, and once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from archive import faults
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from coordination import wait_for
from debfleet.db import reports
from debfleet.db.connect import Database
from debfleet.model import Kind
from sync_flow import Flow

Write = Callable[..., Archive]
A, B, C = Pkg("a"), Pkg("b"), Pkg("c", architecture="all")
DOWNLOADS = "downloading.artifacts"


def stable(packages: Sequence[Pkg] = (A, B, C), **fields: Any) -> Dist:
    return Dist("stable", {"main": packages}, **fields)


def shown(db: Database, code: str = DOWNLOADS) -> tuple[int, int | None]:
    """Done and total of the only task's report, as the API shows it."""
    with db.transaction() as tx:
        row = tx.execute("select id from tasks order by id desc limit 1").fetchone()
        assert row is not None
        [report] = [
            r for r in reports.list_progress(tx, [row["id"]])[row["id"]] if r["code"] == code
        ]
    return report["done"], report["total"]


def test_an_unchanged_dist_counts_its_release_file(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(Dist("one", {"main": [A]}), Dist("two", {"main": [B]})).folder)
    flow.set_remote(upstream, distributions="one two")
    flow.sync()

    again = flow.sync()

    # As recorded from Pulp.
    assert again.reports == {
        "downloading.artifacts": 6,
        "update.release_file": 2,
        "associating.content": 2,
        "sync.release_file.was_skipped": 2,
    }


def test_upstreams_own_files_are_associated_anew_each_time(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    before = Dist("stable", {"main": [A], "contrib": [B]})
    upstream.rotate(write(before).folder)
    flow.set_remote(upstream)
    flow.sync()
    upstream.rotate(write(replace(before, components={"main": [A], "contrib": [B, C]})).folder)

    changed = flow.sync()
    same = flow.sync(optimize=False)

    # One package and its link; one Release file and two indices.
    assert changed.reports["associating.content"] == 2 + 3
    assert same.reports["associating.content"] == 3
    assert same.created == []


def test_a_mirror_counts_what_it_drops_and_not_upstreams_own_files(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    upstream.rotate(write(stable([A, B])).folder)
    flow.set_remote(upstream)
    flow.sync(mirror=True)
    upstream.rotate(write(stable([A])).folder)

    done = flow.sync(mirror=True)

    assert done.reports["unassociating.content"] == 2  # the package and its link
    assert done.reports["associating.content"] == 2
    with flow.db.transaction() as tx:
        rows = tx.execute("select kind, removed from version_counts where number = 2").fetchall()
    assert {Kind(r["kind"]).name: r["removed"] for r in rows}["RELEASE_FILE"] == 1


def test_a_sync_that_is_planned_anew_counts_its_last_round(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    def archive(packages: Sequence[Pkg], month: int) -> Archive:
        date = datetime(2026, month, 1, tzinfo=UTC)
        return write(Dist("stable", {"main": [C], "contrib": packages}, date=date))

    old, new = archive([A], 1), archive([A, B], 2)
    upstream.rotate(old.folder)
    flow.set_remote(upstream, components="main contrib vax", policy="on_demand")
    run = flow.crew.steps["index"]
    ran: list[int] = []

    def index_and_rotate(worker: Any, job: Any, lease: Any) -> None:
        if len(ran) == 1:
            upstream.rotate(new.folder)
        ran.append(job.id)
        run(worker, job, lease)

    flow.crew = replace(flow.crew, steps={**flow.crew.steps, "index": index_and_rotate})

    done = flow.sync()

    assert done.state == "completed"
    assert len(ran) > 2
    assert done.reports["update.release_file"] == 1
    assert done.reports["update.packageindex"] == 2
    assert done.reports["sync.skipped.component_unknown"] == 1
    assert flow.tolerances(done.task) == [("component_unknown", "dists/stable/Release")]


def test_the_report_moves_while_a_chunk_is_fetched(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    packages = [Pkg(f"p{n}") for n in range(8)]
    archive = write(stable(packages))
    upstream.rotate(archive.folder)
    held = threading.Event()
    last = sorted(archive.files)[-1]
    upstream.faults.append(faults.stall(last, 10, held))
    flow.set_remote(upstream)
    seen: list[tuple[int, int | None]] = []

    def watch() -> None:
        try:
            wait_for(lambda: shown(flow.db)[0] == 3 + 3 + 7)
            seen.append(shown(flow.db))
        finally:
            held.set()

    watcher = threading.Thread(target=watch)
    run = flow.crew.steps["download"]

    def watched(worker: Any, job: Any, lease: Any) -> None:
        watcher.start()
        run(worker, job, lease)

    flow.crew = replace(flow.crew, steps={**flow.crew.steps, "download": watched})

    done = flow.sync()
    watcher.join()

    assert seen == [(13, 14)]
    assert (done.state, done.reports[DOWNLOADS]) == ("completed", 14)


def test_files_of_a_worker_that_was_lost_are_counted_once(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable([Pkg(f"p{n}") for n in range(8)]))
    upstream.rotate(archive.folder)
    held = threading.Event()
    upstream.faults.append(faults.stall(sorted(archive.files)[-1], 10, held))
    flow.set_remote(upstream)
    run = flow.crew.steps["download"]
    attempts: list[int] = []

    def lost_at_first(worker: Any, job: Any, lease: Any) -> None:
        attempts.append(job.attempt)
        if len(attempts) > 1:
            upstream.faults.clear()
            run(worker, job, lease)
            return

        def lose() -> None:
            wait_for(lambda: shown(flow.db)[0] == 13)
            lease.lose()

        loser = threading.Thread(target=lose)
        loser.start()
        try:
            run(worker, job, lease)
        finally:
            loser.join()
            with flow.db.transaction() as tx:
                tx.execute(
                    "update jobs set state = 'queued', leased_until = null where id = %s", (job.id,)
                )

    flow.crew = replace(flow.crew, steps={**flow.crew.steps, "download": lost_at_first})

    done = flow.sync()
    held.set()

    assert len(attempts) == 2
    assert (done.state, done.reports[DOWNLOADS]) == ("completed", 14)


def test_files_that_a_closed_host_kept_away_are_counted_when_they_come(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    archive = write(stable([Pkg(f"p{n}") for n in range(8)]))
    upstream.rotate(archive.folder)
    third = sorted(archive.files)[2]
    upstream.faults.append(faults.status(third, 429, {"Retry-After": "600"}, times=1))
    flow.set_remote(upstream, max_retries=1, download_concurrency=1)

    put_off = flow.sync()
    before = shown(flow.db)
    with flow.db.transaction() as tx:
        tx.execute("delete from gates")
        tx.execute("update jobs set not_before = '-infinity' where state = 'queued'")
    done = flow.go_on(put_off.task)

    assert (put_off.state, before) == ("running", (3 + 3 + 2, 14))
    assert (done.state, done.reports[DOWNLOADS]) == ("completed", 14)


def test_of_many_stanzas_that_are_left_out_all_are_counted_and_the_first_are_listed(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    bad = [Pkg(f"bad{n:04}", stanza={"SHA256": ""}) for n in range(1200)]
    dist = Dist("stable", {"main": [A, *bad], "contrib": [B, Pkg("worse", stanza={"Size": "x"})]})
    upstream.rotate(write(dist, pool=False).folder)
    flow.set_remote(upstream, policy="on_demand")

    done = flow.sync()

    assert done.reports["sync.skipped.stanza_incomplete"] == 1200
    assert done.reports["sync.skipped.stanza_malformed"] == 1
    with flow.db.transaction() as tx:
        rows = tx.execute("select * from tolerances where task = %s order by id", (done.task,))
        listed = [(r["reason"], r["line"], r["file"], r["detail"]) for r in rows]
    assert len(listed) == 1001
    lines = [line for reason, line, _, _ in listed if reason == "stanza_incomplete"]
    assert lines == sorted(lines)
    assert listed[-1][0] == "stanza_malformed"
    assert listed[-1][2] == "dists/stable/contrib/binary-amd64/Packages"
    assert "worse" in listed[-1][3]
