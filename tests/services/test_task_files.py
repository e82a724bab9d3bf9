"""Files that a task notes: they go with it, and none is noted for a task that is gone."""

from __future__ import annotations

import threading

import psycopg
import pytest

from debfleet.db.connect import Database, Tx
from version_rows import add_task


def note(tx: Tx, task: int, *names: str) -> None:
    """Some files, in one statement."""
    tx.execute(
        "insert into task_files (task, sha256, size, path)"
        " select %s, sha256(n::bytea), 1, n from unnest(%s::text[]) n",
        (task, list(names)),
    )


def noted(db: Database) -> list[str]:
    with db.transaction() as tx:
        return [row["path"] for row in tx.execute("select path from task_files order by path")]


def test_files_go_with_their_task_and_others_stay(db: Database) -> None:
    with db.transaction() as tx:
        gone, stays = add_task(tx), add_task(tx)
        note(tx, gone, "a", "b")
        note(tx, stays, "c")

    with db.transaction() as tx:
        tx.execute("delete from tasks where id = %s", (gone,))

    assert noted(db) == ["c"]
    with db.transaction() as tx:
        doomed = tx.execute("select count(*) as n from doomed_files").fetchone()
    assert doomed == {"n": 2}


def test_no_file_is_noted_for_a_task_that_is_not_there(db: Database) -> None:
    with (
        pytest.raises(psycopg.errors.ForeignKeyViolation, match="no task 4711"),
        db.transaction() as tx,
    ):
        note(tx, 4711, "a")

    assert noted(db) == []


def test_a_task_that_is_deleted_meanwhile_leaves_no_file_behind(db: Database) -> None:
    with db.transaction() as tx:
        task = add_task(tx)
    is_waiting = threading.Event()

    def delete() -> None:
        with db.transaction() as tx:
            row = tx.execute("select pg_backend_pid() as pid").fetchone()
            assert row is not None
            pids.append(row["pid"])
            is_waiting.set()
            tx.execute("delete from tasks where id = %s", (task,))

    pids: list[int] = []
    deleter = threading.Thread(target=delete)
    with db.transaction() as tx:
        note(tx, task, "a")
        deleter.start()
        assert is_waiting.wait(60)
        while not _waits(db, pids[0]):
            assert deleter.is_alive()
    deleter.join(60)

    assert noted(db) == []
    with pytest.raises(psycopg.errors.ForeignKeyViolation), db.transaction() as tx:
        note(tx, task, "b")


def _waits(db: Database, pid: int) -> bool:
    with db.transaction() as tx:
        row = tx.execute("select cardinality(pg_blocking_pids(%s)) as n", (pid,)).fetchone()
    assert row is not None
    return bool(row["n"])
