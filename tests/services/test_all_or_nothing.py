"""What is served is one whole state, or the one before: each guard of that, by itself.

Several stand one behind the other, so that a slip in one shows nothing to apt. Each is tried here
without those before it; ``faults/mutants.py`` takes them out one at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from api_client import V3, ApiClient, a_name, refused
from archive.faults import wrong_bytes
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from coordination import rows, wait_for
from debfleet.config import Settings
from debfleet.db import distributions, endings, publications
from debfleet.db.connect import Database
from debfleet.db.publications import NewPublication
from debfleet.errors import FinalError
from debfleet_worker.actors import run_job
from publication_rows import DISTRIBUTIONS, PUBLICATIONS, VERBATIM, add_version, published, uuid_of
from publish_flow import set_repository
from serving import Site, add_distribution, serving
from sync_flow import Flow, add_repository

Write = Callable[..., Archive]
BLOCKED = (
    "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
)


# --- a publication that is being made -----------------------------------------------------------


def test_who_follows_a_repository_is_not_served_what_is_being_made(api: ApiClient) -> None:
    repository = api.repository()
    whole = published(api, repository)
    published(api, repository, add_version(api, repository), is_complete=False)

    made = add_distribution(api.state.db, a_name(), repository=_id(api, repository))

    assert _now_served(api.state.db, made) == whole.split("/")[-2]


def test_a_publication_that_is_being_made_is_not_served_by_who_names_it(api: ApiClient) -> None:
    # Nothing writes such a row; if anything did, nothing would be served.
    half = published(api, api.repository(), is_complete=False)
    [row] = rows(api.state.db, "select id from publications where uuid = %s", half.split("/")[-2])

    made = add_distribution(api.state.db, a_name(), publication=row["id"])

    assert _now_served(api.state.db, made) is None


def test_a_new_distribution_takes_no_publication_that_is_being_made(db: Database) -> None:
    half = _half_made(db)

    with pytest.raises(FinalError), db.transaction() as tx:
        distributions.add_distribution(tx, uuid4(), _columns(publication=half))


def test_a_distribution_does_not_turn_to_a_publication_that_is_being_made(db: Database) -> None:
    half = _half_made(db)
    with db.transaction() as tx:
        made = distributions.add_distribution(tx, uuid4(), _columns())["uuid"]

    with pytest.raises(FinalError), db.transaction() as tx:
        distributions.update_distribution(tx, made, {"publication": half})


def test_a_publication_that_is_being_made_is_nowhere_in_the_api(api: ApiClient) -> None:
    half = published(api, api.repository(), is_complete=False)
    body = {"name": a_name(), "base_path": a_name(), "publication": half}

    answer = refused(api.post(DISTRIBUTIONS, body))

    assert answer == {"publication": ["Invalid hyperlink - Object does not exist."]}
    refused(api.get(half), 404)
    for address in (PUBLICATIONS, VERBATIM, f"{V3}publications/"):
        assert (api.get(address).json or {})["count"] == 0, address


def test_a_checkpoint_that_is_being_made_is_neither_listed_nor_served(
    settings: Settings, db: Database
) -> None:
    half = _half_made(db, checkpoint=True)
    [row] = rows(db, "select repository from publications where uuid = %s", half)
    add_distribution(db, "points", repository=row["repository"], checkpoint=True)

    with serving(settings) as site:
        listing = site.get("points/")
        rows(db, "update publications set created = '2026-01-02T03:04:05Z' returning id")
        at_its_time = site.get("points/20260102T030405Z/")

    assert "20260102T030405Z" not in listing.text
    assert "href" not in listing.text.replace('href="../"', "")
    assert at_its_time.status == 404


# --- what a task makes --------------------------------------------------------------------------


def test_a_version_is_seen_with_the_end_of_its_sync_and_not_before(
    flow: Flow, upstream: Upstream, write: Write
) -> None:
    upstream.rotate(write(Dist("stable", {"main": [Pkg("a")]})).folder)
    flow.set_remote(upstream)
    task = flow.ask_sync()
    last = flow.go_on_to(task, "assemble")

    seen = _canceled_at_its_end(flow, task, last, flow.version)

    assert seen == 0
    assert flow.version() == 0
    assert flow.go_on(task).created == []


def test_a_publication_is_served_with_the_end_of_its_task_and_not_before(
    flow: Flow, upstream: Upstream, write: Write
) -> None:
    first = _published(flow, upstream, write(Dist("stable", {"main": [Pkg("a")]})).folder)
    distribution = add_distribution(flow.db, "debs", repository=flow.repository["id"])
    upstream.rotate(write(Dist("stable", {"main": [Pkg("b")]})).folder)
    task = flow.ask_sync()
    flow.go_on_to(task, "publish")
    [made] = rows(flow.db, "select max(id) + 1 as id from publications")
    last = flow.go_on_to(task, "publish", publication=made["id"])
    while rows(flow.db, "select from jobs where id = %s and args ? 'index'", last):
        run_job(flow.crew, last)
        last = flow.go_on_to(task, "publish", publication=made["id"])

    seen = _canceled_at_its_end(flow, task, last, lambda: _now_served(flow.db, distribution))

    assert seen == first
    assert _now_served(flow.db, distribution) == first
    assert (
        rows(flow.db, "select from publications where not is_complete or id = %s", made["id"]) == []
    )


def test_a_sync_that_fails_leaves_what_is_served_byte_for_byte(
    flow: Flow, upstream: Upstream, write: Write, settings: Settings
) -> None:
    _published(flow, upstream, write(Dist("stable", {"main": [Pkg("a")]})).folder)
    add_distribution(flow.db, "debs", repository=flow.repository["id"])
    upstream.rotate(write(Dist("stable", {"main": [Pkg("b"), Pkg("c")]})).folder)
    upstream.faults.append(wrong_bytes("pool/main/c/*"))

    with serving(settings) as site:
        before = _walked(site)
        failed = flow.sync(mirror=True)
        after = _walked(site)

    assert failed.state == "failed"
    assert after == before
    assert flow.version() == 1
    assert flow.packages() == {("a", "1.0", "amd64")}


def _canceled_at_its_end(flow: Flow, task: int, job: int, look: Callable[[], Any]) -> Any:
    """Run a task's last job, stop it where it is about to end the task, look, and cancel the task.

    What the job has written until then is whole; its transaction wants the task's row last.
    """
    with flow.db.transaction() as tx:
        tx.execute("select from tasks where id = %s for no key update", (task,))
        thread = threading.Thread(target=run_job, args=(flow.crew, job))
        thread.start()
        try:
            wait_for(lambda: rows(flow.db, BLOCKED))
            seen = look()
        finally:
            assert endings.end_task(tx, task, "canceled")
            tx.commit()
            thread.join(60)
    assert not thread.is_alive()
    assert flow.go_on(task).state == "canceled"
    return seen


def _published(flow: Flow, upstream: Upstream, folder: Path) -> str:
    """Sync a state into a repository that publishes by itself; the publication's UUID."""
    set_repository(flow, autopublish=True)
    upstream.rotate(folder)
    flow.set_remote(upstream)
    done = flow.sync()
    assert done.state == "completed", done.error
    return done.created[-1].rpartition(":")[2]


def _walked(site: Site) -> dict[str, bytes]:
    """Release, the index and the packages that it names, as a client gets them."""
    found = {}
    index = site.get("debs/dists/stable/main/binary-amd64/Packages")
    names = [line[10:] for line in index.text.splitlines() if line.startswith("Filename: ")]
    assert names
    for path in ("dists/stable/Release", "dists/stable/main/binary-amd64/Packages", *names):
        reply = site.get(f"debs/{path}")
        assert reply.status == 200, path
        found[path] = reply.body
    return found


def _half_made(db: Database, *, checkpoint: bool = False) -> UUID:
    """A publication that somebody is making."""
    repository = add_repository(db)["id"]
    with db.transaction() as tx:
        new = NewPublication(repository, 0, checkpoint=checkpoint)
        return publications.add_publication(tx, new).uuid


def _columns(**target: UUID) -> dict[str, Any]:
    """What a distribution is made of."""
    values = {"name": a_name(), "base_path": a_name(), "labels": {}, "hidden": False}
    values |= {"repository": None, "version": None, "publication": None, "checkpoint": False}
    return {**values, **target}


def _id(api: ApiClient, repository: dict[str, Any]) -> int:
    [row] = rows(api.state.db, "select id from repositories where uuid = %s", uuid_of(repository))
    return int(row["id"])


def _now_served(db: Database, distribution: int) -> str | None:
    """The UUID of the publication that a distribution serves now."""
    query = (
        "select p.uuid from served s join publications p on p.id = s.publication"
        " where s.distribution = %s and s.until is null"
    )
    found = rows(db, query, distribution)
    return str(found[0]["uuid"]) if found else None
