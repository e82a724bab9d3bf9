"""Batches of a cleanup, each a short transaction of its own under the content lock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

from debfleet.db import jobs, orphans
from debfleet.db.connect import Tx
from debfleet.model import Job
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

T = TypeVar("T")

_FILES = 100  # deleted under the lock: on a bucket each is a request
_PATIENCE_SECONDS = 0.2  # syncs wait behind a batch that waits
_PATIENT_TRIES = 20  # then it waits as long as it takes


class Batches:
    """Those of one job (see ``db.orphans`` for the lock)."""

    def __init__(self, worker: Worker, job: Job, lease: Lease) -> None:
        self._worker = worker
        self._job = job
        self._lease = lease

    def run(self, work: Callable[[Tx], T]) -> T:
        """Do one batch."""

        def locked(tx: Tx, patience: float | None) -> T:
            orphans.lock(tx, patience)
            jobs.hold(tx, self._job)
            return work(tx)

        pause = 0.05
        for tries in range(_PATIENT_TRIES + 1):
            self._lease.check()
            patience = _PATIENCE_SECONDS if tries < _PATIENT_TRIES else None
            try:
                with self._lease.busy():
                    return self._worker.db.run(lambda tx, p=patience: locked(tx, p))  # type: ignore[misc]
            except psycopg.errors.LockNotAvailable:
                time.sleep(pause)
                pause = min(2 * pause, 2.0)
        raise AssertionError("not reached")

    def delete_files(self) -> None:
        """Delete the doomed files from the store."""

        after: bytes | None = b""
        while after is not None:

            def work(tx: Tx, after: bytes = after) -> bytes | None:
                digests, last = orphans.list_doomed_files(tx, after, limit=_FILES)
                for digest in digests:
                    self._worker.store.delete(digest)
                orphans.forget_doomed_files(tx, digests)
                return last

            after = self.run(work)
