"""The generated pages say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

_DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", _DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_metrics_is_up_to_date(reference: ModuleType) -> None:
    assert (_DOCS / "metrics.md").read_text() == reference.metrics_text(), "run `make docs`"


def test_the_page_of_settings_is_up_to_date(reference: ModuleType) -> None:
    assert (_DOCS / "settings.md").read_text() == reference.settings_text(), "run `make docs`"
