"""A download that takes its workers down is halved, so that the file at fault is found."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from uuid import uuid4

import pytest

from coordination import ask, claimed, rows, task_row
from debfleet.bell import NotifyBell
from debfleet.config import Settings
from debfleet.db import jobs, slots, sweeps, tasks, units
from debfleet.db.connect import Database
from debfleet.db.jobs import NewJob
from debfleet.errors import LeaseLost
from debfleet.model import Job
from debfleet_worker.sweep import Sweeper

LOSSES = 2


def digest(file: str) -> bytes:
    return file.encode().ljust(32, b"-")


def begin(
    db: Database, settings: Settings, *chunks: Sequence[str], scope: str | None = None
) -> list[Job]:
    """A sync that has opened a download of each chunk of files; the jobs, claimed."""
    task = ask(db, kind="sync")
    [ring] = db.run(lambda tx: tasks.start(tx, task))
    plan = claimed(db, settings, ring.job)
    for number, files in enumerate(chunks):
        for file in files:
            rows(
                db,
                "insert into task_files (task, sha256, size, path, opener, chunk)"
                " values (%s, %s, 1, %s, %s, %s) returning 1",
                task, digest(file), file, plan.id, number,
            )  # fmt: skip
    opens = [
        NewJob("download", {"opener": plan.id, "chunk": number, "files": len(files)}, scope)
        for number, files in enumerate(chunks)
    ]
    rings = db.run(lambda tx: jobs.finish(tx, plan, opens))
    return [claimed(db, settings, ring.job) for ring in rings]


def lose(db: Database, *lost: int) -> None:
    """As if the workers of these jobs had died a while ago."""
    rows(
        db,
        "update jobs set leased_until = now() - interval '1 s' where id = any(%s) returning id",
        list(lost),
    )


def sweep(db: Database, settings: Settings) -> None:
    bell = NotifyBell(settings.database_url)
    Sweeper(db, bell, settings, _SWEEPER).run_once()
    bell.close()


_SWEEPER = uuid4()


def lose_again_and_again(db: Database, settings: Settings, job: int, times: int) -> None:
    """Lose a claimed job's worker, have it claimed again, and so on."""
    for loss in range(times):
        lose(db, job)
        sweep(db, settings)
        if loss < times - 1:
            claimed(db, settings, job)


def chunks(db: Database, task: int) -> dict[int, list[str]]:
    """The files of each open download."""
    found = rows(
        db,
        "select j.id, array_agg(f.path order by f.path) as files from jobs j join task_files f"
        " on f.task = j.task and f.opener = (j.args ->> 'opener')::bigint"
        " and f.chunk = (j.args ->> 'chunk')::int"
        " where j.task = %s and j.kind = 'download' and j.state in ('queued', 'running')"
        " group by j.id order by j.id",
        task,
    )
    return {row["id"]: row["files"] for row in found}


def test_a_chunk_that_lost_its_worker_twice_is_halved_and_both_are_rung(
    db: Database, settings: Settings
) -> None:
    [remote] = rows(
        db,
        "insert into remotes (name, url, distributions, download_concurrency)"
        " values ('r', 'http://x/', 'x', 10) returning id",
    )
    [job] = begin(db, settings, "abcde", scope=slots.scope_of(remote["id"]))
    lose_again_and_again(db, settings, job.id, 1)
    after_one = chunks(db, job.task)
    again = claimed(db, settings, job.id)

    lose_again_and_again(db, settings, job.id, 1)

    assert after_one == {job.id: list("abcde")}
    assert list(chunks(db, job.task).values()) == [list("abc"), list("de")]
    assert task_row(db, job.task)["open_jobs"] == LOSSES
    made = rows(db, "select rung, scope, host, args from jobs where state = 'queued' order by id")
    assert [row["rung"] is not None for row in made] == [True, True]
    assert [(row["scope"], row["host"]) for row in made] == [(job.scope, job.host)] * 2
    assert [row["args"]["files"] for row in made] == [3, 2]
    [old] = rows(db, "select state, error from jobs where id = %s", job.id)
    assert old["state"] == "canceled"
    assert "split in two" in old["error"]["reason"]
    with pytest.raises(LeaseLost), db.transaction() as tx:
        jobs.finish(tx, again)  # the worker was not dead, only slow


def test_when_both_halves_are_done_the_task_goes_on_once(db: Database, settings: Settings) -> None:
    [job] = begin(db, settings, "ab")
    lose_again_and_again(db, settings, job.id, LOSSES)

    for half in chunks(db, job.task):
        done = claimed(db, settings, half)
        db.run(lambda tx, done=done: jobs.finish(tx, done))  # type: ignore[misc]  # bound now

    opened = rows(db, "select kind, state from jobs where task = %s order by id desc", job.task)
    assert [row["kind"] for row in opened].count("assemble") == 1
    assert task_row(db, job.task)["open_jobs"] == 1


def test_the_file_that_does_it_stands_alone_after_a_loss_for_each_halving_and_is_named(
    db: Database, settings: Settings
) -> None:
    [job] = begin(db, settings, "abcdefgh")
    losses, held = 0, job.id
    claimable = False

    while task_row(db, job.task)["state"] == "running":
        if claimable:
            claimed(db, settings, held)
        lose(db, held)
        sweep(db, settings)
        losses, claimable = losses + 1, True
        held = next((id for id, files in chunks(db, job.task).items() if "f" in files), held)

    # Two for the whole chunk, one for each of 4 and 2 files, and the rest for the one alone.
    assert losses == 2 + 2 + settings.max_attempts - 1
    error = task_row(db, job.task)["error"]["description"]
    assert "it was at: f. " in error


def test_a_half_is_not_halved_because_the_other_one_is(db: Database, settings: Settings) -> None:
    [job] = begin(db, settings, "abcd")
    lose_again_and_again(db, settings, job.id, LOSSES)
    bad, good = chunks(db, job.task)
    claimed(db, settings, good)
    claimed(db, settings, bad)

    lose_again_and_again(db, settings, bad, 1)

    assert list(chunks(db, job.task).values()) == [list("cd"), ["a"], ["b"]]


def test_files_that_are_stored_are_not_dealt_again(db: Database, settings: Settings) -> None:
    [job] = begin(db, settings, "abcdef")
    db.run(lambda tx: units.add_artifacts(tx, [(digest(file), 1) for file in "abf"]))

    lose_again_and_again(db, settings, job.id, LOSSES)

    first, second = chunks(db, job.task).values()
    assert (first, second) == (list("abcdf"), ["e"])  # c, d and e are missing
    db.run(lambda tx: units.add_artifacts(tx, [(digest("c"), 1)]))
    held = next(iter(chunks(db, job.task)))
    claimed(db, settings, held)
    lose_again_and_again(db, settings, held, 1)
    assert held in chunks(db, job.task)  # only d is left: there is nothing to halve


def test_what_the_report_counted_is_counted_once(db: Database, settings: Settings) -> None:
    [job] = begin(db, settings, "abcdef")
    with db.transaction() as tx:
        jobs.hold(tx, job)
        tasks.count_files(tx, job, 4)

    lose_again_and_again(db, settings, job.id, LOSSES)

    for half, files in chunks(db, job.task).items():
        done = claimed(db, settings, half)
        with db.transaction() as tx:
            jobs.hold(tx, done)
            tasks.count_files(tx, done, len(files))
    [report] = rows(db, "select done from progress_reports where code = 'downloading.artifacts'")
    assert report["done"] == 6


def test_attempts_that_were_handed_back_do_not_halve_a_chunk(
    db: Database, settings: Settings
) -> None:
    [job] = begin(db, settings, "abcd")
    for _ in range(LOSSES):
        db.run(lambda tx, job=job: jobs.give_back(tx, job))  # type: ignore[misc]  # bound now
        job = claimed(db, settings, job.id)

    lose_again_and_again(db, settings, job.id, 1)

    assert list(chunks(db, job.task)) == [job.id]


def test_a_chunk_of_a_task_that_is_over_is_left_alone(db: Database, settings: Settings) -> None:
    [job] = begin(db, settings, "abcd")
    lose_again_and_again(db, settings, job.id, 1)
    again = claimed(db, settings, job.id)
    with db.transaction() as tx:
        jobs.hold(tx, again)  # an outcome that is being written: the cancel does not wait for it
        db.run(lambda other: tasks.cancel(other, job.task_uuid))
    lose(db, job.id)

    sweep(db, settings)

    assert chunks(db, job.task) == {}
    assert len(rows(db, "select from jobs where kind = 'download'")) == 1
    assert task_row(db, job.task)["open_jobs"] == 0


def test_sweepers_that_halve_beside_each_other_give_every_half_a_number_of_its_own(
    db: Database, settings: Settings
) -> None:
    files = ["abcd", "efgh", "ijkl", "mnop"]
    held = begin(db, settings, *files)
    lose(db, *(job.id for job in held))
    sweep(db, settings)
    for job in held:
        claimed(db, settings, job.id)
    lose(db, *(job.id for job in held))
    begun = threading.Barrier(2)

    def end_lost() -> None:
        begun.wait()
        db.run(lambda tx: sweeps.end_lost_leases(tx, settings))

    threads = [threading.Thread(target=end_lost) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    halves = list(chunks(db, held[0].task).values())
    assert sorted(map("".join, halves)) == ["ab", "cd", "ef", "gh", "ij", "kl", "mn", "op"]
    assert task_row(db, held[0].task)["open_jobs"] == len(halves)
