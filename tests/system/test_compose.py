"""Every service of deploy/compose.yaml that is ours, started by its own command as a process.

What a container would bring is brought here: the image's environment, the volumes and the secrets
as files, and of each address 0.0.0.0:PORT a free port of this machine.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest

from archive.upstream import Upstream
from debfleet_cli.client import Access, Api
from debfleet_cli.ports import free_port
from debfleet_cli.unprivileged import die_with_parent
from deployment import DEPLOY, Image, Object, compose, images
from system.fleet import Fleet, add_pair, synced, wait_for
from system.small import DIST, assert_synced, write_small

_PROGRAM = str(Path(sys.executable).with_name("debfleet"))
_SERVERS = ("api", "content", "worker", "sweep")


@dataclass
class Composed:
    """The services of one compose file as processes of this machine."""

    folder: Path
    database_url: str
    broker_url: str
    whole: Object = field(default_factory=compose)
    targets: dict[str, Image] = field(default_factory=images)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[tuple[str, str], str] = field(default_factory=dict)  # (service, port): a free one

    def make_secrets(self) -> None:
        """As a user does, then with the servers of the tests in place of those of compose."""
        secrets = self.folder / "secrets"
        subprocess.run([DEPLOY / "make-secrets", secrets], check=True, capture_output=True)
        file = secrets / "debfleet"
        text = file.read_text()
        for name, url in (("DATABASE", self.database_url), ("BROKER", self.broker_url)):
            text, count = re.subn(
                f"(?m)^DEBFLEET_{name}_URL=.*$", f"DEBFLEET_{name}_URL={url}", text
            )
            assert count == 1
        file.write_text(text)

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """The service's process."""
        image = self.targets[self.whole["services"][name]["build"]["target"]]
        argv = self.whole["services"][name].get("command", image.command)
        with open(self.folder / f"{name}.log", "wb") as log:
            self.processes[name] = subprocess.Popen(
                [_PROGRAM, *argv], env=self.environ(name), cwd=self.folder, stdout=log,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )  # fmt: skip
        return self.processes[name]

    def environ(self, name: str) -> dict[str, str]:
        """What the container would see, with our own places in it."""
        service = self.whole["services"][name]
        said = {**self.targets[service["build"]["target"]].environ, **service["environment"]}
        assert said.pop("PATH").startswith("/opt/debfleet/bin:")
        volumes = {v.rpartition(":")[2]: self._volume(name, v) for v in service["volumes"]}
        volumes |= {
            f"/run/secrets/{s}": str(self.folder / "secrets" / s) for s in service["secrets"]
        }
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("DEBFLEET_", "PULP_"))}
        return {**ours, **{k: self._placed(name, v, volumes) for k, v in said.items()}}

    def is_healthy(self, name: str) -> bool:
        """What the image's HEALTHCHECK says."""
        assert self.processes[name].poll() is None, f"{name} ended:\n{self.log(name)}"
        program, url = self.targets[name].health
        done = subprocess.run(
            [sys.executable, DEPLOY / program, self.url(name, url)],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def is_ready(self, name: str) -> bool:
        """What Kubernetes asks of the same process."""
        try:
            with urlopen(self.url(name, "http://127.0.0.1:24818/readyz"), timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def url(self, name: str, inside: str) -> str:
        """Where an address within the container is on this machine."""
        return re.sub(
            r"//127\.0\.0\.1:(\d+)", lambda m: f"//127.0.0.1:{self.ports[name, m[1]]}", inside
        )

    def log(self, name: str) -> str:
        """The last of what a service said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def _volume(self, name: str, volume: str) -> str:
        source = volume.partition(":")[0]
        folder = self.folder / (f"{name}{source}" if source.startswith("/") else source)
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def _placed(self, name: str, value: str, volumes: dict[str, str]) -> str:
        if match := re.fullmatch(r"0\.0\.0\.0:(\d+)", value):
            port = self.ports.setdefault((name, match[1]), str(free_port()))
            return f"127.0.0.1:{port}"
        for inside, outside in volumes.items():
            if value.removeprefix("file://") == inside:
                return value.replace(inside, outside)
        # Nothing that lies only within a container may be left.
        assert not value.startswith(("/", "file:")), (name, value)
        return value


@pytest.fixture
def composed(empty_database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Composed]:
    made = Composed(tmp_path, empty_database_url, broker_url)
    made.make_secrets()
    yield made
    for process in made.processes.values():
        process.kill()
        process.wait()


@pytest.mark.timeout(600)  # seconds on a busy machine; a few elsewhere
def test_the_services_of_compose_become_ready_and_sync_together(
    composed: Composed, tmp_path: Path
) -> None:
    assert composed.start("migrate").wait(60) == 0, composed.log("migrate")

    for name in _SERVERS:
        composed.start(name)
    for name in _SERVERS:
        wait_for(lambda n=name: composed.is_healthy(n), f"{name} is healthy", 60)  # type: ignore[misc]
        wait_for(lambda n=name: composed.is_ready(n), f"{name} is ready", 60)  # type: ignore[misc]

    with Upstream(tmp_path / "upstream") as upstream:
        archive = write_small(upstream.folder)
        with Api(_access(composed)) as api:
            _, repository = add_pair(api, "small", upstream.url, distributions=DIST)
            task = synced(api, repository)
            store = composed.environ("worker")["DEBFLEET_STORE_URL"]
            assert_synced(Fleet(composed.database_url, store, tmp_path), api, task, archive)
    for name in _SERVERS:
        composed.processes[name].terminate()
    for name in _SERVERS:
        # Within the stop_grace_period, and by itself: docker would kill it afterwards.
        assert composed.processes[name].wait(40) == 0, composed.log(name)


def test_processes_that_start_before_the_migration_may_wait_for_it(composed: Composed) -> None:
    process = subprocess.Popen(
        [_PROGRAM, "migrate", "--wait"], env=composed.environ("migrate"), text=True,
        stdout=subprocess.PIPE, preexec_fn=die_with_parent(signal.SIGKILL),
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()

    with psycopg.connect(composed.database_url) as db:
        assert db.execute("select to_regclass('tasks')").fetchone() == (None,)
    assert composed.start("migrate").wait(60) == 0

    with process.stdout:
        assert process.wait(30) == 0
    assert first.startswith("waiting: 0001_tasks_and_jobs.sql")


def _access(composed: Composed) -> Access:
    text = (composed.folder / "secrets" / "debfleet").read_text()
    password = re.search(r"(?m)^DEBFLEET_ADMIN_PASSWORD=(.*)$", text)
    assert password is not None
    return Access(composed.url("api", "http://127.0.0.1:24817"), "admin", password[1])
