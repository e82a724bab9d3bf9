"""The dashboards and alerts against the table of metrics, their code, and the docs."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from debfleet.metrics import TABLE
from monitoring import FOLDER, Expression, dashboard_expressions, need_prometheus, rule_expressions

_DOCS = Path(__file__).parents[2] / "docs"
_EXPRESSIONS = dashboard_expressions() + rule_expressions()


def test_the_dashboards_are_what_the_code_makes() -> None:
    spec = importlib.util.spec_from_file_location("dashboards", FOLDER / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    dashboards = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dashboards)

    rendered = {f"{board.uid}.json": dashboards.rendered(board) for board in dashboards.BOARDS}

    written = {path.name: path.read_text() for path in (FOLDER / "dashboards").iterdir()}
    assert written == rendered, "run `make dashboards`"


@pytest.mark.parametrize("one", _EXPRESSIONS, ids=lambda one: one.place)
def test_every_name_in_an_expression_is_a_metric_of_ours_with_such_labels(one: Expression) -> None:
    known = {metric.name: metric for metric in TABLE}
    for name, selector in re.findall(r"(debfleet_\w+)(?:\{([^}]*)\})?", one.text):
        bare = name.removesuffix("_bucket") if name not in known else name
        assert bare in known
        labels = set(re.findall(r"(\w+)[!=]", selector))
        assert labels <= set(known[bare].labels)


def test_every_metric_is_on_a_dashboard() -> None:
    shown = " ".join(one.text for one in dashboard_expressions())

    missing = [metric.name for metric in TABLE if metric.name not in shown]

    # Who watches the watcher, and what is told elsewhere in other words.
    assert missing == [
        "debfleet_sweep_duration_seconds",
        "debfleet_sweep_leads",
        "debfleet_processes_started",
        "debfleet_store_artifacts",
        "debfleet_observed_timestamp_seconds",
    ], "add a panel to panels.py and run `make dashboards`"


def test_every_alert_has_its_page_in_the_runbooks() -> None:
    rules = (FOLDER / "rules.yaml").read_text()
    names = re.findall(r"- alert: (\w+)", rules)
    pages = re.findall(r"^## (\w+)$", (_DOCS / "runbooks.md").read_text(), re.MULTILINE)

    links = re.findall(r"runbook_url: docs/runbooks.md#(\w+)", rules)

    assert links == [name.lower() for name in names]
    assert pages == names


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    need_prometheus()

    done = subprocess.run(
        ["promtool", "test", "rules", "rules_test.yaml"],
        cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    tests = (FOLDER / "rules_test.yaml").read_text()
    for name in re.findall(r"- alert: (\w+)", (FOLDER / "rules.yaml").read_text()):
        assert f"alertname: {name}" in tests
