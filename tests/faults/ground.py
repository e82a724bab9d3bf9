"""What lanes stand on: a Postgres and a RabbitMQ that really stop, and the nursery."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import servers
from debfleet.db.migrate import migrate
from debfleet_cli.embedded import EmbeddedPostgres
from faults.lane import Lane
from nursery import Nursery


@dataclass
class Ground:
    """The servers, and how they fail."""

    folder: Path
    postgres: EmbeddedPostgres
    rabbit: servers.RabbitNode | None
    nursery: Nursery
    _stack: ExitStack
    _template: str
    _databases: servers.PostgresForTests
    _lanes: int = 0

    def lane(self, *, with_rabbit: bool = False, **limits: int) -> Lane:
        """Another fleet, on a database of its own; ends with the ground."""
        broker = self.rabbit.vhost() if with_rabbit and self.rabbit is not None else ""
        url = self._databases.database(self._template)
        folder = self.folder / f"lane-{self._lanes}"
        self._lanes += 1
        return self._stack.enter_context(Lane(folder, url, self.nursery, broker, limits))

    def restart_postgres(self, *, at_once: bool) -> None:
        """Stop it, at once as a crash does or after cutting all sessions, and start it again."""
        process = self.postgres._process
        assert process is not None
        if at_once:
            process.send_signal(signal.SIGQUIT)
            process.wait(30)
        self.postgres.stop()
        self.postgres.start()

    def copy_postgres(self) -> Path:
        """A copy of all that is committed by now, as a replica that will fall behind has it."""
        copy = self.postgres.folder / "data.copy"
        self.postgres.stop()
        _copy(self.postgres.folder / "data", copy)
        self.postgres.start()
        return copy

    def fail_over(self, copy: Path) -> None:
        """Lose the server as in a crash, and go on with the copy: the commits since are gone."""
        assert self.postgres.pid is not None
        os.kill(self.postgres.pid, signal.SIGQUIT)
        self.postgres.stop()
        data = self.postgres.folder / "data"
        shutil.rmtree(data)
        _copy(copy, data)
        self.postgres.start()

    def show_logs(self) -> None:
        """The last lines of every process."""
        for log in sorted(self.folder.glob("lane-*/*.log")):
            tail = log.read_text(errors="replace").splitlines()[-15:]
            print("\n".join([f"--- {log.parent.name}/{log.name}", *tail]), flush=True)


def _copy(folder: Path, to: Path) -> None:
    """With its owner, who is not always we."""
    subprocess.run(["cp", "-a", str(folder), str(to)], check=True)


@contextmanager
def ground(*, with_rabbit: bool, folder: Path | None = None) -> Iterator[Ground]:
    """Start the servers; end them, and every lane, with the context."""
    with ExitStack() as stack:
        root = folder or servers.short_folder("faults")
        if folder is None:
            stack.callback(shutil.rmtree, root, ignore_errors=True)
        home = servers.quick_folder("pg")
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        server = servers.start_postgres(home)
        stack.callback(server.stop)
        databases = servers.PostgresForTests(server.url("postgres"))
        template = databases.database()
        migrate(template)
        nursery = Nursery()
        stack.callback(nursery.close)
        node = None
        if with_rabbit and servers.rabbitmq_script() is not None:
            mq = servers.short_folder("mq")
            stack.callback(shutil.rmtree, mq, ignore_errors=True)
            node = servers.RabbitNode(mq)
            node.start()
            stack.callback(node.stop)
        yield Ground(root, server, node, nursery, stack, template, databases)
