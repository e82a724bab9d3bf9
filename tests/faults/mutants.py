"""Take out one guard of an invariant at a time, and see a test fail: ``python -m faults.mutants``.

Works on a copy of the code, which the tests are made to import instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("shared", *(f"services/{name}" for name in ("api", "worker", "content", "cli")))


@dataclass(frozen=True)
class Mutant:
    """One guard, taken out."""

    invariant: str
    guard: str  # what it is, for a person
    file: str
    old: str
    new: str
    test: str  # must fail then


_WHOLE = "tests/services/test_all_or_nothing.py"

MUTANTS = (
    Mutant(
        "V1", "an index stays reachable by hash after a switch",
        "shared/debfleet/db/served.sql",
        "(until is null or until > clock_timestamp() - make_interval(secs => %(seconds)s))\n union",
        "until is null\n union",
        "tests/services/test_content.py",
    ),
    Mutant(
        "V2", "who follows a repository is served complete publications alone",
        "shared/debfleet/db/migrations/0005_publications.sql",
        "where p.is_complete and p.repository = coalesce(d.repository,",
        "where p.repository = coalesce(d.repository,",
        _WHOLE,
    ),
    Mutant(
        "V2", "who names a publication is served it when it is complete",
        "shared/debfleet/db/migrations/0005_publications.sql",
        "where p.id = d.publication and p.is_complete)", "where p.id = d.publication)",
        _WHOLE,
    ),
    Mutant(
        "V2", "a new distribution takes a complete publication alone",
        "shared/debfleet/db/distributions.sql",
        "v.repository, v.number, (select id from publications where uuid = %(publication)s"
        " and is_complete)",
        "v.repository, v.number, (select id from publications where uuid = %(publication)s)",
        _WHOLE,
    ),
    Mutant(
        "V2", "a distribution turns to a complete publication alone",
        "shared/debfleet/db/distributions.sql",
        "publication = (select id from publications where uuid = %(publication)s and is_complete)",
        "publication = (select id from publications where uuid = %(publication)s)",
        _WHOLE,
    ),
    Mutant(
        "V2", "the API finds complete publications alone",
        "shared/debfleet/db/publications.sql",
        "from publications where uuid = %(uuid)s and is_complete",
        "from publications where uuid = %(uuid)s",
        _WHOLE,
    ),
    Mutant(
        "V2", "the API lists complete publications alone",
        "services/api/debfleet_api/routes/publications.py",
        'sql.SQL("p.is_complete AND p.kind = {}")', 'sql.SQL("p.kind = {}")',
        _WHOLE,
    ),
    Mutant(
        "V2", "a checkpoint is served when it is complete",
        "shared/debfleet/db/served.sql",
        "and p.checkpoint and p.is_complete\n where d.id = %(distribution)s and p.created",
        "and p.checkpoint\n where d.id = %(distribution)s and p.created",
        _WHOLE,
    ),
    Mutant(
        "V2", "a checkpoint is listed when it is complete",
        "shared/debfleet/db/served.sql",
        "and p.checkpoint and p.is_complete\n where d.id = %(distribution)s order by",
        "and p.checkpoint\n where d.id = %(distribution)s order by",
        _WHOLE,
    ),
    Mutant(
        "V2", "a version comes in the transaction that ends its sync",
        "services/worker/debfleet_worker/steps/assemble.py",
        "    generics.note_sizes(tx, job.task)",
        "    tx.commit()\n    generics.note_sizes(tx, job.task)",
        _WHOLE,
    ),
    Mutant(
        "V2", "a publication is served from the transaction that ends its task",
        "services/worker/debfleet_worker/steps/publish.py",
        "    publications.complete_publication(tx, publication.id)",
        "    publications.complete_publication(tx, publication.id)\n    tx.commit()",
        _WHOLE,
    ),
    Mutant(
        "V2", "a task that is over stays as it ended",
        "shared/debfleet/db/endings.sql",
        "WHERE id = %(task)s AND finished IS NULL\n"
        "   AND (%(round)s::int IS NULL OR (round = %(round)s AND state = 'running'))",
        "WHERE id = %(task)s",
        "tests/services/test_api_tasks.py",
    ),
    Mutant(
        "V3", "a lost lease is queued again",
        "shared/debfleet/db/sweeps.sql",
        "' ran out')\n WHERE id = ANY(%(jobs)s)",
        "' ran out')\n WHERE false AND id = ANY(%(jobs)s)",
        "tests/services/test_sweep.py",
    ),
    Mutant(
        "V4", "a job that runs cannot be claimed",
        "shared/debfleet/db/jobs.sql",
        "OR (j.state = 'running' AND j.leased_until < clock_timestamp()))",
        "OR j.state = 'running')",
        "tests/services/test_jobs.py",
    ),
    Mutant(
        "V5", "the attempt fences every outcome",
        "shared/debfleet/db/jobs.sql",
        "WHERE j.id = %(job)s AND j.attempt = %(attempt)s AND j.state = 'running'\n"
        "   AND t.state = 'running' AND t.round = j.round\n   FOR NO KEY UPDATE OF j\n",
        "WHERE j.id = %(job)s\n   FOR NO KEY UPDATE OF j\n",
        "tests/services/test_jobs.py",
    ),
    Mutant(
        "V6", "a lease is renewed only while its step moves",
        "services/worker/debfleet_worker/lease.py",
        "return time.monotonic() - self._moved < self._patience", "return True",
        "tests/services/test_lease.py",
    ),
    Mutant(
        "V7", "nothing is kept under a digest that it does not have",
        "shared/debfleet/store/receiver.py",
        "if expected_sha256 is not None and sha256 != expected_sha256:", "if False:",
        "tests/unit/test_store.py",
    ),
    Mutant(
        "V7", "files are flushed before a row says that they are stored",
        "services/worker/debfleet_worker/steps/download.py",
        "    worker.store.flush(found)\n", "",
        "tests/services/test_sync_troubles.py",
    ),
    Mutant(
        "V8", "no more requests at once than there are slots",
        "services/worker/debfleet_worker/lease.py",
        "return min(self._granted, self._share)", "return 100",
        "tests/system/test_fleet_rules.py",
    ),
    Mutant(
        "V9", "an error comes with its code",
        "services/worker/debfleet_worker/actors.py",
        'text = f"[{error.code}] " +', 'text = "" +',
        "tests/services/test_lease.py tests/services/test_sync.py",
    ),
    Mutant(
        "V10", "what is stored is not fetched again",
        "services/worker/debfleet_worker/steps/download.py",
        "            file.sha256 is None\n            or file.sha256 in to_see", "            True",
        "tests/services/test_sync.py tests/services/test_sync_counts.py",
    ),
)  # fmt: skip


def try_one(mutant: Mutant) -> str:
    """The names of the tests that fail; empty: the guard is not missed."""
    with tempfile.TemporaryDirectory() as folder:
        for package in _PACKAGES:
            shutil.copytree(_ROOT / package, Path(folder) / package)
        file = Path(folder) / mutant.file
        text = file.read_text()
        assert text.count(mutant.old) == 1, f"{mutant.invariant}: {mutant.file} has changed"
        file.write_text(text.replace(mutant.old, mutant.new))
        paths = os.pathsep.join(str(Path(folder) / package) for package in _PACKAGES)
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-p", "no:cacheprovider",
             "--tb=no", *mutant.test.split()],
            cwd=_ROOT, env={**os.environ, "PYTHONPATH": paths}, text=True, capture_output=True,
            check=False,
        )  # fmt: skip
    failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].partition("::")[2].partition(" - ")[0] if failed else ""


def main() -> int:
    """Print a row of Markdown for each; 1 if a guard is not missed."""
    chosen = [m for m in MUTANTS if len(sys.argv) < 2 or m.invariant in sys.argv[1:]]
    status = 0
    for mutant in chosen:
        failed = try_one(mutant)
        status |= not failed
        place = f"[{Path(mutant.file).name}](../{mutant.file})"
        shown = f"`{failed.partition('[')[0]}`" if failed else "**nothing**"
        print(f"| {mutant.invariant} | {mutant.guard} | {place} | {shown} |", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
