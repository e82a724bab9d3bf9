"""What workers and sweepers have in common: how they are told to stop, and wait for servers."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import psycopg
from dramatiq.errors import ConnectionClosed

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_SECONDS = 2.0


def on_signals(stop: threading.Event) -> None:
    """SIGTERM and SIGINT set the event; a second one ends the process as it always did."""
    # A thread sets it: a handler runs wherever the main thread is, even while that holds the
    # event's own lock, and would wait for it for ever. And the thread hears of it by a pipe that
    # the signal itself writes to: the main thread may have gone to sleep for ever just before it
    # would have run the handler. The pipe stays open as long as the process.
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def stopping(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)

    def tell() -> None:
        while os.read(heard, 1)[0] not in (signal.SIGTERM, signal.SIGINT):
            pass
        stop.set()

    threading.Thread(target=tell, name="signals", daemon=True).start()
    signal.signal(signal.SIGTERM, stopping)
    signal.signal(signal.SIGINT, stopping)


def wait_for(look: Callable[[], T], stop: threading.Event) -> T | None:
    """Call until it succeeds, so that processes may be started in any order.

    Raises:
        ConfigError: Waiting does not help.
    """
    while not stop.is_set():
        try:
            return look()
        except (psycopg.OperationalError, ConnectionClosed) as e:
            log.warning("start.waiting", extra={"reason": str(e)})
            stop.wait(_RETRY_SECONDS)
    return None
