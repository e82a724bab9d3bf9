"""Queues at which an idle thread sleeps until something comes, and not for a second at a time."""

from __future__ import annotations

from queue import Empty, PriorityQueue, Queue
from typing import Any


class WaitingQueue(Queue[Any]):
    """First in, first out. Whoever waits here does so until ``end``, whatever time it asks for."""

    is_over = False

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The next; ``Empty`` where none is and the caller does not wait, or nobody does any more.

        Args:
            block: Whether to wait.
            timeout: Not looked at: dramatiq asks each second whether it is to stop.
        """
        with self.not_empty:
            if block:
                self.not_empty.wait_for(lambda: self._qsize() or self.is_over)
            if not self._qsize():
                raise Empty
            return self._get()

    def end(self) -> None:
        """Nobody waits any more."""
        with self.not_empty:
            self.is_over = True
            self.not_empty.notify_all()


class WaitingPriorityQueue(PriorityQueue[Any], WaitingQueue):
    """The smallest first."""

    get = WaitingQueue.get
