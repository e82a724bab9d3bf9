"""The table of metrics, and values that several processes share."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from debfleet import measure, metrics

_COUNTING = """
import os, sys
from pathlib import Path
from debfleet import measure, metrics
measure.share(Path(sys.argv[1]), "worker")
metrics.start("worker", "1")
metrics.JOBS.add(kind="plan", outcome="done")
metrics.JOBS_IN_PROGRESS.add(kind="plan")
print("counted", flush=True)
sys.stdin.read()
os._exit(1)
"""


class _Counting:
    """A process that has counted one job and holds another, until ``die``."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", _COUNTING, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"counted\n"

    def die(self) -> None:
        self._process.communicate()


def _values(folder: Path) -> dict[str, float]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    lines = generate_latest(registry).decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


_DONE = 'debfleet_jobs_total{kind="plan",outcome="done"}'
_RUNNING = 'debfleet_jobs_in_progress{kind="plan"}'


def test_processes_that_share_a_directory_are_added_up(tmp_path: Path) -> None:
    processes = [_Counting(tmp_path), _Counting(tmp_path)]

    found = _values(tmp_path)

    assert (found[_DONE], found[_RUNNING]) == (2, 2)
    for process in processes:
        process.die()


def test_who_comes_after_a_dead_process_goes_on_with_its_counters_and_holds_nothing(
    tmp_path: Path,
) -> None:
    for _ in range(3):
        _Counting(tmp_path).die()
    files = sorted(tmp_path.iterdir())

    process = _Counting(tmp_path)

    found = _values(tmp_path)
    assert (found[_DONE], found[_RUNNING]) == (4, 1)
    assert sorted(tmp_path.iterdir()) == files
    process.die()


def test_every_name_says_its_unit_and_follows_prometheus_rules() -> None:
    for metric in metrics.TABLE:
        assert re.fullmatch(r"debfleet_[a-z_]+[a-z]", metric.name), metric.name
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        if metric.kind == "histogram":
            assert metric.name.endswith("_seconds"), metric.name
        assert metric.meaning.endswith("."), metric.name


def test_what_happens_rarely_is_there_with_0_from_the_start(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from debfleet import measure, metrics;"
        "measure.share(Path(sys.argv[1]), 'sweep'); metrics.start('sweep', '1')"
    )

    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)

    found = _values(tmp_path)
    assert found['debfleet_jobs_quarantined_total{kind="index"}'] == 0
    assert found["debfleet_leases_expired_total"] == 0


def test_no_more_than_a_hundred_hosts_become_labels() -> None:
    labels = {measure.host_label(f"http://user:secret@h{n}.example/debian") for n in range(300)}

    assert len(labels) <= 101
    assert measure.OTHER in labels
    assert not any("secret" in label for label in labels)


def test_words_that_clients_make_up_share_one_label() -> None:
    assert {measure.method_label(f"WORD{n}") for n in range(9)} == {measure.OTHER}
    assert {measure.status_label(n) for n in (0, 99, 600, 999)} == {measure.OTHER}
