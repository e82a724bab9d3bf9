"""Rows of docs/reliability.md that a whole sync shows: what upstream and the store do to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from archive import faults
from archive.keys import SigningKey
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from coordination import rows
from debfleet.store import Store
from debfleet_worker.actors import run_job
from sync_flow import Flow

Write = Callable[..., Archive]
A, B = Pkg("a"), Pkg("b")


def stable(*packages: Pkg, day: int = 1, **fields: Any) -> Dist:
    date = datetime(2026, 1, day, tzinfo=UTC)
    return Dist("stable", {"main": packages}, date=date, **fields)


def test_an_upstream_that_turns_from_inrelease_to_release_with_a_signature_and_back_is_followed(
    flow: Flow, upstream: Upstream, write: Write
) -> None:
    key = SigningKey.generate()
    inline, apart = ("InRelease",), ("Release", "Release.gpg")
    flow.set_remote(upstream, gpgkey=key.public)
    held = []

    for day, forms in enumerate((inline, apart, inline, apart), 1):
        upstream.rotate(write(stable(A, day=day, forms=forms), key=key).folder)
        done = flow.sync(mirror=True)
        assert done.state == "completed", done.error
        held.append(_release_files(flow))

    # Never both forms, of which one would be of an earlier day.
    assert held == [
        {f"dists/stable/{name}" for name in forms} for forms in (inline, apart, inline, apart)
    ]


@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("left", ["InRelease", "Release"])
def test_a_form_of_release_that_was_left_over_is_neither_taken_nor_kept(
    flow: Flow, upstream: Upstream, write: Write, left: str, is_signed: bool
) -> None:
    key = SigningKey.generate()
    old, new = (write(stable(p, day=d), key=key).folder for p, d in ((A, 1), (B, 2)))
    forms = {"InRelease": ("InRelease",), "Release": ("Release", "Release.gpg")}
    for name in forms[left]:
        (new / "dists/stable" / name).write_bytes((old / "dists/stable" / name).read_bytes())
    upstream.rotate(new)
    flow.set_remote(upstream, gpgkey=key.public if is_signed else None)

    done = flow.sync(mirror=True)

    assert done.state == "completed", done.error
    assert {name for name, _, _ in flow.packages()} == {"b"}
    [kept] = (names for name, names in forms.items() if name != left)
    assert _release_files(flow) == {f"dists/stable/{name}" for name in kept}


def _release_files(flow: Flow) -> set[str]:
    """The forms of Release that the latest version holds."""
    found = rows(
        flow.db,
        "select f.path from repository_chunks c"
        " join content_lists l on l.id = c.list and l.kind = 4"
        " cross join generate_series(0, chunk_size() - 1) i"
        " join unit_files f on f.kind = 4 and f.unit = id_at(c.chunk, i)"
        " where c.repository = %s and c.removed is null and get_bit(c.bits, i) = 1",
        flow.repository["id"],
    )
    return {row["path"] for row in found}


def test_two_answers_that_a_proxy_swapped_are_fetched_anew(
    flow: Flow, upstream: Upstream, write: Write
) -> None:
    archive = write(stable(A, B))
    upstream.rotate(archive.folder)
    bodies = [(archive.folder / one.path).read_bytes() for one in archive.listed]
    for one, other in zip(archive.listed, reversed(bodies), strict=True):
        upstream.faults.append(faults.wrong_bytes(one.path, other, times=1))
    flow.set_remote(upstream, max_retries=2)

    done = flow.sync()

    assert done.state == "completed", done.error
    assert {one.sha256 for one in archive.listed} <= flow.stored()
    fetched = sorted(path for path in upstream.paths() if path.startswith("pool/"))
    assert fetched == sorted([one.path for one in archive.listed] * 2)


@pytest.mark.parametrize("left", [b"", b"torn"], ids=["empty", "torn"])
def test_a_file_that_a_loss_of_power_tore_is_fetched_over_it(
    flow: Flow, upstream: Upstream, write: Write, store_url: str, left: bytes
) -> None:
    archive = write(stable(A))
    upstream.rotate(archive.folder)
    flow.set_remote(upstream)
    [file] = archive.listed
    place = Path(store_url.removeprefix("file://")) / file.sha256[:2] / file.sha256
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(left)

    done = flow.sync()

    assert done.state == "completed", done.error
    assert place.stat().st_size == file.size
    assert file.sha256 in flow.stored()


class Recorder:
    """A store that remembers which of some files it had when it was flushed last."""

    def __init__(self, store: Store, digests: list[bytes]) -> None:
        self._store = store
        self._digests = digests
        self.durable: set[bytes] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def flush(self, found: Sequence[bytes] = ()) -> None:
        there = set(self._digests) - self._store.missing(self._digests)
        self._store.flush(found)
        self.durable |= there


def test_no_row_says_that_a_file_is_stored_before_it_outlives_a_loss_of_power(
    flow: Flow, upstream: Upstream, write: Write
) -> None:
    archive = write(stable(A, B))
    upstream.rotate(archive.folder)
    flow.set_remote(upstream)
    digests = [bytes.fromhex(one.sha256) for one in archive.listed]
    store: Any = Recorder(flow.crew.worker.store, digests)
    flow.crew = replace(flow.crew, worker=replace(flow.crew.worker, store=store))
    task = flow.ask_sync()

    while job := flow._next(task):
        run_job(flow.crew, job)
        said = rows(flow.db, "select sha256 from artifacts where sha256 = any(%s)", digests)
        assert {row["sha256"] for row in said} <= store.durable

    assert flow.go_on(task).state == "completed"
    assert store.durable == set(digests)
