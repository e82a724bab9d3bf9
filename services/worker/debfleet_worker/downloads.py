"""Open download jobs for the files that a sync listed as missing, and count what they fetch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence

import psycopg

from debfleet.config import Settings
from debfleet.db import generics, plans, seen_files, tasks, units
from debfleet.db.connect import Tx
from debfleet.db.dealing import Dealing, deal_files
from debfleet.db.jobs import NewJob
from debfleet.db.plans import WantedIndex
from debfleet.db.seen_files import Reach
from debfleet.model import Job, Kind, Remote
from debfleet.reports import DOWNLOADS
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_TELL_SECONDS = 1.5  # a report moves every two seconds, and is looked at four times a second

DEFAULT_CONCURRENCY = 20  # of a remote that says nothing (rest-api.md, decided 2)


def open_downloads(tx: Tx, settings: Settings, job: Job, remote: Remote) -> list[NewJob]:
    """Deal the task's missing files into chunks, a job for each."""
    dealing = _dealing(tx, settings, job, remote)
    return _downloads(job, remote, deal_files(tx, job.task, dealing))


def open_missing(
    tx: Tx,
    settings: Settings,
    job: Job,
    remote: Remote,
    wanted: Sequence[WantedIndex],
    reach: Reach,
) -> list[NewJob]:
    """Download jobs for the files of some wanted indices that nobody has stored.

    Under another policy than immediate only for those whose size nobody told. Under any for those
    that the remote is to show (``db.seen_files``), given what whoever asked may read.
    """
    if job.task_args["repository"] is None:
        return []  # a refresh only looks what there is
    is_immediate = remote.policy == "immediate"
    lists = [w.position for w in wanted if w.lists == Kind.GENERIC]
    others = [w.position for w in wanted if w.lists != Kind.GENERIC]
    if reach is None and not lists:
        if not (others and is_immediate):
            return []
        dealing = _dealing(tx, settings, job, remote)
        chunks = units.list_missing_files(tx, job.task, others, dealing)
        return _downloads(job, remote, chunks)
    if reach is not None and wanted:
        at = [w.position for w in wanted]
        seen_files.note_files(tx, job.task, at, remote.id, reach, everything=is_immediate)
    if lists:
        generics.list_missing_files(tx, job.task, lists, everything=is_immediate)
    if others and is_immediate:
        units.list_missing_files(tx, job.task, others)
    return open_downloads(tx, settings, job, remote) if wanted else []


def _dealing(tx: Tx, settings: Settings, job: Job, remote: Remote) -> Dealing:
    concurrency = remote.download_concurrency or DEFAULT_CONCURRENCY
    return Dealing(
        opener=job.id,
        most_files=settings.chunk_files,
        most_bytes=settings.chunk_bytes,
        slots=min(settings.window, concurrency, max(1, plans.count_live_workers(tx))),
    )


def _downloads(job: Job, remote: Remote, chunks: Mapping[int, int]) -> list[NewJob]:
    more = {"vanishing": True} if job.args.get("vanishing") else {}
    return [
        # The number of files is for the report's total alone: the rows are what is fetched.
        NewJob(
            "download",
            {"opener": job.id, "chunk": n, "files": files} | more,
            scope=f"remote:{remote.id}",
        )
        for n, files in chunks.items()
    ]


def count_downloads(tx: Tx, task: int, done: int) -> None:
    """So many more download attempts have ended, 404s among them."""
    tasks.add_progress(tx, task, *DOWNLOADS, done=done)


class Tally:
    """How many files of a chunk are dealt with, told to the report now and then."""

    def __init__(self, worker: Worker, job: Job, listed: int) -> None:
        """``listed``: the files of the chunk that are still to do."""
        self._worker = worker
        self._job = job
        self.done = job.args.get("files", listed) - listed
        self._told = self.done
        self._next_at = time.monotonic() + _TELL_SECONDS
        self._telling = threading.Lock()

    def add(self, files: int = 1) -> None:
        """So many more; quick."""
        self.done += files

    def tell(self) -> None:
        """Write it down, if there is news and it is time; nobody is waited for."""
        if time.monotonic() < self._next_at or not self._telling.acquire(blocking=False):
            return
        try:
            done = self.done
            if done != self._told:
                self._next_at = time.monotonic() + _TELL_SECONDS
                db = self._worker.db
                if db.run(lambda tx: tasks.count_files(tx, self._job, done, at_once=True)):
                    self._told = done
        except psycopg.Error as e:
            log.info("count.untold", extra={"reason": str(e)})
        finally:
            self._telling.release()
