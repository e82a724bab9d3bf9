"""One request can be followed through the logs of every process that works for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from archive.upstream import Upstream
from system.fleet import PASSWORD, Fleet, add_pair, finished, running
from system.small import DIST, write_small


@pytest.fixture
def fleet(database_url: str, store_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with running(Fleet(database_url, store_url, tmp_path)) as made:
        yield made.start(workers=1)


def _lines(fleet: Fleet, name: str) -> list[dict[str, object]]:
    """Every line of a process's log: each is one JSON object, but for what is said to a person."""
    text = (fleet.folder / f"{name}.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_the_correlation_id_of_a_request_is_in_the_lines_of_the_api_and_of_all_its_jobs(
    fleet: Fleet, tmp_path: Path
) -> None:
    cid = "0123456789abcdef0123456789abcdef"
    write_small(tmp_path / "archive", packages=1)
    with Upstream(tmp_path / "archive") as upstream, fleet.client() as api:
        _, repository = add_pair(api, "small", upstream.url, distributions=DIST)
        asked = httpx.post(
            f"{fleet.url}{repository['pulp_href']}sync/", json={}, auth=("admin", PASSWORD),
            headers={"Correlation-ID": cid}, timeout=60, trust_env=False,
        )  # fmt: skip
        task = asked.json()["task"]
        finished(api, task)

    uuid = task.rstrip("/").rpartition("/")[2]
    told = [line for line in _lines(fleet, "api") if line.get("cid") == cid]
    assert [(line["event"], line.get("task")) for line in told] == [
        ("task.asked", uuid),
        ("request.answered", None),
    ]
    ended = [line for line in _lines(fleet, "worker-1") if line["event"] == "job.ended"]
    assert {line["kind"] for line in ended} == {"plan", "index", "download", "assemble"}
    assert {(line["cid"], line["task"]) for line in ended} == {(cid, uuid)}
