"""The generated Python bindings, with the validation of their models on."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path

import pytest

from archive.debs import make_deb
from archive.upstream import Upstream
from system.up import Up

_SESSION = Path(__file__).parent / "bindings_session.py"


def _checks() -> list[str]:
    """The names in the session's table; it cannot be imported here, where there are no bindings."""
    for node in ast.parse(_SESSION.read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "CHECKS":
            assert isinstance(node.value, ast.Tuple)
            return [ast.unparse(name) for name in node.value.elts]
    raise AssertionError("the session has no table of checks")


@pytest.fixture(scope="module")
def results(
    clients: Path, up: Up, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str | None]:
    """What was wrong with each check."""
    package = tmp_path_factory.mktemp("debs") / "bound_1.0_amd64.deb"
    package.write_bytes(make_deb("bound", "1.0", "amd64"))
    arguments = [f"http://{up.address}", upstream.url, upstream.folder / "key.asc", package]
    done = subprocess.run(
        [str(clients / "python"), str(_SESSION), *map(str, arguments)],
        env={**os.environ, "PULP_PASSWORD": up.place.admin_password.read_text().strip()},
        capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    return {line["check"]: line["wrong"] for line in lines}


@pytest.mark.parametrize("check", _checks())
def test_the_bindings_work(results: dict[str, str | None], check: str) -> None:
    assert results[check] is None, results[check]
