"""The wall clock, when by it a pass is late, and when it was set."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

log = logging.getLogger(__name__)

LATE_AFTER_INTERVALS = 3
"""Not ready when the last pass is older than this many intervals. A guess: one overrun is usual, two are not."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, read nowhere else in the controller."""
    return datetime.now(UTC)  # noqa: TID251 - the one place that may


LEAST_JUMP = timedelta(seconds=5)
"""Less between two passes is a clock that is slewed, or read a moment apart. A guess: NTP steps a clock from 0.128 s
on, and nothing that is waited for ends within seconds."""


def uptime_s() -> float:
    """A clock that nobody sets, and which goes on while the machine sleeps, where the system has one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class ClockWatch:
    """Notices that the wall clock was set ahead, so that what began before is not out of time at once.

    What began before a clock was set back has a time ahead of it, which whoever reads it sees.
    """

    def __init__(self, steady_s: Callable[[], float] = uptime_s) -> None:
        self._steady_s = steady_s
        self._last: tuple[datetime, float] | None = None
        self._jumps: list[tuple[datetime, timedelta]] = []

    def look(self, now: datetime) -> timedelta:
        """By how much it was set ahead since the last look. Once a pass, with the wall clock's time."""
        steady_s = self._steady_s()
        due = self._last[0] + timedelta(seconds=steady_s - self._last[1]) if self._last is not None else now
        self._last, ahead = (now, steady_s), now - due
        if ahead <= -LEAST_JUMP:
            self._jumps.clear()  # they were of a clock that is no more
        if ahead < LEAST_JUMP:
            return timedelta(0)
        log.warning("the clock was set ahead by %s: what began before has as much longer", ahead)
        self._jumps.append((due, ahead))
        return ahead

    def carried(self, at: datetime) -> datetime:
        """When, by the clock as it is now, that was which it called ``at``."""
        for due, ahead in self._jumps:
            if at <= due:
                at += ahead
        return at
