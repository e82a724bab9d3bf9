"""The benchmark as a picture: bars, each row's times beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from table import Row

_WIDTH, _LABEL, _BAR, _GAP, _HEAD = 860, 300, 16, 4, 30
_COLOURS = ("#2a6f97", "#adb5bd")  # ours, theirs


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write an SVG; bars are seconds, and each row has a scale of its own."""
    parts: list[str] = []
    y = 10
    for row in rows:
        if len(row.runs) < 2:
            continue
        y += _HEAD
        parts.append(_text(10, y - 10, row.title, bold=True))
        longest = max(row.median(name) for name in row.runs)
        for name in row.runs:
            seconds = row.median(name)
            length = max(2, (_WIDTH - _LABEL - 90) * seconds / longest)
            colour = _COLOURS[not name.startswith("debfleet")]
            parts.append(_text(20, y + _BAR - 4, name))
            parts.append(
                f'<rect x="{_LABEL}" y="{y}" width="{length:.0f}" height="{_BAR}" fill="{colour}"/>'
            )
            parts.append(_text(round(_LABEL + length + 6), y + _BAR - 4, f"{seconds:.2f} s"))
            y += _BAR + _GAP
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 10}" '
        'font-family="sans-serif" font-size="12">'
        f'<rect width="{_WIDTH}" height="{y + 10}" fill="#ffffff"/>' + "".join(parts) + "</svg>\n"
    )


def _text(x: int, y: int, words: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}"{weight}>{escape(words)}</text>'
