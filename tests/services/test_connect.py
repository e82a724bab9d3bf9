"""The pool of connections against a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from debfleet.db.connect import Database


@pytest.fixture
def lone(database_url: str) -> Iterator[Database]:
    """A pool of a single connection, so that a test meets the same one again."""
    with Database(database_url, size=1, name="lone") as opened:
        yield opened


def test_a_connection_that_postgres_ended_is_replaced_without_an_error(
    lone: Database, db: Database
) -> None:
    ended = pid_of(lone)
    with db.transaction() as tx:
        tx.execute("SELECT pg_terminate_backend(%s, 60000)", (ended,))

    assert pid_of(lone) != ended


def test_a_connection_looks_whether_a_silent_server_is_there(lone: Database) -> None:
    with lone.transaction() as tx:
        said = tx.info.get_parameters()
    assert int(said["keepalives_idle"]) + 3 * int(said["keepalives_interval"]) <= 60
    assert said["keepalives_count"] == "3"
    assert said["tcp_user_timeout"] == "60000"


def test_a_statement_alone_is_its_own_transaction(lone: Database) -> None:
    with lone.single() as tx:
        first = tx.execute("SELECT pg_current_xact_id()::text AS id").fetchone()
        second = tx.execute("SELECT pg_current_xact_id()::text AS id").fetchone()

    assert first != second


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT 1/0", "BEGIN"])
def test_after_a_statement_alone_a_connection_makes_transactions_again(
    lone: Database, statement: str
) -> None:
    try:
        with lone.single() as tx:
            tx.execute(statement)
    except psycopg.errors.DivisionByZero:
        pass  # the connection goes back all the same

    with pytest.raises(psycopg.errors.DivisionByZero):
        make_table_and_fail(lone)
    with lone.transaction() as tx:
        row = tx.execute("SELECT to_regclass('undone') AS it").fetchone()
    assert row == {"it": None}


def make_table_and_fail(database: Database) -> None:
    """The second statement takes the first one with it, if they are one transaction."""
    with database.transaction() as tx:
        tx.execute("CREATE TABLE undone ()")
        tx.execute("SELECT 1/0")


def pid_of(database: Database) -> int:
    """The process of Postgres behind the pool's connection."""
    with database.single() as tx:
        row = tx.execute("SELECT pg_backend_pid() AS pid").fetchone()
    assert row is not None
    return int(row["pid"])
