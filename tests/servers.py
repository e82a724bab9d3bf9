"""Postgres and RabbitMQ of the tests' own, on a socket and on free ports, gone with the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self
from urllib.parse import quote, urlsplit

import pika
import psycopg
from dramatiq.common import dq_name, xq_name
from psycopg import sql

from debfleet.bell import KINDS, queue_name
from debfleet_cli.embedded import EmbeddedPostgres
from debfleet_cli.ports import free_port
from debfleet_cli.unprivileged import die_with_parent

# Lost when the machine fails, which a test's database may be.
_HASTY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
}
_MEMORY = Path("/dev/shm")
_ENOUGH = 3 << 30  # bytes free there, for a server of the tests
_SERVER_SCRIPTS = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"


class PostgresForTests:
    """Makes databases on one server: copies of a template, so that a new one costs little.

    As a context it keeps its connection, which otherwise is a third of what a database costs.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._kept: psycopg.Connection[tuple[object, ...]] | None = None
        self._name = f"debfleet_test_{os.getpid()}_{uuid.uuid4().hex[:6]}"
        self._made = 0

    def __enter__(self) -> Self:
        self._kept = psycopg.connect(self.url, autocommit=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def database(self, template: str | None = None) -> str:
        """The URL of a new database, empty or a copy of the database at another such URL."""
        self._made += 1
        name = f"{self._name}_{self._made}"
        source = "template0" if template is None else urlsplit(template).path.lstrip("/")
        with self._connection() as db:
            # A copy of files costs a third of the default, a copy through the log.
            how = "strategy file_copy" if db.info.server_version >= 150000 else ""
            db.execute(
                sql.SQL("create database {} template {} {}").format(
                    sql.Identifier(name), sql.Identifier(source), sql.SQL(how)
                )
            )
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop(self, url: str) -> None:
        """Drop a database that ``database`` made, cutting off who is still connected."""
        name = urlsplit(url).path.lstrip("/")
        with self._connection() as db:
            db.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        if self._kept is not None:
            yield self._kept
            return
        with psycopg.connect(self.url, autocommit=True) as db:
            yield db


def start_postgres(folder: Path) -> EmbeddedPostgres:
    """A private server that forgets to sync; stop it with ``stop()``."""
    server = EmbeddedPostgres(folder, _HASTY)
    server.start()
    return server


def short_folder(name: str, parent: Path = Path("/tmp")) -> Path:
    """A new folder whose path is short enough for a socket."""
    return Path(tempfile.mkdtemp(prefix=f"debfleet-{name}-", dir=parent))


def quick_parent() -> Path:
    """Where new folders go: in memory, if there is enough of it."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ENOUGH:
        return _MEMORY
    return Path(tempfile.gettempdir())


def quick_folder(name: str) -> Path:
    """A new folder in memory, where a database comes and goes in a tenth of the time.

    What tests that were killed left there is removed first.
    """
    if quick_parent() != _MEMORY:
        return short_folder(name)
    for left in _MEMORY.glob(f"debfleet-{name}-*-*"):
        if not Path(f"/proc/{left.name.split('-')[2]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    return short_folder(f"{name}-{os.getpid()}", _MEMORY)


def rabbitmq_script() -> Path | None:
    """The server's own script; the packaged wrapper beside it would switch the user."""
    found = sorted(Path("/").glob(_SERVER_SCRIPTS.lstrip("/")))
    named = shutil.which("rabbitmq-server")
    if not found and named and not named.startswith("/usr/sbin"):
        found = [Path(named)]
    return found[-1] if found and shutil.which("erl") else None


class RabbitNode:
    """A RabbitMQ node with its own name, ports, folder and epmd, on loopback only.

    Its Erlang shell reads our pipe: a virtual host costs milliseconds instead of the start of a
    second VM, and the node ends by itself when the tests die.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        script = rabbitmq_script()
        if script is None:
            raise FileNotFoundError("rabbitmq-server is not installed")
        self._script = script
        self.port, self._distribution, self._epmd_port = (free_port() for _ in range(3))
        self._name = f"debfleet-{os.getpid()}-{uuid.uuid4().hex[:6]}@localhost"
        self._node: subprocess.Popen[str] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._answers: SimpleQueue[str] = SimpleQueue()
        self._hosts = 0

    def start(self) -> None:
        """Start it, or start it again with what it held; returns when it accepts connections."""
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "empty").write_text("")
        (self.folder / "rabbitmq.conf").write_text(_CONFIGURATION.format(port=self.port))
        epmd = [_epmd_path(), "-port", str(self._epmd_port), "-address", "127.0.0.1"]
        self._epmd = subprocess.Popen(
            epmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=self._environment(), preexec_fn=die_with_parent(signal.SIGKILL),
        )  # fmt: skip
        self._node = subprocess.Popen(
            [str(self._script)], text=True, cwd=self.folder, env=self._environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._read, args=(self._node,), daemon=True).start()
        deadline = time.monotonic() + 120
        while self._ask("rabbit:is_running()", 120) != "true":
            if time.monotonic() > deadline:
                raise RuntimeError(f"RabbitMQ does not start; see {self.folder}")
            time.sleep(0.05)

    def stop(self, *, kill: bool = False) -> None:
        """Stop the node; with ``kill`` at once, as a power cut would."""
        if self._node is not None:
            if self._node.poll() is None:
                self._signal(signal.SIGKILL if kill else signal.SIGTERM)
            try:
                self._node.wait(30)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._node.wait()
            if self._node.stdin is not None:
                self._node.stdin.close()
            self._node = None
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    def vhost(self) -> str:
        """The URL of a new virtual host."""
        self._hosts += 1
        name = f"t{self._hosts}"
        self.evaluate(
            f'begin rabbit_vhost:add(<<"{name}">>, <<"tests">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{name}">>, '
            '<<".*">>, <<".*">>, <<".*">>, <<"tests">>) end'
        )
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{quote(name, safe='')}"

    def drop(self, url: str) -> None:
        """Drop a virtual host with its queues."""
        name = urlsplit(url).path.lstrip("/")
        self.evaluate(f'rabbit_vhost:delete(<<"{name}">>, <<"tests">>)')

    def evaluate(self, expression: str) -> str:
        """What an Erlang expression comes to, as text (``rabbit_amqqueue:list()``)."""
        answer = self._ask(expression)
        if answer.startswith("{'EXIT'"):
            raise RuntimeError(f"RabbitMQ: {answer}")
        return answer

    def _ask(self, expression: str, seconds: float = 30) -> str:
        assert self._node is not None
        assert self._node.stdin is not None
        mark = uuid.uuid4().hex
        # The mark is cut in two so that an echo of the line is not taken for the answer.
        self._node.stdin.write(
            f'io:format("~s~s ~0p~n", ["{mark[:8]}", "{mark[8:]}", catch {expression}]).\n'
        )
        self._node.stdin.flush()
        seen: list[str] = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and self._node.poll() is None:
            try:
                line = self._answers.get(timeout=min(left, 0.5))
            except Empty:
                continue
            seen.append(line)
            if mark in line:
                answer = line.split(mark, 1)[1].strip()
                return answer
        raise RuntimeError("RabbitMQ did not answer:\n" + "".join(seen[-40:]))

    def _read(self, node: subprocess.Popen[str]) -> None:
        assert node.stdout is not None
        with node.stdout, open(self.folder / "output", "a", encoding="utf-8") as kept:
            for line in node.stdout:
                kept.write(line)
                kept.flush()
                self._answers.put(line)

    def _signal(self, number: int) -> None:
        assert self._node is not None
        os.killpg(self._node.pid, number)

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(folder),  # the cookie
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none"
            ),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
            "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "empty"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "none"),
        }


_CONFIGURATION = """\
listeners.tcp.default = 127.0.0.1:{port}
log.file.level = warning
log.console = false
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 1GB
"""


def _epmd_path() -> str:
    named = shutil.which("epmd")
    if named is None:
        raise FileNotFoundError("epmd is not installed")
    return named


def delete_queues(broker_url: str) -> None:
    """Delete our queues in a virtual host that is not ours to drop."""
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        for kind in KINDS:
            for name in (queue_name(kind), dq_name(queue_name(kind)), xq_name(queue_name(kind))):
                channel = connection.channel()
                channel.queue_delete(name)
                channel.close()
