"""`debfleet secrets`: another key for what is sealed, while an API goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from api_client import REMOTES, ApiClient, remote_fields, running_api
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.db.installation import check_secret_key
from debfleet.sealed import Sealer, key_id, new_key
from debfleet_cli.main import main

Run = Callable[..., int]
SECRETS = {
    "username": "user name",
    "password": "pass word",
    "client_key": "client key",
    "proxy_url": "http://127.0.0.1:1/",
    "proxy_username": "proxy user",
    "proxy_password": "proxy word",
}


@pytest.fixture
def key_file(settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(settings.secret_key + "\n")
    return path


@pytest.fixture
def api(settings: Settings, key_file: Path) -> Iterator[ApiClient]:
    """An API that has its key from the file."""
    with running_api(replace(settings, secret_key_file=str(key_file))) as client:
        yield client


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command as the shell would; the environment says where the key is."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("DEBFLEET_DATABASE_URL", settings.database_url)
    return lambda *argv: main(["secrets", *argv])


def sealed_by(db: Database) -> set[str]:
    """Ids of the keys that the remotes' secrets are sealed with."""
    with db.transaction() as tx:
        rows = tx.execute(
            "select distinct encode(substring(v for 4), 'hex') as key from remotes cross join "
            "unnest(array[client_key, username, password, proxy_username, proxy_password]) v"
        ).fetchall()
    return {row["key"] for row in rows}


def test_the_key_is_replaced_under_a_running_api(
    api: ApiClient,
    run: Run,
    db: Database,
    settings: Settings,
    key_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DEBFLEET_SECRET_KEY_FILE", str(key_file))
    db.run(lambda tx: check_secret_key(tx, Sealer(settings.secret_key)))
    href = api.remote(**SECRETS)["pulp_href"]
    shown = api.get(href).json

    assert run("rotate") == 0
    new, old = key_file.read_text().strip().split(",")

    assert old == settings.secret_key
    assert sealed_by(db) == {key_id(new).hex()}
    assert api.get(href).json == shown  # also its time of change
    assert api.patch(href, {"password": "pass word"}).status_code == 200  # it is still that
    assert api.post(REMOTES, remote_fields(**SECRETS)).status_code == 201
    assert sealed_by(db) == {key_id(new).hex()}  # the API seals with the new one already
    assert run("retire") == 0
    assert key_file.read_text().strip() == new
    assert run("list") == 0
    assert "remotes 10" in capsys.readouterr().out
    db.run(lambda tx: check_secret_key(tx, Sealer(new)))
    assert api.patch(href, {"password": "pass word"}).status_code == 200


def test_a_rotation_that_was_cut_off_is_finished_and_not_begun_anew(
    api: ApiClient,
    run: Run,
    db: Database,
    settings: Settings,
    key_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEBFLEET_SECRET_KEY_FILE", str(key_file))
    api.remote(**SECRETS)
    new = new_key()
    key_file.write_text(f"{new},{settings.secret_key}\n")
    api.remote(**SECRETS)  # sealed with the new one; the other is not yet

    refused = run("retire")
    status = run("rotate")

    assert (refused, status) == (1, 0)
    assert key_file.read_text().strip().split(",")[0] == new
    assert sealed_by(db) == {key_id(new).hex()}


def test_a_change_that_waits_is_sealed_anew(
    api: ApiClient, run: Run, db: Database, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBFLEET_SECRET_KEY_FILE", str(key_file))
    remote = api.remote()
    with db.transaction() as tx:
        tx.execute("insert into tasks (kind, name, args) values ('sync', 'sync', '{}')")
        tx.execute(
            "insert into claims (task, resource, exclusive) select max(id), %s, false from tasks",
            (remote["prn"],),
        )
    waiting = api.task(api.patch(remote["pulp_href"], {"password": "later"}))
    assert waiting["state"] == "waiting"

    assert run("rotate") == 0

    new = key_file.read_text().split(",")[0]
    with db.transaction() as tx:
        row = tx.execute("select args from tasks where kind = 'change'").fetchone()
    assert row is not None
    sealed = bytes.fromhex(row["args"]["values"]["password"])
    assert Sealer(new).open(sealed) == "later"


def test_a_key_of_the_environment_is_not_ours_to_make(
    run: Run,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DEBFLEET_SECRET_KEY", settings.secret_key)

    assert run("rotate") == 2

    assert "put a new one in front" in capsys.readouterr().err


def test_keys_of_the_environment_are_used_as_they_stand(
    api: ApiClient,
    run: Run,
    db: Database,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api.remote(**SECRETS)
    new = new_key()
    monkeypatch.setenv("DEBFLEET_SECRET_KEY", f"{new},{settings.secret_key}")

    assert [run("rotate"), run("retire"), run("list")] == [0, 0, 0]
    assert sealed_by(db) == {key_id(new).hex()}


def test_a_secret_of_an_unknown_key_is_named(
    api: ApiClient, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.remote(**SECRETS)
    monkeypatch.setenv("DEBFLEET_SECRET_KEY", f"{new_key()},{new_key()}")

    assert run("rotate") == 2
    assert "DEBFLEET_SECRET_KEY is not the key" in capsys.readouterr().err
    assert run("list") == 0
    assert "NOT KNOWN HERE" in capsys.readouterr().out
