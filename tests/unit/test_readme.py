"""What the texts point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from debfleet_cli.main import COMMANDS

_ROOT = Path(__file__).parents[2]
_TEXTS = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("text", _TEXTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_every_link_leads_somewhere(text: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", text.read_text(encoding="utf-8"))

    assert [link for link in links if not (text.parent / link).exists()] == []


def test_every_command_stands_in_the_readme() -> None:
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")

    assert [
        name for name in COMMANDS if f"`{name}`" not in readme and f" {name}" not in readme
    ] == []
