"""One polite client: slots, rate and pauses of an upstream, over the whole fleet."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from coordination import add_process, ask, claimed, rows
from debfleet.config import Settings
from debfleet.db import jobs, processes, slots, tasks
from debfleet.db.connect import Database
from debfleet.db.jobs import NewJob
from debfleet.model import Job


def add_remote(db: Database, concurrency: int) -> str:
    """A remote's scope."""
    row = rows(
        db,
        "insert into remotes (name, url, distributions, download_concurrency)"
        " values ('r', 'http://user@Mirror.example:8080/debian/', 'x', %s) returning id",
        concurrency,
    )[0]
    return slots.scope_of(row["id"])


def open_downloads(db: Database, settings: Settings, scope: str, count: int) -> list[int]:
    """A sync that has opened so many downloads; those that are rung."""
    task = ask(db, kind="sync")
    [ring] = db.run(lambda tx: tasks.start(tx, task))
    planner = add_process(db)
    plan = claimed(db, settings, ring.job, planner)
    db.run(lambda tx: processes.end_process(tx, planner))  # it is not one of those that come
    opens = [NewJob("download", {"n": n}, scope=scope) for n in range(count)]
    return [ring.job for ring in db.run(lambda tx: jobs.finish(tx, plan, opens))]


def try_claim(db: Database, settings: Settings, job: int, process: UUID) -> Job | None:
    return db.run(lambda tx: jobs.claim(tx, job, process, settings))


def renew(db: Database, settings: Settings, job: Job, process: UUID, in_use: int) -> jobs.Renewed:
    return db.run(lambda tx: jobs.renew(tx, job, settings, in_use, process))


def granted(db: Database) -> int:
    [row] = rows(
        db,
        "select coalesce(sum(granted), 0)::int n from slot_leases where until > clock_timestamp()",
    )
    return int(row["n"])


def test_one_worker_alone_gets_all_slots(db: Database, settings: Settings) -> None:
    scope, process = add_remote(db, 10), add_process(db)
    rung = open_downloads(db, settings, scope, 30)

    job = try_claim(db, settings, rung[0], process)

    assert len(rung) == 10  # never more than the remote can use
    assert job is not None
    assert job.slots == 10


def test_the_first_downloads_of_a_sync_leave_slots_to_idle_workers(
    db: Database, settings: Settings
) -> None:
    scope = add_remote(db, 20)
    rung = open_downloads(db, settings, scope, 30)
    workers = [add_process(db) for _ in range(4)]

    got = [try_claim(db, settings, job, who) for job, who in zip(rung, workers, strict=False)]

    assert [job.slots for job in got if job is not None] == [5, 5, 5, 5]


def test_slots_are_left_to_no_more_workers_than_there_are_downloads(
    db: Database, settings: Settings
) -> None:
    scope = add_remote(db, 20)
    one, *_ = [add_process(db) for _ in range(4)]
    rung = open_downloads(db, settings, scope, 2)

    job = try_claim(db, settings, rung[0], one)

    assert job is not None
    assert job.slots == 10


def test_once_a_download_of_a_sync_is_done_nobody_is_expected_who_never_came(
    db: Database, settings: Settings
) -> None:
    scope, one, _ = add_remote(db, 20), add_process(db), add_process(db)
    rung = open_downloads(db, settings, scope, 30)
    first = try_claim(db, settings, rung[0], one)
    assert first is not None
    db.run(lambda tx: jobs.finish(tx, first))

    second = try_claim(db, settings, rung[1], one)

    assert second is not None
    assert (first.slots, second.slots) == (10, 20)


def test_slots_that_were_left_to_workers_who_never_came_are_taken_at_the_next_renewal(
    db: Database, settings: Settings
) -> None:
    scope, one, _ = add_remote(db, 20), add_process(db), add_process(db)
    rung = open_downloads(db, settings, scope, 30)
    job = try_claim(db, settings, rung[0], one)
    assert job is not None

    renewed = renew(db, settings, job, one, in_use=10)

    assert renewed.grant is not None
    assert renewed.grant.granted == 20


def test_who_has_just_ended_a_download_keeps_its_place_for_the_next(
    db: Database, settings: Settings
) -> None:
    scope, one, two = add_remote(db, 20), add_process(db), add_process(db)
    rung = open_downloads(db, settings, scope, 30)
    ended, other = (
        try_claim(db, settings, job, who) for job, who in zip(rung, (one, two), strict=False)
    )
    assert ended is not None
    assert other is not None
    db.run(lambda tx: jobs.finish(tx, ended))
    db.run(lambda tx: jobs.finish(tx, other))

    again = [
        try_claim(db, settings, job, who) for job, who in zip(rung[2:], (two, one), strict=False)
    ]

    assert [job.slots for job in again if job is not None] == [10, 10]


def test_who_finds_no_slot_waits_and_is_rung_when_others_have_shrunk(
    db: Database, settings: Settings
) -> None:
    scope, one = add_remote(db, 10), add_process(db)
    rung = open_downloads(db, settings, scope, 30)
    first = try_claim(db, settings, rung[0], one)
    assert first is not None
    two = add_process(db)

    refused = [try_claim(db, settings, job, two) for job in rung[1:]]
    busy = renew(db, settings, first, one, in_use=10)
    shrunk = renew(db, settings, first, one, in_use=5)
    second = try_claim(db, settings, shrunk.rings[0].job, two)

    assert refused == [None] * 9
    assert busy.grant is not None
    assert (busy.grant.granted, busy.grant.share, busy.rings) == (10, 5, [])
    assert shrunk.grant is not None
    assert shrunk.grant.granted == 5
    assert second is not None
    assert second.slots == 5
    assert granted(db) == 10


def test_a_job_that_waits_for_slots_is_off_the_bell(db: Database, settings: Settings) -> None:
    scope, one, two = add_remote(db, 1), add_process(db), add_process(db)
    [only] = open_downloads(db, settings, scope, 3)
    first = try_claim(db, settings, only, one)
    assert first is not None
    [waiting] = rows(db, "select id from jobs where kind = 'download' and state = 'queued' limit 1")

    assert try_claim(db, settings, waiting["id"], two) is None
    rings = db.run(lambda tx: jobs.finish(tx, first))

    assert [ring.job for ring in rings] == [waiting["id"]]


def test_slots_are_shared_in_turn_by_the_syncs_of_one_remote(
    db: Database, settings: Settings
) -> None:
    scope, process = add_remote(db, 2), add_process(db)
    early = open_downloads(db, settings, scope, 6)
    assert open_downloads(db, settings, scope, 6) == []  # both slots are promised
    job = try_claim(db, settings, early[0], process)
    assert job is not None

    order = []
    for _ in range(8):
        rings = db.run(lambda tx, job=job: jobs.finish(tx, job))  # type: ignore[misc]  # bound now
        for ring in rings:
            early.append(ring.job)
        order.append(job.task)
        job = try_claim(db, settings, early[len(order)], process)
        assert job is not None

    assert len(set(order[:5])) == 2  # the later sync did not wait for the earlier one's end


def test_twenty_five_workers_on_ten_slots_never_hold_more_than_ten(
    db: Database, settings: Settings
) -> None:
    """Some die; what they held comes back when their lease has run out."""
    quick = replace(settings, lease_seconds=3600, window=64)
    scope, chance = add_remote(db, 10), random.Random(5)
    processes = [add_process(db) for _ in range(25)]
    bell: list[int] = open_downloads(db, quick, scope, 60)
    running: dict[int, Job] = {}
    most = done = 0

    steps = 0
    while done < 60 and steps < 3000:
        steps += 1
        who = chance.randrange(25)
        job = running.get(who)
        if job is None and bell:
            found = try_claim(db, quick, bell.pop(0), processes[who])
            if found is not None:
                running[who] = found
        elif job is not None and chance.random() < 0.1:
            expire(db, [job])  # killed: its lease and its slots run out
            del running[who]
            bell.append(job.id)
        elif job is not None and chance.random() < 0.5:
            in_use = chance.randint(0, 1)
            bell += [r.job for r in renew(db, quick, job, processes[who], in_use).rings]
        elif job is not None:
            bell += [r.job for r in db.run(lambda tx, job=job: jobs.finish(tx, job))]  # type: ignore[misc]  # bound now
            del running[who]
            done += 1
        most = max(most, granted(db))

    assert most == 10
    assert done == 60


def expire(db: Database, gone: Sequence[Job]) -> None:
    for job in gone:
        rows(
            db,
            "with s as (update slot_leases set until = now() - interval '1 s' where holder = %s)"
            " update jobs set leased_until = now() - interval '1 s' where id = %s returning id",
            str(job.id),
            job.id,
        )


def test_a_closed_host_is_left_alone_by_all(db: Database, settings: Settings) -> None:
    scope, process = add_remote(db, 4), add_process(db)
    rung = open_downloads(db, settings, scope, 8)
    running = try_claim(db, settings, rung[0], process)
    assert running is not None
    host = slots.host_of("http://user@Mirror.example:8080/debian/")
    assert running.host == host

    db.run(lambda tx: slots.close_host(tx, host, 60))

    assert try_claim(db, settings, rung[1], process) is None
    assert 50 < renew(db, settings, running, process, 1).closed_for <= 60
    assert db.run(lambda tx: jobs.finish(tx, running)) == []  # nobody is rung for it


def test_a_shorter_pause_does_not_open_a_closed_host(db: Database) -> None:
    for seconds in (60, 5):
        db.run(lambda tx, s=seconds: slots.close_host(tx, "host:x", s))  # type: ignore[misc]  # bound now

    assert db.run(lambda tx: slots.closed_for(tx, "host:x")) > 50


def test_requests_beyond_the_rate_wait_their_turn(db: Database) -> None:
    db.run(lambda tx: slots.set_rate(tx, "remote:1", 10))

    waits = [db.run(lambda tx: slots.take_turns(tx, "remote:1", 5)) for _ in range(4)]

    # Five requests take half a second each time, less the time that the calls took.
    assert waits[0] == 0
    assert 1.2 < waits[3] <= 1.5
    assert db.run(lambda tx: slots.take_turns(tx, "remote:2", 5)) == 0
