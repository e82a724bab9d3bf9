"""What somebody else has stored is given to a repository only when its own remote holds it.

The hidden repository has a file; somebody who may not read it lists the file's digest in an archive
of their own, which has the file or not.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from archive import faults
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db import alternates, tasks, uploads
from debfleet.db.connect import Database
from debfleet.db.tasks import NewTask
from debfleet_worker.chores import CHORES
from publish_flow import publish, run_task
from serving import add_distribution, serving
from sync_flow import Flow, Synced, add_repository

Write = Callable[..., Archive]
SECRET, BIG, OWN = Pkg("secret"), Pkg("big", payload_size=300_000), Pkg("own")
PATHS = {
    name: f"pool/main/{name[0]}/{name}/{name}_1.0_amd64.deb" for name in ("secret", "big", "own")
}


def stable(packages: Sequence[Pkg]) -> Dist:
    return Dist("stable", {"main": packages})


def add_user(db: Database) -> int:
    """Somebody who may do nothing."""
    query = """insert into users (username, password_hash, is_superuser)
               values (%s, '', false) returning id"""
    with db.transaction() as tx:
        row = tx.execute(query, (str(uuid4()),)).fetchone()
        assert row is not None
    return int(row["id"])


def allow(db: Database, user: int, repository: dict[str, Any] | None) -> None:
    """May read this repository; none: all of them."""
    prn = None if repository is None else f"prn:deb.aptrepository:{repository['uuid']}"
    with db.transaction() as tx:
        tx.execute(
            "insert into grants (role, who, object)"
            " select id, %s, %s from roles where name = 'deb.aptrepository_viewer'",
            (user, prn),
        )


@dataclass(frozen=True)
class Stage:
    """Two repositories in one store, each with its remote."""

    db: Database
    hidden: Flow
    mine: Flow
    user: int
    upstream: Upstream  # of mine
    folder: Path  # what it serves
    hidden_upstream: Upstream

    def lose(self, *names: str) -> None:
        """My archive lists these, and does not have them."""
        for name in names:
            (self.folder / PATHS[name]).unlink()

    def store_hidden(self) -> None:
        assert self.hidden.sync().state == "completed"
        self.upstream.clear()

    def asked(self, name: str) -> list[tuple[str, int, int]]:
        """Method, status and bytes of what my upstream was asked of a package."""
        return [
            (r.method, r.status, r.sent) for r in self.upstream.requests if r.path == PATHS[name]
        ]

    def unseen(self) -> set[str]:
        """The packages that my repository has not seen."""
        return unseen(self.mine)

    def another(self) -> Flow:
        """A further repository of mine."""
        flow = Flow(self.db, self.mine.crew, add_repository(self.db))
        flow.asker = self.user
        allow(self.db, self.user, flow.repository)
        return flow


@pytest.fixture
def stage(flow: Flow, write: Write, upstream: Upstream, tmp_path: Path) -> Iterator[Stage]:
    flow.crew = replace(flow.crew, chores=CHORES)
    hidden = Flow(flow.db, flow.crew, add_repository(flow.db))
    mine = write(stable([SECRET, BIG, OWN]))
    upstream.rotate(mine.folder)
    flow.set_remote(upstream)
    flow.asker = add_user(flow.db)
    allow(flow.db, flow.asker, flow.repository)
    with Upstream(write(stable([SECRET, BIG])).folder) as other:
        hidden.set_remote(other)
        yield Stage(flow.db, hidden, flow, flow.asker, upstream, mine.folder, other)


def unseen(flow: Flow) -> set[str]:
    """The packages that a repository has not seen."""
    query = """select p.name from unseen_files x join packages p using (sha256)
                where x.repository = %s"""
    with flow.db.transaction() as tx:
        return {r["name"] for r in tx.execute(query, (flow.repository["id"],))}


def ask(flow: Flow, kind: str, args: dict[str, Any]) -> Synced:
    new = NewTask(kind, kind, args, exclusive=["r"], created_by=flow.asker)
    task = flow.db.run(lambda tx: tasks.ask(tx, new)).id
    flow.db.run(lambda tx: tasks.start(tx, task))
    return run_task(flow, task)


def copy_all(source: Flow, target: Flow) -> Synced:
    entry = {"source": source.repository["id"], "number": source.version()}
    entry |= {"target": target.repository["id"], "base_number": None, "units": None}
    return ask(target, "copy", {"entries": [entry], "structured": True})


# --- immediate -----------------------------------------------------------------------------------


def test_who_does_not_have_a_file_does_not_get_it_by_its_digest(stage: Stage) -> None:
    stage.store_hidden()
    stage.lose("secret")

    done = stage.mine.sync()

    assert done.state == "failed"
    assert "404" in done.error
    assert PATHS["secret"] in done.error


def test_a_server_that_says_the_right_size_of_what_it_does_not_have_gets_nothing(
    stage: Stage,
) -> None:
    stage.store_hidden()
    stage.upstream.faults.append(faults.wrong_bytes("*secret*"))

    done = stage.mine.sync()

    assert done.state == "failed"
    assert PATHS["secret"] in done.error


def test_a_stored_file_that_the_remote_has_is_compared_and_not_fetched(stage: Stage) -> None:
    stage.store_hidden()

    done = stage.mine.sync()

    assert (done.state, done.error) == ("completed", "")
    assert len(stage.mine.packages()) == 3
    assert stage.asked("big") == [("GET", 206, 4096)]
    assert [(status, sent < 4097) for _, status, sent in stage.asked("secret")] == [(206, True)]
    assert stage.unseen() == set()


def test_a_server_that_gives_no_ranges_is_asked_for_the_whole_file(stage: Stage) -> None:
    stage.store_hidden()
    stage.upstream.faults.append(faults.no_range())

    done = stage.mine.sync()

    assert (done.state, done.error) == ("completed", "")
    assert {status for _, status, _ in stage.asked("big")} == {200}
    assert stage.unseen() == set()


def test_what_the_remote_was_seen_to_hold_is_not_asked_for_again(
    stage: Stage, write: Write
) -> None:
    stage.store_hidden()
    assert stage.mine.sync().state == "completed"
    stage.upstream.rotate(write(stable([SECRET, BIG, OWN, Pkg("new")])).folder)
    stage.upstream.clear()

    assert stage.mine.sync().state == "completed"

    assert [p for p in stage.upstream.paths() if p.startswith("pool/")] == [
        "pool/main/n/new/new_1.0_amd64.deb"
    ]


def test_a_file_of_a_repository_that_one_may_read_is_given(stage: Stage) -> None:
    stage.store_hidden()
    allow(stage.db, stage.user, stage.hidden.repository)
    stage.lose("secret", "big")

    done = stage.mine.sync()

    assert (done.state, done.error) == ("completed", "")
    assert stage.asked("secret") == []


@pytest.mark.parametrize("who", ["nobody", "reader of all"])
def test_who_may_read_everything_pays_nothing(stage: Stage, who: str) -> None:
    stage.store_hidden()
    stage.lose("secret", "big")
    if who == "nobody":
        stage.mine.asker = None
    else:
        allow(stage.db, stage.user, None)

    done = stage.mine.sync()

    assert (done.state, done.error) == ("completed", "")
    assert stage.asked("secret") == []


def test_who_uses_a_remote_that_an_administrator_synced_has_its_files(stage: Stage) -> None:
    stage.store_hidden()
    mine = stage.another()
    mine.remote = stage.hidden.remote
    stage.hidden_upstream.clear()

    done = mine.sync()

    assert (done.state, done.error) == ("completed", "")
    assert [p for p in stage.hidden_upstream.paths() if p.startswith("pool/")] == []


@pytest.mark.parametrize("level", ["warn", "off"])
def test_a_guard_that_lets_files_be_missing_gives_none_away(
    stage: Stage, level: str, settings: Settings
) -> None:
    stage.store_hidden()
    stage.lose("secret")
    stage.mine.set_remote(stage.upstream, guards={"missing_files": level})

    done = stage.mine.sync()

    assert (done.state, done.error) == ("completed", "")
    names = {name for name, _, _ in stage.mine.packages()}
    assert ("secret" in names) == (level == "off")
    publish(stage.mine)
    add_distribution(stage.db, "mine", repository=stage.mine.repository["id"])
    with serving(settings) as site:
        assert site.get(f"mine/{PATHS['secret']}").status == 404
        assert site.get(f"mine/{PATHS['big']}").status == 200


def test_an_index_that_is_known_to_others_is_fetched_too(stage: Stage) -> None:
    stage.store_hidden()
    stage.upstream.rotate(stage.hidden_upstream.folder)
    stage.upstream.faults.append(faults.status("*Packages*", 404))
    stage.upstream.faults.append(faults.status("*by-hash*", 404))

    done = stage.mine.sync()

    assert done.state == "failed"
    assert "No suitable package index files" in done.error


def test_an_alternate_source_gives_nothing_that_the_remote_was_not_seen_to_hold(
    stage: Stage,
) -> None:
    remote = stage.hidden.set_remote(stage.hidden_upstream, policy="on_demand")
    stage.store_hidden()
    with stage.db.transaction() as tx:
        alternates.add_source(tx, "hidden", remote.uuid)
    stage.lose("secret")

    done = stage.mine.sync()

    assert done.state == "failed"
    assert "404" in done.error
    assert PATHS["secret"] not in stage.hidden_upstream.paths()


# --- on demand -----------------------------------------------------------------------------------


def test_on_demand_a_stored_file_is_compared_in_the_sync(stage: Stage) -> None:
    stage.store_hidden()
    stage.lose("secret")
    stage.mine.set_remote(stage.upstream, policy="on_demand")

    assert stage.mine.sync().state == "failed"

    assert stage.asked("big") == [("GET", 206, 4096)]
    assert stage.asked("own") == []


@pytest.mark.parametrize("policy", ["on_demand", "streamed"])
def test_on_demand_what_others_store_later_is_not_served(
    stage: Stage, settings: Settings, policy: str
) -> None:
    stage.mine.set_remote(stage.upstream, policy=policy)
    assert stage.mine.sync().state == "completed"
    publish(stage.mine)
    add_distribution(stage.db, "mine", repository=stage.mine.repository["id"])
    stage.store_hidden()
    stage.lose("secret")

    with serving(settings) as site:
        secret, big = (site.get(f"mine/{PATHS[name]}") for name in ("secret", "big"))
        again = site.get(f"mine/{PATHS['big']}")

    assert secret.status == 404
    assert big.status == again.status == 200
    assert big.body == again.body == (stage.folder / PATHS["big"]).read_bytes()
    assert [status for _, status, _ in stage.asked("big")] == [200]
    assert stage.unseen() == {"secret", "own"}


def test_a_remote_that_one_may_not_use_is_not_asked_for_what_ones_own_lists(
    stage: Stage, settings: Settings
) -> None:
    stage.hidden.set_remote(stage.hidden_upstream, policy="on_demand")
    stage.store_hidden()
    stage.mine.set_remote(stage.upstream, policy="on_demand")
    assert stage.mine.sync().state == "completed"
    stage.lose("secret")
    publish(stage.mine)
    add_distribution(stage.db, "mine", repository=stage.mine.repository["id"])

    with serving(settings) as site:
        answer = site.get(f"mine/{PATHS['secret']}")

    assert answer.status == 404
    assert PATHS["secret"] not in stage.hidden_upstream.paths()


def test_what_is_about_to_vanish_is_to_be_seen_before(stage: Stage, write: Write) -> None:
    fields = {"policy": "on_demand", "vanishing": "fetch", "guards": {"shrink": "off"}}
    stage.mine.set_remote(stage.upstream, **fields)
    assert stage.mine.sync().state == "completed"
    stage.store_hidden()
    new = write(stable([Pkg("own", "2.0")])).folder
    for name in ("big", "own"):
        (new / PATHS[name]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stage.folder / PATHS[name], new / PATHS[name])
    stage.upstream.rotate(new)

    done = stage.mine.sync(mirror=True)

    assert (done.state, done.error) == ("completed", "")
    assert stage.asked("big") == [("GET", 206, 4096)]
    assert [status for _, status, _ in stage.asked("own")] == [200]
    assert stage.mine.tolerances(done.task) == [("vanished_files", PATHS["secret"])]
    assert stage.unseen() == {"secret", "own"}  # of own the new one


def test_an_immediate_sync_after_one_on_demand_shows_what_it_fetches(stage: Stage) -> None:
    stage.mine.set_remote(stage.upstream, policy="on_demand")
    assert stage.mine.sync().state == "completed"
    assert stage.unseen() == {"secret", "big", "own"}

    stage.mine.set_remote(stage.upstream, policy="immediate")
    done = stage.mine.sync(optimize=False)

    assert (done.state, done.error) == ("completed", "")
    assert stage.unseen() == set()


def test_a_copy_has_not_seen_what_its_source_has_not(stage: Stage, settings: Settings) -> None:
    stage.mine.set_remote(stage.upstream, policy="on_demand")
    assert stage.mine.sync().state == "completed"
    copy = stage.another()

    assert copy_all(stage.mine, copy).state == "completed"
    stage.store_hidden()
    stage.lose("secret")

    publish(copy)
    add_distribution(stage.db, "copy", repository=copy.repository["id"])
    with serving(settings) as site:
        assert site.get(f"copy/{PATHS['secret']}").status == 404
        assert site.get(f"copy/{PATHS['big']}").status == 200


def test_a_copy_from_where_a_file_was_seen_gives_it(stage: Stage) -> None:
    stage.mine.set_remote(stage.upstream, policy="on_demand")
    assert stage.mine.sync().state == "completed"
    given = stage.another()
    given.set_remote(stage.hidden_upstream)
    assert given.sync().state == "completed"
    copy = stage.another()

    assert copy_all(stage.mine, copy).state == "completed"

    assert unseen(copy) == {"own"}


def test_what_was_not_seen_is_no_proof_that_one_has_it(stage: Stage) -> None:
    stage.mine.set_remote(stage.upstream, policy="on_demand")
    assert stage.mine.sync().state == "completed"
    stage.store_hidden()
    digest = hashlib.sha256((stage.folder / PATHS["secret"]).read_bytes()).digest()
    stage.lose("secret")
    other = stage.another()
    other.set_remote(stage.upstream)

    with stage.db.transaction() as tx:
        holders = uploads.list_holders(tx, digest)

    assert holders == [stage.hidden.repository["id"]]
    assert other.sync().state == "failed"


def test_a_file_that_was_given_by_hand_is_served(stage: Stage, settings: Settings) -> None:
    stage.mine.set_remote(stage.upstream, policy="on_demand")
    assert stage.mine.sync().state == "completed"
    body = (stage.folder / PATHS["secret"]).read_bytes()
    stage.store_hidden()
    stage.lose("secret")
    args = {
        "kind": 1,
        "name": "secret",
        "source": {"artifact": hashlib.sha256(body).hexdigest(), "size": len(body)},
    }
    args |= {"relative_path": None, "repository": stage.mine.repository["id"], "overwrite": True}

    done = ask(stage.mine, "add_file", args | {"distribution": "stable", "component": "main"})

    assert (done.state, done.error) == ("completed", "")
    publish(stage.mine)
    add_distribution(stage.db, "mine", repository=stage.mine.repository["id"])
    with serving(settings) as site:
        assert site.get(f"mine/{PATHS['secret']}").status == 200
