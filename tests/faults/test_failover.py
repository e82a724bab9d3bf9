"""A fail-over to a copy of the database that lacks the last commits, under a running fleet."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from threading import Event

import pytest

from archive import faults as upstream_faults
from archive.upstream import Upstream
from faults.ground import Ground, ground
from faults.lane import CHUNK_FILES


@pytest.fixture
def made() -> Iterator[Ground]:
    # Of its own: the copy takes every lane back with it.
    with ground(with_rabbit=True) as servers:
        yield servers


@pytest.mark.parametrize("is_over", [True, False], ids=["after its end", "in its middle"])
@pytest.mark.parametrize("bell", ["notify", "rabbitmq"])
def test_a_sync_whose_last_commits_are_lost_ends_well_and_fetches_nothing_again(
    made: Ground, bell: str, is_over: bool
) -> None:
    lane = made.lane(with_rabbit=bell == "rabbitmq")
    archive = lane.next_state(random.Random("failover"))
    before = lane.served()
    new = [one for one in archive.listed if one.sha256 not in before.packages]
    assert len(new) > CHUNK_FILES  # another download goes on while this one is held
    lane.upstream.clear()
    go_on = Event()
    held = upstream_faults.stall("pool/*", 100, go_on, times=1)
    lane.upstream.faults.append(held)
    task = lane.ask()
    lane.upstream.wait_for(lambda _: held.hits == 1, 60)
    copy = made.copy_postgres()
    # What follows is lost. Files are stored, rows say so; then the rows are gone.
    if is_over:
        go_on.set()
        assert lane.finish(task)["state"] == "completed"
    else:
        lane.upstream.wait_for(lambda up: _packages(up) >= len(new) - CHUNK_FILES, 60)
    fetched = _packages(lane.upstream)

    made.fail_over(copy)

    go_on.set()
    with lane.watched() as watch:
        done = lane.finish(task)
    # V10: the file that was held may go to another worker, if its lease ran out meanwhile. Of what
    # was stored not a byte is sent again.
    lane.judge(done, archive, before, watch, 0 if is_over else 1)
    paths = Counter(path for path in lane.upstream.paths() if path.startswith("pool/"))
    again = {path for path, count in paths.items() if count > 1}
    assert again <= (set() if is_over else {held_path(lane.upstream)})
    assert not is_over or _packages(lane.upstream) == fetched


def held_path(upstream: Upstream) -> str:
    """The file that was held: its first answer took longest."""
    sent = [one for one in upstream.requests if one.path.startswith("pool/")]
    return max(sent, key=lambda one: one.ended - one.started).path


def _packages(upstream: Upstream) -> int:
    """How many packages were sent to the end."""
    return sum(path.startswith("pool/") for path in upstream.paths())
