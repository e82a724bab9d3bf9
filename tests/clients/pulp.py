"""The command ``pulp``, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).parent / ".venv"


@dataclass(frozen=True)
class Pulp:
    """Calls of one server."""

    command: Path
    url: str
    password: str
    home: Path  # where it keeps the document between calls

    def __call__(self, *argv: str) -> Any:
        """What a command that goes well prints: JSON, a text, or nothing."""
        done = self._run(argv)
        assert done.returncode == 0, f"pulp {' '.join(argv)}:\n{done.stdout}{done.stderr}"
        said = done.stdout.strip()
        return json.loads(said) if said.startswith(("{", "[")) else said or None

    def refused(self, *argv: str) -> str:
        """What a command that fails says."""
        done = self._run(argv)
        assert done.returncode != 0, f"pulp {' '.join(argv)} goes well:\n{done.stdout}"
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def started(self, *argv: str) -> str:
        """The href of the task that a command starts and does not wait for."""
        done = self._run(["--background", *argv])
        assert "Started background task" in done.stderr, done.stdout + done.stderr
        return done.stderr.partition("Started background task ")[2].split()[0]

    def _run(self, argv: Any) -> subprocess.CompletedProcess[str]:
        login = ["--base-url", self.url, "--username", "admin", "--password", self.password]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DEBFLEET_", "PULP_"))}
        return subprocess.run(
            [str(self.command), *login, "--timeout", "120", *argv],
            env={**kept, "HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / "config")},
            cwd=self.home, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150,
        )  # fmt: skip
