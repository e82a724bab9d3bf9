"""Switches of what is served, under the eyes of eight apt clients; the long run is in faults/."""

from __future__ import annotations

from pathlib import Path

import servers
from system.publishing import need_apt, new_key, serving_fleet
from system.switching import switch_under_clients


def test_no_apt_client_fails_while_what_is_served_changes_under_it(
    postgres: servers.PostgresForTests, template_url: str, tmp_path: Path
) -> None:
    need_apt()
    with serving_fleet(postgres, template_url) as fleet, fleet.client() as api:
        seen = switch_under_clients(api, new_key(fleet, api, "k"), tmp_path, clients=8, switches=4)

    print(seen.line())
    assert seen.failures == []
    assert seen.updates >= 8
    assert seen.looks >= 1
    assert len(seen.states) >= 2
