"""Publications made job by job in the test's own process, and what is in them."""

from __future__ import annotations

import gzip
import lzma
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from debfleet.db import publications, tasks
from debfleet.db.publications import Publication
from debfleet.db.tasks import NewTask
from debfleet.deb.stanza import split_stanzas, stanza_fields, to_text
from debfleet_worker.actors import run_job
from debfleet_worker.sign import KeyPair
from sync_flow import Flow, Synced


@dataclass(frozen=True)
class Published:
    """One publication and the task that made it."""

    task: Synced
    publication: Publication
    files: dict[str, bytes]  # by path, read from the store

    def stanzas(self, path: str) -> dict[str, dict[str, str]]:
        """The fields of the packages of one plain index, by name."""
        found = [stanza_fields(to_text(s)) for _, s in split_stanzas([self.files[path]])]
        return {fields["Package"]: fields for fields in found}

    def release(self, dist: str) -> dict[str, str]:
        """The fields of a dist's Release file."""
        return stanza_fields(self.files[f"dists/{dist}/Release"].decode())

    def listed(self, dist: str, digest: str = "SHA256") -> dict[str, tuple[str, int]]:
        """Digest and size by path, as a dist's Release file says."""
        rows = [line.split() for line in self.release(dist)[digest].split("\n") if line.strip()]
        return {path: (hexdigits, int(size)) for hexdigits, size, path in rows}


def ask_publish(flow: Flow, number: int | None = None, **args: Any) -> int:
    """Ask for a publication and let its task begin."""
    ask: dict[str, Any] = {"repository": flow.repository["id"]}
    ask["number"] = flow.version() if number is None else number
    new = NewTask(
        "publish",
        "pulp_deb.app.tasks.publishing.publish",
        {**ask, **args},
        shared=[f"r:{flow.repository['id']}"],
        job_kind="publish",
    )
    task = flow.db.run(lambda tx: tasks.ask(tx, new)).id
    flow.db.run(lambda tx: tasks.start(tx, task))
    return task


def run_task(flow: Flow, task: int) -> Synced:
    """Run its jobs to the end."""
    while job := flow._next(task):
        run_job(flow.crew, job)
    return flow._synced(task)


def publish(flow: Flow, number: int | None = None, **args: Any) -> Published:
    """Publish a version, the latest unless another is said."""
    done = run_task(flow, ask_publish(flow, number, **args))
    assert done.state == "completed", done.error
    return read_publication(flow, done)


def read_publication(flow: Flow, done: Synced) -> Published:
    """The publication that a task made, with all its files."""
    uuid = UUID(done.created[-1].rpartition(":")[2])
    with flow.db.transaction() as tx:
        publication = publications.find_publication(tx, uuid)
        assert publication is not None
        rows = publications.list_files(tx, publication.id)
    files = {}
    for row in rows:
        with flow.crew.worker.store.open(row.file.sha256) as file:
            files[row.path] = file.read()
        assert len(files[row.path]) == row.file.size
    return Published(done, publication, files)


def unpacked(path: str, body: bytes) -> bytes:
    """The plain bytes of an index."""
    if path.endswith(".gz"):
        return gzip.decompress(body)
    return lzma.decompress(body) if path.endswith(".xz") else body


def add_held_service(flow: Flow, pair: KeyPair, name: str = "default") -> UUID:
    """A signing service whose key is held here."""
    secret = flow.crew.worker.sealer.seal(pair.secret)
    return _add_service(flow, (name, pair.public, pair.fingerprint, None, None, secret))


def add_script_service(
    flow: Flow, script: str, public: str, fingerprint: str, home: str, name: str = "script"
) -> UUID:
    """A signing service that calls a script."""
    return _add_service(flow, (name, public, fingerprint, script, home, None))


def _add_service(flow: Flow, values: tuple[Any, ...]) -> UUID:
    with flow.db.transaction() as tx:
        row = tx.execute(
            "insert into signing_services (name, public_key, fingerprint, script, gnupghome,"
            " secret) values (%s, %s, %s, %s, %s, %s) returning uuid",
            values,
        ).fetchone()
    assert row is not None
    uuid: UUID = row["uuid"]
    return uuid


def set_repository(flow: Flow, **columns: Any) -> None:
    """Change columns of the repository."""
    with flow.db.transaction() as tx:
        for name, value in columns.items():
            query: Any = f"update repositories set {name} = %s where id = %s"
            tx.execute(query, (value, flow.repository["id"]))
