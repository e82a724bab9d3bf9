"""Run a fleet under a Prometheus for some minutes, and draw what the dashboards show of it.

    .venv/bin/python bench/monitored.py [--minutes 4] [--out docs/pictures]

Two workers sync three archives again and again: one grows, one is slow and wrong now and then, one
is away for a while. Clients fetch what is published.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import httpx

import servers
from archive import faults
from archive.build import write_archive
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.db.migrate import migrate
from debfleet_cli.client import Api, Body
from monitoring import FOLDER, Prometheus, prometheus
from system.fleet import Fleet, add_pair, finished, running, start_sync, synced, wait_for
from system.publishing import distribute, new_key, publish

_NAMES = ("growing", "slow", "away")
_ENVIRON = {"DEBFLEET_METRICS_ADDRESS": "127.0.0.1:0", "DEBFLEET_METRICS_SECONDS": "1"}


class Exercise:
    """Three upstreams, a fleet, and what happens between them."""

    def __init__(self, folder: Path, fleet: Fleet, upstreams: dict[str, Upstream]) -> None:
        self._folder = folder
        self._fleet = fleet
        self._upstreams = upstreams
        self._sizes = dict.fromkeys(_NAMES, 40)
        self._began = self._until = 0.0
        self._rounds = 0

    def grow(self, name: str) -> None:
        """The upstream has more packages than before."""
        self._rounds += 1
        self._sizes[name] += 25
        now = datetime.now(UTC).replace(microsecond=0)
        packages = [Pkg(f"{name}-{n}", payload_size=60_000) for n in range(self._sizes[name])]
        dist = Dist("stable", {"main": packages}, date=now, valid_until=now + timedelta(days=7))
        folder = self._folder / f"{name}-{self._rounds}"
        self._upstreams[name].rotate(write_archive(folder, [dist]).folder)

    def sync(self, api: Api, name: str, repository: Body) -> None:
        """One sync, good or not."""
        upstream = self._upstreams[name]
        upstream.faults.clear()
        if name == "slow":
            upstream.faults.append(faults.delay("pool/*", 0.05))
            upstream.faults.append(faults.wrong_bytes("pool/*", times=3))
            upstream.faults.append(faults.status("pool/*", 500, times=4, skip=5))
        if name == "away" and 0.3 < self._done() < 0.6:
            upstream.faults.append(faults.status("*", 404))
        self.grow(name)
        finished(api, start_sync(api, repository), 120)

    def _done(self) -> float:
        """The share of the time that is over."""
        return (time.time() - self._began) / (self._until - self._began)

    def run(self, until: float) -> None:
        """Sync, publish and fetch until then."""
        self._began, self._until = time.time(), until
        with self._fleet.client() as api:
            repositories = {}
            for name in _NAMES:
                self.grow(name)
                url = self._upstreams[name].url
                _, repositories[name] = add_pair(api, name, url, distributions="stable")
                synced(api, repositories[name], 120)
            key = new_key(self._fleet, api, "key")
            distribute(api, "growing", repository=repositories["growing"]["pulp_href"])
            clients = _in_thread(lambda: self._fetch(until))
            while time.time() < until:
                for name, repository in repositories.items():
                    self.sync(api, name, repository)
                publish(api, repositories["growing"], signing_service=key["pulp_href"])
            clients.join()

    def _fetch(self, until: float) -> None:
        base = f"{self._fleet.content_url}/pulp/content/growing"
        with httpx.Client(trust_env=False, timeout=60) as client:
            while time.time() < until:
                client.get(f"{base}/dists/stable/InRelease")
                index = client.get(f"{base}/dists/stable/main/binary-amd64/Packages")
                for line in index.text.splitlines()[:400] if index.is_success else ():
                    if line.startswith("Filename: "):
                        client.get(f"{base}/{line.partition(' ')[2]}")
                client.get(f"{base}/pool/main/n/not-there/x.deb")
                time.sleep(0.3)


def _in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def main(minutes: float, out: Path) -> None:
    """The whole of it, on a Postgres and in folders of its own."""
    pictures = _pictures()
    folder = servers.short_folder("watch")
    database = servers.start_postgres(servers.quick_folder("pg"))
    try:
        url = servers.PostgresForTests(database.url("postgres")).database()
        migrate(url)
        (folder / "store").mkdir()
        fleet = Fleet(url, f"file://{folder}/store", folder, environ=_ENVIRON, by_exec=True)
        with ExitStack() as stack:
            stack.enter_context(running(fleet))
            fleet.start_content()
            fleet.start(workers=2)
            targets = [fleet.metrics_address(name) for name in fleet.processes]
            asked = stack.enter_context(prometheus(folder / "prometheus", targets))
            upstreams = {}
            for name in _NAMES:
                (folder / name).mkdir()
                upstreams[name] = stack.enter_context(Upstream(folder / name))
            _wait(asked, len(targets))
            start = time.time()
            Exercise(folder, fleet, upstreams).run(start + 60 * minutes)
            look = pictures.Asked(asked.url, "growing", start, time.time(), "15s")
            pictures.draw_all(look, out)
    finally:
        database.stop()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(database.folder, ignore_errors=True)


def _wait(asked: Prometheus, targets: int) -> None:
    wait_for(lambda: asked.is_up(targets), "every process is scraped", 60)


def _pictures():  # type: ignore[no-untyped-def]  # a module that lies in no package
    spec = importlib.util.spec_from_file_location("pictures", FOLDER / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pictures"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    tempfile.tempdir = "/tmp"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    given = parser.parse_args()
    main(given.minutes, given.out)
