"""Cumulative histograms as an engine keeps them, and the bucket bounds that vLLM uses."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

LATENCY_BOUNDS_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
TTFT_BOUNDS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
TPOT_BOUNDS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0),
)
STEP_TOKEN_BOUNDS = (1.0, *(float(2**power) for power in range(3, 15)))
CHOICE_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0)
PREEMPTION_BOUNDS = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)
HTTP_BOUNDS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5),
    *(10.0, 30.0, 60.0),
)
HTTP_FEW_BOUNDS_S = (0.1, 0.5, 1.0)
"""All of these: vLLM 0.32.0 with default flags, scraped by ourselves (tests/simulate/recorded)."""


def length_bounds(max_model_len: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, 50 … up to the longest request that the model accepts: vLLM's bounds for token counts."""
    bounds = (float(digit * 10**power) for power in range(12) for digit in (1, 2, 5))
    return tuple(bound for bound in bounds if bound <= max_model_len)


@dataclass(frozen=True, slots=True, kw_only=True)
class CumulativeHistogram:
    """Counts since the engine started. ``counts`` has one more entry than ``bounds``: what lies above the last."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        return sum(self.counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """(bound, how many at or below it), ending with infinity."""
        running, rows = 0, []
        for bound, count in zip((*self.bounds, inf), self.counts, strict=True):
            running += count
            rows.append((bound, running))
        return rows
