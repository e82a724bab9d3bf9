"""The content service against nginx: the same files, the same machine, the same run.

    .venv/bin/python bench/content.py [--processes 1 --big 3 --big-mib 128 --small 300]

Rounds alternate between the two servers; each is asked by the same client, which throws the bytes
away in the kernel. Besides the ratio the servers' own CPU time is told: on a machine where client
and server share the cores it is what the ratio hangs on.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from lab import children, connects, until

import servers
from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.db.migrate import migrate
from debfleet_cli.ports import free_address
from system.fleet import Fleet, add_pair, running, synced
from system.publishing import distribute, get, publish

_BLOCK = 1 << 20
_NGINX = """\
daemon off; worker_processes {processes}; pid {folder}/nginx.pid; error_log stderr; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen {address}; root {root}; }}
}}
"""


@dataclass(frozen=True)
class Server:
    """One of the two."""

    name: str
    url: str  # of the archive's root, with a slash at its end
    pid: int  # of the process that serves

    def cpu_seconds(self) -> float:
        """Spent so far, by it and its children."""
        ticks = 0
        for pid in (self.pid, *children(self.pid)):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """One round."""

    requests: int
    received: int  # bytes of bodies
    seconds: float
    cpu: float  # seconds, of the server


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=1, help="of each of the two")
    parser.add_argument("--big", type=int, default=3, help="files")
    parser.add_argument("--big-mib", type=int, default=128)
    parser.add_argument("--small", type=int, default=300, help="files of 20 KB")
    parser.add_argument("--seconds", type=float, default=6, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None:
        sys.exit("nginx is not installed (Debian: apt-get install nginx-light)")
    with _both(args) as ((ours, nginx), big, small):
        for what, paths, connections in (
            ("big files, 1 connection", big, 1),
            ("big files, 8 connections", big, 8),
            ("small files, 1 connection", small, 1),
            ("small files, 16 connections", small, 16),
        ):
            _compare(what, (ours, nginx), paths, connections, args)


def _compare(
    what: str, both: Sequence[Server], paths: list[str], connections: int, args: argparse.Namespace
) -> None:
    rounds: dict[str, list[Measured]] = {server.name: [] for server in both}
    for _ in range(args.rounds):
        for server in both:
            rounds[server.name].append(_measure(server, paths, connections, args.seconds))
    print(f"\n{what}:")
    rates = []
    for server in both:
        done = rounds[server.name]
        bytes_rate = statistics.median(m.received / m.seconds for m in done)
        request_rate = statistics.median(m.requests / m.seconds for m in done)
        cpu = statistics.median(m.cpu / m.seconds for m in done)
        each = statistics.median(m.cpu / max(m.requests, 1) for m in done)
        print(
            f"  {server.name:<9} {bytes_rate / 1e6:9,.0f} MB/s {request_rate:9,.1f} requests/s"
            f"   server CPU {cpu:4.0%}, {each * 1e3:.3f} ms a request"
        )
        rates.append(bytes_rate)
    print(f"  nginx does {rates[1] / rates[0]:.2f} times what debfleet does")


def _measure(server: Server, paths: list[str], connections: int, seconds: float) -> Measured:
    """Ask on so many kept-alive connections, one request after another on each."""
    parts = urlsplit(server.url)
    requests = [
        f"GET {parts.path}{quote(path)} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        for path in paths
    ]
    before, began = server.cpu_seconds(), time.monotonic()
    count = received = 0
    with selectors.DefaultSelector() as ready:
        for number in range(connections):
            asker = _Asker((str(parts.hostname), int(parts.port or 80)), requests, number)
            ready.register(asker.socket, selectors.EVENT_READ, asker)
        deadline = began + seconds
        while time.monotonic() < deadline:
            for key, _ in ready.select(1):
                got, is_end = key.data.read()
                received += got
                count += is_end
        ended = time.monotonic()
        cpu = server.cpu_seconds() - before
        for key in list(ready.get_map().values()):
            key.data.socket.close()
    return Measured(count, received, ended - began, cpu)


class _Asker:
    """One connection that asks for one file after another and throws them away."""

    def __init__(self, address: tuple[str, int], requests: list[bytes], first: int) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests, self._next = requests, first
        self._room = bytearray(_BLOCK)
        self._head, self._left = b"", 0
        self._ask()

    def read(self) -> tuple[int, bool]:
        """Bytes of body that came, and whether that was the end of a file."""
        if self._left:
            got = self.socket.recv_into(self._room, min(self._left, _BLOCK), socket.MSG_TRUNC)
            assert got, "the server closed"
            self._left -= got
        else:
            block = self.socket.recv(4096)
            assert block, "the server closed"
            self._head += block
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                return 0, False
            assert head.startswith(b"HTTP/1.1 200"), head
            length = re.search(rb"(?i)content-length: (\d+)", head)
            assert length, head
            got = len(body)
            self._left = int(length[1]) - got
        if self._left:
            return got, False
        self._ask()
        return got, True

    def _ask(self) -> None:
        self._head = b""
        self.socket.sendall(self._requests[self._next % len(self._requests)])
        self._next += 1


@contextmanager
def _both(args: argparse.Namespace) -> Iterator[tuple[tuple[Server, Server], list[str], list[str]]]:
    """Both servers with the same files, and the paths of the big and the small ones."""
    folder = Path(tempfile.mkdtemp(prefix="bench-content-"))
    folder.chmod(0o755)
    try:
        packages = [Pkg(f"big-{n}", payload_size=args.big_mib << 20) for n in range(args.big)]
        packages += [Pkg(f"small-{n}", payload_size=18_000) for n in range(args.small)]
        key = SigningKey.generate()
        write_archive(folder / "archive", [Dist("sid", {"main": packages})], key=key)
        with (
            _debfleet(folder, args.processes) as fleet,
            fleet.client() as api,
            _nginx(folder, args.processes) as nginx,
        ):
            with Upstream(folder / "archive") as upstream:
                _, repository = add_pair(
                    api, "bench", upstream.url, distributions="sid", gpgkey=key.public
                )
                synced(api, repository, seconds=600)
            publication = publish(api, repository)
            url = distribute(api, "bench", publication=publication["pulp_href"])["base_url"]
            index = get(f"{url}dists/sid/main/binary-amd64/Packages").decode()
            paths = re.findall(r"^Filename: (.+)$", index, re.MULTILINE)
            for path in paths:
                _share(folder / "archive" / path, folder / "store")
            ours = Server("debfleet", str(url), fleet.processes["content"].pid)
            yield (
                (ours, nginx),
                [path for path in paths if "/big-" in path],
                [path for path in paths if "/small-" in path],
            )
    finally:
        shutil.rmtree(folder)


def _share(file: Path, store: Path) -> None:
    """Give nginx the very file that the store has: how a file lies in memory tells in its speed."""
    name = hashlib.sha256(file.read_bytes()).hexdigest()
    file.unlink()
    file.hardlink_to(store / name[:2] / name)


@contextmanager
def _debfleet(folder: Path, processes: int) -> Iterator[Fleet]:
    place = servers.short_folder("bench")
    try:
        postgres = servers.start_postgres(place)
        try:
            url = servers.PostgresForTests(postgres.url("postgres")).database()
            migrate(url)
            (folder / "store").mkdir()
            (folder / "fleet").mkdir()
            environ = {"DEBFLEET_CONTENT_PROCESSES": str(processes)}
            made = Fleet(
                url, f"file://{folder}/store", folder / "fleet", environ=environ, by_exec=True
            )
            with running(made) as fleet:
                fleet.start_content()
                yield fleet.start()
        finally:
            postgres.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _nginx(folder: Path, processes: int) -> Iterator[Server]:
    address = free_address()
    place = folder / "nginx"
    place.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    (place / "nginx.conf").write_text(
        _NGINX.format(
            folder=place, address=address, root=folder / "archive", user=user, processes=processes
        )
    )
    command = ["/usr/sbin/nginx", "-c", str(place / "nginx.conf"), "-e", "stderr"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: connects(address), "nginx answers")
        yield Server("nginx", f"http://{address}/", process.pid)
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    main()
