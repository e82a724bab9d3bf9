"""What a process stands on, as far as it was last heard: for ``/readyz``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping


class Vitals:
    """Safe to use from any thread. Nothing is asked here: what works says so now and then."""

    def __init__(
        self,
        limits: Mapping[str, float],
        looks: Mapping[str, Callable[[], bool]] | None = None,
    ) -> None:
        """``limits``: how many seconds each may be silent; ``looks``: what is cheap to look at."""
        self._limits = dict(limits)
        self._looks = dict(looks or {})
        self._heard: dict[str, float] = {}
        self._is_stopping = threading.Event()

    def heard(self, name: str) -> None:
        """It works at this moment."""
        self._heard[name] = time.monotonic()

    def failed(self, name: str) -> None:
        """It does not, whenever it was last heard."""
        self._heard.pop(name, None)

    def stopping(self) -> None:
        """Nothing more should be sent here."""
        self._is_stopping.set()

    def state(self) -> dict[str, bool]:
        """Each thing that this process stands on, and whether it works; ready is all of them."""
        now = time.monotonic()
        heard = self._heard.copy()
        state = {
            name: name in heard and now - heard[name] <= limit
            for name, limit in self._limits.items()
        }
        state |= {name: look() for name, look in self._looks.items()}
        return state | ({"running": False} if self._is_stopping.is_set() else {})
