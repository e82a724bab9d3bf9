"""apt clients that update all the time while what is served changes under them."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.deb.release import parse_release
from debfleet_cli.apt_client import AptClient
from debfleet_cli.client import Api, Body
from system.fleet import add_pair, synced
from system.publishing import changed, distribute

_SUITE = "bookworm"
_FIXED = 20  # packages that never change


@dataclass
class Seen:
    """What came of it."""

    switches: int = 0
    seconds: float = 0
    updates: int = 0
    downloads: int = 0
    looks: int = 0  # times that every file of a Release was read, by name and by hash
    states: set[str] = field(default_factory=set)  # versions of the package that changes
    failures: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for a person."""
        return (
            f"{self.switches} switches in {self.seconds:.0f} s: {self.updates} updates and "
            f"{self.downloads} downloads by apt, {self.looks} looks at every file, "
            f"{len(self.states)} states seen, {len(self.failures)} failures"
        )


def switch_under_clients(
    api: Api, service: Body, folder: Path, *, clients: int, switches: int
) -> Seen:
    """Sync and publish anew so many times, while so many apt clients update in a loop."""
    key, seen, over = SigningKey.generate(), Seen(), threading.Event()
    _write_state(folder / "0", key, 0)
    with Upstream(folder / "0") as upstream, ThreadPoolExecutor(clients + 1) as pool:
        repository, base = _served(api, service, upstream, key)
        running: list[Future[None]] = [pool.submit(_look_on, base, seen, over)]
        for number in range(clients):
            client = AptClient(folder / f"client-{number}")
            client.add_source("ours", base, _SUITE, "main", key=str(service["public_key"]))
            running.append(pool.submit(_update_on, client, seen, over))
        began = time.monotonic()
        try:
            for state in range(1, switches + 1):
                _write_state(folder / str(state), key, state)
                upstream.rotate(folder / str(state))
                synced(api, repository, mirror=True, seconds=120)
                seen.switches += 1
        finally:
            over.set()
            seen.seconds = time.monotonic() - began
        for one in running:
            one.result()
        last = AptClient(folder / "client-0")
        last.update()
        assert ("changing", f"1.{switches}") in last.packages()
    return seen


def _served(api: Api, service: Body, upstream: Upstream, key: SigningKey) -> tuple[Body, str]:
    _, repository = add_pair(
        api, "switching", upstream.url, distributions=_SUITE, gpgkey=key.public
    )
    wanted = {"autopublish": True, "signing_service": service["pulp_href"]}
    changed(api, repository["pulp_href"], wanted)
    synced(api, repository)
    made = distribute(api, "switching", repository=repository["pulp_href"])
    return repository, str(made["base_url"])


def _write_state(folder: Path, key: SigningKey, state: int) -> None:
    packages = [Pkg(f"fixed-{number}") for number in range(_FIXED)]
    write_archive(
        folder, [Dist(_SUITE, {"main": [*packages, Pkg("changing", f"1.{state}")]})], key=key
    )


def _update_on(client: AptClient, seen: Seen, over: threading.Event) -> None:
    """One client's life: update, and fetch what its lists offer."""
    while not over.is_set():
        ran = client.update()
        seen.updates += 1
        if not ran.is_clean:
            seen.failures.append(ran.text)
            continue
        seen.states |= {version for name, version in client.packages() if name == "changing"}
        ran = client.run("apt-get", "download", "changing")
        seen.downloads += 1
        if not ran.is_clean:
            seen.failures.append(ran.text)


def _look_on(base: str, seen: Seen, over: threading.Event) -> None:
    """Read each file that the served Release names, by name and by hash, over and over."""
    place = f"{base}dists/{_SUITE}/"
    with httpx.Client(timeout=30, trust_env=False) as http:
        while not over.is_set():
            text = http.get(place + "Release").content
            for path, file in parse_release(text).files.items():
                folder, _, _ = path.rpartition("/")
                by_hash = http.get(f"{place}{folder}/by-hash/SHA256/{file.sha256}")
                if hashlib.sha256(by_hash.content).hexdigest() != file.sha256:
                    seen.failures.append(f"{by_hash.url}: {by_hash.status_code}")
                by_name = http.get(place + path).content
                if (
                    hashlib.sha256(by_name).hexdigest() != file.sha256
                    and http.get(place + "Release").content == text
                ):
                    seen.failures.append(f"{path} is not what the served Release says")
            seen.looks += 1
