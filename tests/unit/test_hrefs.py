"""What content units are called."""

from __future__ import annotations

from debfleet.model import unit_model
from debfleet_api.hrefs import CONTENT


def test_the_worker_names_units_as_the_api_does() -> None:
    assert {kind: unit_model(kind) for kind in CONTENT} == {k: t.model for k, t in CONTENT.items()}
