"""The embedded Postgres: set up, killed, started again over what was left behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import servers
from debfleet.errors import ConfigError
from debfleet_cli.embedded import EmbeddedPostgres


@pytest.fixture
def folder() -> Iterator[Path]:
    made = servers.short_folder("embedded")
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """The data of a server that was set up and has stopped; setting it up takes a second of CPU."""
    folder = servers.short_folder("embedded")
    made = EmbeddedPostgres(folder)
    made.start()
    made.stop()
    yield made.folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def server(folder: Path, cluster: Path) -> Iterator[EmbeddedPostgres]:
    """It runs, on a copy of that data."""
    made = EmbeddedPostgres(folder)
    subprocess.run(["cp", "-a", cluster, made.folder / "data"], check=True)
    made.start()
    yield made
    made.stop()


def add_row(server: EmbeddedPostgres) -> int:
    """Adds a row to a table and says how many there are."""
    with psycopg.connect(server.url(), autocommit=True) as db:
        db.execute("create table if not exists rows (id int)")
        db.execute("insert into rows values (1)")
        row = db.execute("select count(*) from rows").fetchone()
    assert row is not None
    return int(row[0])


def owner_of(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


def test_it_listens_on_a_closed_socket_and_on_no_port(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url()) as db:
        row = db.execute("select current_setting('listen_addresses')").fetchone()

    assert row == ("",)
    for name in ("", "run", "data"):
        assert stat.S_IMODE((server.folder / name).stat().st_mode) == 0o700


def test_a_killed_server_comes_back_with_all_rows(server: EmbeddedPostgres) -> None:
    add_row(server)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    while server.pid is not None:
        time.sleep(0.01)

    server.start()

    assert add_row(server) == 2


def test_a_server_that_outlived_its_supervisor_is_ended_before_the_next(
    server: EmbeddedPostgres, folder: Path
) -> None:
    add_row(server)
    orphan = server.pid

    second = EmbeddedPostgres(folder)
    second.start()

    try:
        assert add_row(second) == 2
        assert server.pid is None
        assert second.pid != orphan
    finally:
        second.stop()


def test_lock_files_that_name_a_living_stranger_are_no_hindrance(
    server: EmbeddedPostgres, folder: Path
) -> None:
    server.stop()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        text = f"{stranger.pid}\n{server.folder / 'data'}\n1\n5432\n{server.folder / 'run'}\n"
        for name in ("data/postmaster.pid", "run/.s.PGSQL.5432.lock"):
            (server.folder / name).write_text(text)
            os.chown(server.folder / name, *owner_of(server.folder))

        server.start()

        assert add_row(server) == 1
        assert stranger.poll() is None
        stranger.communicate(b"\n")


def test_a_setup_that_was_cut_off_is_done_again(folder: Path) -> None:
    (folder / "data.new" / "base").mkdir(parents=True)

    server = EmbeddedPostgres(folder)
    server.start()

    try:
        assert add_row(server) == 1
    finally:
        server.stop()


def test_data_of_another_major_version_is_refused_by_its_numbers(server: EmbeddedPostgres) -> None:
    server.stop()
    (server.folder / "data" / "PG_VERSION").write_text("12\n")

    with pytest.raises(ConfigError, match="made by Postgres 12, and this is Postgres 18"):
        server.start()


def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose a shorter data directory"):
        EmbeddedPostgres(tmp_path / ("x" * 100))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount something over /dev/shm")
def test_it_runs_where_dev_shm_is_closed_to_its_user(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from debfleet_cli.embedded import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(Path(sys.argv[1]))\n"
        "server.start(); server.stop(); print('it ran')"
    )
    closed = "mount -t tmpfs -o mode=0700 none /dev/shm && exec "
    run = [sys.executable, "-c", program, str(folder)]

    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", closed + '"$@"', "sh", *run],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    if "unshare" in ran.stderr or "mount:" in ran.stderr:
        pytest.skip(f"nothing can be mounted here: {ran.stderr.strip()}")
    assert ran.stdout == "it ran\n", ran.stderr


def test_below_a_folder_that_only_root_enters_it_runs_all_the_same(folder: Path) -> None:
    """As root; any other user's folders are all closed to others like this one."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "postgres")

    server.start()

    try:
        assert add_row(server) == 1
    finally:
        server.stop()
    again = EmbeddedPostgres(closed / "postgres")
    again.start()
    try:
        assert add_row(again) == 2
    finally:
        again.stop()
