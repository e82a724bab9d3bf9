"""With many packages: memory does not follow the size of an index, time follows what is new."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from debfleet.config import Settings
from debfleet.db import units, versions
from debfleet.db.connect import Database
from debfleet.store import Store
from publish_flow import Published, ask_publish, read_publication, run_task, unpacked
from sync_flow import Flow, add_repository, crew_of
from version_rows import STANZA_KEY, Want, add_task, many, numbered, want

COUNT = int(os.environ.get("DEBFLEET_TEST_SCALE", "20000"))  # more in `make fuzz`
MEMORY_KIB = 34 << 10  # 28 to 30 MiB are needed for any number; 38 where 20,000 are held whole


@pytest.fixture
def flow(settings: Settings, db: Database, store: Store) -> Iterator[Flow]:
    with crew_of(settings, db, store) as crew:
        yield Flow(db, crew, add_repository(db))


def add_version(flow: Flow, count: int, *, changed: int = 0) -> int:
    """A version of so many packages, all in one index."""
    stanzas = numbered(many(count, changed=changed, all_every=0))
    sha256 = hashlib.sha256(f"{count} {changed}".encode()).digest()
    index = flow.db.run(lambda tx: units.ingest_index(tx, STANZA_KEY, sha256, stanzas)).index
    with flow.db.transaction() as tx:
        task = add_task(tx)
        want(tx, task, [Want(index)])
        tx.execute(
            "insert into release_architectures (distribution, architecture, base_architecture)"
            " values ('stable', 'amd64', 'amd64') on conflict do nothing"
        )
        tx.execute("insert into task_units select %s, 9, id from release_architectures", (task,))
        repository = flow.repository["id"]
        made = versions.assemble(tx, repository=repository, task=task, mirror=True, options={})
        assert made is not None
        tx.execute("update tasks set state = 'completed', finished = now() where id = %s", (task,))
        return made.number


def timed(flow: Flow, number: int) -> tuple[float, int, Published]:
    """Seconds of CPU, KiB that the process grew by at most, and the publication."""
    task = ask_publish(flow, number)
    before = reset_peak()
    start = time.process_time()
    done = run_task(flow, task)
    seconds = time.process_time() - start
    grown = memory("VmHWM") - before
    assert done.state == "completed", done.error
    return seconds, grown, read_publication(flow, done)


def reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> int:
    """KiB of this process, as Linux says."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))


def test_a_publication_of_many_packages_takes_little_memory_and_little_time_again(
    flow: Flow,
) -> None:
    timed(flow, add_version(flow, 1000))  # what is loaded once
    number = add_version(flow, COUNT)

    first, grown, made = timed(flow, number)
    again, _, same = timed(flow, number)

    index = "dists/stable/main/binary-amd64/Packages"
    assert made.files[index].count(b"\nFilename: ") == COUNT
    for ending in (".gz", ".xz"):
        assert unpacked(index + ending, made.files[index + ending]) == made.files[index]
    assert same.listed("stable") == made.listed("stable")
    print(f"first {first:.1f} s, again {again:.1f} s, grown by {grown / 1024:.1f} MiB")
    assert grown < MEMORY_KIB
    assert again < first  # compressing is the larger part


def test_an_index_that_begins_like_the_one_before_is_compressed_as_a_whole(flow: Flow) -> None:
    timed(flow, add_version(flow, 3000))

    _, _, made = timed(flow, add_version(flow, 3000, changed=30))

    index = "dists/stable/main/binary-amd64/Packages"
    assert made.files[index].count(b"\nFilename: ") == 3000
    for ending in (".gz", ".xz"):
        assert unpacked(index + ending, made.files[index + ending]) == made.files[index]
