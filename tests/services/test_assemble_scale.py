"""With many packages: cost follows the change. Ratios of one run, since machines differ.

A plan that goes wrong takes minutes, so everything runs under a statement timeout.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import pytest

from debfleet.db import units, versions
from debfleet.db.connect import Database, Tx
from debfleet.errors import DuplicatePackages
from debfleet.model import Kind
from version_rows import (
    STANZA_KEY,
    Want,
    add_repository,
    add_task,
    ingest,
    many,
    numbered,
    stanza,
    want,
)

pytestmark = pytest.mark.alone

T = TypeVar("T")
COUNT = int(os.environ.get("DEBFLEET_TEST_SCALE", "30000"))  # more in `make fuzz`
CHANGED = COUNT // 100


def timed(db: Database, work: Callable[[Tx], T]) -> tuple[float, T]:
    """Seconds of a transaction that may not hang, and what it gave."""
    start = time.perf_counter()
    with db.transaction() as tx:
        tx.execute("set local statement_timeout = '30s'")
        result = work(tx)
    return time.perf_counter() - start, result


def ingesting(number: int, **choices: int) -> Callable[[Tx], units.Ingested]:
    stanzas = numbered(many(COUNT, **choices))  # type: ignore[arg-type]  # numbers only
    return lambda tx: units.ingest_index(tx, STANZA_KEY, bytes([number]) * 32, stanzas)


def syncing(
    repository: int, indices: Sequence[int], *, mirror: bool = False
) -> Callable[[Tx], versions.NewVersion | None]:
    def work(tx: Tx) -> versions.NewVersion | None:
        task = add_task(tx)
        want(tx, task, [Want(index, f"c{i}") for i, index in enumerate(indices)])
        return versions.assemble(tx, repository=repository, task=task, mirror=mirror, options={})

    return work


def refused(repository: int, indices: Sequence[int]) -> Callable[[Tx], versions.NewVersion | None]:
    def work(tx: Tx) -> None:
        with pytest.raises(DuplicatePackages), tx.transaction():
            syncing(repository, indices)(tx)

    return work


def best(
    db: Database, works: Iterable[Callable[[Tx], versions.NewVersion | None]]
) -> tuple[float, versions.NewVersion | None]:
    """The quickest of several like ones (another process may have had the core), and its result."""
    return min((timed(db, work) for work in works), key=lambda timing: timing[0])


def test_ingestion_costs_what_was_not_seen_before(db: Database) -> None:
    first, all_of_it = timed(db, ingesting(1))
    again, same = timed(db, ingesting(2))
    known, known_index = timed(db, ingesting(1))
    slightly, changed = timed(db, ingesting(3, changed=CHANGED))

    assert [i.parsed for i in (all_of_it, same, known_index, changed)] == [COUNT, 0, 0, CHANGED]
    assert again < first / 2
    assert known < first / 20
    assert slightly < first / 2


def test_assembling_costs_what_changed(db: Database) -> None:
    _, whole = timed(db, ingesting(1))
    _, changed = timed(db, ingesting(2, changed=CHANGED))
    rebuilt = [stanza(f"pkg{i:06d}", "1.0", "amd64", build="2") for i in range(1, CHANGED * 3, 3)]
    other_build = ingest(db, rebuilt).index
    with db.transaction() as tx:
        all_three = [add_repository(tx, f"r{i}") for i in range(3)]
        mirrors = [add_repository(tx, f"m{i}") for i in range(3)]

    first, _ = timed(db, syncing(all_three[0], [whole.index]))

    second, version = best(db, (syncing(r, [whole.index]) for r in all_three[1:]))
    assert version is not None
    assert version.counts[Kind.PACKAGE] == versions.Counts(COUNT, COUNT, 0)
    assert second < first / 2  # the first holds all of it

    unchanged, version = best(db, (syncing(r, [whole.index]) for r in all_three))
    assert version is None
    assert unchanged < first / 4  # a tenth where the machine is idle

    slightly, version = best(db, (syncing(r, [changed.index]) for r in all_three))
    assert version is not None
    assert version.counts[Kind.PACKAGE] == versions.Counts(COUNT + CHANGED, CHANGED, 0)
    assert slightly < first / 2

    best(db, (syncing(r, [whole.index], mirror=True) for r in mirrors))
    slightly, version = best(db, (syncing(r, [changed.index], mirror=True) for r in mirrors))
    assert version is not None
    assert version.counts[Kind.PACKAGE] == versions.Counts(COUNT, CHANGED, CHANGED)
    assert slightly < first / 2

    both_builds = [whole.index, other_build]
    clash, _ = best(db, (refused(r, both_builds) for r in all_three))
    assert clash < 0.5

    replacing, version = best(db, (syncing(r, [other_build]) for r in all_three))
    assert version is not None
    assert version.replaced == CHANGED
    assert replacing < 0.5


def test_the_hundredth_version_costs_what_the_fifth_did(db: Database) -> None:
    with db.transaction() as tx:
        repository = add_repository(tx)
    texts = [*many(400)]
    costs = []

    for number in range(100):
        for i in range(number * 4, number * 4 + 4):  # one per cent, another one each time
            texts[i] = stanza(f"pkg{i:06d}", f"3.{number}", "amd64")
        index = ingest(db, texts).index
        cost, version = timed(db, syncing(repository, [index], mirror=True))
        assert version is not None
        costs.append(cost)

    assert min(costs[80:]) < min(costs[5:25]) * 2
    with db.transaction() as tx:
        row = tx.execute("select count(*) as n from repository_chunks").fetchone()
    assert row is not None
    assert row["n"] < 100 * 6  # a version writes the chunks that differ: an old and a new place
