"""The time that an opponent knows, and what it remembers of the last seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf

from controller.simulate.sight import Sight


@dataclass(slots=True)
class Clock:
    """The time of a loop that runs every ``sync_s`` and is shown scrapes that may be some seconds old.

    A look is ``sync_s`` after the one before it, or at its scrape where that is later: never ahead of the true time,
    and it goes on when scrapes stop.
    """

    sync_s: float
    now_s: float = -inf

    def tick(self, sight: Sight) -> float:
        """Called once a look; returns the time of it."""
        self.now_s = max(self.now_s + self.sync_s, sight.at_s)
        return self.now_s


@dataclass(slots=True)
class Round:
    """Something that happens every ``every_s`` of a faster loop, at its first look too."""

    every_s: float
    next_s: float = -inf

    def due(self, now_s: float) -> bool:
        if now_s < self.next_s:
            return False
        self.next_s = now_s + self.every_s
        return True


@dataclass(slots=True)
class Window:
    """Values of the last ``length_s``: of looks later than now - ``length_s``."""

    length_s: float
    _values: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, now_s: float, value: float) -> None:
        self._values.append((now_s, value))
        self._forget(now_s)

    def mean(self) -> float | None:
        """Of equal weights: looks come at equal distances. None of nothing."""
        return sum(value for _, value in self._values) / len(self._values) if self._values else None

    def since(self, now_s: float, length_s: float) -> list[float]:
        """The values of the last ``length_s``."""
        return [value for at_s, value in self._values if at_s > now_s - length_s]

    def _forget(self, now_s: float) -> None:
        while self._values and self._values[0][0] <= now_s - self.length_s:
            self._values.popleft()


def clipped(replicas: int, low: int, high: int) -> int:
    """``replicas``, kept within ``low`` and ``high``."""
    return max(low, min(high, replicas))
