"""How the missing files of a sync are dealt into chunks."""

from __future__ import annotations

from coordination import ask, rows
from debfleet.db import plans
from debfleet.db.connect import Database

MOST, ROOM = 256, 1 << 28


def deal(
    db: Database, files: int, slots: int, *, size: int = 1, most_files: int = MOST
) -> list[int]:
    """So many files in each chunk, in the order of the chunks."""
    task = ask(db, kind="sync")
    rows(
        db,
        "insert into task_files (task, sha256, size, path)"
        " select %s, sha256(n::text::bytea), %s, to_char(n, '00000')"
        " from generate_series(1, %s) n returning 1",
        task, size, files,
    )  # fmt: skip
    dealt = db.run(
        lambda tx: plans.deal_files(
            tx, task, 1, most_files=most_files, most_bytes=ROOM, slots=slots
        )
    )
    return [dealt[number] for number in sorted(dealt)]


def test_one_worker_alone_gets_whole_chunks_to_the_end(db: Database) -> None:
    assert deal(db, 2000, 1) == [256] * 7 + [208]


def test_the_last_chunk_of_each_of_many_workers_is_cut_in_three(db: Database) -> None:
    assert deal(db, 2000, 4) == [125] * 12 + [42] * 11 + [38]


def test_of_many_files_only_the_last_chunk_of_each_worker_is_cut(db: Database) -> None:
    assert deal(db, 5000, 2) == [256] * 17 + [86] * 7 + [46]


def test_few_files_are_not_cut_into_jobs_that_are_not_worth_it(db: Database) -> None:
    assert deal(db, 100, 2) == [16] * 6 + [4]


def test_a_bound_that_was_set_lower_holds_to_the_end(db: Database) -> None:
    assert deal(db, 10, 2, most_files=3) == [3, 3, 3, 1]


def test_large_files_end_a_chunk_before_its_number_is_full(db: Database) -> None:
    assert deal(db, 8, 1, size=ROOM // 2) == [2] * 4
