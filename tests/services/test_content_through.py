"""Files that are not stored: fetched once, verified, handed on while they arrive."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from archive import faults
from archive.build import write_archive
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db import fetches, gone
from debfleet.db.connect import Database
from debfleet.model import Remote
from debfleet.store import Store
from ground import Ground, copied_ground
from publish_flow import publish
from servers import PostgresForTests
from serving import Reply, Site, add_distribution, serving
from sync_flow import Flow, add_repository, crew_of
from system.up import until

SMALL, BIG = Pkg("small"), Pkg("big", payload_size=1_000_000)
PATHS = {name: f"pool/main/{name[0]}/{name}/{name}_1.0_amd64.deb" for name in ("small", "big")}
CUT = (http.client.IncompleteRead, ConnectionError)


@dataclass(frozen=True)
class World:
    """A repository synced on demand, published and served at ``debian``."""

    flow: Flow
    db: Database
    upstream: Upstream
    site: Site
    settings: Settings
    store: Store
    bodies: dict[str, bytes]  # by package

    def get(self, name: str, **headers: str) -> Reply:
        return self.site.get(f"debian/{PATHS[name]}", **headers)

    def sha256(self, name: str) -> bytes:
        return hashlib.sha256(self.bodies[name]).digest()

    def is_stored(self, name: str) -> bool:
        """With its row and its bytes."""
        with self.db.transaction() as tx:
            row = fetches.is_stored(tx, self.sha256(name))
        return row and self.store.size(self.sha256(name)) == len(self.bodies[name])

    def missing(self) -> dict[int, int]:
        """How many files nobody has any more, by the versions that have such files."""
        repository, latest = self.flow.repository["id"], self.flow.version()
        versions = [(repository, number) for number in range(latest + 1)]
        with self.db.transaction() as tx:
            found = gone.count_in_versions(tx, versions)
        return {number: count for (_, number), count in found.items()}

    def wait_until_stored(self, name: str) -> None:
        until(lambda: self.is_stored(name), f"{name} is not stored")

    def wait_until_idle(self) -> None:
        """No fetch is claimed any more."""

        def is_idle() -> bool:
            with self.db.transaction() as tx:
                return tx.execute("select from fetches").fetchone() is None

        until(is_idle, "a fetch goes on")


@dataclass(frozen=True)
class Made:
    """What every world of this module begins with, on a ground that is only copied."""

    ground: Ground
    upstream: Upstream
    repository: dict[str, Any]
    remote: Remote
    bodies: dict[str, bytes]


@pytest.fixture(scope="module")
def made(common_ground: Ground) -> Iterator[Made]:
    ground = common_ground
    folder = ground.folder / "archive"
    folder.mkdir()
    write_archive(folder, [Dist("stable", {"main": [SMALL, BIG]})])
    bodies = {name: (folder / path).read_bytes() for name, path in PATHS.items()}
    with Upstream(folder) as upstream:
        with crew_of(ground.settings, ground.db, ground.store) as crew:
            flow = Flow(ground.db, crew, add_repository(ground.db))
            remote = flow.set_remote(upstream, policy="on_demand", max_retries=3)
            assert flow.sync().state == "completed"
            publish(flow)
            add_distribution(ground.db, "debian", repository=flow.repository["id"])
        ground.db.close()
        yield Made(ground, upstream, flow.repository, remote, bodies)


@pytest.fixture
def policy() -> str:
    return "on_demand"


@pytest.fixture
def world(made: Made, postgres: PostgresForTests, tmp_path: Path, policy: str) -> Iterator[World]:
    made.upstream.clear()
    with (
        copied_ground(postgres, made.ground, tmp_path) as ground,
        crew_of(ground.settings, ground.db, ground.store) as crew,
    ):
        flow = Flow(ground.db, crew, made.repository)
        flow.remote = made.remote
        if policy != "on_demand":
            flow.set_remote(made.upstream, policy=policy)
            assert flow.sync().state == "completed"
            made.upstream.clear()
        with serving(ground.settings) as site:
            yield World(
                flow, ground.db, made.upstream, site, ground.settings, ground.store, made.bodies
            )
        made.upstream.faults.clear()


def ask_all(sites: list[Site], name: str, count: int) -> list[bytes]:
    """So many clients at once."""
    with ThreadPoolExecutor(count) as pool:
        replies = pool.map(
            lambda n: sites[n % len(sites)].get(f"debian/{PATHS[name]}"), range(count)
        )
        return [reply.body for reply in replies]


@pytest.mark.parametrize("name", ["small", "big"])
def test_a_file_is_fetched_when_it_is_asked_for_and_then_stored(world: World, name: str) -> None:
    first = world.get(name)
    world.wait_until_stored(name)
    second = world.get(name)

    assert first.status == second.status == 200
    assert first.body == second.body == world.bodies[name]
    assert first.headers["content-length"] == str(len(world.bodies[name]))
    assert first.headers["etag"] == second.headers["etag"]
    assert world.upstream.paths() == [PATHS[name]]


def test_a_hundred_clients_cost_upstream_one_request(world: World) -> None:
    world.upstream.faults.append(faults.drip("*big*", 2_000_000))

    bodies = ask_all([world.site], "big", 100)

    assert len(bodies) == 100
    assert set(bodies) == {world.bodies["big"]}
    assert world.upstream.paths() == [PATHS["big"]]


def test_two_processes_fetch_a_file_once(world: World) -> None:
    world.upstream.faults.append(faults.drip("*big*", 2_000_000))

    with serving(world.settings) as other:
        bodies = ask_all([world.site, other], "big", 10)

    assert set(bodies) == {world.bodies["big"]}
    assert world.upstream.paths() == [PATHS["big"]]


def test_a_claim_whose_process_died_is_taken_over(world: World) -> None:
    with world.db.transaction() as tx:
        tx.execute(
            "insert into fetches (sha256, holder, until)"
            " values (%s, gen_random_uuid(), clock_timestamp() + interval '1 second')",
            (world.sha256("small"),),
        )

    assert world.get("small").body == world.bodies["small"]
    world.wait_until_stored("small")


def test_bytes_are_handed_on_while_they_arrive(world: World) -> None:
    go_on = threading.Event()
    world.upstream.faults.append(faults.stall("*big*", 500_000, go_on))
    host, _, port = world.site.address.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)

    connection.request("GET", f"/pulp/content/debian/{PATHS['big']}")
    response = connection.getresponse()
    first = response.read(400_000)
    go_on.set()
    rest = response.read()
    connection.close()

    assert first + rest == world.bodies["big"]


def test_head_of_a_file_that_is_not_stored_asks_nobody(world: World) -> None:
    reply = world.site.get(f"debian/{PATHS['big']}", "HEAD")

    assert reply.status == 200
    assert reply.headers["content-length"] == str(len(world.bodies["big"]))
    assert world.upstream.paths() == []


@pytest.mark.parametrize("text", ["bytes=0-9", "bytes=600000-", "bytes=-10"])
def test_a_range_of_a_file_that_is_not_stored(world: World, text: str) -> None:
    first, last = text.removeprefix("bytes=").split("-")
    whole = world.bodies["big"]
    start = int(first) if first else len(whole) - int(last)
    end = int(last) + 1 if first and last else len(whole)

    reply = world.get("big", Range=text)

    assert (reply.status, reply.body) == (206, whole[start:end])
    world.wait_until_stored("big")


def test_a_range_behind_the_end_asks_nobody(world: World) -> None:
    assert world.get("big", Range="bytes=99999999-").status == 416
    assert world.upstream.paths() == []


# --- upstream fails ------------------------------------------------------------------------------


def test_wrong_bytes_cut_the_connection_and_are_never_stored(world: World) -> None:
    world.upstream.faults.append(faults.wrong_bytes("*big*"))

    with pytest.raises(CUT):
        world.get("big")

    world.wait_until_idle()
    assert not world.is_stored("big")
    assert world.store.size(world.sha256("big")) is None


def test_a_small_file_of_wrong_bytes_is_not_found(world: World) -> None:
    world.upstream.faults.append(faults.wrong_bytes("*small*"))

    assert world.get("small").status == 404
    world.wait_until_idle()
    assert not world.is_stored("small")


def test_who_gave_wrong_bytes_is_not_asked_again_for_a_while(world: World) -> None:
    world.upstream.faults.append(faults.wrong_bytes("*small*", times=2))
    world.get("small")
    world.upstream.clear()

    assert world.get("small").status == 404
    assert world.upstream.paths() == []
    with world.db.transaction() as tx:
        tx.execute("update refused_sources set until = clock_timestamp()")
    assert world.get("small").body == world.bodies["small"]


def test_another_size_than_promised_is_refused(world: World) -> None:
    world.upstream.faults.append(faults.html_200("*big*"))

    assert world.get("big").status == 404


def test_a_file_that_upstream_has_no_more_is_missing_until_it_is_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.upstream.faults.append(faults.status("*small*", 404))

    replies = [world.get("small") for _ in range(2)]
    missing = world.missing()
    world.upstream.faults.clear()
    back = world.get("small")

    assert [(reply.status, reply.text) for reply in replies] == [(404, "404: Not Found")] * 2
    assert missing == {world.flow.version(): 1}
    said = [r for r in caplog.records if r.levelname == "WARNING"]
    assert [r.getMessage() for r in said] == ["source.failed", "file.gone"]
    assert "404" in said[1].reason  # type: ignore[attr-defined]  # of extra
    assert (back.status, back.body) == (200, world.bodies["small"])
    world.wait_until_stored("small")
    assert world.missing() == {}


@pytest.mark.parametrize("policy", ["streamed"])
def test_a_streamed_file_that_is_back_is_missing_no_more(world: World) -> None:
    world.upstream.faults.append(faults.status("*small*", 410, times=1))

    assert world.get("small").status == 404
    assert world.missing() == {world.flow.version(): 1}
    assert world.get("small").status == 200
    until(lambda: world.missing() == {}, "the file is still called missing")


def test_a_file_that_one_of_two_remotes_may_still_have_is_not_missing(world: World) -> None:
    with Upstream(world.upstream.folder) as second:
        other = Flow(world.db, world.flow.crew, add_repository(world.db))
        other.set_remote(second, policy="on_demand", max_retries=0)
        assert other.sync().state == "completed"
        world.upstream.faults.append(faults.status("*small*", 404))
        second.faults.append(faults.status("*small*", 503, times=1))

        assert world.get("small").status == 404
        assert world.missing() == {}
        with world.db.transaction() as tx:
            tx.execute("delete from gates")
        second.faults[:] = [faults.status("*small*", 404)]
        assert world.get("small").status == 404
        assert world.missing() == {1: 1}


def test_an_upstream_that_is_gone_is_not_found(world: World) -> None:
    with world.db.transaction() as tx, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        tx.execute("update remotes set url = %s", (url,))

    assert world.get("small").status == 404
    assert world.missing() == {}


def test_a_deleted_remote_leaves_what_was_not_fetched_not_found(world: World) -> None:
    with world.db.transaction() as tx:
        tx.execute("delete from remotes")

    assert world.get("small").status == 404
    assert world.missing() == {1: 1}


@pytest.mark.parametrize("resumes", [True, False])
def test_a_transfer_that_broke_goes_on_unseen(world: World, resumes: bool) -> None:
    world.upstream.faults.append(faults.cut("*big*", 500_000, times=1))
    if not resumes:
        world.upstream.faults.append(faults.no_range("*big*"))

    assert world.get("big").body == world.bodies["big"]


def test_a_client_that_got_wrong_bytes_is_cut_even_if_right_ones_come_later(
    world: World,
) -> None:
    world.upstream.faults.append(faults.wrong_bytes("*big*", times=1))

    with pytest.raises(CUT):
        world.get("big")

    world.wait_until_stored("big")
    assert world.get("big").body == world.bodies["big"]


def test_another_remote_is_tried(world: World, tmp_path: Path) -> None:
    with Upstream(world.upstream.folder) as second:
        other = Flow(world.db, world.flow.crew, add_repository(world.db))
        other.set_remote(second, policy="on_demand", max_retries=1)
        assert other.sync().state == "completed"
        second.clear()
        world.upstream.faults.append(faults.cut("*big*", 500_000))
        second.faults.append(faults.cut("*big*", 700_000, times=1))

        assert world.get("big").body == world.bodies["big"]
        assert PATHS["big"] in second.paths()


def test_a_stored_file_that_is_lost_is_fetched_again(world: World) -> None:
    world.get("small")
    world.wait_until_stored("small")
    world.wait_until_idle()
    world.store.delete(world.sha256("small"))

    assert world.get("small").body == world.bodies["small"]
    world.wait_until_stored("small")


def test_a_truncated_stored_file_is_fetched_again(world: World) -> None:
    world.get("small")
    world.wait_until_stored("small")
    world.wait_until_idle()
    name = world.sha256("small").hex()
    stored = Path(world.settings.store_url.removeprefix("file://")) / name[:2] / name
    stored.write_bytes(stored.read_bytes()[:-1])

    assert world.get("small").body == world.bodies["small"]
    world.wait_until_stored("small")


def test_a_file_that_cleanup_deleted_before_its_row_gets_no_row(world: World) -> None:
    with world.db.transaction() as tx:
        assert not fetches.record(tx, world.sha256("small"), 1, lambda: False)

    assert not world.is_stored("small")


def test_the_service_stops_in_the_middle_of_a_fetch(world: World) -> None:
    go_on = threading.Event()
    world.upstream.faults.append(faults.stall("*big*", 500_000, go_on))
    with serving(replace(world.settings, grace_seconds=0)) as other:
        host, _, port = other.address.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", f"/pulp/content/debian/{PATHS['big']}")
        response = connection.getresponse()
        response.read(100_000)
    with pytest.raises(CUT):
        response.read()
    connection.close()
    go_on.set()

    world.upstream.faults.clear()
    assert world.get("big").body == world.bodies["big"]


# --- clients that leave, and streamed ------------------------------------------------------------


def leave_early(world: World, name: str) -> None:
    """Read a little and go."""
    host, _, port = world.site.address.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", f"/pulp/content/debian/{PATHS[name]}")
    connection.getresponse().read(1000)
    connection.close()


def test_a_file_is_stored_even_if_its_client_leaves(world: World) -> None:
    world.upstream.faults.append(faults.drip("*big*", 1_000_000))

    leave_early(world, "big")

    world.wait_until_stored("big")


@pytest.mark.parametrize("policy", ["streamed"])
def test_a_streamed_file_is_verified_and_not_stored(world: World) -> None:
    assert world.get("big").body == world.bodies["big"]
    world.upstream.faults.append(faults.wrong_bytes("*small*"))
    assert world.get("small").status == 404

    assert not world.is_stored("big")
    assert world.store.size(world.sha256("big")) is None


@pytest.mark.parametrize("policy", ["streamed"])
def test_clients_share_the_fetch_of_a_streamed_file(world: World) -> None:
    world.upstream.faults.append(faults.drip("*big*", 2_000_000))

    bodies = ask_all([world.site], "big", 20)

    assert set(bodies) == {world.bodies["big"]}
    assert world.upstream.paths() == [PATHS["big"]]


@pytest.mark.parametrize("policy", ["streamed"])
def test_the_fetch_of_a_streamed_file_ends_with_its_last_client(world: World) -> None:
    world.upstream.faults.append(faults.drip("*big*", 300_000))

    leave_early(world, "big")

    world.upstream.wait_for(lambda upstream: bool(upstream.requests), seconds=20)
    assert world.upstream.requests[0].sent < len(world.bodies["big"])
