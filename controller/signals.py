"""What the daemon is told from outside its threads: to stop, or to read its files again."""

from __future__ import annotations

import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

LONGEST_WAIT_S = 1.0
"""Between two looks for signals. A guess: nobody minds that SIGTERM takes so long, and waking costs nothing."""


class Signals:
    """Those of HEARD that came, one after the other."""

    def __init__(self) -> None:
        # A SimpleQueue and no Event: only its put() may be called by a signal handler at any moment.
        self._came: queue.SimpleQueue[int] = queue.SimpleQueue()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """While this is on, signals are kept for ``next``. In the main thread alone."""
        previous = {number: signal.signal(number, self._signalled) for number in HEARD}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def next(self) -> int:
        """Waits for one. Its handler runs in this thread, between two instructions: a signal that comes just before a
        wait begins would sleep with it, so no wait is long."""
        while True:
            try:
                return self._came.get(timeout=LONGEST_WAIT_S)
            except queue.Empty:
                continue

    def put(self, number: int) -> None:
        """As if ``number`` had come."""
        self._came.put(number)

    def _signalled(self, number: int, _: FrameType | None) -> None:
        self._came.put(number)
