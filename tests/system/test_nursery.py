"""What is forked by the nursery is a process as if it had been started."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from nursery import Nursery, Process, the_nursery
from system.fleet import wait_for


def sweeper(nursery: Nursery, database_url: str, log: Path) -> Process:
    process = nursery.start(["sweep"], {"DEBFLEET_DATABASE_URL": database_url}, log)
    wait_for(lambda: "sweep.started" in log.read_text(), "it has started", 60)
    return process


def is_there(process: Process) -> bool:
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_has_the_given_environment_and_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBFLEET_RING_SECONDS", "77")

    done = the_nursery().run(["config"], {"DEBFLEET_LEASE_SECONDS": "55"}, tmp_path, 60)
    wrong = the_nursery().run(["sync", "--no-such-flag"], {}, tmp_path, 60)

    assert (done.returncode, wrong.returncode) == (0, 2), done
    assert "DEBFLEET_LEASE_SECONDS=55\n" in done.stdout
    assert "=77" not in done.stdout
    assert (wrong.stdout, "--no-such-flag" in wrong.stderr) == ("", True)


def test_it_leads_a_session_and_how_it_ended_is_known(database_url: str, tmp_path: Path) -> None:
    asked, killed = (
        sweeper(the_nursery(), database_url, tmp_path / name) for name in ("asked", "killed")
    )
    assert asked.poll() is None
    assert {os.getsid(p.pid) for p in (asked, killed)} == {asked.pid, killed.pid}
    with pytest.raises(subprocess.TimeoutExpired):
        asked.wait(0.01)

    asked.terminate()
    killed.kill()

    assert (asked.wait(60), killed.wait(60)) == (0, -signal.SIGKILL)
    assert asked.poll() == 0


def test_it_does_not_outlive_a_nursery_that_is_killed(database_url: str, tmp_path: Path) -> None:
    nursery = Nursery()
    process = sweeper(nursery, database_url, tmp_path / "lost")

    nursery._process.kill()

    wait_for(lambda: not is_there(process), "it ends", 60)
    nursery.close()
