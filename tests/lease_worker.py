"""A worker process whose chore works for a minute at its first attempt, and then completes."""

from __future__ import annotations

import os
import threading
import time
from multiprocessing.connection import Connection

from debfleet.config import Settings
from debfleet.db import tasks
from debfleet.model import Job
from debfleet_worker.lease import Lease
from debfleet_worker.main import start_worker
from debfleet_worker.process import on_signals
from debfleet_worker.worker import Worker


def work(settings: Settings, said: Connection) -> None:
    """Until a signal; ``said`` takes ``ready`` once, and ``began`` with each job."""

    def chore(worker: Worker, job: Job, lease: Lease) -> None:
        said.send("began")
        until = time.monotonic() + (60 if job.attempt == 1 else 0)
        while time.monotonic() < until:
            lease.check()
            lease.progress()
            time.sleep(0.02)
        worker.commit(lambda tx: tasks.complete(tx, job, result=os.getpid()))

    stop = threading.Event()
    on_signals(stop)
    running = start_worker(settings, ["chore"], stop=stop, chores={"modify": chore})
    assert running is not None
    said.send("ready")
    stop.wait()
    running.stop()
