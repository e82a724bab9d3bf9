"""`debfleet check`, `migrate` and `password` against real services."""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from argon2 import PasswordHasher

from debfleet.db.connect import Database
from debfleet.db.users import add_user, find_user
from debfleet.sealed import new_key
from debfleet_cli.main import main

Set = Callable[..., None]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store_url: str) -> Set:
    """Sets settings for commands that run in this process."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("DEBFLEET_STORE_URL", store_url)
    monkeypatch.setenv("DEBFLEET_SECRET_KEY", new_key())

    def give(**settings: str) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"DEBFLEET_{name.upper()}", value)

    return give


def verdicts(said: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) +(ok|FAIL) ", said, re.MULTILINE))


def test_all_is_well_with_a_migrated_database_and_a_broker(
    given: Set, database_url: str, broker_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given(database_url=database_url, broker_url=broker_url)

    status = main(["check"])

    said = capsys.readouterr().out
    assert status == 0, said
    assert verdicts(said) == dict.fromkeys(("settings", "database", "broker", "store"), "ok")


def test_each_part_has_a_verdict_of_its_own(given: Set, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        port = nobody.getsockname()[1]
        given(
            database_url=f"postgresql://127.0.0.1:{port}/x",
            broker_url=f"amqp://127.0.0.1:{port}/",
            store_url="file:///proc/no/such",
        )

        status = main(["check"])

    said = capsys.readouterr().out
    assert status == 1
    assert verdicts(said) == {"settings": "ok", "database": "FAIL", "broker": "FAIL"} | {
        "store": "FAIL"
    }
    assert "Traceback" not in said


def test_a_database_without_our_tables_is_told_to_migrate(
    given: Set, empty_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given(database_url=empty_database_url)

    before = main(["check"])
    missing = capsys.readouterr().out
    migrated = main(["migrate"])
    after = main(["check"])

    assert (before, migrated, after) == (1, 0, 0)
    assert "run `debfleet migrate`: the database lacks 0001_tasks_and_jobs.sql" in missing


def test_another_secret_key_fails_the_check(
    given: Set, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given(database_url=database_url)
    main(["check"])
    given(secret_key=new_key())

    status = main(["check"])

    assert status == 1
    assert "DEBFLEET_SECRET_KEY is not the key" in capsys.readouterr().out


def test_migrate_applies_nothing_the_second_time(
    given: Set, empty_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given(database_url=empty_database_url)
    main(["migrate"])
    capsys.readouterr()

    main(["migrate"])

    assert capsys.readouterr().out == "nothing to apply\n"


def test_a_dry_run_of_migrate_changes_nothing(
    given: Set, empty_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given(database_url=empty_database_url)

    status = main(["migrate", "--dry-run"])

    assert status == 0
    assert "missing 0001_tasks_and_jobs.sql" in capsys.readouterr().out
    with psycopg.connect(empty_database_url) as db:
        assert db.execute("select to_regclass('tasks')").fetchone() == (None,)


def test_a_new_password_comes_from_standard_input(
    given: Set, database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(database_url=database_url)
    db.run(lambda tx: add_user(tx, "admin", "old"))
    monkeypatch.setattr("sys.stdin", io.StringIO("new one\n"))

    status = main(["password", "admin"])

    user = db.run(lambda tx: find_user(tx, "admin"))
    assert status == 0
    assert user is not None
    assert user.password_version == 2
    assert PasswordHasher().verify(user.password_hash, "new one")


def test_the_password_of_nobody_cannot_be_changed(
    given: Set, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given(database_url=database_url)

    status = main(["password", "--generate", "nobody"])

    assert status == 1
    assert "no user nobody" in capsys.readouterr().err
