"""What tests of one service share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import servers
from api_client import ApiClient, running_api
from archive.build import write_archive
from archive.model import Archive, Dist
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.sealed import new_key
from debfleet.store import Store
from sync_flow import Flow, add_repository, crew_of


@pytest.hookimpl(tryfirst=True)  # before those who read the mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side (``--dist loadgroup``) the tests of a file stay together, as do those that need
    RabbitMQ: what they share is made once, and not by each of the processes that run tests.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group("rabbit" if _rings(item) else item.path.stem))


def _rings(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function):
        return False
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return "rabbit" in given or not {"rabbit", "broker_url"}.isdisjoint(item.fixturenames)


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
