"""Ingesting an index: packages, the set of them, and who else does the same at that time."""

from __future__ import annotations

import random
import threading
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.rows import DictRow

from debfleet.db import plans, units
from debfleet.db.connect import Database, Tx
from debfleet.db.dealing import Dealing, deal_files
from debfleet.errors import UnsafePath
from version_rows import (
    STANZA_KEY,
    Want,
    add_task,
    digest_of,
    ingest,
    many,
    numbered,
    package_ids,
    stanza,
    want,
)


def one(tx: Tx, query: str) -> int:
    row = tx.execute(query).fetchone()
    assert row is not None
    value: int = next(iter(row.values()))
    return value


def test_an_index_becomes_packages_and_the_set_of_them(db: Database) -> None:
    texts = [stanza("a"), stanza("b", architecture="all"), stanza("c", extra="Section: misc")]

    ingested = ingest(db, texts)

    assert (ingested.stanzas, ingested.parsed, ingested.packages) == (3, 3, 3)
    with db.transaction() as tx:
        rows = tx.execute("select * from packages order by name").fetchall()
        assert [row["name"] for row in rows] == ["a", "b", "c"]
        assert [row["stanza"].encode() for row in rows] == texts
        assert rows[2]["section"] == "misc"
        assert rows[0]["relative_path"] == "pool/main/a/a/a_1.0_amd64.deb"
        assert package_ids(tx, ingested.index) == {row["id"] for row in rows}
        by_architecture = tx.execute(
            "select architecture, bit_count(bits) as n from index_chunks order by 1"
        ).fetchall()
    assert by_architecture == [
        {"architecture": "all", "n": 1},
        {"architecture": "amd64", "n": 2},
    ]


def test_the_same_index_again_is_not_even_read(db: Database) -> None:
    first = ingest(db, [stanza("a")])
    source = numbered([stanza("a")])

    again = db.run(lambda tx: units.ingest_index(tx, STANZA_KEY, digest_of([stanza("a")]), source))

    assert (again.index, again.parsed, again.packages) == (first.index, 0, 1)
    assert next(source) == (1, stanza("a"))


def test_stanzas_seen_before_are_not_parsed_and_burn_no_id(db: Database) -> None:
    ingest(db, [*many(5000)])
    with db.transaction() as tx:
        last = one(tx, "select last_value from packages_id_seq")

    again = ingest(db, [*many(5000), stanza("new")])

    assert (again.stanzas, again.parsed, again.packages) == (5001, 1, 5001)
    with db.transaction() as tx:
        assert one(tx, "select last_value from packages_id_seq") == last + 1


def test_a_repeated_stanza_is_one_package(db: Database) -> None:
    ingested = ingest(db, [stanza("a"), stanza("b"), stanza("a")])

    assert (ingested.stanzas, ingested.packages) == (3, 2)


def test_an_empty_index_is_an_index(db: Database) -> None:
    ingested = ingest(db, [])

    assert (ingested.stanzas, ingested.packages) == (0, 0)
    found = db.run(lambda tx: units.find_indices(tx, [digest_of([]), bytes(32)]))
    assert found == {digest_of([]): ingested.index}


def test_what_is_left_out_is_counted_with_its_line(db: Database) -> None:
    texts = [stanza("a"), b"Package: lonely", stanza("b"), b"Package: alone"]

    ingested = ingest(db, texts)

    assert ingested.packages == 2
    (tolerated,) = ingested.tolerated
    assert (tolerated["reason"], tolerated["count"]) == ("stanza_incomplete", 2)
    lines = dict(numbered(texts))
    assert [lines[e["line"]] for e in tolerated["examples"]] == [texts[1], texts[3]]
    again = db.run(lambda tx: units.get_ingested(tx, digest_of(texts)))
    assert again is not None
    assert again.tolerated == ingested.tolerated


def test_only_the_first_thousand_examples_of_a_reason_are_kept(db: Database) -> None:
    ingested = ingest(db, [b"Package: p%d" % i for i in range(1500)])

    (tolerated,) = ingested.tolerated
    assert tolerated["count"] == 1500
    assert len(tolerated["examples"]) == 1000


def test_a_path_outside_the_archive_leaves_nothing_behind(db: Database) -> None:
    with pytest.raises(UnsafePath):
        ingest(db, [stanza("a"), stanza("b", path="../../etc/passwd")])

    with db.transaction() as tx:
        assert one(tx, "select count(*) from packages") == 0
        assert one(tx, "select count(*) from indices") == 0


def test_ids_on_both_sides_of_a_chunk_border_are_found_again(db: Database) -> None:
    with db.transaction() as tx:
        tx.execute("select setval('packages_id_seq', 4093)")
    ingested = ingest(db, [stanza(f"p{i}") for i in range(6)])

    with db.transaction() as tx:
        assert package_ids(tx, ingested.index) == {4094, 4095, 4096, 4097, 4098, 4099}
        in_sql = tx.execute(
            "select p.id from packages p join index_chunks c on c.chunk = chunk_of(p.id)"
            " and get_bit(c.bits, place_of(p.id)) = 1 order by 1"
        ).fetchall()
    assert [row["id"] for row in in_sql] == [4094, 4095, 4096, 4097, 4098, 4099]


def test_the_chunk_size_is_the_same_in_python_and_in_postgres(db: Database) -> None:
    with db.transaction() as tx:
        assert one(tx, "select chunk_size()") == units.CHUNK
        assert one(tx, "select length(no_bits())") == units.CHUNK
        assert one(tx, f"select chunk_of({units.CHUNK})") == 1
        assert one(tx, f"select place_of({units.CHUNK} - 1)") == units.CHUNK - 1
        assert one(tx, "select id_at(chunk_of(123456789), place_of(123456789))") == 123456789


def test_two_workers_at_the_same_index_end_in_one(db: Database) -> None:
    texts = [*many(3000)]
    start = threading.Barrier(2)

    def work() -> units.Ingested:
        start.wait(10)
        return ingest(db, texts)

    with ThreadPoolExecutor(2) as pool:
        first, second = [f.result(60) for f in [pool.submit(work), pool.submit(work)]]

    assert first.index == second.index
    assert sorted([first.parsed, second.parsed]) == [0, 3000]
    with db.transaction() as tx:
        assert one(tx, "select count(*) from indices") == 1
        assert one(tx, "select last_value from packages_id_seq") == 3000


@pytest.mark.parametrize("turn", range(3))
def test_siblings_with_shared_packages_never_deadlock(db: Database, turn: int) -> None:
    # In opposite orders, so that only the order of the merge keeps them apart.
    left = [*many(4000, architecture="amd64", all_every=2)]
    right = [*many(4000, architecture="arm64", all_every=2)][::-1]
    start = threading.Barrier(2)

    def work(texts: list[bytes]) -> units.Ingested:
        start.wait(10)
        with db.transaction() as tx:  # not run(): a deadlock must not be retried away
            return units.ingest_index(tx, STANZA_KEY, digest_of(texts), numbered(texts))

    with ThreadPoolExecutor(2) as pool:
        one_, other = [f.result(60) for f in [pool.submit(work, left), pool.submit(work, right)]]

    assert (one_.packages, other.packages) == (4000, 4000)
    with db.transaction() as tx:
        assert one(tx, "select count(*) from packages") == 6000
        shared = package_ids(tx, one_.index) & package_ids(tx, other.index)
    assert len(shared) == 2000


def test_cleanup_waits_for_who_relies_on_a_unit(db: Database, database_url: str) -> None:
    ingest(db, [stanza("a")])

    with db.transaction() as tx:
        units.find_indices(tx, [digest_of([stanza("a")])])
        with psycopg.connect(database_url) as other:
            other.execute("set local lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                units.lock_content(other, exclusive=True)  # type: ignore[arg-type]  # rows unused


def test_statements_follow_batches_and_memory_does_not_follow_the_index(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "BATCH", batch := 1000)

    def cost(count: int) -> tuple[int, int]:
        statements = 0
        with db.transaction() as tx:
            real = tx.execute

            def counting(*args: object, **kwargs: object) -> object:
                nonlocal statements
                statements += 1
                return real(*args, **kwargs)  # type: ignore[call-overload]  # passed on

            tracemalloc.start()
            try:
                stanzas = numbered(many(count, architecture=f"a{count}"))
                with monkeypatch.context() as patch:
                    patch.setattr(tx, "execute", counting)
                    units.ingest_index(tx, STANZA_KEY, bytes([count // 1000]) * 32, stanzas)
                return statements, tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    small_statements, small_memory = cost(batch * 2)
    large_statements, large_memory = cost(batch * 6)

    assert large_statements == small_statements + 4  # one lookup a batch
    assert large_memory < small_memory * 1.3


def test_missing_files_are_those_of_accepted_packages_that_are_not_stored(db: Database) -> None:
    texts = [stanza("a"), stanza("b"), stanza("c", architecture="all"), stanza("b", note=" again")]
    index = ingest(db, texts).index

    def plan(tx: Tx) -> list[dict[int, int]]:
        task = add_task(tx)
        want(tx, task, [Want(index, accept=("amd64",)), Want(index)])
        sha256 = tx.execute("select sha256 from packages where name = 'a'").fetchone()
        assert sha256 is not None
        units.add_artifacts(tx, [(sha256["sha256"], 1000), (sha256["sha256"], 1000)])
        return [units.list_missing_files(tx, task, positions) for positions in ([0], [0], [1])]

    assert db.run(plan) == [{0: 1}, {}, {0: 1}]
    with db.transaction() as tx:
        rows = tx.execute("select path from task_files order by 1").fetchall()
    assert [row["path"] for row in rows] == [
        "pool/main/b/b/b_1.0_amd64.deb",
        "pool/main/c/c/c_1.0_all.deb",
    ]


@pytest.mark.parametrize(
    ("files", "slots", "most_files", "most_bytes", "chunks"),
    [
        (400, 1, 1024, 1 << 30, [200, 200]),
        (400, 2, 1024, 1 << 30, [100] * 2 + [50] * 4),
        (400, 2, 80, 1 << 30, [80] * 2 + [50] * 4 + [40]),
        (400, 1, 1024, 120_000, [120, 80, 40, 120, 40]),  # of 1,000 bytes each
        (20, 4, 1024, 1 << 30, [16, 4]),
        (5, 1, 2, 1 << 30, [2, 2, 1]),
    ],
)
def test_files_are_dealt_into_chunks_of_half_a_share_and_then_of_quarters(
    db: Database, files: int, slots: int, most_files: int, most_bytes: int, chunks: list[int]
) -> None:
    index = ingest(db, list(many(files))).index

    def plan(tx: Tx, *, at_once: bool) -> list[int]:
        task = add_task(tx)
        want(tx, task, [Want(index)])
        dealing = Dealing(7, most_files, most_bytes, slots)
        if at_once:
            dealt = units.list_missing_files(tx, task, [0], dealing)
        else:
            units.list_missing_files(tx, task, [0])
            dealt = deal_files(tx, task, dealing)
        assert list(dealt) == list(range(1, len(dealt) + 1))
        assert len(plans.list_chunk(tx, task, 7, 1)) == dealt[1]
        return list(dealt.values())

    assert db.run(lambda tx: plan(tx, at_once=True)) == chunks
    assert db.run(lambda tx: plan(tx, at_once=False)) == chunks


# --- with the help of the index before ------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_index_before_changes_nothing_of_what_an_index_holds(db: Database, seed: int) -> None:
    dice = random.Random(seed)
    before = [stanza(f"p{n}", architecture=dice.choice(["all", "amd64"])) for n in range(300)]
    first = ingest(db, before)
    texts = dice.sample(before, dice.choice([0, 1, 250, 300]))
    texts += [stanza(f"new{n}") for n in range(dice.choice([0, 40]))]
    texts += dice.choices(texts, k=20) if texts else []  # an index may repeat a stanza
    texts.append(b"Package: broken")
    dice.shuffle(texts)

    def ingest_both(tx: Tx) -> None:
        alone = units.ingest_index(tx, STANZA_KEY, b"a" * 32, numbered(texts))
        helped = units.ingest_index(tx, STANZA_KEY, b"b" * 32, numbered(texts), before=first.index)
        assert package_ids(tx, helped.index) == package_ids(tx, alone.index)
        assert (helped.stanzas, helped.packages) == (alone.stanzas, alone.packages)
        assert [(t["reason"], t["count"]) for t in helped.tolerated] == [
            (t["reason"], t["count"]) for t in alone.tolerated
        ]

    db.run(ingest_both)


def test_what_the_index_before_held_is_not_asked_for(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "BATCH", 100)
    texts = list(many(1000))
    first = ingest(db, texts)
    asked: list[int] = []
    find_known = units._find_known

    def counted(tx: Tx, reading: units._Reading, digests: Sequence[bytes]) -> list[DictRow]:
        asked.append(len(digests))
        return find_known(tx, reading, digests)

    monkeypatch.setattr(units, "_find_known", counted)
    again = numbered([*texts, stanza("new"), texts[7]])
    second = db.run(
        lambda tx: units.ingest_index(tx, STANZA_KEY, b"b" * 32, again, before=first.index)
    )

    assert asked == [0] * 10 + [2]  # the new one, and the one that came before
    assert (second.stanzas, second.parsed, second.packages) == (1002, 1, 1001)


def test_a_package_of_the_index_before_that_is_gone_is_made_again(db: Database) -> None:
    texts = [stanza("a"), stanza("b")]
    first = ingest(db, texts)

    def ingest_again(tx: Tx) -> units.Ingested:
        tx.execute("alter table packages disable trigger user")
        tx.execute("delete from packages where name = 'a'")
        return units.ingest_index(tx, STANZA_KEY, b"b" * 32, numbered(texts), before=first.index)

    second = db.run(ingest_again)

    assert (second.parsed, second.packages) == (1, 2)
    with db.transaction() as tx:
        assert len(package_ids(tx, second.index)) == 2
        assert one(tx, "select count(*) from packages") == 2
