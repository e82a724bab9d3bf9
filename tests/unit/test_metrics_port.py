"""The port for Prometheus and probes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from debfleet.config import Settings
from debfleet.errors import ConfigError
from debfleet.metrics_port import MetricsPort, listen
from debfleet.vitals import Vitals


@contextmanager
def _port(vitals: Vitals, settings: Settings | None = None) -> Iterator[str]:
    listening = listen("127.0.0.1:0")
    assert listening is not None
    host, port = listening.getsockname()
    with MetricsPort(listening, vitals, settings or Settings()):
        yield f"http://{host}:{port}"


def _get(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as e:
        with e:
            return e.code, e.read().decode()


def test_a_process_is_live_and_not_ready_before_it_heard_what_it_stands_on() -> None:
    with _port(Vitals({"database": 60})) as url:
        live, (status, text) = _get(f"{url}/livez"), _get(f"{url}/readyz")

    assert live == (200, "live\n")
    assert (status, json.loads(text)) == (503, {"ready": False, "database": False})


def test_it_is_ready_while_it_hears_all_and_no_more_when_it_stops() -> None:
    vitals = Vitals({"database": 60}, {"store": lambda: True})
    vitals.heard("database")
    with _port(vitals) as url:
        before = _get(f"{url}/readyz")
        vitals.stopping()
        after = _get(f"{url}/readyz")

    assert before[0] == 200
    assert after[0] == 503


def test_what_was_silent_for_longer_than_its_limit_does_not_count() -> None:
    vitals = Vitals({"database": 0})

    vitals.heard("database")

    assert vitals.state() == {"database": False}


def test_the_disk_of_a_directory_store_is_looked_at(tmp_path: Path) -> None:
    settings = Settings(store_url=f"file://{tmp_path}")
    with _port(Vitals({}), settings) as url:
        status, text = _get(f"{url}/metrics")

    assert status == 200
    assert 'debfleet_store_disk_bytes{state="free"}' in text


def test_any_other_path_says_which_there_are() -> None:
    with _port(Vitals({})) as url:
        status, text = _get(f"{url}/secrets")

    assert status == 404
    assert "/readyz" in text


def test_an_address_that_is_taken_is_named() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match=r"--metrics 127.0.0.1:\d+ cannot be used"),
    ):
        listen(f"127.0.0.1:{taken.getsockname()[1]}")


def test_off_and_nothing_listen_nowhere() -> None:
    assert listen("off") is None
    assert listen("") is None
