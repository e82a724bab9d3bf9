"""``debfleet content`` as several processes behind one address."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pytest

from system.fleet import Fleet, running, wait_for

COUNT = 3
ENVIRON = {
    "DEBFLEET_CONTENT_PROCESSES": str(COUNT),
    "DEBFLEET_METRICS_ADDRESS": "127.0.0.1:0",
}


@pytest.fixture
def fleet(database_url: str, store_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with running(Fleet(database_url, store_url, tmp_path, environ=ENVIRON)) as made:
        made.start_content()
        yield made


def serving(fleet: Fleet) -> set[int]:
    """The ids of the processes whose heart beats."""
    rows = fleet.rows("select name from processes where kind = 'content' and ended is null")
    return {int(str(row["name"]).partition("@")[0]) for row in rows}


def is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def answered(fleet: Fleet) -> int:
    with urlopen(f"{fleet.content_url}/pulp/content/", timeout=30) as answer:
        return int(answer.status)


def test_several_processes_answer_and_one_that_dies_is_replaced(fleet: Fleet) -> None:
    parent = fleet.processes["content"].pid
    first = wait_for(lambda: len(found := serving(fleet)) == COUNT and found, "all serve")
    assert parent not in first
    dead = min(first)

    os.kill(dead, signal.SIGKILL)

    wait_for(lambda: len(serving(fleet) - {dead}) == COUNT, "another one serves")
    with ThreadPoolExecutor(COUNT) as pool:
        assert set(pool.map(lambda _: answered(fleet), range(30))) == {200}


def test_they_end_together(fleet: Fleet) -> None:
    children = wait_for(lambda: len(found := serving(fleet)) == COUNT and found, "all serve")

    assert fleet.stop_one("content") == 0

    assert not any(is_there(child) for child in children)
    assert serving(fleet) == set()


def test_none_outlives_their_parent(fleet: Fleet) -> None:
    children = wait_for(lambda: len(found := serving(fleet)) == COUNT and found, "all serve")

    os.kill(fleet.processes["content"].pid, signal.SIGKILL)

    wait_for(lambda: not any(is_there(child) for child in children), "all have ended")


def test_one_scrape_counts_what_all_of_them_answered(fleet: Fleet) -> None:
    for _ in range(20):
        assert answered(fleet) == 200

    counted = (
        r'debfleet_http_requests_total\{[^}]*route="listing"[^}]*service="content"[^}]*\} (\d+)'
    )
    found = re.findall(counted, fleet.probe("content", "/metrics")[1])
    assert sum(map(int, found)) == 20


def test_where_one_cannot_work_all_end(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    broken = Fleet(database_url, f"file://{tmp_path}/file/store", tmp_path, environ=ENVIRON)
    with running(broken) as fleet:
        process = fleet._start("content", "content", DEBFLEET_CONTENT_ADDRESS="127.0.0.1:0")

        assert process.wait(60) == 1

        assert "cannot be made" in fleet.tail()
