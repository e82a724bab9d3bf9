"""A download that asks upstream for nothing more: its slots and its worker are the next one's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from coordination import rows
from debfleet.db.slots import scope_of
from debfleet_worker.actors import take_job
from sync_flow import Flow

Write = Callable[..., Archive]

_NAMES = ("one", "two", "three", "four")


def begin(flow: Flow, upstream: Upstream, write: Write) -> tuple[int, list[int]]:
    """A sync up to its downloads, a file to each: its task and their jobs."""
    dist = Dist("stable", {"main": [Pkg(name) for name in _NAMES]})
    upstream.rotate(write(dist).folder)
    settings = replace(flow.crew.worker.settings, chunk_files=1)
    flow.crew = replace(flow.crew, worker=replace(flow.crew.worker, settings=settings))
    flow.set_remote(upstream, download_concurrency=2)
    task = flow.ask_sync()
    flow.go_on_to(task, "download")
    asked = "select id from jobs where task = %s and kind = 'download' order by id"
    return task, [row["id"] for row in rows(flow.db, asked, task)]


@contextmanager
def no_endings(flow: Flow, task: int) -> Iterator[None]:
    """Within the block no job of the task can end: each needs the task's row for it."""
    with flow.db.transaction() as tx:
        tx.execute("select from tasks where id = %s for update", (task,))
        yield


def state(flow: Flow, job: int) -> str:
    return str(rows(flow.db, "select state from jobs where id = %s", job)[0]["state"])


def holders(flow: Flow) -> set[str]:
    assert flow.remote is not None
    held = "select holder from slot_leases where scope = %s and granted > 0"
    return {row["holder"] for row in rows(flow.db, held, scope_of(flow.remote.id))}


def test_a_worker_begins_the_next_download_while_one_is_being_written_down(
    flow: Flow, upstream: Upstream, write: Write
) -> None:
    task, [first, second, *_] = begin(flow, upstream, write)

    with no_endings(flow, task):
        take_job(flow.crew, first)

        assert state(flow, first) == "running"
        assert holders(flow) == set()
        upstream.clear()
        taking = threading.Thread(target=take_job, args=(flow.crew, second))
        taking.start()
        upstream.wait_for(lambda u: any(path.startswith("pool/") for path in u.paths()))
        assert state(flow, second) == "running"
        # It may not be left before the one that was: what is unsaid does not pile up.
        assert taking.is_alive()

    taking.join()
    done = flow.go_on(task)
    assert done.state == "completed", done.error
    assert flow.packages() == {(name, "1.0", "amd64") for name in _NAMES}


def test_a_file_that_is_not_there_is_settled_before_the_worker_takes_another_job(
    flow: Flow, upstream: Upstream, write: Write
) -> None:
    _, [first, *_] = begin(flow, upstream, write)
    for path in upstream.folder.rglob("*.deb"):
        path.unlink()

    take_job(flow.crew, first)

    assert state(flow, first) == "failed"
