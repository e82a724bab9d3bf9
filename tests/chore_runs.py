"""Chores run in this thread, as a worker would run them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
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

_TIMES = int(os.environ.get("DEBFLEET_TEST_TIMES", "1"))  # more in `make fuzz`
_ROUND_SECONDS = 15  # of each, on a machine that has much else to do


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


def wait_until_done(done: Sequence[int], rounds: int, stop: threading.Event) -> None:
    """Wait until each of some threads has done so many rounds, or one of them has stopped all."""
    rounds *= _TIMES
    deadline = time.monotonic() + rounds * _ROUND_SECONDS
    while min(done) < rounds and not stop.wait(0.05):
        if time.monotonic() > deadline:
            stop.set()
            raise AssertionError(f"rounds done: {list(done)} of {rounds}")
