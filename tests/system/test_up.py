"""`debfleet up` as a whole: started, killed in every way, and started again over its data."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
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
    made = servers.short_folder("up")
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def new_up(folder: Path) -> Iterator[Up]:
    """One that starts from nothing."""
    with one_up(folder) as made:
        yield made


@pytest.fixture(scope="session")
def ended_data() -> Iterator[Path]:
    """The data of one that has started from nothing, and ended."""
    folder = servers.short_folder("data")
    folder.chmod(0o711)
    with one_up(folder) as up:
        up.start("--workers", "0")
        assert up.stop() == 0
        yield up.place.folder
    shutil.rmtree(folder)


@pytest.fixture
def up(new_up: Up, ended_data: Path) -> Up:
    """One that finds the data of an earlier start, which takes it half the time."""
    subprocess.run(["cp", "-a", ended_data, new_up.place.folder], check=True)
    return new_up


def test_up_starts_from_nothing_and_says_all_that_one_needs_to_know(new_up: Up) -> None:
    up = new_up.start("--workers", "2", environ={"DEBFLEET_API_PROCESSES": "2"})

    said = up.said()
    assert str(up.place.folder) in said
    assert str(up.place.admin_password) in said
    assert up.place.admin_password.read_text().strip() in said
    assert "Ctrl-C" in said
    assert up.names() == []
    assert sum("main worker" in command for command in up.family().values()) == 2


def test_its_secrets_are_closed_to_others(ended_data: Path) -> None:
    modes = {
        name: stat.S_IMODE((ended_data / name).stat().st_mode)
        for name in ("secret-key", "admin-password", "store", "log", "work", "postgres/run")
    }

    assert modes == {
        "secret-key": 0o600, "admin-password": 0o600,
        "store": 0o700, "log": 0o700, "work": 0o700, "postgres/run": 0o700,
    }  # fmt: skip


def test_a_worker_that_was_started_alone_joins_an_up_without_workers(up: Up) -> None:
    up.start("--workers", "0")
    command = [sys.executable, "-m", "debfleet_cli.main", "worker", "--data", str(up.place.folder)]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    try:
        until(
            lambda: up.ask("GET", "/pulp/api/v3/workers/?online=true")[1]["count"] == 1,
            "no worker is online",
        )
    finally:
        worker.terminate()

    assert worker.wait(60) == 0


def test_sigterm_ends_everything_and_a_second_start_finds_all_data(up: Up) -> None:
    up.start("--workers", "1")
    up.ask("POST", REPOSITORIES, {"name": "kept"})
    password = up.place.admin_password.read_text()

    status = up.stop()

    assert status == 0
    assert up.family() == {}
    up.start("--workers", "0")
    assert up.names() == ["kept"]
    assert up.place.admin_password.read_text() == password
    assert password.strip() not in up.said()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["ctrl_c", "hang_up"])
def test_what_a_terminal_sends_to_all_ends_everything_without_a_complaint(
    up: Up, number: signal.Signals
) -> None:
    up.start("--workers", "1")

    os.killpg(up.pid, number)

    assert up.wait() == 0
    assert up.family() == {}
    assert "was ended by" not in up.said()
    assert "Traceback" not in up.said() + up.logs()


def test_a_killed_api_and_a_killed_worker_are_started_again_and_that_is_said(up: Up) -> None:
    up.start("--workers", "1")
    api, worker = up.child("main api"), up.child("main worker")

    os.kill(api, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)

    until(lambda: "worker-1 runs again" in up.said(), up.said())
    until(lambda: "api runs again" in up.said(), up.said())
    until(lambda: up.ask("GET", REPOSITORIES)[0] == 200, "the API answers again")
    assert f"api (process {api}) was ended by SIGKILL" in up.said()
    assert f"worker-1 (process {worker}) was ended by SIGKILL" in up.said()


def test_a_killed_postgres_comes_back_with_its_data(up: Up) -> None:
    up.start("--workers", "1")
    up.ask("POST", REPOSITORIES, {"name": "kept"})

    os.kill(up.child("/postgres -D"), signal.SIGKILL)

    until(lambda: "Postgres runs again" in up.said(), up.said())
    until(lambda: up.ask("GET", REPOSITORIES)[0] == 200, "the API answers again")
    assert up.names() == ["kept"]


def test_after_kill_9_of_everything_the_next_start_recovers(up: Up) -> None:
    up.start("--workers", "1")
    up.ask("POST", REPOSITORIES, {"name": "kept"})

    up.kill_group()

    up.start("--workers", "0")
    assert up.names() == ["kept"]


def test_a_sync_that_kill_9_of_everything_cut_off_ends_well_after_the_next_start(
    up: Up, folder: Path
) -> None:
    archive = write_small(folder / "archive")
    with Upstream(folder / "archive") as upstream:
        fault = stall("pool/*", 1000, threading.Event(), times=1, skip=3)
        upstream.faults.append(fault)
        up.start("--workers", "1", environ=_QUICK)
        task, repository = ask_for_sync(up, upstream.url)
        until(lambda: fault.hits == 1, "a download is in the middle of a file")

        up.kill_group()
        up.start("--workers", "1", environ=_QUICK)

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


def test_after_kill_9_of_the_supervisor_alone_nothing_is_left_in_the_way(up: Up) -> None:
    up.start("--workers", "1")
    up.ask("POST", REPOSITORIES, {"name": "kept"})
    family = up.family()

    os.kill(up.pid, signal.SIGKILL)
    up.wait()

    until(lambda: not up.family(), f"all of {family} end")
    up.start("--workers", "0")
    assert up.names() == ["kept"]


def test_a_second_up_with_the_same_data_is_refused(up: Up, folder: Path) -> None:
    up.start("--workers", "0")
    (folder / "second").mkdir()
    with one_up(folder / "second") as second:
        second.launch(*FREE_PORTS, "--data", str(up.place.folder))

        assert second.wait() == 2
        assert f"already runs with {up.place.folder} (process {up.pid})" in second.said()


def test_an_address_that_is_taken_is_refused_before_anything_starts(new_up: Up) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        new_up.launch("--api", f"127.0.0.1:{taken.getsockname()[1]}", "--content", "127.0.0.1:0")

        assert new_up.wait() == 2

    assert "cannot be used: Address already in use" in new_up.said()
    assert not new_up.place.postgres.exists()


def test_a_wrong_secret_key_is_refused_at_start(up: Up) -> None:
    up.launch(
        *FREE_PORTS,
        environ={"DEBFLEET_SECRET_KEY": new_key()},
    )

    assert up.wait() == 2
    assert "DEBFLEET_SECRET_KEY is not the key" in up.said()


def test_a_lost_secret_key_is_not_silently_made_anew(up: Up) -> None:
    up.place.secret_key.unlink()

    up.launch(*FREE_PORTS)

    assert up.wait() == 2
    assert not up.place.secret_key.exists()


def test_a_database_that_is_named_is_used_instead_of_the_embedded_one(
    new_up: Up, empty_database_url: str
) -> None:
    environ = {"DEBFLEET_DATABASE_URL": empty_database_url, "DEBFLEET_ADMIN_PASSWORD": "mine"}

    new_up.start("--workers", "0", environ=environ)

    assert not new_up.place.postgres.exists()
    assert not new_up.place.admin_password.exists()


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
