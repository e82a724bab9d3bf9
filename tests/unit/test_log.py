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


def test_text_is_one_line_a_person_can_read(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("INFO", "worker", "text")

    with bound(task="7", cid="ab"):
        logging.getLogger("x").info("job.ended", extra={"kind": "plan", "reason": "it is over"})

    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(' INFO    worker job.ended task=7 cid=ab kind=plan reason="it is over"')


def test_no_value_can_forge_a_line_of_text_either(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("INFO", "api", "text")

    try:
        raise ValueError("first\n12:00:00 ERROR   api forged")
    except ValueError:
        logging.getLogger("x").error("a\nb", exc_info=True, extra={"path": "c\nd"})

    first, *rest = capsys.readouterr().out.splitlines()
    assert first.endswith(' ERROR   api "a\\nb" path="c\\nd"')
    assert rest
    assert all(line.startswith("    | ") for line in rest)
