"""Which values of the knob to try next, so that few runs tell what 99 % costs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import pairwise

from benchmarks.contest.frontier import Point, log_miss

TARGETS = (0.99, 0.95, 0.999)
"""The attainments that the report prices, the one that decides first."""

TIGHT_RATIO = 0.02
"""Two neighbours whose bills differ by no more need nobody between them."""

LEAST_STEP, MOST_STEP = 0.06, 0.3
"""Of the knob's range, while one side of the target is not found yet."""

KEEP_AWAY = 0.12
"""A try between two runs keeps this share of their distance from both: attainment is not a straight line."""

Tried = tuple[float, Point]


def sweep(
    budget: int, first: float, targets: tuple[float, ...] = TARGETS, known: Sequence[Tried] = ()
) -> Generator[float, Point, None]:
    """Shares of the knob's range to run, at most ``budget``; each is answered with its point.

    The first target gets all runs but one for each of the others. ``known``: runs made before; else it begins at
    ``first``.
    """
    tried = list(known)
    main, *others = targets
    wanted = [main] * max(1, budget - len(others)) + others
    for target in wanted[:budget]:
        share = next_share(tried, target, first)
        if share is not None:
            tried.append((share, (yield share)))


def next_share(tried: list[Tried], target: float, first: float) -> float | None:
    """Where to look for ``target`` next; None when it is known well enough, or lies outside the knob's range."""
    if not tried:
        return first
    by_share = sorted(tried, key=lambda one: one[0])
    for low, high in pairwise(by_share):
        if low[1].attainment < target <= high[1].attainment:
            return _between(low, high, target)
    return _beyond(by_share, target)


def _between(low: Tried, high: Tried, target: float) -> float | None:
    if abs(high[1].usd - low[1].usd) <= TIGHT_RATIO * high[1].usd:  # too few replicas may cost more: they thrash
        return None
    there = _crossing(low, high, target)
    assert there is not None
    return low[0] + min(max(there, KEEP_AWAY), 1 - KEEP_AWAY) * (high[0] - low[0])


def _crossing(low: Tried, high: Tried, target: float) -> float | None:
    """How far from ``low`` towards ``high`` the target lies, as a share of their distance; may be outside 0..1."""
    rise = log_miss(high[1].attainment) - log_miss(low[1].attainment)
    return (log_miss(target) - log_miss(low[1].attainment)) / rise if rise < 0 else None


def _beyond(by_share: list[Tried], target: float) -> float | None:
    """Every run is on one side of the target: go on in the direction in which it must be."""
    upwards = all(point.attainment < target for _, point in by_share)
    edge = by_share[-1 if upwards else 0][0]
    step = MOST_STEP / 2
    if len(by_share) > 1:
        pair = by_share[-2:] if upwards else by_share[:2]
        there = _crossing(pair[0], pair[1], target)
        width = pair[1][0] - pair[0][0]
        step = MOST_STEP if there is None else width * (there - 1 if upwards else -there)
    step = min(max(step * 1.2, LEAST_STEP), MOST_STEP)
    share = min(1.0, edge + step) if upwards else max(0.0, edge - step)
    return None if share == edge else share
