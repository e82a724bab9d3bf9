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


def test_every_test_that_a_text_names_is_there() -> None:
    named = {n for text in _TEXTS for n in re.findall(r"`(test_\w+)`", text.read_text("utf-8"))}
    sources = "".join(p.read_text("utf-8") for p in (_ROOT / "tests").rglob("test_*.py"))

    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []
