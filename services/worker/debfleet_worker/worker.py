"""What a step is given: the parts of a worker, put together in ``main.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from debfleet.bell import Bell
from debfleet.config import Settings
from debfleet.db.connect import Database, Tx
from debfleet.model import Job, Ring
from debfleet.sealed import Sealer
from debfleet.store import Store

if TYPE_CHECKING:
    from debfleet_worker.lease import Lease


@dataclass(frozen=True)
class Worker:
    """One worker process."""

    settings: Settings
    db: Database
    heartbeat_db: Database  # leases and heartbeats: never behind a step that waits for the pool
    store: Store
    sealer: Sealer
    bell: Bell
    process: UUID
    stanza_key: bytes

    def commit(self, work: Callable[[Tx], Sequence[Ring] | None]) -> None:
        """Run ``work`` in one transaction, again after a deadlock; then ring what it returned."""
        rings = self.db.run(work)
        if rings:
            self.bell.ring(rings)


Step = Callable[[Worker, Job, "Lease"], None]
