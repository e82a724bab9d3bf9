"""``debfleet sweep``: the net below everything that only rings.

Two may run; one leads. Each round is a list of short transactions of ``debfleet.db.sweeps``, all of
them harmless twice, so that a leader who was thought dead does no damage.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from uuid import UUID, uuid4

import psycopg

from debfleet import metrics
from debfleet.bell import Bell, open_bell
from debfleet.config import Settings
from debfleet.db import publications, schedules, slots, sweeps, tasks, upkeep, uploads
from debfleet.db.connect import Database
from debfleet.metrics_port import MetricsPort, begin_metrics, listen
from debfleet.model import Ring
from debfleet.vitals import Vitals
from debfleet_worker.heart import Heart
from debfleet_worker.observe import Observer
from debfleet_worker.process import on_signals, wait_for

log = logging.getLogger(__name__)

_ROLE = "sweep"
_PRUNE_EVERY = 60  # rounds


def run_sweep(settings: Settings) -> int:
    """Sweep until SIGTERM or SIGINT; the exit status."""
    settings.need("database_url")
    listening = listen(settings.metrics_address)
    begin_metrics(settings, "sweep")
    stop = threading.Event()
    on_signals(stop)
    # Not the broker: without it there is enough to do.
    vitals = Vitals({"database": 3.0 * settings.heartbeat_seconds})
    observer = Observer(settings)
    with MetricsPort(listening, vitals, settings, [observer]):
        sweep(settings, stop, vitals, observer if listening is not None else None)
    return 0


def sweep(
    settings: Settings,
    stop: threading.Event,
    vitals: Vitals | None = None,
    observer: Observer | None = None,
) -> None:
    """Sweep until the event is set; with an observer that is asked by somebody, observe too."""
    process, bell = uuid4(), open_bell(settings)
    # Little patience: with Postgres away, the calls below must not outlast the grace of a SIGTERM.
    with Database(settings.database_url, size=3, name="debfleet sweep", patience=5) as db:
        heart = Heart(db, settings, "sweep", process, vitals)
        wait_for(heart.beat_once, stop)
        heart.start()
        if observer is not None:
            observer.start(db)
        sweeper = Sweeper(db, bell, settings, process)
        log.info("sweep.started", extra={"process_id": str(process)})
        while not stop.is_set():
            is_leading = _sweep_once(sweeper)
            if observer is not None:
                observer.is_leading = is_leading
            stop.wait(settings.sweep_seconds)
        if observer is not None:
            observer.stop()
        sweeper.step_down()
        bell.close()
        heart.stop()
        log.info("sweep.stopped")


def _sweep_once(sweeper: Sweeper) -> bool:
    """Whether this sweeper leads, as far as it knows."""
    began = time.monotonic()
    try:
        is_leading = sweeper.run_once()
    except psycopg.OperationalError as e:
        log.warning("sweep.failed", extra={"reason": str(e)})
        metrics.SWEEPS.add(outcome="failed")
        return False
    metrics.SWEEPS.add(outcome="led" if is_leading else "stood_by")
    if is_leading:
        metrics.SWEEP_SECONDS.observe(time.monotonic() - began)
    return is_leading


class Sweeper:
    """One round after the other; what it remembers between them is only about the broker."""

    def __init__(self, db: Database, bell: Bell, settings: Settings, process: UUID) -> None:
        self._db = db
        self._bell = bell
        self._settings = settings
        self._process = process
        self._rounds = 0
        self._broker_was_away = False

    def run_once(self) -> bool:
        """One round; false if another sweeper leads."""
        lease = self._settings.sweep_seconds * 3.0
        if not self._db.run(lambda tx: sweeps.lead(tx, _ROLE, self._process, lease)):
            return False
        self._end_lost()
        self._run_schedules()
        # Marks of rings that nobody heard would only lengthen the pause to the next.
        if not self._bell.ring_now([]):
            self._broker_was_away = True
            return True
        self._ring(self._db.run(tasks.start_all))
        self._ring_unrung()
        # After an outage the broker may have lost everything: ring all that waits, once.
        anew, self._broker_was_away = self._broker_was_away, False
        rings = self._db.run(lambda tx: sweeps.ring_again(tx, self._settings, anew=anew))
        metrics.RUNG_AGAIN.add(len(rings))
        if rings:
            log.warning("jobs.rung_again", extra={"jobs": len(rings), "after_outage": anew})
        self._ring(rings)
        if self._rounds % _PRUNE_EVERY == 0:
            self._db.run(sweeps.prune)
            self._expire_uploads()
            self._prune_publications()
            self._ask_due()
        self._rounds += 1
        return True

    def step_down(self) -> None:
        """Let the other sweeper lead at once."""
        try:
            self._db.run(lambda tx: sweeps.step_down(tx, _ROLE, self._process))
        except psycopg.OperationalError as e:
            log.warning("sweep.failed", extra={"reason": str(e)})

    def _end_lost(self) -> None:
        abandoned = self._db.run(lambda tx: sweeps.end_abandoned(tx, self._settings))
        if abandoned:
            log.warning("transactions.abandoned", extra={"transactions": abandoned})
        lost = self._db.run(lambda tx: sweeps.end_lost_leases(tx, self._settings))
        metrics.LEASES_EXPIRED.add(lost.again + lost.split + len(lost.kinds))
        for kind in lost.kinds:
            metrics.QUARANTINED.add(kind=kind)
        if lost.split:
            log.warning("jobs.split", extra={"jobs": lost.split})
        if lost.ended:
            log.error("jobs.quarantined", extra={"tasks": lost.ended})
        self._db.run(sweeps.tidy_jobs)

    def _expire_uploads(self) -> None:
        minutes = self._settings.upload_minutes
        expired = self._db.run(lambda tx: uploads.expire_uploads(tx, minutes))
        if expired:
            log.info("uploads.expired", extra={"uploads": len(expired)})

    def _prune_publications(self) -> None:
        settings = self._settings
        kept = {
            "seconds": settings.distributed_publication_retention_period,
            "switches": settings.content_generations,
        }
        self._db.run(lambda tx: publications.forget_served(tx, **kept))
        if settings.retain_publications:
            keep = settings.retain_publications
            pruned = self._db.run(lambda tx: publications.prune_publications(tx, keep))
            if pruned:
                log.info("publications.pruned", extra={"publications": pruned})

    def _run_schedules(self) -> None:
        """Make the tasks that are due; ``start_all`` rings them, when the broker is there."""
        for schedule in self._db.run(schedules.list_due):
            self._db.run(partial(schedules.run_due, id=schedule))

    def _ask_due(self) -> None:
        """Cleaning up and looking into what is stored: tasks like any other."""
        for task in self._db.run(lambda tx: upkeep.ask_due(tx, self._settings)):
            log.info("upkeep.asked", extra={"task_id": task})
            self._ring(self._db.run(partial(tasks.start, task=task)))

    def _ring_unrung(self) -> None:
        window = self._settings.window
        for task, round in self._db.run(lambda tx: sweeps.list_unrung_tasks(tx, window)):
            self._ring(
                self._db.run(partial(sweeps.ring_task, task=task, round=round, window=window))
            )
        for scope in self._db.run(sweeps.list_unrung_scopes):
            self._ring(self._db.run(partial(slots.ring_scope, scope=scope, window=window)))

    def _ring(self, rings: list[Ring]) -> None:
        if rings and not self._bell.ring_now(rings):
            self._broker_was_away = True
