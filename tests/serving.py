"""The content service in a thread of the test's own process, and distributions for it."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from debfleet.config import Settings
from debfleet.db import publications
from debfleet.db.connect import Database
from debfleet_content.main import Serving


@dataclass(frozen=True)
class Reply:
    """One answer, whole."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Site:
    """A content service that runs."""

    def __init__(self, address: str) -> None:
        self.address = address
        host, _, port = address.rpartition(":")
        self._where = (host, int(port))

    def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """Ask on a connection of its own; ``path`` goes out as it is, below /pulp/content/.

        Header names are given with underscores.

        Raises:
            http.client.IncompleteRead, ConnectionError: The answer was cut.
        """
        connection = http.client.HTTPConnection(*self._where, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        target = path if path.startswith("/") else f"/pulp/content/{path}"
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            body = response.read()
            return Reply(response.status, {k.lower(): v for k, v in response.headers.items()}, body)
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        """Send bytes and read until the other side closes."""
        with socket.create_connection(self._where, timeout=30) as connection:
            connection.sendall(request)
            parts = []
            while block := connection.recv(65536):
                parts.append(block)
        return b"".join(parts)


@contextmanager
def serving(settings: Settings, **values: float) -> Iterator[Site]:
    """A content service until the end of the block; ``values`` as ``Serving`` has them."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    stop = asyncio.Event()
    addresses: list[str] = []
    failures: list[BaseException] = []

    async def serve() -> None:
        async with Serving(settings, **values) as running:
            addresses.append(running.address)
            started.set()
            await stop.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(serve())
        except BaseException as e:  # noqa: BLE001 - it is raised in the test's own thread
            failures.append(e)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="content")
    thread.start()
    assert started.wait(30)
    try:
        if addresses:
            yield Site(addresses[0])
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join(60)
    if failures:
        raise failures[0]


def add_distribution(db: Database, base_path: str, **values: Any) -> int:
    """A distribution that serves at once what it is to serve."""
    columns: dict[str, Any] = {"name": str(uuid4()), "base_path": base_path, **values}
    names = ", ".join(columns)
    places = ", ".join(f"%({name})s" for name in columns)
    query: Any = f"insert into distributions ({names}) values ({places}) returning id"
    with db.transaction() as tx:
        row = tx.execute(query, columns).fetchone()
        assert row is not None
        publications.switch_served(tx, distribution=row["id"])
    return int(row["id"])


def point(db: Database, distribution: int, **target: int | None) -> None:
    """Give a distribution another target."""
    columns = {"repository": None, "publication": None} | target
    with db.transaction() as tx:
        tx.execute(
            "update distributions set repository = %(repository)s, publication = %(publication)s"
            " where id = %(id)s",
            {**columns, "id": distribution},
        )
        publications.switch_served(tx, distribution=distribution)
