"""From the runs of one controller over its knob to what it costs at equal attainment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

from controller.facts.missing import Missing

LEAST_MISS = 1e-5
"""Smaller shares of misses are not told apart: on a logarithmic scale a run without any would lie at infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run: the share of requests inside the SLO, and the bill."""

    attainment: float
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an attainment costs. ``below``, ``above``: the two runs between which it was interpolated; without
    ``below`` the cheapest run was better than asked, and the true cost may be lower."""

    usd: float
    below: Point | None
    above: Point


def log_miss(attainment: float) -> float:
    """log(1 - attainment): one percent more is worth as much at 90 % as a tenth of it at 99 %."""
    return log(max(1.0 - attainment, LEAST_MISS))


def frontier(points: Sequence[Point]) -> tuple[Point, ...]:
    """The runs that no other beats in both, by rising attainment and so by rising cost."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (-one.attainment, one.usd)):
        if not kept or point.usd < kept[-1].usd:
            kept.append(point)
    return tuple(reversed(kept))


def cost_at(points: Sequence[Point], attainment: float) -> Cost | Missing:
    """The cost of ``attainment``, linear in USD over log(1 - attainment) between the frontier's two neighbours."""
    line = frontier(points)
    if not line:
        return Missing("cost", "no run yet")
    best = line[-1]
    if best.attainment < attainment:
        return Missing("cost", f"never reaches it; at best {best.attainment * 100:.2f} % for ${best.usd:,.2f}")
    if line[0].attainment >= attainment:
        return Cost(usd=line[0].usd, below=None, above=line[0])
    below, above = next(pair for pair in pairwise(line) if pair[1].attainment >= attainment)
    width = log_miss(above.attainment) - log_miss(below.attainment)
    part = (log_miss(attainment) - log_miss(below.attainment)) / width if width else 1.0
    return Cost(usd=below.usd + part * (above.usd - below.usd), below=below, above=above)
