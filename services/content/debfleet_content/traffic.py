"""What the fleet lets one process ask of an upstream host, where a client waits for the file."""

from __future__ import annotations

from debfleet.db import slots
from debfleet.db.connect import Database
from debfleet.model import Remote


class FleetTraffic:
    """What the fleet allows: the remote's rate, and hosts that want to be left alone."""

    def __init__(self, db: Database, remote: Remote) -> None:
        self._db = db
        self._scope = slots.scope_of(remote.id)
        self._host = slots.host_of(remote.url)
        self._rate = remote.rate_limit

    def slots(self) -> int:
        """One file is all there is."""
        return 1

    def running(self, requests: int) -> None:
        """Nobody else could use the slot."""

    def wait_seconds(self, requests: int) -> float:
        """See ``Traffic``."""
        closed = self._db.run(lambda tx: slots.closed_for(tx, self._host))
        rate = self._rate
        if not rate:
            return closed
        self._db.run(lambda tx: slots.set_rate(tx, self._scope, float(rate)))
        return max(closed, self._db.run(lambda tx: slots.take_turns(tx, self._scope, requests)))

    def close_host(self, seconds: float) -> None:
        """See ``Traffic``."""
        self._db.run(lambda tx: slots.close_host(tx, self._host, seconds))

    def progress(self, bytes: int) -> None:
        """Clients judge that."""

    def check(self) -> None:
        """There is no lease to lose."""
