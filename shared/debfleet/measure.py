"""What a metric is to the code that writes it, and how processes of one machine share theirs.

The table of all metrics is ``debfleet.metrics``.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import prometheus_client
from prometheus_client import values
from prometheus_client.values import MultiProcessValue

prometheus_client.disable_created_metrics()  # a second series for each, of use to nobody here

REGISTRY = prometheus_client.CollectorRegistry()
OTHER = "other"
QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_MOST_HOSTS = 100
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Metric:
    """One row of the table, and the way to write it."""

    def __init__(
        self,
        kind: Literal["counter", "gauge", "histogram"],
        name: str,
        meaning: str,
        by: Sequence[str],
        labels: Mapping[str, Sequence[str]] | None = None,
        buckets: Sequence[float] = QUICK,
        *,
        is_written: bool = True,
    ) -> None:
        """``labels``: each with the values to show from the start; none: whatever comes.

        What is not written is looked up at each scrape.
        """
        self.kind = kind
        self.name = name
        self.meaning = meaning
        self.by = tuple(by)
        self.labels = dict(labels or {})
        self.is_written = is_written
        self._buckets = tuple(buckets)
        self._live: Any = None
        self._children: dict[tuple[tuple[str, str], ...], Any] = {}  # by their labels
        self._making = threading.Lock()

    def add(self, amount: float = 1, **labels: str) -> None:
        """So much more."""
        self._child(labels).inc(amount)

    def set(self, value: float, **labels: str) -> None:
        """A gauge's new value."""
        self._child(labels).set(value)

    def observe(self, value: float, **labels: str) -> None:
        """One more value of a histogram."""
        self._child(labels).observe(value)

    @contextmanager
    def during(self, **labels: str) -> Iterator[None]:
        """A gauge is one higher within the block."""
        child = self._child(labels)
        child.inc()
        try:
            yield
        finally:
            child.dec()

    def show(self) -> None:
        """Make it visible, with 0 for each set of labels that is known beforehand."""
        if all(self.labels.values()):
            for known in itertools.product(*self.labels.values()):
                self._child(dict(zip(self.labels, known, strict=True)))

    def _child(self, labels: Mapping[str, str]) -> Any:
        key = tuple(labels.items())
        child = self._children.get(key)
        if child is None:  # the library checks and sorts them each time
            child = self._children[key] = self._find_child(labels)
        return child

    def _find_child(self, labels: Mapping[str, str]) -> Any:
        live = self._live
        if live is None:
            with self._making:
                live = self._live = self._live or self._make()
        return live.labels(**labels) if self.labels else live

    def _make(self) -> Any:
        names = tuple(self.labels)
        if self.kind == "counter":
            return prometheus_client.Counter(self.name, self.meaning, names, registry=REGISTRY)
        if self.kind == "gauge":
            return prometheus_client.Gauge(
                self.name, self.meaning, names, registry=REGISTRY, multiprocess_mode="livesum"
            )
        return prometheus_client.Histogram(
            self.name, self.meaning, names, registry=REGISTRY, buckets=self._buckets
        )


def share(folder: Path, process: str) -> None:
    """Keep this process's values in a directory, under the first name of its kind that is free.

    Call it before the first value is written. Who comes after a process that died goes on with its
    counters, so that the directory stays small however often processes are started again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = _take_name(folder, process)
    for old in folder.glob(f"gauge_*_{name}.db"):
        old.unlink()  # what the dead one had in its hands
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # prometheus-client takes it from there
    values.ValueClass = MultiProcessValue(lambda: name)


def _take_name(folder: Path, process: str) -> str:
    for number in itertools.count():
        held = os.open(folder / f"{process}-{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
        else:
            return f"{process}-{number}"  # held until the process ends
    raise AssertionError("not reached")


def status_label(status: int) -> str:
    """The class of an HTTP status."""
    return f"{status // 100}xx" if 100 <= status < 600 else OTHER


def method_label(method: str) -> str:
    """A client may send any word."""
    return method if method in _METHODS else OTHER


_hosts: dict[str, None] = {}


def host_label(url: str) -> str:
    """The host of a remote's URL, as a label: one of the first hundred, or ``other``."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return OTHER  # no URL: what fetches it says so
    host = parts.netloc.rpartition("@")[2].lower()[:255] or "local"
    if host not in _hosts:
        if len(_hosts) >= _MOST_HOSTS:
            return OTHER
        _hosts[host] = None
    return host
