"""What a world of a test stands on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.sealed import new_key
from debfleet.store import Store, open_store
from servers import PostgresForTests


@dataclass(frozen=True)
class Ground:
    """A database and a store, and a folder for all else."""

    settings: Settings
    db: Database
    store: Store
    folder: Path


@contextmanager
def new_ground(postgres: PostgresForTests, template_url: str, folder: Path) -> Iterator[Ground]:
    """Its database is a copy of the template, its store is empty."""
    (folder / "store").mkdir()
    with _on_copy(postgres, template_url, settings_on("", folder)) as ground:
        yield ground


@contextmanager
def copied_ground(postgres: PostgresForTests, ground: Ground, folder: Path) -> Iterator[Ground]:
    """A ground with all that lies on another, to whose database nobody is connected any more."""
    shutil.copytree(ground.folder / "store", folder / "store")
    settings = replace(settings_on("", folder), secret_key=ground.settings.secret_key)
    with _on_copy(postgres, ground.db.url, settings) as copy:
        yield copy


def settings_on(database_url: str, folder: Path) -> Settings:
    """For a store and a work directory in this folder."""
    work = folder / "work"
    work.mkdir()
    return Settings(
        database_url=database_url,
        store_url=f"file://{folder}/store",
        secret_key=new_key(),
        admin_password="password",
        api_address="127.0.0.1:0",
        content_address="127.0.0.1:0",
        work_directory=str(work),
    )


@contextmanager
def _on_copy(postgres: PostgresForTests, template_url: str, settings: Settings) -> Iterator[Ground]:
    url = postgres.database(template_url)
    folder = Path(settings.store_url.removeprefix("file://")).parent
    try:
        with Database(url, name="tests") as db:
            settings = replace(settings, database_url=url)
            yield Ground(settings, db, open_store(settings.store_url), folder)
    finally:
        postgres.drop(url)
