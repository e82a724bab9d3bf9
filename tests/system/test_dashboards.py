"""Every expression of every dashboard and alert, asked of a real Prometheus about a real fleet."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import servers
from archive import faults
from archive.build import write_archive
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from monitoring import (
    Expression,
    Prometheus,
    dashboard_expressions,
    need_prometheus,
    prometheus,
    rule_expressions,
)
from system.fleet import Fleet, add_pair, synced, wait_for
from system.publishing import distribute, get, new_key, publish, serving_fleet

_ENVIRON = {"DEBFLEET_METRICS_ADDRESS": "127.0.0.1:0", "DEBFLEET_METRICS_SECONDS": "1"}
_NAME = "tiny"


def test_after_a_sync_a_publish_and_an_update_no_expression_comes_back_empty(
    postgres: servers.PostgresForTests, template_url: str, tmp_path: Path
) -> None:
    need_prometheus()
    now = datetime.now(UTC).replace(microsecond=0)
    dist = Dist("stable", {"main": [Pkg("a"), Pkg("b")]}, date=now, valid_until=now + timedelta(7))
    archive = write_archive(tmp_path / "archive", [dist])
    with (
        serving_fleet(postgres, template_url, **_ENVIRON) as fleet,
        Upstream(archive.folder) as upstream,
    ):
        targets = [fleet.metrics_address(name) for name in fleet.processes]
        with prometheus(tmp_path / "prometheus", targets) as asked:
            wait_for(lambda: asked.is_up(len(targets)), "every process is scraped", 60)
            _sync_and_publish(fleet, upstream)
            left = _asked_now(dashboard_expressions() + rule_expressions())
            until = time.monotonic() + 90
            while left and time.monotonic() < until:
                _fetch_as_apt_does(fleet)
                left = [one for one in left if not _has_number(asked, one)]
            assert not left


def _sync_and_publish(fleet: Fleet, upstream: Upstream) -> None:
    upstream.faults.append(faults.wrong_bytes("pool/*", times=1))
    with fleet.client() as api:
        _, repository = add_pair(api, _NAME, upstream.url, distributions="stable")
        synced(api, repository)
        key = new_key(fleet, api, "key")
        publication = publish(api, repository, signing_service=key["pulp_href"])
        distribute(api, _NAME, publication=publication["pulp_href"])


def _fetch_as_apt_does(fleet: Fleet) -> None:
    """The order of an update and an install."""
    base = f"{fleet.content_url}/pulp/content/{_NAME}"
    release = get(f"{base}/dists/stable/InRelease").decode()
    assert "main/binary-amd64/Packages" in release
    packages = get(f"{base}/dists/stable/main/binary-amd64/Packages").decode()
    for line in packages.splitlines():
        if line.startswith("Filename: "):
            get(f"{base}/{line.partition(' ')[2]}")


def _asked_now(expressions: list[Expression]) -> list[Expression]:
    """With what Grafana would put in place of its variables."""
    return [
        replace(one, text=one.text.replace("$__rate_interval", "2m").replace("$repository", _NAME))
        for one in expressions
    ]


def _has_number(asked: Prometheus, one: Expression) -> bool:
    """Not only a series, and not only NaN."""
    return any(math.isfinite(value) for _, value in asked.query(one.text))
