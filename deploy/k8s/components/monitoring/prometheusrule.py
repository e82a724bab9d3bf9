"""Write prometheusrule.yaml, which the Prometheus operator reads, from rules.yaml.

.venv/bin/python deploy/k8s/components/monitoring/prometheusrule.py
"""

from __future__ import annotations

from pathlib import Path

import yaml

_HERE = Path(__file__).parent


def render_rule(rules: str) -> str:
    """The object that holds the groups of a file of Prometheus rules."""
    thing = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "debfleet"},
        "spec": yaml.safe_load(rules),
    }
    text = yaml.safe_dump(thing, sort_keys=False, width=1000, allow_unicode=True)
    return f"# Written by prometheusrule.py from rules.yaml.\n{text}"


if __name__ == "__main__":
    rules = (_HERE / "rules.yaml").read_text(encoding="utf-8")
    (_HERE / "prometheusrule.yaml").write_text(render_rule(rules), encoding="utf-8")
