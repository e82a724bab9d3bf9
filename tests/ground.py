"""What a world of a test stands on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.store import Store


@dataclass(frozen=True)
class Ground:
    """A database and a store, and a folder for all else."""

    settings: Settings
    db: Database
    store: Store
    folder: Path
