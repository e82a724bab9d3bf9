"""Each process starts with only what its image installs: debfleet with one extra."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from debfleet_cli.main import COMMANDS
from deployment import DEPLOY

_COMMANDS = {
    "api": "api migrate check",
    "content": "content",
    "worker": "worker sweep",
    # A person's: all that is no process of the fleet, and nothing that needs all of them.
    "cli": " ".join(sorted(set(COMMANDS) - {"api", "content", "worker", "sweep", "up", "demo"})),
}
# As if what only other extras bring were not there.
_PROGRAM = """
import importlib, json, sys
from importlib.machinery import PathFinder
hidden, commands = json.loads(sys.argv[1])
class Others(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            return None
        return super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Others
from debfleet_cli.main import COMMANDS
for command in commands:
    importlib.import_module(f"debfleet_cli.{COMMANDS[command][0]}")
"""


@pytest.fixture(scope="module")
def modules() -> Mapping[str, list[str]]:
    """Every module that is installed here, with the distributions that it is from."""
    return importlib.metadata.packages_distributions()


@pytest.mark.parametrize("extra", _COMMANDS)
def test_a_process_imports_only_what_its_extra_brings(
    extra: str, modules: Mapping[str, list[str]]
) -> None:
    ours = _installed_with(extra)
    hidden = [
        module
        for module, holders in modules.items()
        if not ours & {canonicalize_name(holder) for holder in holders}
        # mypyc and the like leave modules without a name of their own.
        and re.fullmatch(r"[a-z_]\w*", module)
    ]

    argument = json.dumps([hidden, _COMMANDS[extra].split()])
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, argument], capture_output=True, text=True, check=False
    )

    assert "pytest" in hidden
    assert done.returncode == 0, done.stderr


def test_what_an_image_tries_when_it_is_built_is_tried_here_too() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")

    stages = re.findall(r"'debfleet\[(\w+)\]'(.*?)(?=\nFROM)", dockerfile, re.DOTALL)

    tried = {extra: set(re.findall(r"debfleet (\S+) --help", text)) for extra, text in stages}
    assert set(tried) == set(_COMMANDS)
    assert all(tried[extra] <= set(_COMMANDS[extra].split()) for extra in tried)


def _installed_with(extra: str) -> set[str]:
    """The names of all distributions that pip would install for debfleet[extra]."""
    found: set[str] = set()
    left = [Requirement(f"debfleet[{extra}]")]
    while left:
        wanted = left.pop()
        key = f"{canonicalize_name(wanted.name)}[{','.join(sorted(wanted.extras))}]"
        if key in found:
            continue
        found.add(key)
        for text in importlib.metadata.requires(wanted.name) or []:
            needed = Requirement(text)
            extras = [*wanted.extras, ""]
            if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras):
                left.append(needed)
    return {key.partition("[")[0] for key in found}
