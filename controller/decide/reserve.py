"""How much of what may come is worth being ready for.

A quantile of the demand says how likely one replica more is needed, not how many requests it would save: where much may
come, it covers a sliver of that; where little may, or where it is a large part of a small fleet, all the rest. So
replicas are weighed by what they save, as a newsvendor weighs papers (Arrow, Harris & Marschak, "Optimal inventory
policy", 1951): the count n is the cheapest of

    n x stake  +  requests/s expected to miss,   where all of a demand above what n replicas carry misses

The policy's quantile says what a replica must save: stake = (1 - quantile) x usual demand, at any time of the day, so
that no replica-hour could be moved to another time and save more there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, isfinite

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS = 50
SHARES: Floats = 0.5 + (np.arange(STEPS) + 0.5) / (2 * STEPS)
"""Middles of equal parts of the upper half of the distribution, one per cent each: the lower half fits whatever is
ready for the middle."""

QUIETEST = 0.25
"""Of the usual demand: what is less is weighed as if it were so much. A guess: else a night with a hundredth of the
day's requests would be served by half, because so few are at stake."""

EXACTLY = 1 - 1e-9
"""A hair less than the product, so that dividing it again does not round up to one replica more."""

MOST_TRIED = 1000
"""Counts beyond the one for the middle that are weighed at most: where a replica carries next to nothing."""


def worth_carrying(quantiles: Mapping[float, float], each_per_s: float, usual_per_s: float, quantile: float) -> float:
    """Requests/s to be ready for: what the best count of replicas carries, one at least, and at least the middle.

    each_per_s    what one replica carries inside the SLO, above 0
    usual_per_s   mean demand over the days
    quantile      the policy's
    """
    middle, demands = at_quantile(quantiles, 0.5), _upper_half(quantiles)
    highest = float(demands[-1])
    if not isfinite(middle + highest):
        return highest
    stake_per_s = (1 - quantile) * min(usual_per_s, middle / QUIETEST)
    least = max(1, ceil(round(middle / each_per_s, 9)))
    most = min(ceil(round(highest / each_per_s, 9)), least + MOST_TRIED)
    if most <= least:
        return middle
    counts = np.arange(least, most + 1)
    missing = demands * EXACTLY > (counts * each_per_s)[:, None]
    missed_per_s = np.where(missing, demands, 0.0).sum(axis=1) / (2 * STEPS)
    best = int(counts[np.argmin(counts * stake_per_s + missed_per_s)])
    return max(middle, best * each_per_s * EXACTLY)


def share_of(quantiles: Mapping[float, float], demand_per_s: float) -> float:
    """The probability that no more than ``demand_per_s`` comes, in whole per cent, 0.5 at least."""
    return 0.5 + int((_upper_half(quantiles) * EXACTLY <= demand_per_s).sum()) / (2 * STEPS)


def _upper_half(quantiles: Mapping[float, float]) -> Floats:
    """The demand at each of SHARES."""
    known = sorted(quantiles.items())
    found: Floats = np.interp(SHARES, [share for share, _ in known], [demand for _, demand in known])
    return found


def at_quantile(quantiles: Mapping[float, float], wanted: float) -> float:
    """The value at probability ``wanted``: straight lines between the known ones, the outermost beyond them."""
    return between(sorted(quantiles.items()), wanted)


def between(points: Sequence[tuple[float, float]], at: float) -> float:
    """The ordinate at ``at`` on straight lines between ``points`` (ascending), the outermost beyond them."""
    if at <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left)
    return points[-1][1]
