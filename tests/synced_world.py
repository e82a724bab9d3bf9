"""A repository that holds an archive: synced once for a module, copied for its tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archive.build import write_archive
from archive.model import Archive, Dist
from archive.upstream import Upstream
from debfleet.model import Remote
from ground import Ground, copied_ground
from servers import PostgresForTests
from sync_flow import Flow, Synced, add_repository, crew_of


@dataclass(frozen=True)
class Made:
    """The repository, on a ground that is only copied."""

    ground: Ground
    archive: Archive
    upstream: Upstream
    repository: dict[str, Any]
    remote: Remote
    done: Synced


@dataclass(frozen=True)
class World:
    """A copy of it, where the last sync was ``done``."""

    flow: Flow
    archive: Archive
    upstream: Upstream
    done: Synced
    ground: Ground


@contextmanager
def made_once(ground: Ground, dist: Dist, **remote: Any) -> Iterator[Made]:
    """A repository that has synced an archive of this dist."""
    folder = ground.folder / "archive"
    folder.mkdir()
    archive = write_archive(folder, [dist])
    with Upstream(folder) as upstream:
        with crew_of(ground.settings, ground.db, ground.store) as crew:
            flow = Flow(ground.db, crew, add_repository(ground.db))
            made = flow.set_remote(upstream, **remote)
            done = flow.sync()
            assert done.state == "completed", done.error
        ground.db.close()
        yield Made(ground, archive, upstream, flow.repository, made, done)


@contextmanager
def copied_world(made: Made, postgres: PostgresForTests, folder: Path) -> Iterator[World]:
    """Upstream is as it was when it was synced, and nobody has asked it."""
    made.upstream.rotate(made.archive.folder)
    made.upstream.clear()
    with (
        copied_ground(postgres, made.ground, folder) as ground,
        crew_of(replace(ground.settings, plan_rounds=3), ground.db, ground.store) as crew,
    ):
        flow = Flow(ground.db, crew, made.repository)
        flow.remote = made.remote
        yield World(flow, made.archive, made.upstream, made.done, ground)
