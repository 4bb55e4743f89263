"""How long a replica takes from the order until it serves: drawn from published ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, isfinite, log
from statistics import NormalDist
from typing import Self

import numpy as np

SPREAD_SIGMA = 0.25
"""Of the logarithm. A guess, because sources give single start-ups, not their spread."""

SPREAD_RATIO = 0.25
"""Around a median that somebody states, the shortest and the longest are this share away: as wide as the published
ranges of PROFILES."""

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUp:
    """Log-normal around ``median_s``, cut off at ``min_s`` and ``max_s`` (both possible), ``sigma`` of the logarithm.

    ``min_s`` is hard: a lower bound on cost may rely on it.
    """

    median_s: float
    sigma: float
    min_s: float
    max_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.min_s <= self.median_s <= self.max_s or not isfinite(self.max_s) or not self.sigma >= 0:
            raise ValueError(f"a start-up needs 0 <= min <= median <= max, and a spread of 0 or more: {self}")

    def draw(self, random: np.random.Generator) -> float:
        """Seconds of one start-up. Takes one random number, whatever the spread."""
        level = random.random()
        if 0 in (self.sigma, self.median_s) or self.min_s == self.max_s:
            return self.median_s
        low, high = self._level(self.min_s), self._level(self.max_s)
        within = min(max(low + (high - low) * level, 1e-12), 1 - 1e-12)
        drawn = self.median_s * exp(self.sigma * _NORMAL.inv_cdf(within))
        return min(max(drawn, self.min_s), self.max_s)

    def _level(self, seconds: float) -> float:
        return _NORMAL.cdf(log(seconds / self.median_s) / self.sigma) if seconds > 0 else 0.0

    @classmethod
    def fixed(cls, seconds: float) -> Self:
        """Always the same."""
        return cls(median_s=seconds, sigma=0.0, min_s=seconds, max_s=seconds)

    @classmethod
    def around(cls, median_s: float) -> Self:
        """The usual spread around a median."""
        return cls(
            median_s=median_s,
            sigma=SPREAD_SIGMA,
            min_s=median_s * (1 - SPREAD_RATIO),
            max_s=median_s * (1 + SPREAD_RATIO),
        )


PROFILES: Mapping[str, StartUp] = {
    "warm_node": StartUp(median_s=75.0, sigma=SPREAD_SIGMA, min_s=60.0, max_s=90.0),
    "cold_pod": StartUp(median_s=240.0, sigma=SPREAD_SIGMA, min_s=180.0, max_s=300.0),
    "cold_node": StartUp(median_s=480.0, sigma=SPREAD_SIGMA, min_s=360.0, max_s=600.0),
}
"""By what is there already when the order comes.

warm_node   the image, the weights and every cache on the node: 82 s for vLLM with an 8B model on an L40S, all caches on
            a shared volume (Tensorfuse, 2025-09)
cold_pod    a node, but cold caches: 294 s for the same, of which download 61, weights 33, compile and graph capture 106
            (the same source); 300 s and more for a 35B mixture of experts from local NVMe (route179, 2026-06)
cold_node   a node to boot as well: 120 to 300 s more for the machine, its driver and an image of 8 to 10 GB (a guess
            from experience), and close to 600 s for a 235B mixture of experts (Baidu)
"""


def start_up_named(name: str) -> StartUp:
    """The profile of that name. Raises ValueError, which tells the names that there are."""
    if name not in PROFILES:
        raise ValueError(f"unknown start-up '{name}'; expected one of {', '.join(PROFILES)}")
    return PROFILES[name]
