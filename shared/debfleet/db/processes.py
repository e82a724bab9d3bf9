"""Heartbeats: which processes are alive. For people, never a right to work."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from debfleet.db import sql
from debfleet.db.connect import Tx

_q = sql.load("processes.sql")


def process_name() -> str:
    """How people know this process: ``<pid>@<host>``."""
    return f"{os.getpid()}@{socket.gethostname()}"


def beat(tx: Tx, id: UUID, kind: str, name: str, versions: Mapping[str, str] | None = None) -> None:
    """Say that a process is alive; its row is made at the first beat. One statement.

    Args:
        id: Made anew at each start of a process.
        kind: api, worker, sweep or content.
        versions: Component to version; absent: debfleet's own.
    """
    shown = _own_versions() if versions is None else dict(versions)
    tx.execute(_q["beat"], {"id": id, "kind": kind, "name": name, "versions": Jsonb(shown)})


@cache
def _own_versions() -> dict[str, str]:
    return {"debfleet": version("debfleet")}  # read from a file


def end_process(tx: Tx, id: UUID) -> None:
    """The process stops on its own will."""
    tx.execute(_q["end_process"], {"id": id})


def list_online(tx: Tx) -> list[dict[str, Any]]:
    """Rows of kind, name, last_heartbeat, versions of the processes heard of lately."""
    return tx.execute(_q["list_online"]).fetchall()
