"""Files from upstream: fetched, verified, resumed, kept."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from archive import faults
from archive.upstream import Upstream
from debfleet.errors import (
    ConnectionFailed,
    DigestMismatch,
    HostClosed,
    HttpStatusError,
    LeaseLost,
    NameNotResolved,
    SizeMismatch,
    StoreError,
    TransferTimeout,
    UnsupportedUrl,
)
from debfleet.fetch import Got, Wanted, fetch_files, fetch_one, fetch_small
from debfleet.store import Store
from fetching import Allowance, access, write_files


def stored(store: Store, wanted: Wanted) -> bool:
    assert wanted.sha256 is not None
    return store.size(wanted.sha256) == wanted.size


def test_files_are_fetched_into_the_store(tmp_path: Path, store: Store) -> None:
    wanted = write_files(tmp_path / "www", 50)
    kept: list[Got] = []
    allowance = Allowance(slots=4)
    with Upstream(tmp_path / "www") as upstream:
        got = fetch_files(access(upstream.url), wanted, store, allowance, kept.append)

    assert [g.wanted for g in got] == wanted
    assert all(g.error is None and g.size == 100_000 for g in got)
    assert all(stored(store, w) for w in wanted)
    assert sorted(g.wanted.path for g in kept) == sorted(w.path for w in wanted)
    assert allowance.bytes == 50 * 100_000


def test_no_more_requests_run_than_there_are_slots_and_connections_are_used_again(
    tmp_path: Path, store: Store
) -> None:
    wanted = write_files(tmp_path / "www", 40)
    allowance = Allowance(slots=3)
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.delay("*", 0.01))
        fetch_files(access(upstream.url), wanted, store, allowance)

        assert upstream.most_at_once == 3
        assert upstream.connections == 3
    assert max(allowance.used) == 3
    assert allowance.used[-1] == 0


def test_slots_that_come_are_used_and_slots_that_go_are_left(tmp_path: Path, store: Store) -> None:
    wanted = write_files(tmp_path / "www", 60, 10)
    allowance = Allowance(slots=1)
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.delay("*", 0.05))
        thread = threading.Thread(
            target=fetch_files, args=(access(upstream.url), wanted, store, allowance)
        )
        thread.start()
        upstream.wait_for(lambda u: len(u.requests) >= 2)
        assert upstream.most_at_once == 1
        allowance.allowed = 6
        upstream.wait_for(lambda u: u.open_requests == 6)
        allowance.allowed = 2
        upstream.wait_for(lambda u: allowance.used[-1] == 2 and u.open_requests <= 2)
        upstream.clear()
        thread.join()

        assert upstream.most_at_once <= 2
    assert all(stored(store, w) for w in wanted)


def test_small_files_come_whole_and_missing_ones_as_none(tmp_path: Path) -> None:
    (tmp_path / "Release").write_bytes(b"Suite: stable\n")
    with Upstream(tmp_path) as upstream:
        upstream.faults.append(faults.status("gone", 410))
        bodies = fetch_small(
            access(upstream.url),
            [Wanted(name, None, None) for name in ("Release", "InRelease", "gone")],
            Allowance(),
        )

    assert bodies == {"Release": b"Suite: stable\n", "InRelease": None, "gone": None}


def test_a_small_file_that_is_refused_fails_the_call_in_pulps_words(tmp_path: Path) -> None:
    with Upstream(tmp_path) as upstream:
        upstream.faults.append(faults.status("Release", 403))
        with pytest.raises(HttpStatusError) as caught:
            fetch_small(access(upstream.url), [Wanted("Release", None, None)], Allowance())

        url = f"{upstream.url}Release"
        assert str(caught.value) == f"403, message='Forbidden', url='{url}'"
        assert len(upstream.requests) == 1


def test_one_file_is_verified_and_can_be_read_before_it_is_kept(
    tmp_path: Path, store: Store
) -> None:
    [wanted] = write_files(tmp_path / "www")
    with (
        Upstream(tmp_path / "www") as upstream,
        fetch_one(access(upstream.url), wanted, store, Allowance()) as receiver,
    ):
        assert hashlib.sha256(receiver.path().read_bytes()).digest() == wanted.sha256
        assert not stored(store, wanted)
        receiver.keep(wanted.sha256)

    assert stored(store, wanted)


def test_a_path_is_quoted_as_apt_quotes_it(tmp_path: Path, store: Store) -> None:
    name = "pool/libfoo++1_2%3a1.0~rc1+b é.deb"
    (tmp_path / "www/pool").mkdir(parents=True)
    (tmp_path / "www" / name).write_bytes(b"x")
    with Upstream(tmp_path / "www") as upstream:
        fetch_one(access(upstream.url), Wanted(name, None, 1), store, Allowance()).abort()

        [request] = upstream.requests
        assert request.target == "/pool/libfoo%2B%2B1_2%253a1.0~rc1%2Bb%20%C3%A9.deb"


def test_an_encoded_file_is_kept_as_the_server_has_it(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www", 1, 1000)
    with Upstream(tmp_path / "www") as upstream:

        def apply(reply: faults.Reply) -> None:
            reply.headers["Content-Encoding"] = "gzip"

        upstream.faults.append(faults.Fault("*", apply))
        [got] = fetch_files(access(upstream.url), [wanted], store, Allowance())

        assert got.error is None
        assert upstream.requests[0].headers["accept-encoding"] == "identity"


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(tmp_path: Path, store: Store, status: int) -> None:
    [wanted] = write_files(tmp_path / "www")
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.status("*", status, times=3))
        [got] = fetch_files(access(upstream.url), [wanted], store, Allowance())

        assert got.error is None
        assert [r.status for r in upstream.requests] == [status] * 3 + [200]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_clear_no_is_not_asked_again(tmp_path: Path, store: Store, status: int) -> None:
    [wanted] = write_files(tmp_path / "www")
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.status("*", status))
        [got] = fetch_files(access(upstream.url), [wanted], store, Allowance())

        assert isinstance(got.error, HttpStatusError)
        assert got.error.status == status
        assert len(upstream.requests) == 1


def test_after_max_retries_the_last_error_stands(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www")
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.status("*", 500))
        [got] = fetch_files(access(upstream.url, max_retries=1), [wanted], store, Allowance())

        assert isinstance(got.error, HttpStatusError)
        assert str(got.error).startswith("500, message='Internal Server Error', url='")
        assert len(upstream.requests) == 2


def test_the_pauses_between_tries_grow(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www")
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.status("*", 500))
        fetch_files(access(upstream.url, pause_seconds=0.1), [wanted], store, Allowance())

        ends = [(r.started, r.ended) for r in upstream.requests]
        pauses = [after[0] - before[1] for before, after in pairwise(ends)]
        assert len(pauses) == 3
        assert pauses[0] >= 0.075
        assert pauses[1] >= 0.15
        assert pauses[2] >= 0.3


def test_one_bad_file_leaves_the_others_alone(tmp_path: Path, store: Store) -> None:
    wanted = write_files(tmp_path / "www", 20)
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.status("pool/7.deb", 404))
        got = fetch_files(access(upstream.url), wanted, store, Allowance())

    assert [g.wanted.path for g in got if g.error] == ["pool/7.deb"]
    assert sum(stored(store, w) for w in wanted) == 19


def test_wrong_bytes_are_tried_again_and_never_stored(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www")
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.wrong_bytes("*"))
        [got] = fetch_files(access(upstream.url), [wanted], store, Allowance())

        assert isinstance(got.error, DigestMismatch)
        assert str(got.error).startswith(f"{upstream.url}pool/0.deb: expected SHA-256 ")
        assert len(upstream.requests) == 4
    assert [p for p in tmp_path.glob("store/**/*") if p.is_file()] == []


def test_bytes_that_were_wrong_once_are_fetched_anew(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www")
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.wrong_bytes("*", times=1))
        [got] = fetch_files(access(upstream.url), [wanted], store, Allowance())

        assert got.error is None
        assert [r.headers.get("range") for r in upstream.requests] == [None, None]


def test_a_page_for_browsers_is_refused_by_its_length(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www")
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.html_200("*"))
        [got] = fetch_files(access(upstream.url), [wanted], store, Allowance())

    assert isinstance(got.error, SizeMismatch)
    assert str(got.error).startswith(f"{upstream.url}pool/0.deb: expected 100000 bytes, got ")


def test_a_file_beyond_its_limit_is_left_at_once(tmp_path: Path) -> None:
    (tmp_path / "InRelease").write_bytes(bytes(1 << 20))
    with Upstream(tmp_path) as upstream:
        with pytest.raises(SizeMismatch):
            fetch_small(
                access(upstream.url), [Wanted("InRelease", None, None, limit=1000)], Allowance()
            )

        upstream.wait_for(lambda u: u.open_requests == 0)
        assert len(upstream.requests) == 1


def test_a_refused_connection_is_told_in_pulps_words(store: Store) -> None:
    wanted = Wanted("Release", None, None)

    with pytest.raises(ConnectionFailed) as caught:
        fetch_one(access("http://127.0.0.1:1/"), wanted, store, Allowance())

    assert str(caught.value) == (
        "Cannot connect to host 127.0.0.1:1 ssl:default [Connect call failed ('127.0.0.1', 1)]"
    )


def test_a_name_that_does_not_resolve_is_told_in_pulps_words(store: Store) -> None:
    wanted = Wanted("Release", None, None)

    with pytest.raises(NameNotResolved) as caught:
        fetch_one(access("http://no-such-host.invalid/"), wanted, store, Allowance())

    assert str(caught.value).startswith(
        "Cannot connect to host no-such-host.invalid:80 ssl:default ["
    )


def test_a_dead_host_is_not_tried_for_every_file(tmp_path: Path, store: Store) -> None:
    wanted = write_files(tmp_path, 500, 1)
    started = time.monotonic()

    got = fetch_files(
        access("http://127.0.0.1:1/", pause_seconds=0.05), wanted, store, Allowance(2)
    )

    assert all(isinstance(g.error, ConnectionFailed) for g in got)
    assert time.monotonic() - started < 5


def test_a_server_that_goes_silent_is_left_after_the_read_timeout(
    tmp_path: Path, store: Store
) -> None:
    [wanted] = write_files(tmp_path / "www")
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.stall("*", 50_000, threading.Event()))
        [got] = fetch_files(
            access(upstream.url, sock_read_timeout=0.2, max_retries=0),
            [wanted],
            store,
            Allowance(),
        )

        assert isinstance(got.error, TransferTimeout)
        assert str(got.error) == (
            f"The request for {upstream.url}pool/0.deb timed out (no byte for 0.2 s)"
        )


def test_a_server_that_drips_is_left_too(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www")
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.drip("*", 20))
        [got] = fetch_files(
            access(upstream.url, sock_read_timeout=0.4, max_retries=0),
            [wanted],
            store,
            Allowance(),
        )

    assert isinstance(got.error, TransferTimeout)


def test_the_total_timeout_of_a_remote_holds(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www")
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.drip("*", 10_000))
        [got] = fetch_files(
            access(upstream.url, total_timeout=0.3, max_retries=0), [wanted], store, Allowance()
        )

    assert isinstance(got.error, TransferTimeout)


# --- resume -------------------------------------------------------------------------------------


def test_a_cut_transfer_goes_on_where_it_was_cut(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www", 1, 300_000)
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.cut("*", 100_000, times=2))
        [got] = fetch_files(access(upstream.url), [wanted], store, Allowance())

        assert got.error is None
        assert [r.status for r in upstream.requests] == [200, 206, 206]
        first, second, third = upstream.requests
        assert "range" not in first.headers
        for request in (second, third):
            assert request.headers["if-range"].startswith('"')
        starts = [int(r.headers["range"][6:-1]) for r in (second, third)]
        assert 0 < starts[0] < starts[1] < 300_000
        # What was lost on the way in a reset is all that is fetched twice.
        assert sum(r.sent for r in upstream.requests) <= 300_000 + 2 * 100_000
    assert stored(store, wanted)


def test_a_stalled_transfer_goes_on_where_it_stalled(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www", 1, 300_000)
    with Upstream(tmp_path / "www") as upstream:
        let_go = threading.Event()
        upstream.faults.append(faults.stall("*", 200_000, let_go, times=1))
        [got] = fetch_files(
            access(upstream.url, sock_read_timeout=0.3), [wanted], store, Allowance()
        )
        let_go.set()
        upstream.wait_for(lambda u: len(u.requests) == 2)

        assert got.error is None
        [request] = [r for r in upstream.requests if r.status == 206]
        assert request.headers["range"] == "bytes=200000-"


def test_a_big_file_on_a_bad_line_arrives_though_it_breaks_more_often_than_is_retried(
    tmp_path: Path, store: Store
) -> None:
    [wanted] = write_files(tmp_path / "www", 1, 12 << 20)
    with Upstream(tmp_path / "www") as upstream:
        let_go = threading.Event()
        upstream.faults.append(faults.stall("*", 2 << 20, let_go, times=5))  # 2 MB a try
        [got] = fetch_files(
            access(upstream.url, sock_read_timeout=1.0, max_retries=1),
            [wanted],
            store,
            Allowance(),
        )

        let_go.set()
        upstream.wait_for(lambda u: len(u.requests) == 6)

        assert got.error is None


def test_a_server_without_ranges_sends_it_all_again(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www", 1, 300_000)
    with Upstream(tmp_path / "www") as upstream:
        let_go = threading.Event()
        upstream.faults += [faults.stall("*", 100_000, let_go, times=1), faults.no_range()]
        [got] = fetch_files(
            access(upstream.url, sock_read_timeout=0.2), [wanted], store, Allowance()
        )
        let_go.set()
        upstream.wait_for(lambda u: len(u.requests) == 2)

        assert got.error is None
        assert sorted(r.status for r in upstream.requests) == [200, 200]


def test_a_range_that_was_not_asked_for_starts_the_file_over(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www", 1, 300_000)
    with Upstream(tmp_path / "www") as upstream:
        let_go = threading.Event()
        upstream.faults += [faults.stall("*", 100_000, let_go, times=1), faults.wrong_range()]
        [got] = fetch_files(
            access(upstream.url, sock_read_timeout=0.2), [wanted], store, Allowance()
        )
        let_go.set()
        upstream.wait_for(lambda u: len(u.requests) == 3)

        assert got.error is None
        ranges = sorted(r.headers.get("range") or "" for r in upstream.requests)
        assert ranges == ["", "", "bytes=100000-"]


def test_a_file_that_changed_in_the_middle_is_not_blended(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www", 1, 300_000)
    new = os.urandom(300_000)
    let_go = threading.Event()
    with Upstream(tmp_path / "www") as upstream:
        # The first answer is of another file under the same name and ETag.
        upstream.faults += [
            faults.wrong_bytes("*", new, times=1),
            faults.stall("*", 100_000, let_go, times=1),
        ]
        [got] = fetch_files(
            access(upstream.url, sock_read_timeout=0.2, max_retries=1),
            [wanted],
            store,
            Allowance(),
        )
        let_go.set()
        upstream.wait_for(lambda u: len(u.requests) == 3)

        assert got.error is None
        ranges = sorted(r.headers.get("range") or "" for r in upstream.requests)
        assert ranges == ["", "", "bytes=100000-"]
    assert stored(store, wanted)


def test_a_file_without_a_digest_is_never_put_together(tmp_path: Path) -> None:
    (tmp_path / "InRelease").write_bytes(os.urandom(300_000))
    with Upstream(tmp_path) as upstream:
        upstream.faults.append(faults.cut("*", 100_000, times=1))
        bodies = fetch_small(access(upstream.url), [Wanted("InRelease", None, None)], Allowance())

        assert bodies["InRelease"] == (tmp_path / "InRelease").read_bytes()
        assert all("range" not in r.headers for r in upstream.requests)


# --- what the fleet allows ------------------------------------------------------------------------


def test_a_host_that_asks_for_a_pause_is_closed_for_the_fleet(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www")
    opens_at = 0.0

    def waits(requests: int) -> float:
        return max(0.0, opens_at - time.monotonic())

    allowance = Allowance(waits=waits)
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.status("*", 429, {"Retry-After": "1"}, times=1))
        opens_at = time.monotonic() + 1
        [got] = fetch_files(access(upstream.url), [wanted], store, allowance)

        assert got.error is None
        assert allowance.closings == [1.0]
        assert upstream.requests[1].started >= opens_at - 0.01


def test_retry_after_can_be_a_date(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "www")
    allowance = Allowance()
    with Upstream(tmp_path / "www") as upstream:
        when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
        upstream.faults.append(faults.status("*", 503, {"Retry-After": when}, times=1))
        fetch_files(access(upstream.url), [wanted], store, allowance)

    assert 90 < allowance.closings[0] <= 100


def test_a_long_pause_puts_off_all_files_that_are_left(tmp_path: Path, store: Store) -> None:
    wanted = write_files(tmp_path / "www", 30)
    allowance = Allowance(slots=2, waits=lambda requests: 600.0)
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(
            faults.status("*", 429, {"Retry-After": "600"}, skip=4)  # four come through
        )
        started = time.monotonic()
        got = fetch_files(access(upstream.url), wanted, store, allowance)

        assert time.monotonic() - started < 5
        assert sum(g.error is None for g in got) == 4
        errors = [g.error for g in got if g.error is not None]
        assert all(isinstance(e, HostClosed) and e.seconds == 600 for e in errors)
        assert len(upstream.requests) <= 6


def test_a_rate_limit_spaces_requests(tmp_path: Path, store: Store) -> None:
    wanted = write_files(tmp_path / "www", 20, 10)
    reserved_until = 0.0

    def waits(requests: int) -> float:
        nonlocal reserved_until
        now = time.monotonic()
        starts_at = max(now, reserved_until)
        reserved_until = starts_at + requests / 40
        return starts_at - now

    with Upstream(tmp_path / "www") as upstream:
        got = fetch_files(
            access(upstream.url, rate_limit=40), wanted, store, Allowance(slots=8, waits=waits)
        )

        assert all(g.error is None for g in got)
        begins = sorted(r.started for r in upstream.requests)
        assert begins[-1] - begins[0] >= 19 / 40 - 0.1
        assert begins[10] - begins[0] >= 10 / 40 - 0.1  # and not in one burst


def test_a_lost_lease_ends_all_at_once(tmp_path: Path, store: Store) -> None:
    wanted = write_files(tmp_path / "www", 20)
    allowance = Allowance()
    with Upstream(tmp_path / "www") as upstream:
        upstream.faults.append(faults.stall("*", 50_000, threading.Event()))
        errors: list[BaseException] = []

        def fetch() -> None:
            try:
                fetch_files(access(upstream.url), wanted, store, allowance)
            except LeaseLost as e:
                errors.append(e)

        thread = threading.Thread(target=fetch)
        thread.start()
        upstream.wait_for(lambda u: u.open_requests == 8)
        allowance.lost.set()
        thread.join(timeout=3)

        assert len(errors) == 1
    assert [p for p in tmp_path.glob("store/**/*") if p.is_file()] == []


def test_a_lost_lease_sends_nothing(tmp_path: Path, store: Store) -> None:
    allowance = Allowance()
    allowance.lost.set()
    with Upstream(tmp_path) as upstream:
        with pytest.raises(LeaseLost):
            fetch_small(access(upstream.url), [Wanted("Release", None, None)], allowance)

        assert upstream.requests == []


def test_a_store_that_refuses_ends_the_call(tmp_path: Path, store: Store) -> None:
    wanted = write_files(tmp_path / "www", 5)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with Upstream(tmp_path / "www") as upstream, pytest.raises(StoreError):
        fetch_files(access(upstream.url), wanted, store, Allowance())


def test_no_files_need_no_connection(store: Store) -> None:
    assert fetch_files(access("http://127.0.0.1:1/"), [], store, Allowance()) == []


def test_fetching_works_in_a_thread_that_has_had_a_loop(tmp_path: Path, store: Store) -> None:
    asyncio.run(asyncio.sleep(0))
    [wanted] = write_files(tmp_path / "www")
    with Upstream(tmp_path / "www") as upstream:
        [got] = fetch_files(access(upstream.url), [wanted], store, Allowance())

    assert got.error is None


# --- file:// ------------------------------------------------------------------------------------


def test_a_local_directory_that_is_allowed_is_read(tmp_path: Path, store: Store) -> None:
    wanted = write_files(tmp_path / "mirror of mine", 5)

    got = fetch_files(
        access(f"file://{tmp_path}/mirror%20of%20mine", allowed_import_paths=(str(tmp_path),)),
        [*wanted, Wanted("pool/none.deb", None, None)],
        store,
        Allowance(),
    )

    assert all(stored(store, w) for w in wanted)
    assert isinstance(got[-1].error, HttpStatusError)
    assert got[-1].error.status == 404


def test_a_local_directory_is_refused_unless_it_is_allowed(tmp_path: Path, store: Store) -> None:
    wanted = write_files(tmp_path / "mirror")
    for allowed in ((), (f"{tmp_path}/mirr",), (f"{tmp_path}/mirror/other",)):
        with pytest.raises(UnsupportedUrl, match="DEBFLEET_ALLOWED_IMPORT_PATHS"):
            fetch_files(
                access(f"file://{tmp_path}/mirror", allowed_import_paths=allowed),
                wanted,
                store,
                Allowance(),
            )


def test_a_link_does_not_lead_out_of_what_is_allowed(tmp_path: Path, store: Store) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "mirror/link").symlink_to(tmp_path / "secret")
    local = access(f"file://{tmp_path}/mirror", allowed_import_paths=(f"{tmp_path}/mirror",))

    for path in ("link", "../secret"):
        with pytest.raises(UnsupportedUrl):
            fetch_small(local, [Wanted(path, None, None)], Allowance())


def test_a_pipe_in_a_local_directory_is_no_file(tmp_path: Path, store: Store) -> None:
    os.mkfifo(tmp_path / "Release")

    bodies = fetch_small(
        access(f"file://{tmp_path}", allowed_import_paths=(str(tmp_path),)),
        [Wanted("Release", None, None)],
        Allowance(),
    )

    assert bodies == {"Release": None}


def test_wrong_local_bytes_are_refused(tmp_path: Path, store: Store) -> None:
    [wanted] = write_files(tmp_path / "mirror")
    (tmp_path / "mirror/pool/0.deb").write_bytes(os.urandom(100_000))

    [got] = fetch_files(
        access(f"file://{tmp_path}/mirror", allowed_import_paths=(str(tmp_path),)),
        [wanted],
        store,
        Allowance(),
    )

    assert isinstance(got.error, DigestMismatch)
