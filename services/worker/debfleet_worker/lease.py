"""Keep a job's lease while there is progress; stop the job when it is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from debfleet import metrics
from debfleet.config import Settings
from debfleet.db import jobs, slots
from debfleet.db.connect import Database
from debfleet.db.slots import Grant
from debfleet.errors import LeaseLost
from debfleet.log import bound
from debfleet.model import Job, Remote
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0  # after the database could not be reached
_SETTLE_SECONDS = 1.0  # until slots that were guessed, or are not the share, are looked at again
_UNSCOPED_REQUESTS = 4  # of a job that holds no slots: a few small files
_READ_TIMEOUT = 60.0  # of a remote that sets none


class Lease:
    """A running job's right to work, as its step sees it. Safe to use from any thread."""

    def __init__(
        self,
        job: Job,
        db: Database,
        settings: Settings,
        on_hand_over: Callable[[], Job] | None = None,
    ) -> None:
        self.job = job
        self._on_hand_over = on_hand_over
        self.renewed = time.monotonic()
        self._db = db
        self._lost = threading.Event()
        self._lost_at = 0.0
        self._patience = float(settings.lease_seconds)
        self._moved = time.monotonic()
        self._granted = self._share = job.slots
        self._running: int | None = None  # requests, as far as somebody told us
        self._closed_until = 0.0
        self._is_settled = job.scope is None

    def check(self) -> None:
        """Go on only if the job is still ours.

        Raises:
            LeaseLost: It was canceled, taken over, or the worker stops.
        """
        if self._lost.is_set():
            raise LeaseLost(f"job {self.job.id}, attempt {self.job.attempt}")

    def progress(self, count: int = 1) -> None:
        """Something moved: the lease may be renewed. Nothing (0) is no progress."""
        if count > 0:
            self._moved = time.monotonic()

    @contextmanager
    def busy(self, limit_seconds: float = 600) -> Iterator[None]:
        """Within the block no progress can be shown (a long statement), up to this limit."""
        before, self._patience = self._patience, max(self._patience, limit_seconds)
        self.progress()
        try:
            yield
        finally:
            self._patience = before
            self.progress()

    def slots(self) -> int:
        """How many requests may run now: above it start none. 0 while the host is closed."""
        if self.job.scope is None:
            return _UNSCOPED_REQUESTS
        if time.monotonic() < self._closed_until:
            return 0
        return min(self._granted, self._share)

    def hand_over(self) -> Job:
        """Nothing more is asked of upstream: the next job gets the slots, and this process too.

        Returns:
            The job as it goes on: it needs no slots.

        Raises:
            LeaseLost: The job is not ours any more.
        """
        if self._on_hand_over is not None:
            with self.busy():
                self.job = self._on_hand_over()
        return self.job

    def traffic(self, remote: Remote, on_beat: Callable[[], None] | None = None) -> Traffic:
        """What ``debfleet.fetch`` asks and tells while it works for this job.

        Args:
            on_beat: Called a few times a second while it fetches, from a thread.
        """
        # A silent upstream is fetch's to judge, by the remote's own limits; until it has, the job
        # is at work.
        tries = 1 + (3 if remote.max_retries is None else remote.max_retries)
        longest = tries * (remote.sock_read_timeout or _READ_TIMEOUT) + 60
        self._patience = max(self._patience, longest)
        self.progress()
        return Traffic(self, remote, self._db, on_beat)

    # --- for the keeper and the traffic -------------------------------------------------------

    @property
    def is_lost(self) -> bool:
        return self._lost.is_set()

    @property
    def in_use(self) -> int:
        """Requests that may be running: what we were granted, unless we were told better."""
        return self._granted if self._running is None else self._running

    @property
    def moves(self) -> bool:
        return time.monotonic() - self._moved < self._patience

    def running(self, requests: int) -> None:
        """So many requests run at this moment."""
        self._running = requests

    def close_until(self, seconds: float) -> None:
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    def granted(self, grant: Grant) -> None:
        self._granted, self._share = grant.granted, grant.share
        self._is_settled = grant.granted == grant.share

    def looked_at(self) -> None:
        """Renewed, or tried to be."""
        self._is_settled = True

    def due_at(self, period: float) -> float:
        """When it is to be renewed: sooner than a period while its slots are not its share."""
        return self.renewed + (period if self._is_settled else min(period, _SETTLE_SECONDS))

    def lose(self) -> None:
        """The step's next check ends it."""
        if not self._lost.is_set():
            self._lost_at = time.monotonic()
            self._lost.set()

    def hangs(self, seconds: float) -> bool:
        """Lost for so long, and its step has not ended."""
        return self._lost.is_set() and time.monotonic() - self._lost_at > seconds


class Traffic:
    """One remote's upstream, shared with the whole fleet (``debfleet.fetch.Traffic``)."""

    def __init__(
        self,
        lease: Lease,
        remote: Remote,
        db: Database,
        on_beat: Callable[[], None] | None = None,
    ) -> None:
        self._lease = lease
        self._db = db
        self._on_beat = on_beat
        self._scope = slots.scope_of(remote.id)
        self._host = slots.host_of(remote.url)
        self._most = remote.download_concurrency or _UNSCOPED_REQUESTS
        self._rate = remote.rate_limit
        if self._rate:
            rate = float(self._rate)
            db.run(lambda tx: slots.set_rate(tx, self._scope, rate))

    def slots(self) -> int:
        """How many requests may run now."""
        if self._lease.job.scope is None:
            return min(_UNSCOPED_REQUESTS, self._most)
        return self._lease.slots()

    def running(self, requests: int) -> None:
        """So many requests run at this moment; what is not in use may be given to others."""
        self._lease.running(requests)

    def wait_seconds(self, requests: int) -> float:
        """Reserve so many requests; the answer is how long to wait before them."""
        self._lease.check()
        closed = self._db.run(lambda tx: slots.closed_for(tx, self._host))
        if closed > 0:
            self._lease.close_until(closed)
        turn = 0.0
        if self._rate:
            turn = self._db.run(lambda tx: slots.take_turns(tx, self._scope, requests))
        self._lease.progress()
        return max(closed, turn)

    def close_host(self, seconds: float) -> None:
        """The host answered 429 or 503: nobody in the fleet asks it for so long."""
        self._lease.close_until(seconds)
        self._db.run(lambda tx: slots.close_host(tx, self._host, seconds))

    def progress(self, count: int) -> None:
        """So many bytes came."""
        self._lease.progress(count)
        if self._on_beat is not None:
            self._on_beat()

    def check(self) -> None:
        """See ``Lease.check``."""
        self._lease.check()


class Keeper:
    """One thread that renews the leases of a process's running jobs.

    A lease is renewed four times in its length, but only while its step moves: a step that hangs
    loses its job to another worker. When the database is away nothing is given up: nobody else can
    take the job either, and the fence decides once it is back.
    """

    def __init__(self, worker: Worker) -> None:
        self._settings = worker.settings
        self._db = worker.heartbeat_db
        self._work_db = worker.db
        self._bell = worker.bell
        self._process = worker.process
        self._leases: set[Lease] = set()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    @contextmanager
    def kept(self, job: Job, on_hand_over: Callable[[], Job] | None = None) -> Iterator[Lease]:
        """Keep the lease within the block; ``on_hand_over``: see ``Lease.hand_over``."""
        lease = Lease(job, self._work_db, self._settings, on_hand_over)
        with self._changed:
            self._leases.add(lease)
            self._changed.notify()
        try:
            yield lease
        finally:
            with self._changed:
                self._leases.discard(lease)

    def leases(self) -> list[Lease]:
        """Those of the jobs that run now."""
        with self._changed:
            return list(self._leases)

    def stop(self) -> None:
        """Renew nothing any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        period = self._settings.lease_seconds / 4
        while True:
            with self._changed:
                if self._stopped:
                    return
                now = time.monotonic()
                kept = [one for one in self._leases if not one.is_lost]
                due = [one for one in kept if one.due_at(period) <= now]
                if not due:
                    waits = [one.due_at(period) - now for one in kept]
                    self._changed.wait(min(waits, default=None))
                    continue
            for lease in due:
                with bound(**lease.job.log_ids):
                    self._renew(lease, period)

    def _renew(self, lease: Lease, period: float) -> None:
        lease.looked_at()
        try:
            if not lease.moves:
                log.warning("lease.left", extra={"reason": "no progress"})
                self._db.run(lambda tx: jobs.see(tx, lease.job))
                lease.renewed = time.monotonic()  # looked at again later: it may move by then
                return
            done = self._db.run(
                lambda tx: jobs.renew(tx, lease.job, self._settings, lease.in_use, self._process)
            )
        except LeaseLost:
            log.info("lease.lost", extra={"attempt": lease.job.attempt})
            metrics.LEASES_LOST.add(kind=lease.job.kind)
            lease.lose()
        except psycopg.OperationalError as e:
            log.warning("lease.unrenewed", extra={"reason": str(e)})
            lease.renewed = time.monotonic() - period + _RETRY_SECONDS
        else:
            lease.renewed = time.monotonic()
            if done.grant is not None:
                lease.granted(done.grant)
            if done.closed_for > 0:
                lease.close_until(done.closed_for)
            self._bell.ring(done.rings)
