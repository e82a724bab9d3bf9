"""debfleet against its peers: the same work, the same machine, by turns.

    .venv/bin/python bench/sync.py [--rounds 5] [--only real,small] [--write docs/benchmarks.md]

Each round runs every contender once. What counts is the ratio of the medians, since machines
differ. A peer that is not installed is left out and named (Debian: curl, aptly, debmirror,
nginx-light, libnginx-mod-http-echo, apache2-utils).
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from lab import Unavailable
from peers import version
from plot import draw
from rows import ROWS
from table import Place, Row

_ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run the rows and print them; with ``--write`` into a page, its picture beside it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(ROWS), help="rows, with commas: %(default)s")
    parser.add_argument("--real", type=Path, help="folder that keeps a real release's indices")
    parser.add_argument("--write", type=Path, help="the page to write, e.g. docs/benchmarks.md")
    args = parser.parse_args()
    if unknown := set(args.only.split(",")) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    folder.chmod(0o755)
    try:
        rows = _run(args.only.split(","), Place(folder, args.rounds, args.real or folder / "real"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    page = _render(rows, args.rounds)
    print(page)
    if args.write:
        args.write.write_text(page)
        draw(rows, args.write.with_suffix(".svg"))


def _run(names: Sequence[str], place: Place) -> list[Row]:
    rows: list[Row] = []
    for name in names:
        try:
            rows += ROWS[name](place)
        except Unavailable as e:
            rows.append(Row(f"{name}: not run, since this machine lacks {e}"))
    return rows


def _render(rows: Sequence[Row], rounds: int) -> str:
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d} at commit {_commit()}: "
        f"{os.cpu_count()} cores, {_memory()} GiB of memory, Linux {platform.release()}, "
        f"Python {platform.python_version()}; {version('curl').rpartition(' libcurl')[0]}, "
        f"aptly {version('aptly', 'version').rpartition(' ')[2]}. Medians of {rounds} rounds, in "
        "which the contenders took turns. Every figure of debfleet runs from the POST to the "
        "task's end and includes every unit that Pulp's contract asks for; `up --workers 2` on "
        "its embedded Postgres, unless the line says otherwise. Memory is that of the largest "
        "process. Each contender begins when what was written before it is on the disk.",
        "",
        "![ratios](benchmarks.svg)",
    ]
    for row in rows:
        lines += ["", f"## {row.title}", ""]
        if row.goal:
            lines += [f"Goal: {row.goal}.", ""]
        if row.runs:
            lines += [
                "| | Seconds, median (all) | Times debfleet's | Memory |",
                "|---|---|---|---|",
            ]
        lines += [_line(row, name) for name in row.runs]
        lines += ["", *row.notes] if row.notes else []
    return "\n".join(lines) + "\n"


def _line(row: Row, name: str) -> str:
    runs = row.runs[name]
    every = ", ".join(f"{run.seconds:.2f}" for run in runs)
    ratio = row.median(name) / max(row.median(next(iter(row.runs))), 0.001)
    peak = max(run.peak for run in runs)
    memory = f"{peak / 1e6:,.0f} MB" if peak else ""
    return f"| {name} | {row.median(name):.2f} ({every}) | {ratio:.2f} | {memory} |"


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


if __name__ == "__main__":
    main()
