"""`debfleet sync` against an API that can be made to misbehave."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from debfleet_cli import sync
from debfleet_cli.progress import Bars, Lines
from fake_api import REMOTES, REPOSITORIES, TASK, V3, FakeApi, Seen, task_state

URL = "http://deb.example.org/debian"
VERSION = REPOSITORIES + "1/versions/1/"
Run = Callable[..., int]


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    with FakeApi() as api:
        api.states = [
            task_state("running"),
            task_state("completed", created_resources=[VERSION]),
        ]
        counts = {"deb.package": {"count": 1234}, "deb.release": {"count": 1}}
        api.rows[VERSION] = {
            "pulp_href": VERSION,
            "number": 1,
            "content_summary": {"present": counts, "added": counts, "removed": {}},
        }
        yield api


@pytest.fixture
def run(fake: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command as the shell would; returns its exit status."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("DEBFLEET_API_URL", fake.url)
    monkeypatch.setenv("DEBFLEET_PASSWORD", "secret")
    monkeypatch.delenv("DEBFLEET_PASSWORD_FILE", raising=False)
    monkeypatch.delenv("DEBFLEET_USERNAME", raising=False)

    def command(*argv: str) -> int:
        parser = argparse.ArgumentParser()
        sync.add_arguments(parser)
        return sync.run(parser.parse_args(argv))

    return command


def remote(fake: FakeApi, name: str = "deb.example.org-bookworm", **fields: Any) -> dict[str, Any]:
    """A remote with its repository that exist before the command."""
    row: dict[str, Any] = {
        "pulp_href": REMOTES + "7/", "name": name, "url": URL, "distributions": "bookworm",
        "components": None, "architectures": None, "policy": "immediate", "gpgkey": None, **fields,
    }  # fmt: skip
    fake.rows[row["pulp_href"]] = row
    href = REPOSITORIES + "8/"
    fake.rows[href] = {"pulp_href": href, "name": name, "remote": row["pulp_href"]}
    return row


def test_the_first_sync_of_a_url_makes_remote_and_repository(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(URL, "--distributions", "bookworm", "--components", "main", "contrib",
                 "--architectures", "amd64", "--policy", "on_demand", "--mirror")  # fmt: skip

    assert status == 0
    remote_body = fake.asked("POST", "remotes/")[0].body
    assert remote_body == {
        "name": "deb.example.org-bookworm",
        "url": URL,
        "distributions": "bookworm",
        "components": "main contrib",
        "architectures": "amd64",
        "policy": "on_demand",
    }
    made, asked = (seen.body for seen in fake.asked("POST", "repositories/"))
    assert made == {"name": "deb.example.org-bookworm", "remote": REMOTES + "1/"}
    assert asked == {"remote": REMOTES + "1/", "mirror": True}
    said = capsys.readouterr().out
    assert "synced: deb.example.org-bookworm is at version 1 now, in 2.5 s" in said
    assert "package      1,234  (+1,234 -0)" in said


def test_a_second_sync_uses_what_the_first_one_made(run: Run, fake: FakeApi) -> None:
    assert run(URL, "--distributions", "bookworm") == 0

    assert run(URL + "/", "--distributions", "bookworm") == 0

    assert len(fake.asked("POST", "remotes/")) == 1
    assert len(fake.asked("POST", "/sync/")) == 2
    assert not fake.asked("PATCH", "")


def test_a_remote_that_differs_is_an_error_that_shows_the_difference(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    remote(fake, components="main", policy="on_demand")

    status = run(URL, "--distributions", "bookworm trixie", "--policy", "immediate")

    assert status == 2
    said = capsys.readouterr().err
    assert "distributions: bookworm -> bookworm trixie" in said
    assert "components: main -> all" in said
    assert "policy: on_demand -> immediate" in said
    assert "--update" in said
    assert not fake.asked("PATCH", "")
    assert not fake.asked("POST", "")


def test_update_applies_the_difference_and_waits_for_it(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    row = remote(fake, components="main", gpgkey="a key")
    change = V3 + "tasks/change/"

    def answer(seen: Seen) -> tuple[int, Any] | None:
        if seen.method == "PATCH":
            row.update(seen.body)
            return 202, {"task": change}
        return (200, task_state("completed")) if seen.path == change else None

    fake.answer = answer
    status = run(URL, "--distributions", "bookworm", "--components", "contrib", "--update")

    assert status == 0
    assert row["components"] == "contrib"
    assert row["gpgkey"] == "a key"  # not given: left as it is
    paths = [seen.path for seen in fake.seen]
    assert paths.index(change) < paths.index(REPOSITORIES + "8/sync/")
    assert "changed components: main -> contrib" in capsys.readouterr().out


def test_a_repository_that_syncs_from_another_remote_is_a_difference(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    remote(fake)
    fake.rows[REPOSITORIES + "8/"]["remote"] = None

    assert run(URL, "--distributions", "bookworm") == 2
    assert "remote of the repository: none -> deb.example.org-bookworm" in capsys.readouterr().err
    assert run(URL, "--distributions", "bookworm", "--update") == 0

    assert fake.rows[REPOSITORIES + "8/"]["remote"] == REMOTES + "7/"


def test_a_repository_is_synced_by_its_name_from_its_own_remote(run: Run, fake: FakeApi) -> None:
    remote(fake, name="mine", url="http://elsewhere.example/x")

    assert run("--repository", "mine") == 0

    assert fake.asked("POST", "/sync/")[0].body == {"remote": REMOTES + "7/", "mirror": False}
    assert [seen.path for seen in fake.asked("POST", "")] == [REPOSITORIES + "8/sync/"]


def test_a_repository_that_is_not_there_is_named_with_those_that_are(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    remote(fake, name="mine")

    assert run("--repository", "your") == 2

    assert "no repository your; there are: mine" in capsys.readouterr().err


def test_nothing_changed_is_said_and_is_good(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.states = [task_state("completed")]

    assert run(URL, "--distributions", "bookworm") == 0

    assert "unchanged: deb.example.org-bookworm holds what upstream offers" in (
        capsys.readouterr().out
    )


def test_a_failed_task_is_status_1_with_the_reason(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"description": "[DEB0001] Could not find a Release file", "traceback": ""}
    fake.states = [task_state("failed", error=error)]

    assert run(URL, "--distributions", "bookworm") == 1

    assert "failed after 2.5 s: [DEB0001] Could not find a Release file" in capsys.readouterr().out


def test_what_was_left_out_is_told(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    skipped = ("sync.skipped.stanza_incomplete", "Stanzas without a needed field", 3, None)
    fake.states = [task_state("completed", reports=[skipped])]

    assert run(URL, "--distributions", "bookworm") == 0

    assert f"left out: stanza_incomplete 3; each is named in {fake.url}{TASK}report/" in (
        capsys.readouterr().out
    )


def test_what_the_guards_warn_of_is_told(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    warned = ("sync.guard.replay", "Let through: replay", 1, None)
    fake.states = [task_state("completed", reports=[warned])]

    assert run(URL, "--distributions", "bookworm") == 0

    out = capsys.readouterr().out
    assert f"the guards warn: replay (1); why is in {fake.url}{TASK}report/" in out


def test_guards_and_what_becomes_of_vanishing_files_are_fields_of_the_remote(
    run: Run, fake: FakeApi
) -> None:
    asked = ("--guard", "replay=refuse", "--guard", "weak-digests=off", "--guard", "shrink=default")
    asked += ("--vanishing", "fetch")

    assert run(URL, "--distributions", "bookworm", *asked) == 0

    made = next(s.body for s in fake.seen if (s.method, s.path) == ("POST", REMOTES))
    assert made["guard_replay"] == "refuse"
    assert made["guard_weak_digests"] == "off"
    assert made["guard_shrink"] is None
    assert made["vanishing"] == "fetch"


@pytest.mark.parametrize("guard", ["replay", "replay=never", "relay=off", "=off"])
def test_an_unknown_guard_or_level_is_named(
    run: Run, capsys: pytest.CaptureFixture[str], guard: str
) -> None:
    assert run(URL, "--distributions", "bookworm", "--guard", guard) == 2

    assert "--guard: '" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "wanted"), [([], None), (["--sources"], True), (["--no-sources"], False)]
)
def test_source_packages_are_synced_when_asked_for(
    run: Run, fake: FakeApi, flags: list[str], wanted: bool | None
) -> None:
    assert run(URL, "--distributions", "bookworm", *flags) == 0

    assert fake.asked("POST", "remotes/")[0].body.get("sync_sources") is wanted


def test_a_remote_without_sources_is_said_to_differ(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    remote(fake, sync_sources=False)

    assert run(URL, "--distributions", "bookworm", "--sources") == 2

    assert "sync_sources: no -> yes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "udebs", "installer"),
    [([], None, None), (["--udebs", "--installer"], True, True), (["--no-udebs"], False, None)],
)
def test_the_installer_is_synced_when_it_is_asked_for(
    run: Run, fake: FakeApi, flags: list[str], udebs: bool | None, installer: bool | None
) -> None:
    assert run(URL, "--distributions", "bookworm", *flags) == 0

    made = fake.asked("POST", "remotes/")[0].body
    assert (made.get("sync_udebs"), made.get("sync_installer")) == (udebs, installer)


def test_a_remote_without_the_installer_is_said_to_differ(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    remote(fake, sync_installer=False)

    assert run(URL, "--distributions", "bookworm", "--installer") == 2

    assert "sync_installer: no -> yes" in capsys.readouterr().err


def test_no_wait_returns_at_once_and_says_how_to_watch(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(URL, "--distributions", "bookworm", "--no-wait") == 0

    assert fake.looks == 0
    assert f"debfleet sync --watch {TASK}" in capsys.readouterr().out


@pytest.mark.parametrize("task", [TASK, TASK.split("/")[-2], "http://elsewhere:1" + TASK])
def test_watch_takes_up_a_task_by_href_url_or_id(run: Run, fake: FakeApi, task: str) -> None:
    assert run("--watch", task) == 0

    assert fake.looks == 2
    assert not fake.asked("POST", "")


def test_json_is_one_object_and_nothing_else(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(URL, "--distributions", "bookworm", "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert told["outcome"] == "synced"
    assert told["task"] == TASK
    assert told["version"]["number"] == 1
    assert told["version"]["content"]["deb.package"] == {
        "present": 1234,
        "added": 1234,
        "removed": 0,
    }
    assert told["error"] is None


def test_json_says_what_went_wrong_too(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    remote(fake, components="main")

    assert run(URL, "--distributions", "bookworm", "--json") == 2

    told = json.loads(capsys.readouterr().out)
    assert told["outcome"] == "usage"
    assert "components: main -> all" in told["error"]


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ([], "Give a URL"),
        ([URL], "--distributions is missing"),
        (["deb.example.org", "--distributions", "sid"], "is no URL"),
        ([URL, "--repository", "x"], "give one of the two"),
        (["--repository", "x", "--components", "main"], "--components describes another"),
        (["--watch", "x", "--mirror", "--name", "y"], "--watch takes a task alone"),
        ([URL, "--distributions", "sid", "--gpgkey", "/none/such"], "/none/such cannot be read"),
    ],
)
def test_a_command_line_without_sense_is_status_2_and_asks_nothing(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str], argv: list[str], reason: str
) -> None:
    assert run(*argv) == 2

    assert reason in capsys.readouterr().err
    assert not fake.seen


@pytest.mark.parametrize(
    "argv",
    [
        ("--distributions", "a", "b", URL),
        ("--distributions", "a,b", "--", URL),
        (URL, "--distributions", "a b"),
        (URL, "--distributions", "a", "--distributions", "b"),
    ],
)
def test_words_may_come_in_any_usual_way(run: Run, fake: FakeApi, argv: tuple[str, ...]) -> None:
    assert run(*argv) == 0

    body = fake.asked("POST", "remotes/")[0].body
    assert (body["url"], body["distributions"]) == (URL, "a b")


@pytest.mark.parametrize(
    ("dist", "name"),
    [("bookworm/updates", "h-bookworm-updates"), ("./", "h-flat"), ("binary/", "h-binary")],
)
def test_names_come_from_the_host_and_the_first_distribution(
    run: Run, fake: FakeApi, dist: str, name: str
) -> None:
    assert run("http://h:8080/debian", "--distributions", dist, "other") == 0

    assert fake.asked("POST", "remotes/")[0].body["name"] == name


def test_a_binary_key_is_armoured(run: Run, fake: FakeApi, tmp_path: Path) -> None:
    key = b"\x99\x01\x0d" + bytes(range(256))
    (tmp_path / "key.gpg").write_bytes(key)

    assert run(URL, "--distributions", "sid", "--gpgkey", str(tmp_path / "key.gpg")) == 0

    lines = fake.asked("POST", "remotes/")[0].body["gpgkey"].splitlines()
    assert lines[0] == "-----BEGIN PGP PUBLIC KEY BLOCK-----"
    assert b64decode("".join(lines[2:-1])) == key


def test_no_api_is_status_3(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DEBFLEET_API_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")

        assert run(URL, "--distributions", "sid") == 3

    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("status", [500, 503])
def test_an_api_that_is_broken_is_status_3(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    fake.answer = lambda seen: (status, {"detail": "The database is away."})

    assert run(URL, "--distributions", "sid") == 3

    assert "The database is away." in capsys.readouterr().err


def test_a_server_that_is_not_debfleet_is_status_3(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answer = lambda seen: (404, b"<html>nginx</html>")

    assert run(URL, "--distributions", "sid") == 3

    assert "does DEBFLEET_API_URL name another server?" in capsys.readouterr().err


def test_a_field_that_the_api_refuses_is_named(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answer = lambda seen: (
        (400, {"gpgkey": ["This is no OpenPGP public key."]}) if seen.method == "POST" else None
    )

    assert run(URL, "--distributions", "sid") == 2

    assert "gpgkey: This is no OpenPGP public key." in capsys.readouterr().err


def test_without_a_password_the_way_to_give_one_is_told(
    run: Run, fake: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DEBFLEET_PASSWORD")
    fake.answer = lambda seen: (
        401, {"detail": "Authentication credentials were not provided."}
    )  # fmt: skip

    assert run(URL, "--distributions", "sid") == 2

    assert "DEBFLEET_PASSWORD_FILE" in capsys.readouterr().err
    assert "authorization" not in fake.seen[0].headers


def test_the_password_may_lie_in_a_file(
    run: Run, fake: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("geheim\n")
    monkeypatch.delenv("DEBFLEET_PASSWORD")
    monkeypatch.setenv("DEBFLEET_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("DEBFLEET_USERNAME", "anna")

    assert run(URL, "--distributions", "sid") == 0

    basic = fake.seen[0].headers["authorization"].removeprefix("Basic ")
    assert b64decode(basic) == b"anna:geheim"


def test_the_password_that_up_made_on_this_machine_is_found(
    run: Run, fake: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "share" / "debfleet").mkdir(parents=True)
    (tmp_path / "share" / "debfleet" / "admin-password").write_text("made by up\n")
    monkeypatch.delenv("DEBFLEET_PASSWORD")

    assert run(URL, "--distributions", "sid") == 0

    basic = fake.seen[0].headers["authorization"].removeprefix("Basic ")
    assert b64decode(basic) == b"admin:made by up"


def test_an_interrupted_watch_leaves_the_sync_running_and_says_how_to_go_on(
    fake: FakeApi,
) -> None:
    fake.states = [task_state("running")]
    process = subprocess.Popen(
        [Path(sys.executable).with_name("debfleet"), "sync", URL, "--distributions", "sid"],
        env={"DEBFLEET_API_URL": fake.url, "DEBFLEET_PASSWORD": "x", "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while fake.looks < 2 and time.monotonic() < deadline:
            time.sleep(0.02)

        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == 130
    assert "the sync goes on without us" in said
    assert f"debfleet sync --watch {TASK}" in said
    assert "curl -u admin -X PATCH" in said
    assert not fake.asked("PATCH", "")


def test_a_sync_that_is_asked_for_again_carries_the_same_key(run: Run, fake: FakeApi) -> None:
    tries: list[str] = []

    def answer(seen: Seen) -> tuple[int, Any] | None:
        if seen.path.endswith("/sync/"):
            tries.append(seen.headers["idempotency-key"])
            return (0, None) if len(tries) == 1 else None
        return None

    fake.answer = answer

    assert run(URL, "--distributions", "sid") == 0

    assert len(tries) == 2
    assert tries[0] == tries[1]


def _sent_keys(fake: FakeApi) -> list[str]:
    return [seen.headers["idempotency-key"] for seen in fake.asked("POST", "/sync/")]


def test_a_key_of_the_command_line_goes_before_the_environments(
    run: Run, fake: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBFLEET_IDEMPOTENCY_KEY", "nightly-1")

    assert run(URL, "--distributions", "sid") == 0
    assert run(URL, "--distributions", "sid", "--idempotency-key", "by hand") == 0

    assert _sent_keys(fake) == ["nightly-1", "by hand"]


def test_runs_without_a_key_are_two_syncs(run: Run, fake: FakeApi) -> None:
    assert run(URL, "--distributions", "sid") == 0
    assert run(URL, "--distributions", "sid") == 0

    assert len(set(_sent_keys(fake))) == 2


@pytest.mark.parametrize("key", ["a\nb", "n\u00e4chtlich"])
def test_a_key_that_no_header_can_hold_is_refused(
    run: Run, fake: FakeApi, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(URL, "--distributions", "sid", "--idempotency-key", key) == 2

    assert "printable ASCII" in capsys.readouterr().err
    assert not fake.asked("POST", "")


def test_a_watch_outlives_a_restart_of_the_api(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    looks: list[int] = []

    def answer(seen: Seen) -> tuple[int, Any] | None:
        if seen.path != TASK:
            return None
        looks.append(1)
        return (503, {"detail": "starting"}) if len(looks) in (2, 3) else None

    fake.answer = answer

    assert run(URL, "--distributions", "sid") == 0

    said = capsys.readouterr().out
    assert said.count("asking again") == 1
    assert "synced" in said


def test_remotes_that_two_commands_make_at_once_are_one(run: Run, fake: FakeApi) -> None:
    def answer(seen: Seen) -> tuple[int, Any] | None:
        if seen.method == "POST" and seen.path == REMOTES and not fake.rows.get(REMOTES + "7/"):
            remote(fake, name="deb.example.org-bookworm")
            return 400, {"name": ["This field must be unique."]}
        return None

    fake.answer = answer

    assert run(URL, "--distributions", "bookworm") == 0

    assert fake.asked("POST", "/sync/")[0].body["remote"] == REMOTES + "7/"


def test_without_a_terminal_each_phase_is_one_line() -> None:
    out = io.StringIO()
    lines = Lines(Console(file=out))
    reports = [
        ("a", "Fetching", 5, 9),
        ("a", "Fetching", 1, None),
        ("sync.skipped.x", "Left", 1, 1),
    ]

    for state in ("waiting", "running", "running", "completed", "completed"):
        lines.show(task_state(state, reports=reports))

    assert out.getvalue().splitlines() == ["Fetching: 5 of 9", "Fetching: 1"]


def test_on_a_terminal_each_phase_is_a_bar() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)

    with Bars(console) as bars:
        bars.show(task_state("running", reports=[("a", "Fetching", 5, 1200)]))
        bars.show(task_state("completed", reports=[("a", "Fetching", 1200, 1200)]))

    assert "1,200 of 1,200" in out.getvalue()
    assert "✓" in out.getvalue()


def test_a_task_that_waits_for_want_of_a_worker_says_so(
    run: Run, fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.online_workers = 0
    fake.states = [task_state("waiting")] * 9 + [task_state("completed")]

    assert run(URL, "--distributions", "sid") == 0

    assert "no worker is running" in capsys.readouterr().out
