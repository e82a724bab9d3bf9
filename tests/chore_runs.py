"""Chores run in this thread, as a worker would run them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from coordination import claimed
from debfleet.bell import open_bell
from debfleet.config import Settings
from debfleet.db import tasks
from debfleet.db.connect import Database
from debfleet.sealed import Sealer
from debfleet.store import Store
from debfleet_worker.chores import CHORES
from debfleet_worker.lease import Keeper
from debfleet_worker.worker import Worker


@contextmanager
def made_worker(settings: Settings, store: Store) -> Iterator[Worker]:
    """A worker's parts, without its loops."""
    url, sealer = settings.database_url, Sealer(settings.secret_key)
    with Database(url, name="tests") as db, Database(url, name="leases") as leases:
        bell = open_bell(settings)
        yield Worker(settings, db, leases, store, sealer, bell, uuid4(), b"k" * 32)
        bell.close()


def run_chore(worker: Worker, kind: str, args: dict[str, Any]) -> dict[str, Any]:
    """Ask for a chore and run it here.

    Returns:
        Its task's row, with ``reports``: (done, total) by code.
    """
    asked = worker.db.run(lambda tx: tasks.ask(tx, tasks.NewTask(kind, f"test.{kind}", args)))
    rings = worker.db.run(lambda tx: tasks.start(tx, asked.id))
    job = claimed(worker.db, worker.settings, rings[0].job)
    keeper = Keeper(worker)
    try:
        with keeper.kept(job) as lease:
            CHORES[kind](worker, job, lease)
    finally:
        keeper.stop()
    with worker.db.transaction() as tx:
        row = tx.execute("select * from tasks where id = %s", (asked.id,)).fetchone()
        reports = tx.execute("select * from progress_reports where task = %s", (asked.id,))
        assert row is not None
        return {**row, "reports": {r["code"]: (r["done"], r["total"]) for r in reports}}


def put(store: Store, body: bytes) -> bytes:
    """A file in the store; its digest."""
    with store.receive() as receiver:
        receiver.write(body)
        return receiver.keep()
