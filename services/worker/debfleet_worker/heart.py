"""Beat in ``processes`` as long as this process lives."""

from __future__ import annotations

import logging
import random
import threading
from uuid import UUID

import psycopg

from debfleet.config import Settings
from debfleet.db import processes
from debfleet.db.connect import Database
from debfleet.vitals import Vitals

log = logging.getLogger(__name__)


class Heart:
    """A thread that beats; what it says is for people, never a right to work."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        kind: str,
        process: UUID,
        vitals: Vitals | None = None,
    ) -> None:
        self._db = db
        self._pause = settings.heartbeat_seconds
        self._kind = kind
        self._process = process
        self._vitals = vitals
        self._name = processes.process_name()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def beat_once(self) -> None:
        """Make or renew the process's row now."""
        with self._db.single() as tx:
            processes.beat(tx, self._process, self._kind, self._name)
        if self._vitals is not None:
            self._vitals.heard("database")

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Say that the process has ended."""
        self._stopped.set()
        self._thread.join(timeout=5)
        try:
            self._db.run(lambda tx: processes.end_process(tx, self._process))
        except psycopg.Error as e:
            log.warning("heartbeat.failed", extra={"reason": str(e)})

    def _run(self) -> None:
        # Never quite the same: processes that were started together soon beat apart.
        while not self._stopped.wait(self._pause * random.uniform(0.8, 1.2)):
            try:
                self.beat_once()
            except psycopg.Error as e:
                log.warning("heartbeat.failed", extra={"reason": str(e)})
