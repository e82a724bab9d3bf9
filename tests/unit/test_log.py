"""What a process writes to its log."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator

import pytest

from debfleet.log import bound, start_logging


@pytest.fixture(autouse=True)
def _quiet_afterwards() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_names_its_process_also_from_a_thread(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("INFO", "worker")
    thread = threading.Thread(target=lambda: logging.getLogger("x").info("job.ended"))

    thread.start()
    thread.join()

    line = json.loads(capsys.readouterr().out)
    assert (line["process"], line["event"], line["level"]) == ("worker", "job.ended", "info")


def test_no_value_can_forge_a_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("INFO", "api")

    with bound(task="a\nb"):
        logging.getLogger("x").info("task.asked", extra={"name_given": 'x\n{"level": "error"}'})

    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["task"] == "a\nb"
