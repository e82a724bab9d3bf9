"""Several processes behind one socket: forked, replaced when one dies, ended together."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

_ENDING = (signal.SIGTERM, signal.SIGINT)
_WATCHED = (*_ENDING, signal.SIGCHLD)
_PAUSE_SECONDS = 1.0  # before one that was killed is replaced


def run_processes(count: int, work: Callable[[], int]) -> int:
    """Run ``work`` in so many children until SIGTERM or SIGINT; the worst of their statuses.

    One that was killed is replaced. One that ended by itself could not work: then all end.

    ``work`` ends on SIGTERM, and when its parent is gone. No thread may run before the call: none
    survives a fork.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)  # none is lost between two waits
    children = {_fork(work) for _ in range(count)}
    worst = 0
    while signal.sigwait(_WATCHED) not in _ENDING:
        ended = _reap(children)
        if any(status >= 0 for status in ended):
            worst = max(ended)
            break
        if ended:
            time.sleep(_PAUSE_SECONDS)
            children |= {_fork(work) for _ in ended}
    for child in children:
        os.kill(child, signal.SIGTERM)  # none of them was reaped: the numbers are still theirs
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    # The signal itself ends one that has hardly begun: as it should.
    return max(worst, *(abs(status) for status in statuses if status != -signal.SIGTERM), 0)


def _reap(children: set[int]) -> list[int]:
    """Take out those that ended: their statuses, below 0 of those that were killed."""
    statuses = []
    for child in tuple(children):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            children.remove(child)
            statuses.append(os.waitstatus_to_exitcode(status))
            log.error("process.died", extra={"pid": child, "status": statuses[-1]})
    return statuses


def _fork(work: Callable[[], int]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        status = work()
    except Exception:  # the edge of a process
        log.exception("process.failed")
    finally:
        os._exit(status)  # nothing of the parent's is to be run here
