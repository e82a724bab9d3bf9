"""`debfleet up` as a whole: started, killed in every way, and started again over its data.

A start takes ten seconds of CPU, so most of this happens to a single one, test after test.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import servers
from archive.faults import stall
from archive.upstream import Upstream
from debfleet.sealed import new_key
from system.small import DIST, write_small
from system.up import FREE_PORTS, NOBODY, REPOSITORIES, Up, one_up, python_for_others, until

# What a lost lease costs, made short.
_QUICK = {"DEBFLEET_LEASE_SECONDS": "3", "DEBFLEET_SWEEP_SECONDS": "1"}


@pytest.fixture
def folder() -> Iterator[Path]:
    with _short_folder() as made:
        yield made


@pytest.fixture
def new_up(folder: Path) -> Iterator[Up]:
    """One that starts from nothing."""
    with one_up(folder) as made:
        yield made


@pytest.fixture(scope="module")
def the_up() -> Iterator[Up]:
    """One that was started from nothing, and then whatever the tests before have made of it."""
    with _short_folder() as folder, one_up(folder) as made:
        yield made.start("--workers", "2", environ={"DEBFLEET_API_PROCESSES": "2"})


@pytest.fixture
def up(the_up: Up) -> Up:
    """The same one, running, with a repository that must stay."""
    if the_up.is_over():
        the_up.start("--workers", "1", environ=_QUICK)
    until(lambda: the_up.ask("GET", REPOSITORIES)[0] == 200, "the API answers")
    if not the_up.names():
        assert the_up.ask("POST", REPOSITORIES, {"name": "kept"})[0] == 201
    return the_up


@contextmanager
def _short_folder() -> Iterator[Path]:
    made = servers.short_folder("up")
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def assert_starts_with_all_data(up: Up) -> None:
    """The next start finds what was there, and all of it works."""
    password = up.place.admin_password.read_text()
    up.start("--workers", "1", environ=_QUICK)
    assert "kept" in up.names()
    assert up.place.admin_password.read_text() == password
    assert password.strip() not in up.said()


def test_up_starts_from_nothing_and_says_all_that_one_needs_to_know(the_up: Up) -> None:
    said = the_up.said()
    assert str(the_up.place.folder) in said
    assert str(the_up.place.admin_password) in said
    assert the_up.place.admin_password.read_text().strip() in said
    assert "Ctrl-C" in said
    assert the_up.names() == []
    assert sum("main worker" in command for command in the_up.family().values()) == 2


def test_its_secrets_are_closed_to_others(up: Up) -> None:
    modes = {
        name: stat.S_IMODE((up.place.folder / name).stat().st_mode)
        for name in ("secret-key", "admin-password", "store", "log", "work", "postgres/run")
    }

    assert modes == {
        "secret-key": 0o600, "admin-password": 0o600,
        "store": 0o700, "log": 0o700, "work": 0o700, "postgres/run": 0o700,
    }  # fmt: skip


def test_a_worker_that_was_started_alone_joins_it(up: Up) -> None:
    command = [sys.executable, "-m", "debfleet_cli.main", "worker", "--data", str(up.place.folder)]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    try:
        until(
            lambda: any(name.startswith(f"{worker.pid}@") for name in online(up)),
            "the worker is online",
        )
    finally:
        worker.terminate()

    assert worker.wait(60) == 0


def online(up: Up) -> list[str]:
    """The names of the workers that are there."""
    _, page = up.ask("GET", "/pulp/api/v3/workers/?online=true")
    return [worker["name"] for worker in page["results"]] if page else []


def test_a_second_up_with_the_same_data_is_refused(up: Up, folder: Path) -> None:
    with one_up(folder) as second:
        second.launch(*FREE_PORTS, "--data", str(up.place.folder))

        assert second.wait() == 2
        assert f"already runs with {up.place.folder} (process {up.pid})" in second.said()


def test_a_killed_api_and_a_killed_worker_are_started_again_and_that_is_said(up: Up) -> None:
    api, worker = up.child("main api"), up.child("main worker")
    orphans = up.family(api).keys()

    os.kill(api, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)

    until(lambda: re.search(r"worker-\d runs again", up.said()), "the worker runs again")
    until(lambda: "api runs again" in up.said(), "the API runs again")
    until(lambda: not orphans & up.family().keys(), "what the old API had started ends")
    until(lambda: up.ask("GET", REPOSITORIES)[0] == 200, "the API answers again")
    assert f"api (process {api}) was ended by SIGKILL" in up.said()
    assert re.search(rf"worker-\d \(process {worker}\) was ended by SIGKILL", up.said())


def test_a_killed_postgres_comes_back_with_its_data(up: Up) -> None:
    os.kill(up.child("/postgres -D"), signal.SIGKILL)

    until(lambda: "Postgres runs again" in up.said(), "Postgres runs again")
    until(lambda: up.ask("GET", REPOSITORIES)[0] == 200, "the API answers again")
    assert "kept" in up.names()


def test_sigterm_ends_everything_and_the_next_start_finds_all_data(up: Up) -> None:
    status = up.stop()

    assert status == 0
    assert up.family() == {}
    assert_starts_with_all_data(up)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["ctrl_c", "hang_up"])
def test_what_a_terminal_sends_to_all_ends_everything_without_a_complaint(
    up: Up, number: signal.Signals
) -> None:
    for log in up.place.log.glob("*.log"):
        os.truncate(log, 0)  # of what was killed before, which may complain
    deaths = up.said().count("was ended by")

    os.killpg(up.pid, number)

    assert up.wait() == 0
    assert up.family() == {}
    assert up.said().count("was ended by") == deaths
    assert "Traceback" not in up.said() + up.logs()
    assert_starts_with_all_data(up)


def test_after_kill_9_of_the_supervisor_alone_nothing_is_left_in_the_way(up: Up) -> None:
    family = up.family()

    os.kill(up.pid, signal.SIGKILL)
    up.wait()

    until(lambda: not up.family(), f"all of {family} end")
    assert_starts_with_all_data(up)


def test_a_sync_that_kill_9_of_everything_cut_off_ends_well_after_the_next_start(
    up: Up, folder: Path
) -> None:
    archive = write_small(folder / "archive")
    with Upstream(folder / "archive") as upstream:
        fault = stall("pool/*", 1000, threading.Event(), times=1, skip=3)
        upstream.faults.append(fault)
        task, repository = ask_for_sync(up, upstream.url)
        until(lambda: fault.hits == 1, "a download is in the middle of a file")

        up.kill_group()
        assert_starts_with_all_data(up)

        state = until(lambda: final_state(up, task), "the task ends")
        assert state == "completed"
    latest = up.ask("GET", repository)[1]["latest_version_href"]
    counts = up.ask("GET", latest)[1]["content_summary"]["present"]
    assert counts["deb.package"]["count"] == len(archive.listed)


def ask_for_sync(up: Up, url: str) -> tuple[str, str]:
    """The hrefs of a task that syncs, and of its repository."""
    body = {"name": "small", "url": url, "distributions": DIST, "policy": "immediate"}
    _, remote = up.ask("POST", "/pulp/api/v3/remotes/deb/apt/", body)
    _, repository = up.ask("POST", REPOSITORIES, {"name": "small"})
    href = repository["pulp_href"]
    status, asked = up.ask("POST", f"{href}sync/", {"remote": remote["pulp_href"]})
    assert status == 202, asked
    return asked["task"], href


def final_state(up: Up, task: str) -> str | None:
    _, body = up.ask("GET", task)
    return body["state"] if body and body["finished_at"] else None


def test_neither_a_wrong_secret_key_nor_a_lost_one_is_made_good_with_another(up: Up) -> None:
    assert up.stop() == 0

    up.launch(*FREE_PORTS, environ={"DEBFLEET_SECRET_KEY": new_key()})
    assert up.wait() == 2
    assert "DEBFLEET_SECRET_KEY is not the key" in up.said()

    key = up.place.secret_key.read_bytes()
    up.place.secret_key.unlink()
    up.launch(*FREE_PORTS)
    assert up.wait() == 2
    assert not up.place.secret_key.exists()

    up.place.secret_key.write_bytes(key)
    up.place.secret_key.chmod(0o600)


def test_an_address_that_is_taken_is_refused_before_anything_starts(new_up: Up) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        new_up.launch("--api", f"127.0.0.1:{taken.getsockname()[1]}", "--content", "127.0.0.1:0")

        assert new_up.wait() == 2

    assert "cannot be used: Address already in use" in new_up.said()
    assert not new_up.place.postgres.exists()


def test_a_database_that_is_named_is_used_instead_of_the_embedded_one(
    new_up: Up, empty_database_url: str
) -> None:
    environ = {"DEBFLEET_DATABASE_URL": empty_database_url, "DEBFLEET_ADMIN_PASSWORD": "mine"}

    new_up.start("--workers", "0", environ=environ)

    assert not new_up.place.postgres.exists()
    assert not new_up.place.admin_password.exists()
    assert not any("main worker" in command for command in new_up.family().values())
    assert f"debfleet worker --data {new_up.place.folder}" in new_up.said()


def test_as_an_ordinary_user_it_does_the_same(folder: Path) -> None:
    """Run by root: as a user without rights. Run by anyone else, every test here is this one."""
    if os.geteuid() != 0:
        return
    home = folder / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with one_up(home, prefix, python_for_others(prefix)) as up:
        up.start("--workers", "1")
        up.ask("POST", REPOSITORIES, {"name": "kept"})
        up.kill_group()
        up.start("--workers", "1")

        assert up.names() == ["kept"]
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in up.family()} == {NOBODY}
        assert up.stop() == 0
