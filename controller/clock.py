"""The wall clock, and when by it a pass is late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

LATE_AFTER_INTERVALS = 3
"""Not ready when the last pass is older than this many intervals. A guess: one overrun is usual, two are not."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, read nowhere else in the controller."""
    return datetime.now(UTC)  # noqa: TID251 - the one place that may
