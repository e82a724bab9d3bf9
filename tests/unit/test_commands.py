"""The command line without any service: what is said, and the exit status."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from debfleet.config import Settings
from debfleet.errors import ConfigError
from debfleet.sealed import Sealer
from debfleet_cli.main import COMMANDS, main
from debfleet_cli.place import Place, find_place, read_secret, write_secret


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--help"])

    assert status == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])

    assert ended.value.code == 0
    assert f"usage: debfleet {name}" in capsys.readouterr().out


def test_no_command_at_all_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2


def test_a_mistyped_command_is_named_with_what_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = main(["snyc"])

    assert status == 2
    assert "did you mean sync?" in capsys.readouterr().err


def test_a_bad_setting_ends_a_command_before_it_does_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEBFLEET_WINDOW", "many")
    monkeypatch.setenv("DEBFLEET_WINDOWS", "1")

    status = main(["worker"])

    assert status == 2
    said = capsys.readouterr().err
    assert "DEBFLEET_WINDOW: must be a whole number" in said
    assert "DEBFLEET_WINDOWS: there is no such setting" in said


def test_a_worker_without_settings_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DEBFLEET_DATABASE_URL", "DEBFLEET_STORE_URL", "DEBFLEET_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)

    status = main(["worker"])

    assert status == 2
    said = capsys.readouterr().err
    assert "DEBFLEET_DATABASE_URL" in said
    assert "DEBFLEET_STORE_URL" in said
    assert "DEBFLEET_SECRET_KEY" in said


def test_a_worker_of_an_unknown_queue_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--queues", "plan,pudding"]) == 2
    assert "there is no pudding" in capsys.readouterr().err


def test_config_shows_where_a_value_came_from_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings").write_text("DEBFLEET_WINDOW=3\n")
    monkeypatch.setenv("DEBFLEET_SETTINGS_FILE", str(tmp_path / "settings"))
    monkeypatch.setenv("DEBFLEET_SECRET_KEY", "deep secret")

    status = main(["config", "--json"])

    assert status == 0
    said = capsys.readouterr().out
    assert "deep secret" not in said
    found = {setting["name"]: setting for setting in json.loads(said)}
    assert found["DEBFLEET_WINDOW"]["value"] == "3"
    assert found["DEBFLEET_WINDOW"]["source"] == f"{tmp_path / 'settings'}:1"
    assert found["DEBFLEET_SECRET_KEY"]["source"] == "DEBFLEET_SECRET_KEY"


def test_the_data_directory_follows_xdg_data_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    assert find_place(None).folder == tmp_path / "debfleet"


def test_two_cannot_have_one_data_directory(tmp_path: Path) -> None:
    place = Place(tmp_path / "data")
    place.make()
    place.lock()

    with pytest.raises(ConfigError, match="already runs with"):
        place.lock()


def test_the_secret_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    place = Place(tmp_path)

    made = [place.make_secret_key(), place.make_secret_key()]

    assert made == [True, False]
    assert stat.S_IMODE(place.secret_key.stat().st_mode) == 0o600
    assert Sealer(read_secret(place.secret_key))


def test_a_secret_that_was_cut_off_while_written_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / "secret.new").write_text("half")

    write_secret(tmp_path / "secret", "whole")

    assert read_secret(tmp_path / "secret") == "whole"


def test_what_is_set_goes_before_what_lies_in_the_data_directory(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.make_secret_key()

    complete = place.complete(Settings(store_url="s3://bucket/prefix"))

    assert complete.store_url == "s3://bucket/prefix"
    assert complete.secret_key == read_secret(place.secret_key)
    assert complete.database_url == ""  # no Postgres was ever started there


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://x"),
        ("BROKER_URL", "localhost"),
        ("STORE_URL", "ftp://x"),
        ("API_URL", "127.0.0.1:24817"),
    ],
)
def test_a_url_of_another_kind_is_named_with_its_setting(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"DEBFLEET_{name}", value)

    status = main(["migrate"])

    assert status == 2
    assert f"DEBFLEET_{name}: must start with" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--api", "--content"])
def test_up_refuses_what_is_no_address(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["up", "--data", str(tmp_path / "data"), "--api", "127.0.0.1:0", flag, "nothing"])

    assert status == 2
    assert f"{flag}: must be HOST:PORT, not nothing" in capsys.readouterr().err


def test_a_data_directory_that_is_a_file_is_told_with_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    status = main(["up", "--data", str(tmp_path / "file")])

    assert status == 2
    assert "File exists; --data chooses another" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["WINDOW=3", "export DEBFLEET_WINDOW=3", "DEBFLEET_WINDOWS=3"])
def test_a_line_of_the_settings_file_that_is_no_setting_is_named(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings").write_text(f"# ours\nPULP_CACHE_ENABLED=1\n{line}\n")
    monkeypatch.setenv("DEBFLEET_SETTINGS_FILE", str(tmp_path / "settings"))

    status = main(["config"])

    assert status == 2
    assert f"settings:3: {line[:-2]}: there is no such setting" in capsys.readouterr().err
