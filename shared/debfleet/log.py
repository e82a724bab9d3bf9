"""One JSON object a line on stdout, or text for people; ids bound once per request or job.

A line of a request carries ``cid``, its Correlation-ID; what it asked for carries that id into the
lines of the workers, beside ``task`` and ``job``. An event is named noun.past-verb
(``index.unchanged``); what varies goes into ``extra``.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

_bound: ContextVar[dict[str, Any]] = ContextVar("bound", default={})  # noqa: B039 (never mutated)
_PLAIN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_encode = json.JSONEncoder(default=str).encode  # json.dumps would make an encoder for each line


class _JsonLines(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process  # here and not bound: a thread starts with nothing bound

    def format(self, record: logging.LogRecord) -> str:
        # JSON escapes line breaks, so that no value can forge a line.
        return _encode(self.fields(record))

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What the line says."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            "process": self._process,
            **_bound.get(),
        }
        line |= {k: v for k, v in record.__dict__.items() if k not in _PLAIN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return line


class _TextLines(_JsonLines):
    """``12:00:00 INFO  worker job.ended kind=plan seconds=0.2``; a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        head = f"{time} {record.levelname:<7} {fields.pop('process')} {_event(fields)}"
        for name in ("time", "level", "logger"):
            del fields[name]
        traceback = fields.pop("traceback", "")
        shown = [head, *(f"{name}={_shown(value)}" for name, value in fields.items())]
        # The lines of a traceback are set off: none of them can pass for a line of the log.
        return "\n    | ".join([" ".join(shown), *traceback.splitlines()])


def _event(fields: dict[str, Any]) -> str:
    """A library's may be a sentence; it cannot begin a line either."""
    event = str(fields.pop("event"))
    return event if event.isprintable() else json.dumps(event)


def _shown(value: Any) -> str:
    """As it is where that is one plain word; else as JSON, which escapes line breaks."""
    text = str(value)
    is_plain = text.isprintable() and text.isascii() and not set(text) & set(" =\"'")
    return text if text and is_plain else json.dumps(text)


def start_logging(level: str, process: str, form: str = "json") -> None:
    """Send every logger to stdout, naming the process; ``form`` is json or text."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_TextLines(process) if form == "text" else _JsonLines(process))
    # No line says where in the code it was written, nor in which thread: a quarter of its cost.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("pika", "aiohttp.access", "dramatiq", "psycopg.pool", "urllib3", "httpx"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Every line logged within the block carries these fields."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)
