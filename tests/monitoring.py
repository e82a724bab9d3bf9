"""The dashboards and rules as they are written, and a Prometheus of a test's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from debfleet_cli.ports import free_address
from debfleet_cli.unprivileged import die_with_parent

FOLDER = Path(__file__).parents[1] / "deploy/k8s/components/monitoring"
_RULE = re.compile(r"^ {8}expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", re.MULTILINE)
_COMPARED = re.compile(r"(==|!=|>=|<=|>|<) (?=[0-9])")


@dataclass(frozen=True)
class Expression:
    """One expression, and where it stands."""

    place: str
    text: str


def dashboard_expressions() -> list[Expression]:
    """Of every panel of every dashboard."""
    found = []
    for path in sorted((FOLDER / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                found.append(Expression(f"{path.stem}: {panel['title']}", target["expr"]))
    return found


def rule_expressions() -> list[Expression]:
    """Of every alert; what is compared comes as 0 or 1, since what is well has no alert."""
    text = (FOLDER / "rules.yaml").read_text()
    names = re.findall(r"- alert: (\w+)", text)
    texts = [" ".join((several or one).split()) for several, one in _RULE.findall(text)]
    return [
        Expression(name, _COMPARED.sub(r"\1 bool ", found))
        for name, found in zip(names, texts, strict=True)
    ]


def need_prometheus() -> None:
    """Without it: skipped at home, failed in CI."""
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no prometheus: .ci/prometheus")


class Prometheus:
    """A server that scrapes every second, and answers queries."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values, now."""
        answer = self._ask("query", query=expression)
        if answer["resultType"] == "scalar":
            return [({}, float(answer["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in answer["result"]]

    def lines(
        self, expression: str, start: float, end: float, step: float
    ) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """Labels and (time, value) pairs."""
        answer = self._ask("query_range", query=expression, start=start, end=end, step=step)
        return [
            (one["metric"], [(float(at), float(value)) for at, value in one["values"]])
            for one in answer["result"]
        ]

    def is_up(self, targets: int) -> bool:
        """Whether so many targets were scraped well."""
        try:
            ready = httpx.get(f"{self.url}/-/ready", timeout=60, trust_env=False)
        except httpx.TransportError:
            return False  # it starts
        return ready.is_success and sum(value for _, value in self.query("up")) == targets

    def _ask(self, what: str, **params: Any) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=params, timeout=60, trust_env=False)
        body = answer.json()
        assert body["status"] == "success", (params, body)
        return body["data"]


@contextmanager
def prometheus(
    folder: Path, targets: Sequence[str], rules: Mapping[str, Any] | None = None
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes these HOST:PORT and loads our rules."""
    address = free_address()
    folder.mkdir()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(FOLDER / "rules.yaml")],
        "scrape_configs": [
            {"job_name": "debfleet", "static_configs": [{"targets": list(targets)}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    command = ["prometheus", f"--config.file={folder}/prometheus.yml"]
    command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=die_with_parent(9) if sys.platform == "linux" else None,
        )  # fmt: skip
    try:
        yield Prometheus(f"http://{address}")
    finally:
        process.kill()
        process.wait()
