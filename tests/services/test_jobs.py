"""The claim, the fence, the count of open jobs, the window; endings that race with work."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from coordination import add_process, ask, claimed, rows, task_row
from debfleet.config import Settings
from debfleet.db import jobs, slots, sweeps, tasks
from debfleet.db.connect import Database, Tx
from debfleet.db.jobs import NewJob
from debfleet.errors import LeaseLost, NotFound, UpstreamRotated
from debfleet.model import Job, Ring, Tolerance


def begin(db: Database, settings: Settings, kind: str = "sync", **how: object) -> Job:
    """A task whose first job is claimed."""
    task = ask(db, kind=kind, **how)  # type: ignore[arg-type]  # as ask takes it
    [ring] = db.run(lambda tx: tasks.start(tx, task))
    return claimed(db, settings, ring.job)


def finish(db: Database, job: Job, *opens: NewJob) -> list[Ring]:
    return db.run(lambda tx: jobs.finish(tx, job, opens))


def run_out(db: Database, job: Job) -> None:
    """As if the lease's time had passed."""
    db.run(
        lambda tx: tx.execute(
            "update jobs set leased_until = now() - interval '1 s' where id = %s", [job.id]
        )
    )


def state(db: Database, job: int) -> str:
    return str(rows(db, "select state from jobs where id = %s", job)[0]["state"])


def test_the_first_claim_makes_the_task_running_and_names_its_worker(
    db: Database, settings: Settings
) -> None:
    task = ask(db)
    [ring] = db.run(lambda tx: tasks.start(tx, task))
    before = task_row(db, task)
    process = add_process(db)

    job = claimed(db, settings, ring.job, process)

    row = task_row(db, task)
    assert (before["state"], before["unblocked"] is not None) == ("waiting", True)
    assert (row["state"], row["worker"]) == ("running", process)
    assert (job.attempt, job.task_uuid, job.kind) == (1, row["uuid"], "chore")


def test_a_doubled_message_finds_nothing_to_claim(db: Database, settings: Settings) -> None:
    job = begin(db, settings)
    process = add_process(db)

    assert db.run(lambda tx: jobs.claim(tx, job.id, process, settings)) is None
    finish(db, job, NewJob("index"))
    assert db.run(lambda tx: jobs.claim(tx, job.id, process, settings)) is None


def test_of_many_claims_at_once_one_succeeds(database_url: str, settings: Settings) -> None:
    together = threading.Barrier(8)
    with Database(database_url, size=8) as db, ThreadPoolExecutor(8) as pool:
        task, process = ask(db), add_process(db)
        [ring] = db.run(lambda tx: tasks.start(tx, task))

        def claim() -> Job | None:
            together.wait()
            return db.run(lambda tx: jobs.claim(tx, ring.job, process, settings))

        found = [f.result() for f in [pool.submit(claim) for _ in range(8)]]

    assert sum(job is not None for job in found) == 1


def test_a_job_of_a_blocked_task_cannot_be_claimed(db: Database, settings: Settings) -> None:
    ask(db, exclusive=["prn:a"])
    task = ask(db, exclusive=["prn:a"])
    db.run(lambda tx: tasks.start(tx, task))
    [row] = rows(db, "select id from jobs where task = %s", task)

    process = add_process(db)

    assert db.run(lambda tx: jobs.claim(tx, row["id"], process, settings)) is None


def test_a_job_whose_lease_ran_out_can_be_claimed_again(db: Database, settings: Settings) -> None:
    first = begin(db, settings)
    run_out(db, first)

    second = claimed(db, settings, first.id)

    assert second.attempt == 2


def test_a_worker_that_lost_its_lease_can_change_nothing(db: Database, settings: Settings) -> None:
    old = begin(db, settings)
    run_out(db, old)
    new = claimed(db, settings, old.id)
    error = {"description": "no", "traceback": ""}

    attempts = [
        lambda tx: jobs.hold(tx, old),
        lambda tx: jobs.finish(tx, old, [NewJob("index")]),
        lambda tx: jobs.put_off(tx, old, 1, "no"),
        lambda tx: jobs.give_back(tx, old),
        lambda tx: jobs.replan(tx, old, UpstreamRotated("no")),
        lambda tx: jobs.renew(tx, old, settings, 0, uuid4()),
        lambda tx: tasks.complete(tx, old, created=["prn:no"]),
        lambda tx: tasks.fail(tx, old, error),
    ]
    for attempt in attempts:
        with pytest.raises(LeaseLost):
            db.run(attempt)

    finish(db, new, NewJob("index"))
    assert task_row(db, old.task)["open_jobs"] == 1


def test_a_job_in_the_middle_of_its_outcome_is_not_taken_over(
    db: Database, settings: Settings
) -> None:
    job, process = begin(db, settings), add_process(db)
    run_out(db, job)

    with db.transaction() as outcome:
        jobs.hold(outcome, job)
        # Neither waits for the outcome.
        taken = db.run(lambda tx: jobs.claim(tx, job.id, process, settings))
        db.run(lambda tx: jobs.renew(tx, job, settings, 0, process))
        jobs.finish(outcome, job, [NewJob("index")])

    assert taken is None
    assert state(db, job.id) == "done"


def test_a_cancel_does_not_wait_for_an_outcome_and_the_outcome_is_dropped(
    db: Database, settings: Settings
) -> None:
    job = begin(db, settings)
    uuid = job.task_uuid

    def outcome(tx: Tx) -> None:
        jobs.hold(tx, job)
        assert db.run(lambda other: tasks.cancel(other, uuid)) == "canceled"
        tasks.complete(tx, job, created=["prn:no"])

    with pytest.raises(LeaseLost):
        db.run(outcome)

    row = task_row(db, job.task)
    assert (row["state"], row["created_resources"], row["error"]) == ("canceled", [], None)


def test_the_jobs_of_a_canceled_task_are_canceled_and_its_reports_with_them(
    db: Database, settings: Settings
) -> None:
    plan = begin(db, settings)
    finish(db, plan, NewJob("index"), NewJob("index"))
    db.run(lambda tx: tasks.add_progress(tx, plan.task, "a", "A", done=3))

    assert db.run(lambda tx: tasks.cancel(tx, plan.task_uuid)) == "canceled"

    assert {r["state"] for r in rows(db, "select state from jobs where kind = 'index'")} == {
        "canceled"
    }
    assert rows(db, "select state, done from progress_reports") == [
        {"state": "canceled", "done": 3}
    ]
    assert db.run(lambda tx: tasks.cancel(tx, plan.task_uuid)) == "final"
    with pytest.raises(NotFound):
        db.run(lambda tx: tasks.cancel(tx, uuid4()))


def test_of_sixteen_finishers_exactly_one_opens_assemble(
    database_url: str, settings: Settings
) -> None:
    """A quarter of the finishes comes twice."""
    with Database(database_url, size=16) as db, ThreadPoolExecutor(16) as pool:
        wide = replace(settings, window=16)
        process = add_process(db)
        for _ in range(8):
            plan = begin(db, wide)
            rings = finish(db, plan, *[NewJob("index")] * 16)
            found = [claimed(db, wide, ring.job, process) for ring in rings]
            together = threading.Barrier(16)

            def end(job: Job, together: threading.Barrier = together) -> list[Ring]:
                together.wait()
                return finish(db, job)

            ended = [pool.submit(end, job) for job in found]
            opened = [ring for future in ended for ring in future.result()]
            for job in found[:4]:
                with pytest.raises(LeaseLost):
                    finish(db, job)

            assert [ring.kind for ring in opened] == ["assemble"]
            assert task_row(db, plan.task)["open_jobs"] == 1


def test_jobs_opened_before_the_end_are_counted(db: Database, settings: Settings) -> None:
    plan = begin(db, settings)

    with db.transaction() as tx:
        ids = jobs.add_jobs(tx, plan, [NewJob("index", {"n": 1}), NewJob("index", {"n": 2})])
        rings = jobs.finish(tx, plan)

    assert [ring.job for ring in rings] == ids
    assert task_row(db, plan.task)["open_jobs"] == 2
    assert claimed(db, settings, ids[1]).args == {"n": 2}


def test_only_a_window_of_jobs_is_rung_and_each_end_rings_one_more(
    db: Database, settings: Settings
) -> None:
    small = replace(settings, window=4)
    plan = begin(db, small)

    rings = finish(db, plan, *[NewJob("index") for _ in range(10)])
    seen = [ring.job for ring in rings]
    after = []
    while seen:
        ring_more = finish(db, claimed(db, small, seen.pop(0)))
        after.append(len(ring_more))
        seen += [ring.job for ring in ring_more if ring.kind == "index"]

    assert len(rings) == 4
    # Six are rung one by one, then the places stay empty, and the last end rings assemble.
    assert after == [1] * 6 + [0] * 3 + [1]


def test_a_job_that_is_put_off_cannot_run_before_its_time(db: Database, settings: Settings) -> None:
    job, process = begin(db, settings), add_process(db)

    db.run(lambda tx: jobs.put_off(tx, job, 3600, "host closed"))

    assert db.run(lambda tx: jobs.claim(tx, job.id, process, settings)) is None
    [row] = rows(db, "select state, rung, excused, error from jobs where id = %s", job.id)
    assert row == {
        "state": "queued",
        "rung": None,
        "excused": 1,
        "error": {"reason": "host closed"},
    }


def test_a_job_given_back_is_rung_at_once_and_the_attempt_is_excused(
    db: Database, settings: Settings
) -> None:
    job = begin(db, settings)

    rings = db.run(lambda tx: jobs.give_back(tx, job))

    assert rings == [Ring(job.id, "plan")]
    again = claimed(db, settings, job.id)
    assert (again.attempt, again.excused) == (2, 1)


def test_after_replan_the_old_round_can_change_nothing(db: Database, settings: Settings) -> None:
    plan = begin(db, settings)
    first, second = [
        claimed(db, settings, ring.job)
        for ring in finish(db, plan, NewJob("index"), NewJob("index"))
    ]

    [ring] = db.run(lambda tx: jobs.replan(tx, first, UpstreamRotated("InRelease changed")))

    for attempt in (lambda tx: jobs.finish(tx, second), lambda tx: jobs.hold(tx, second)):
        with pytest.raises(LeaseLost):
            db.run(attempt)
    anew = claimed(db, settings, ring.job)
    assert (anew.kind, anew.round) == ("plan", 2)
    assert task_row(db, plan.task)["open_jobs"] == 1
    # The new round goes its whole way.
    [index] = finish(db, anew, NewJob("index"))
    [assemble] = finish(db, claimed(db, settings, index.job))
    assert assemble.kind == "assemble"


def test_a_replan_drops_the_outcome_that_another_job_is_writing(
    db: Database, settings: Settings
) -> None:
    plan = begin(db, settings)
    first, second = [
        claimed(db, settings, ring.job)
        for ring in finish(db, plan, NewJob("index"), NewJob("index"))
    ]

    def outcome(tx: Tx) -> None:
        jobs.hold(tx, second)
        db.run(lambda other: jobs.replan(other, first, UpstreamRotated("changed")))
        jobs.finish(tx, second, [NewJob("download")])

    with pytest.raises(LeaseLost):
        db.run(outcome)

    assert rows(db, "select 1 from jobs where kind = 'download'") == []


def test_a_sync_is_not_planned_for_ever(db: Database, settings: Settings) -> None:
    job = begin(db, replace(settings, plan_rounds=2))
    [ring] = db.run(lambda tx: jobs.replan(tx, job, UpstreamRotated("changed")))
    again = claimed(db, replace(settings, plan_rounds=2), ring.job)

    assert db.run(lambda tx: jobs.replan(tx, again, UpstreamRotated("changed"))) == []

    row = task_row(db, job.task)
    assert row["state"] == "failed"
    assert row["error"]["description"].startswith("[PLP0027] changed")


def test_a_failed_task_shows_which_step_failed(db: Database, settings: Settings) -> None:
    plan = begin(db, settings)
    [index] = finish(db, plan, NewJob("index"))
    job = claimed(db, settings, index.job)
    for code in ("a", "b", "c"):
        state = "completed" if code == "a" else None
        db.run(lambda tx, c=code, s=state: tasks.add_progress(tx, plan.task, c, c, state=s))  # type: ignore[misc]  # bound now

    error = {"description": "[DEB0003] no", "traceback": ""}
    db.run(lambda tx: tasks.fail(tx, job, error, "b"))

    row = task_row(db, plan.task)
    assert (row["state"], row["error"]) == ("failed", error)
    assert {r["code"]: r["state"] for r in rows(db, "select * from progress_reports")} == {
        "a": "completed", "b": "failed", "c": "canceled",
    }  # fmt: skip


def test_progress_adds_up_and_reports_keep_their_order(db: Database, settings: Settings) -> None:
    new = tasks.NewTask("sync", "x", reports=[("z", "Last"), ("a", "First")])
    task = db.run(lambda tx: tasks.ask(tx, new)).id

    db.run(lambda tx: tasks.add_progress(tx, task, "a", "First", done=2, total=5))
    db.run(lambda tx: tasks.add_progress(tx, task, "a", "First", done=3, state="completed"))

    found = rows(db, "select code, done, total, state from progress_reports order by id")
    assert found == [
        {"code": "z", "done": 0, "total": None, "state": "running"},
        {"code": "a", "done": 5, "total": 5, "state": "completed"},
    ]


def test_the_first_thousand_tolerances_of_a_reason_are_listed_and_all_are_counted(
    db: Database,
) -> None:
    task = ask(db)
    items = [Tolerance("stanza_incomplete", "Packages", n, "no Version") for n in range(700)]
    other = [Tolerance("index_missing", "main/Packages", None, "404")]

    for _ in range(2):
        db.run(lambda tx: tasks.add_tolerances(tx, task, items, {"stanza_incomplete": 900}))
    db.run(lambda tx: tasks.add_tolerances(tx, task, other, {"index_missing": 1, "none": 0}))

    counts = rows(db, "select reason, count(*) n from tolerances group by 1 order by 1")
    assert counts == [
        {"reason": "index_missing", "n": 1},
        {"reason": "stanza_incomplete", "n": 1000},
    ]
    assert rows(db, "select code, done from progress_reports order by code") == [
        {"code": "sync.skipped.index_missing", "done": 1},
        {"code": "sync.skipped.stanza_incomplete", "done": 1800},
    ]


def test_outcomes_endings_and_renewals_never_wait_for_each_other_in_a_circle(
    database_url: str, settings: Settings
) -> None:
    """Every transaction runs once: a deadlock would show, where ``Database.run`` hides it."""
    wide = replace(settings, window=64)
    chance = random.Random(11)
    # Found soon, and not by who waits longest.
    url = (
        database_url + ("&" if "?" in database_url else "?") + "options=-cdeadlock_timeout%3D100ms"
    )

    def outcome(db: Database, job: Job, process: UUID, pause: float) -> None:
        with db.transaction() as tx:
            jobs.hold(tx, job)
            tasks.add_progress(tx, job.task, "a", "A")
            threading.Event().wait(pause)
            jobs.finish(tx, job, [NewJob("index")] if pause < 0.005 else [])

    def renewal(db: Database, job: Job, process: UUID, pause: float) -> None:
        threading.Event().wait(pause)
        with db.transaction() as tx:
            jobs.renew(tx, job, wide, 1, process)

    def put_off(db: Database, job: Job, process: UUID, pause: float) -> None:
        with db.transaction() as tx:
            jobs.put_off(tx, job, 0, "again")

    def fail(db: Database, job: Job, process: UUID, pause: float) -> None:
        threading.Event().wait(pause)
        with db.transaction() as tx:
            tasks.fail(tx, job, {"description": "no"}, "a")

    def replan(db: Database, job: Job, process: UUID, pause: float) -> None:
        threading.Event().wait(pause)
        with db.transaction() as tx:
            jobs.replan(tx, job, UpstreamRotated("changed"))

    def cancel(db: Database, job: Job, process: UUID, pause: float) -> None:
        threading.Event().wait(pause)
        with db.transaction() as tx:
            tasks.cancel(tx, job.task_uuid)

    def sweep(db: Database, job: Job, process: UUID, pause: float) -> None:
        with db.transaction() as tx:
            sweeps.end_lost_leases(tx, wide)
        with db.transaction() as tx:
            sweeps.tidy_jobs(tx)
        with db.transaction() as tx:
            sweeps.ring_again(tx, wide, anew=True)

    others = [fail, replan, cancel, sweep, put_off, renewal]
    refused = 0
    with Database(url, size=16) as db, ThreadPoolExecutor(16) as pool:
        process = add_process(db)
        [remote] = rows(
            db,
            "insert into remotes (name, url, distributions) values ('r', 'http://x/', 'x')"
            " returning id",
        )
        for _ in range(25):
            plan = begin(db, wide)
            opens = [NewJob("index")] * 8
            opens += [NewJob("download", {}, slots.scope_of(remote["id"]))] * 4
            rings = finish(db, plan, *opens)
            found = [db.run(lambda tx, r=r: jobs.claim(tx, r.job, process, wide)) for r in rings]  # type: ignore[misc]  # bound now
            held = [job for job in found if job is not None]
            works = [outcome] * len(held) + chance.choices(others, k=len(held) // 2)
            at_work = [
                pool.submit(work, db, job, process, chance.uniform(0, 0.01))
                for work, job in zip(works, held + held, strict=False)
            ]
            for future in at_work:
                try:
                    future.result(timeout=30)
                except LeaseLost:
                    refused += 1
            rows(db, "delete from tasks where id = %s returning id", plan.task)

    assert refused > 0  # they did meet


def test_an_ending_does_not_wait_for_rows_that_an_outcome_is_writing(
    db: Database, settings: Settings
) -> None:
    plan = begin(db, settings)
    rows(
        db,
        "insert into task_files (task, sha256, size, path)"
        " select %s, sha256(n::text::bytea), 1, n::text from generate_series(1, 3) n returning 1",
        plan.task,
    )

    def outcome(tx: Tx) -> None:
        jobs.hold(tx, plan)
        tx.execute("update task_files set chunk = 1 where path = '1'")
        assert db.run(lambda other: tasks.cancel(other, plan.task_uuid)) == "canceled"
        jobs.finish(tx, plan, [NewJob("download")])

    with pytest.raises(LeaseLost):
        db.run(outcome)
    left = rows(db, "select path, chunk from task_files")
    db.run(sweeps.prune)

    assert left == [{"path": "1", "chunk": None}]
    assert rows(db, "select 1 from task_files") == []
