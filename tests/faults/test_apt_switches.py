"""The long run: a hundred switches under twenty apt clients (`make faults`)."""

from __future__ import annotations

from pathlib import Path

import pytest

import servers
from system.publishing import need_apt, new_key, serving_fleet
from system.switching import switch_under_clients


def test_twenty_apt_clients_do_not_notice_a_hundred_switches(
    postgres: servers.PostgresForTests,
    template_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    need_apt()
    with serving_fleet(postgres, template_url) as fleet, fleet.client() as api:
        service = new_key(fleet, api, "k")
        seen = switch_under_clients(api, service, tmp_path, clients=20, switches=100)

    with capsys.disabled():
        print(f"\n{seen.line()}")
    assert seen.failures == []
    assert len(seen.states) > 20
