"""A file that is read while it is being written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path


class Growing:
    """A file that one thread writes and others read, up to what it tells them.

    At the end it is whole, or there is an error that says why not; so too at the end of the block
    where it is used as a context manager.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0  # bytes that are there to be read
        self._is_over = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def grew(self, size: int) -> None:
        """So many bytes are there now."""
        with self._changed:
            self._size = size
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """No more will come; readers get the error, if there is one."""
        with self._changed:
            self._is_over, self._error = True, error
            self._changed.notify_all()

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        self.end(error)

    def blocks(self, size: int, *, are_full: bool = False) -> Iterator[bytes]:
        """Its bytes from the start, as they come; may be asked for again.

        Args:
            size: Of a block, in bytes, at most.
            are_full: All are of this size but the last.
        """
        at = 0
        with self._path.open("rb", buffering=0) as file:
            while left := self._left(at, size if are_full else 1):
                block = file.read(min(size, left))
                at += len(block)
                yield block

    def _left(self, at: int, least: int) -> int:
        """How many bytes can be read from there, once these are so many, or the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._size - at >= least)
            if self._error is not None:
                raise self._error
            return self._size - at
