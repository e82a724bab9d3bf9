"""What tests of one service share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

import servers
from api_client import ApiClient, running_api
from archive.build import write_archive
from archive.model import Archive, Dist
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.sealed import new_key
from debfleet.store import Store
from debfleet_worker.actors import Crew
from emptied import EmptiedDatabase, emptied_database
from ground import Ground
from sync_flow import Flow, add_repository, crew_of

_TOGETHER = {
    "test_bell.py": "RabbitMQ",
    "test_check.py": "RabbitMQ",
    "test_lease.py": "RabbitMQ",
}

# Seconds of what takes longer than its number of tests says.
_SECONDS = {
    "RabbitMQ": 60,
    "test_version_model.py": 30,
    "test_sync_sources.py": 25,
    "test_ingest.py": 20,
    "test_publish.py": 20,
    "test_sync.py": 20,
    "test_vanishing.py": 15,
    "test_orphans_and_syncs.py": 10,
    "test_publish_scale.py": 10,
}


def _scope(file: str) -> str:
    return _TOGETHER.get(Path(file).name, file)


class _Companies(LoadFileScheduling):
    """Tests of a file run in one process, and so do files that need RabbitMQ: what they share is
    made once. A RabbitMQ node takes nine seconds of CPU to start.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _scope(nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For ``--dist loadfile``."""
    config.option.loadscopereorder = False  # the order is that of pytest_collection_modifyitems
    return _Companies(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no process is left with it at the end."""
    tests = Counter(_scope(str(item.path)) for item in items)

    def seconds(item: pytest.Item) -> float:
        scope = _scope(str(item.path))
        return _SECONDS.get(Path(scope).name, tests[scope] / 10)

    items.sort(key=seconds, reverse=True)


@pytest.fixture(scope="session")
def emptied(postgres: servers.PostgresForTests, template_url: str) -> Iterator[EmptiedDatabase]:
    """The database that tests have one after the other."""
    with emptied_database(postgres, template_url) as database:
        yield database


@pytest.fixture
def database_url(emptied: EmptiedDatabase) -> Iterator[str]:
    """A migrated database, as empty as a fresh one."""
    yield emptied.url
    emptied.empty()


@pytest.fixture
def db(emptied: EmptiedDatabase, database_url: str) -> Database:
    """A pool on this test's database."""
    assert emptied.url == database_url
    return emptied.db


@pytest.fixture
def api(settings: Settings) -> Iterator[ApiClient]:
    """The API on this test's database, with its admin; nobody hears its bell."""
    with running_api(settings) as client:
        yield client


@pytest.fixture(scope="session")
def shared_api(
    postgres: servers.PostgresForTests, template_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiClient]:
    """One API for all tests that give their own names and count nothing of others."""
    url = postgres.database(template_url)
    folder: Path = tmp_path_factory.mktemp("store")
    settings = Settings(database_url=url, store_url=f"file://{folder}", secret_key=new_key())
    with running_api(settings) as client:
        yield client
    postgres.drop(url)


@pytest.fixture
def flow(settings: Settings, db: Database, store: Store) -> Iterator[Flow]:
    with crew_of(replace(settings, plan_rounds=3), db, store) as crew:
        yield Flow(db, crew, add_repository(db))


@pytest.fixture(scope="module")
def common_crew(common_ground: Ground) -> Iterator[Crew]:
    """For tests that give each its own repository, or share one that stays as it is."""
    with crew_of(common_ground.settings, common_ground.db, common_ground.store) as crew:
        yield crew


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Archive]:
    """Write an archive into a fresh folder."""
    folders = (tmp_path / f"archive{n}" for n in range(100))

    def written(*dists: Dist, **options: Any) -> Archive:
        folder = next(folders)
        folder.mkdir()
        return write_archive(folder, dists, **options)

    return written


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    empty = tmp_path / "empty"
    empty.mkdir()
    with Upstream(empty) as server:
        yield server
