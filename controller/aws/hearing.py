"""What every source of notices is: asked in a thread of its own, for no pass waits, with a time since it answered."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta

from controller.facts.missing import Missing

AWAY = timedelta(seconds=120)
"""Unheard for longer is a problem: a whole notice may have been missed. Many answers are due in that time."""

LEAVE_S = 0.9
"""Closing waits so long for the thread. One that still asks is left: what it receives is not taken, but given back."""


class Hearing(ABC):
    """Asks from ``start`` to ``close``. ``what``: who is asked, as a problem names it."""

    name: str

    def __init__(self, what: str, clock: Callable[[], datetime]) -> None:
        self._what = what
        self._clock = clock
        self._closed = threading.Event()
        self._since = clock()
        self._answered_at: datetime | None = None
        self._failed = ""
        self._thread = threading.Thread(target=self._run, name=f"interruptions-{self.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Returns within a second."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(LEAVE_S)

    def age_s(self, now: datetime) -> float:
        """Seconds since it last answered, with something or nothing; before the first answer, since asking began."""
        return max(0.0, (now - (self._answered_at or self._since)).total_seconds())

    def problem(self, now: datetime) -> Missing | None:
        """Why notices may have been missed; None while it answers."""
        age_s = self.age_s(now)
        if age_s <= AWAY.total_seconds():
            return None
        why = self._failed or "it does not answer"
        return Missing("interruption notices", f"{self._what} was not heard for {age_s:.0f} s: {why}")

    @abstractmethod
    def _run(self) -> None:
        """Ask until closed, whatever comes."""
