"""The sweeper that leads looks up what stands in Postgres, now and then, for Prometheus.

One process of the fleet does, and a scrape only reads what was seen last: neither the number of
workers nor that of scrapers costs Postgres anything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

import psycopg
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import PoolTimeout

from debfleet import metrics
from debfleet.config import Settings
from debfleet.db import observations
from debfleet.db.connect import Database, Tx
from debfleet.db.observations import Values

log = logging.getLogger(__name__)

_SHARE = 100  # a look that took so long is taken again after a hundred times that
_STALE_LOOKS = 4  # missed: better no value than an old one
_STALE_SECONDS = 60.0


class Observer(Collector):
    """Looks in a thread of its own; collected by the metrics port from another."""

    def __init__(self, settings: Settings) -> None:
        self._pause = float(settings.metrics_seconds)
        self._seen: dict[Callable[[Tx], Values], Values] = {}
        self._due: dict[Callable[[Tx], Values], float] = {}
        self._seen_at = 0.0  # on our clock
        self._observed = 0.0  # since the epoch
        self._is_leading = False
        self._leads = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_leading(self) -> bool:
        """Whether this process is the one that looks."""
        return self._is_leading

    @is_leading.setter
    def is_leading(self, value: bool) -> None:
        metrics.LEADS.set(float(value))
        self._is_leading = value
        (self._leads.set if value else self._leads.clear)()

    def start(self, db: Database) -> None:
        """Look from now on, while this process leads."""
        self._thread = threading.Thread(target=self._run, args=(db,), name="observer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._leads.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def collect(self) -> Iterable[Metric]:
        """What was seen last; nothing where another process leads, or where that is long ago."""
        age = time.monotonic() - self._seen_at
        if not self._is_leading or age > max(_STALE_SECONDS, _STALE_LOOKS * self._pause):
            return
        yield GaugeMetricFamily(
            metrics.OBSERVED.name, metrics.OBSERVED.meaning, value=self._observed
        )
        for values in list(self._seen.values()):
            for metric, found in values.items():
                family = GaugeMetricFamily(metric.name, metric.meaning, labels=list(metric.labels))
                for labels, value in found.items():
                    family.add_metric(list(labels), value)
                yield family

    def describe(self) -> Iterable[Metric]:
        """Registering looks at nothing."""
        return []

    def _run(self, db: Database) -> None:
        while True:
            self._leads.wait()
            if self._stopped.is_set():
                return
            for what in observations.LOOKS:
                self._look(db, what)
            self._stopped.wait(self._pause)

    def _look(self, db: Database, what: Callable[[Tx], Values]) -> None:
        began = time.monotonic()
        if began < self._due.get(what, 0.0):
            return
        try:
            self._seen[what] = db.run(lambda tx: observations.look(tx, what))
        except psycopg.errors.QueryCanceled:
            self._seen.pop(what, None)
            log.warning("observation.slow", extra={"what": what.__name__})
        except (psycopg.Error, PoolTimeout) as e:
            log.warning("observation.failed", extra={"what": what.__name__, "reason": str(e)})
            return
        else:
            self._seen_at, self._observed = time.monotonic(), time.time()
        self._due[what] = time.monotonic() + _SHARE * (time.monotonic() - began)
