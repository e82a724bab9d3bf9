"""A sync driven job by job in the test's own process: for what syncs of small archives prove."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from archive.upstream import Upstream
from debfleet.bell import open_bell
from debfleet.config import Settings
from debfleet.db import repositories, tasks
from debfleet.db.connect import Database
from debfleet.db.slots import scope_of
from debfleet.db.tasks import NewTask
from debfleet.model import Kind, Remote
from debfleet.sealed import Sealer
from debfleet.store import Store
from debfleet_worker.actors import Crew, run_job
from debfleet_worker.lease import Keeper
from debfleet_worker.steps import STEPS
from debfleet_worker.worker import Worker

_RUNNABLE = """
select j.id from jobs j join tasks t on t.id = j.task
 where j.task = %s and j.state = 'queued' and j.not_before <= now() and t.finished is null
 order by j.id
"""


@dataclass(frozen=True)
class Synced:
    """What became of one sync."""

    task: int
    state: str
    error: str  # '' where it has none
    created: list[str]  # PRNs
    reports: dict[str, int]  # done by code, summed over subjects
    kinds: list[str]  # of the jobs, in the order they ran


class Flow:
    """One repository and one remote."""

    def __init__(self, db: Database, crew: Crew, repository: dict[str, Any]) -> None:
        self.db = db
        self.crew = crew
        self.repository = repository
        self.remote: Remote | None = None
        self.asker: int | None = None  # a user's id; None: nobody, who may do everything

    def set_remote(self, upstream: Upstream, **fields: Any) -> Remote:
        """Make the remote, or change it."""
        with self.db.transaction() as tx:
            if self.remote is None:
                values: dict[str, Any] = dict.fromkeys(repositories.REMOTE_COLUMNS)
                values |= {"name": str(uuid4()), "labels": {}, "url": upstream.url}
                values |= {"distributions": "stable", "policy": "immediate"}
                values |= {"sync_sources": False, "sync_udebs": False, "sync_installer": False}
                values |= {"ignore_missing_package_indices": False, "tls_validation": True}
                values |= {"vanishing": "leave"}
                row = repositories.add_remote(tx, values | {"max_retries": 0} | fields)
            else:
                row = repositories.update_remote(tx, self.remote.uuid, fields)
            self.remote = repositories.get_remote(tx, row["id"])
        return self.remote

    def sync(self, *, mirror: bool = False, optimize: bool = True) -> Synced:
        """One sync from asking to its end."""
        return self.go_on(self.ask_sync(mirror=mirror, optimize=optimize))

    def ask_sync(self, *, mirror: bool = False, optimize: bool = True) -> int:
        """Ask for a sync and let its task begin; its id."""
        assert self.remote is not None
        args = {"repository": self.repository["id"], "remote": self.remote.id}
        args |= {"mirror": mirror, "optimize": optimize}
        new = NewTask(
            "sync",
            "sync",
            args,
            exclusive=[f"r:{self.repository['id']}"],
            scope=scope_of(self.remote.id),
            created_by=self.asker,
        )
        task = self.db.run(lambda tx: tasks.ask(tx, new)).id
        self.db.run(lambda tx: tasks.start(tx, task))
        return task

    def go_on(self, task: int) -> Synced:
        """Run what of a task can run now."""
        while job := self._next(task):
            run_job(self.crew, job)
        return self._synced(task)

    def go_on_to(self, task: int, kind: str, **args: Any) -> int:
        """Run jobs of a task until the next is one of this kind with these args; its id."""
        while job := self._next(task):
            with self.db.transaction() as tx:
                row = tx.execute("select kind, args from jobs where id = %s", (job,)).fetchone()
            assert row is not None
            if row["kind"] == kind and args.items() <= row["args"].items():
                return job
            run_job(self.crew, job)
        raise AssertionError(f"no {kind} job came up: {self._synced(task)}")

    def _next(self, task: int) -> int | None:
        with self.db.transaction() as tx:
            row = tx.execute(_RUNNABLE, (task,)).fetchone()
        return row["id"] if row else None

    def _synced(self, task: int) -> Synced:
        with self.db.transaction() as tx:
            row = tx.execute("select * from tasks where id = %s", (task,)).fetchone()
            assert row is not None
            reports = tx.execute(
                "select code, sum(done)::int as done from progress_reports where task = %s "
                "group by code",
                (task,),
            ).fetchall()
            kinds = tx.execute(
                "select kind from jobs where task = %s and state = 'done' order by finished, id",
                (task,),
            ).fetchall()
        return Synced(
            task=task,
            state=row["state"],
            error=(row["error"] or {}).get("description", ""),
            created=row["created_resources"],
            reports={r["code"]: r["done"] for r in reports},
            kinds=[k["kind"] for k in kinds],
        )

    def version(self) -> int:
        """The number of the latest version."""
        with self.db.transaction() as tx:
            return repositories.get_repository(tx, self.repository["id"]).latest

    def counts(self) -> dict[str, int]:
        """Units of the latest version by kind."""
        with self.db.transaction() as tx:
            rows = tx.execute(
                "select kind, present from version_counts where repository = %s and number = "
                "(select max(number) from repository_versions where repository = %s)",
                (self.repository["id"], self.repository["id"]),
            ).fetchall()
        return {Kind(r["kind"]).name.lower(): r["present"] for r in rows if r["present"]}

    def packages(self) -> set[tuple[str, str, str]]:
        """(name, version, architecture) of the packages of the latest version."""
        query = """
            select p.name, p.version, p.architecture
              from repository_chunks c
              join content_lists l on l.id = c.list and l.kind = 1
             cross join generate_series(0, chunk_size() - 1) i
              join packages p on p.id = id_at(c.chunk, i)
             where c.repository = %s and c.removed is null and get_bit(c.bits, i) = 1"""
        with self.db.transaction() as tx:
            rows = tx.execute(query, (self.repository["id"],)).fetchall()
        return {(r["name"], r["version"], r["architecture"]) for r in rows}

    def sources(self) -> set[tuple[str, str, str]]:
        """(component, name, version) of the latest version's source packages."""
        query = """
            select rc.component, p.name, p.version
              from repository_chunks c
              join content_lists l on l.id = c.list and l.kind = 13
              join release_components rc on rc.id = l.release_component
             cross join generate_series(0, chunk_size() - 1) i
              join source_packages p on p.id = id_at(c.chunk, i)
             where c.repository = %s and c.removed is null and get_bit(c.bits, i) = 1"""
        with self.db.transaction() as tx:
            rows = tx.execute(query, (self.repository["id"],)).fetchall()
        return {(r["component"], r["name"], r["version"]) for r in rows}

    def places(self) -> set[tuple[str, str, str, str]]:
        """(component, index architecture, name, version) of the latest version's packages."""
        query = """
            select rc.component, l.index_architecture, p.name, p.version
              from repository_chunks c
              join content_lists l on l.id = c.list and l.kind = 11
              join release_components rc on rc.id = l.release_component
             cross join generate_series(0, chunk_size() - 1) i
              join packages p on p.id = id_at(c.chunk, i)
             where c.repository = %s and c.removed is null and get_bit(c.bits, i) = 1"""
        with self.db.transaction() as tx:
            rows = tx.execute(query, (self.repository["id"],)).fetchall()
        return {(r["component"], r["index_architecture"], r["name"], r["version"]) for r in rows}

    def stored(self) -> set[str]:
        """SHA-256, in hex, of every file the store is said to have; each is read and digested."""
        with self.db.transaction() as tx:
            digests = [r["sha256"] for r in tx.execute("select sha256 from artifacts")]
        for digest in digests:
            with self.crew.worker.store.open(digest) as file:
                assert hashlib.file_digest(file, "sha256").digest() == digest
        return {digest.hex() for digest in digests}

    def tolerances(self, task: int) -> list[tuple[str, str]]:
        """(reason, file) of what a sync left out."""
        with self.db.transaction() as tx:
            rows = tx.execute(
                "select reason, file from tolerances where task = %s order by id", (task,)
            ).fetchall()
        return [(r["reason"], r["file"]) for r in rows]


@contextmanager
def crew_of(settings: Settings, db: Database, store: Store) -> Iterator[Crew]:
    """A worker without a bell to listen to."""
    bell = open_bell(settings)
    with db.transaction() as tx:
        keys = tx.execute("select stanza_key from installation").fetchone()
        assert keys is not None
        process = uuid4()
        tx.execute(
            "insert into processes (id, kind, name) values (%s, 'worker', 'test')", (process,)
        )
    worker = Worker(
        settings=settings,
        db=db,
        heartbeat_db=db,
        store=store,
        sealer=Sealer(settings.secret_key),
        bell=bell,
        process=process,
        stanza_key=keys["stanza_key"],
    )
    keeper = Keeper(worker)
    try:
        yield Crew(worker, keeper, STEPS, {})
    finally:
        keeper.stop()
        bell.close()


def add_repository(db: Database, **fields: Any) -> dict[str, Any]:
    """A new repository's row."""
    values: dict[str, Any] = dict.fromkeys(repositories.REPOSITORY_COLUMNS)
    values |= {"name": str(uuid4()), "labels": {}, "autopublish": False}
    values |= {"publish_upstream_release_fields": True, "signing_service_release_overrides": {}}
    values |= {"package_signing_fingerprint_release_overrides": {}}
    values |= {"excluded_package_metadata_fields": []}
    with db.transaction() as tx:
        return repositories.add_repository(tx, values | fields)
