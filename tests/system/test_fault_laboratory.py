"""A small, fixed selection of the fault laboratory's runs (all of them: `make faults`)."""

from __future__ import annotations

import shutil

import pytest

import servers
from faults.run import break_syncs, table


def test_syncs_under_kills_and_cuts_hold_every_invariant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = servers.short_folder("faults")
    try:
        tally = break_syncs(seed=2026, lanes=2, runs=4, seconds=60, folder=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    assert tally.broken == [], f"{capsys.readouterr().out}\n{table(tally)}"
    assert tally.runs >= 1
    assert tally.counted >= 1
