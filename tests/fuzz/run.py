"""Fuzz each target for a fixed number of inputs: ``python -m fuzz.run`` (in tests/).

A find ends all with status 1; the input that made it is kept in ``fuzz/found/``, and
``python -m fuzz.run TARGET FILE`` tries it again. Mend it, and let it become a test.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fuzz.targets import TARGETS

_FOUND = Path(__file__).parent / "found"
_TESTS = Path(__file__).parents[1]
_SECONDS_FOR_ONE = 20  # an input that takes longer is a find too
_MEMORY_MB = 2048


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.run", description=__doc__)
    add = parser.add_argument
    add("target", nargs="?", default="", help="only this one")
    add("input", nargs="?", help="try this file, and nothing else")
    add("--runs", type=int, default=200_000, help="inputs for each (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.input:
        TARGETS[options.target].check(Path(options.input).read_bytes())
        return 0
    chosen = [options.target] if options.target else list(TARGETS)
    return max(_run(name, options.runs) for name in chosen)


def _run(name: str, runs: int) -> int:
    """In a process of its own, because the engine never comes back."""
    target = TARGETS[name]
    runs = max(1, runs // target.cost)
    _FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, example in enumerate(target.examples):
            (Path(folder) / f"example-{number}").write_bytes(example)
        flags = [
            f"-runs={runs}",
            f"-max_len={target.longest}",
            f"-timeout={_SECONDS_FOR_ONE}",
            f"-rss_limit_mb={_MEMORY_MB}",
            f"-artifact_prefix={_FOUND}/{name}-",
            "-verbosity=0",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "fuzz.engine", name, folder, *flags], cwd=_TESTS, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    if done.returncode == 0:
        print(f"{name}: {runs:,} inputs, nothing found", flush=True)
        return 0
    print(f"{done.stdout[-6000:]}\n{name}: a find; its input is in {_FOUND}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
