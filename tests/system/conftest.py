"""Fleets of whole processes, over either bell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from system.fleet import Fleet, running


@pytest.fixture(params=["notify", "rabbitmq"])
def fleet(
    request: pytest.FixtureRequest, database_url: str, store_url: str, tmp_path: Path
) -> Iterator[Fleet]:
    """A fleet without a process yet; its bell is the parameter."""
    broker_url = request.getfixturevalue("broker_url") if request.param == "rabbitmq" else ""
    folder = tmp_path / "fleet"
    folder.mkdir()
    with running(Fleet(database_url, store_url, folder, broker_url)) as made:
        yield made
