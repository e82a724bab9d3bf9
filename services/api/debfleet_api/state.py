"""What every request works with; made by ``create_app``, found again here."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from uuid import UUID, uuid4

from flask import current_app, g

from debfleet.bell import Bell
from debfleet.config import Settings
from debfleet.db import processes
from debfleet.db.connect import Database, Tx
from debfleet.db.users import User
from debfleet.errors import StoreError
from debfleet.identity import UnitIds
from debfleet.passwords import Passwords
from debfleet.sealed import Sealer
from debfleet.store import Store, open_store


@dataclass
class Api:
    """One API process."""

    settings: Settings
    db: Database
    sealer: Sealer
    bell: Bell
    passwords: Passwords
    process: UUID = field(default_factory=uuid4)
    name: str = field(default_factory=processes.process_name)
    _unit_ids: UnitIds | None = None
    _store: Store | None = None
    _lock: Lock = field(default_factory=Lock)

    def unit_ids(self, tx: Tx) -> UnitIds:
        """Makes and reads the ids of content units; the key is read once."""
        with self._lock:
            if self._unit_ids is None:
                row = tx.execute("SELECT href_key FROM installation").fetchone()
                assert row is not None
                self._unit_ids = UnitIds(bytes(row["href_key"]))
            return self._unit_ids

    def store(self) -> Store:
        """Where artifacts lie; opened when the first file comes.

        Raises:
            StoreError: It cannot be used, or this process was given none.
        """
        with self._lock:
            if self._store is None:
                if not self.settings.store_url:
                    raise StoreError("this process of the API has no DEBFLEET_STORE_URL")
                self._store = open_store(self.settings.store_url, self.settings.work_directory)
            return self._store

    def beat(self, tx: Tx) -> None:
        """Say that this process is alive."""
        processes.beat(tx, self.process, "api", self.name)


def api() -> Api:
    """The process that answers this request."""
    found: Api = current_app.extensions["debfleet"]
    return found


def current_user() -> User:
    """Who asks; only where a login is needed."""
    user: User = g.user
    return user
