"""Draw what the dashboards show, without a Grafana: the same expressions, asked of a Prometheus.

    .venv/bin/python deploy/k8s/components/monitoring/pictures.py --repository debian --hours 6 \\
        --prometheus http://127.0.0.1:9090 --out docs/pictures

One PNG for each dashboard, with its panels in their order.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

HERE = Path(__file__).parent
_LOOKS = 120  # points of a line
_MOST_LINES = 10
_UNITS: Mapping[str, Callable[[float], str]]


@dataclass(frozen=True)
class Asked:
    """What is put in place of Grafana's variables, and when."""

    url: str  # of Prometheus
    repository: str
    start: float
    end: float
    window: str  # of rates

    def points(self, expression: str) -> list[tuple[dict[str, str], list[float], list[float]]]:
        """Labels, minutes since the start, and values, of each series that has any."""
        text = expression.replace("$__rate_interval", self.window)
        params = {
            "query": text.replace("$repository", self.repository),
            "start": self.start,
            "end": self.end,
            "step": max((self.end - self.start) / _LOOKS, 1),
        }
        url = f"{self.url}/api/v1/query_range?{urllib.parse.urlencode(params)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            found = json.load(answer)["data"]["result"]
        return [
            (
                one["metric"],
                [(float(at) - self.start) / 60 for at, _ in one["values"]],
                [float(value) for _, value in one["values"]],
            )
            for one in found
        ]


def draw(path: Path, asked: Asked, out: Path) -> None:
    """One dashboard as one picture."""
    board = json.loads(path.read_text())
    panels = _told_apart(board["panels"])
    numbers = [panel for panel in panels if panel["type"] == "stat"]
    charts = [panel for panel in panels if panel["type"] == "timeseries"]
    rows, top = math.ceil(len(charts) / 3), 1 if numbers else 0
    heights = [0.45] * top + [1.0] * rows
    figure = plt.figure(figsize=(13, 2.6 * sum(heights) + 0.6), layout="constrained")
    grid = figure.add_gridspec(top + rows, 1, height_ratios=heights)
    title = board["title"] + (f": {asked.repository}" if "repository" in path.stem else "")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    if numbers:
        line = grid[0].subgridspec(1, len(numbers))
        for place, panel in enumerate(numbers):
            _draw_number(figure.add_subplot(line[place]), panel, asked)
    for row in range(rows):
        line = grid[top + row].subgridspec(1, 3)
        for place, panel in enumerate(charts[3 * row : 3 * row + 3]):
            _draw_lines(figure.add_subplot(line[place]), panel, asked)
    figure.savefig(out, dpi=72, pil_kwargs={"optimize": True})
    plt.close(figure)


def _told_apart(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Panels without their rows, whose titles go to panels of the same title."""
    titles = Counter(panel["title"] for panel in found)
    panels, row = [], ""
    for panel in found:
        if panel["type"] == "row":
            row = panel["title"]
        elif titles[panel["title"]] > 1:
            panels.append({**panel, "title": f"{panel['title']} ({row})"})
        else:
            panels.append(panel)
    return panels


def _draw_number(axes: Axes, panel: dict[str, Any], asked: Asked) -> None:
    shown = _UNITS[panel["fieldConfig"]["defaults"]["unit"]]
    texts = []
    for target in panel["targets"]:
        for labels, _, values in asked.points(target["expr"]):
            name = _legend(target["legendFormat"], labels)
            is_alone = name == panel["title"]
            texts.append(shown(values[-1]) if is_alone else f"{name} {shown(values[-1])}")
    axes.set_axis_off()
    axes.set_title(panel["title"], fontsize=8)
    size = 20 if len(texts) == 1 else 8
    axes.text(0.5, 0.45, "\n".join(texts) or "none", ha="center", va="center", fontsize=size)


def _draw_lines(axes: Axes, panel: dict[str, Any], asked: Asked) -> None:
    shown = _UNITS[panel["fieldConfig"]["defaults"]["unit"]]
    lines = [
        (_legend(target["legendFormat"], labels), minutes, values)
        for target in panel["targets"]
        for labels, minutes, values in asked.points(target["expr"])
    ]
    lines.sort(key=lambda line: -max((v for v in line[2] if math.isfinite(v)), default=-math.inf))
    for name, minutes, values in lines[:_MOST_LINES]:
        axes.plot(minutes, values, label=name[:40], linewidth=1.2)
    axes.set_title(panel["title"], fontsize=9)
    axes.tick_params(labelsize=7)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} min"))
    is_flat = not any(value for _, _, values in lines for value in values)
    if is_flat:
        axes.set_ylim(0, 1)
    else:
        axes.set_ylim(bottom=min(axes.get_ylim()[0], 0))
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(fontsize=6, loc="best", framealpha=0.6)


def _legend(form: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), form)


def _seconds(value: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s" if abs(value) >= 1 or value == 0 else f"{1000 * value:.3g} ms"


def _bytes(value: float) -> str:
    for size, unit in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} B"


_UNITS = {
    "bytes": _bytes,
    "Bps": lambda value: f"{_bytes(value)}/s",
    "ops": lambda value: f"{value:.3g}/s",
    "reqps": lambda value: f"{value:.3g}/s",
    "s": _seconds,
    "percentunit": lambda value: f"{100 * value:.3g} %",
    "short": lambda value: f"{value:g}",
}


def draw_all(asked: Asked, out: Path) -> None:
    """Every dashboard."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted((HERE / "dashboards").glob("*.json")):
        draw(path, asked, out / f"{path.stem}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", metavar="URL", default="http://127.0.0.1:9090")
    parser.add_argument("--repository", required=True, help="that the dashboard of one shows")
    parser.add_argument("--hours", type=float, default=6)
    parser.add_argument("--window", default="5m", help="that rates are taken over")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    args = parser.parse_args()
    now = time.time()
    draw_all(
        Asked(args.prometheus, args.repository, now - 3600 * args.hours, now, args.window),
        args.out,
    )
