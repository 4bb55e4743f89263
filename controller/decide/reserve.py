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
from math import ceil, isfinite, log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def _middles(parts: int) -> Floats:
    """Of so many equal parts of a distribution's upper half: the lower one fits whatever is ready for the middle."""
    middles: Floats = 0.5 + (np.arange(parts) + 0.5) / (2 * parts)
    return middles


SHARES, FINE_SHARES = _middles(50), _middles(500)
"""One per cent each; a tenth of that for quantiles above COARSE, to which rarer demands are worth a replica."""

COARSE = 0.99
"""The surest quantile that parts of one per cent tell apart."""

TAIL_FROM = 0.95
"""Beyond the highest quantile that is known, demand goes on as the tail from here to there falls: exponentially, as
excesses over a high threshold do where nothing says that they are heavier (Pickands, "Statistical inference using
extreme order statistics", 1975)."""

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
    sure = _worth_carrying(quantiles, each_per_s, usual_per_s, min(quantile, COARSE), SHARES)
    if quantile <= COARSE:
        return sure
    return max(sure, _worth_carrying(_lengthened(quantiles), each_per_s, usual_per_s, quantile, FINE_SHARES))


def _worth_carrying(
    quantiles: Mapping[float, float], each_per_s: float, usual_per_s: float, quantile: float, shares: Floats
) -> float:
    middle, demands = at_quantile(quantiles, 0.5), _demands(quantiles, shares)
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
    missed_per_s = np.where(missing, demands, 0.0).sum(axis=1) / (2 * len(shares))
    best = int(counts[np.argmin(counts * stake_per_s + missed_per_s)])
    return max(middle, best * each_per_s * EXACTLY)


def share_of(quantiles: Mapping[float, float], demand_per_s: float) -> float:
    """The probability that no more than ``demand_per_s`` comes, in whole per cent, 0.5 at least."""
    return 0.5 + int((_demands(quantiles, SHARES) * EXACTLY <= demand_per_s).sum()) / (2 * len(SHARES))


def _demands(quantiles: Mapping[float, float], shares: Floats) -> Floats:
    """The demand at each of ``shares``."""
    known = sorted(quantiles.items())
    found: Floats = np.interp(shares, [share for share, _ in known], [demand for _, demand in known])
    return found


def _lengthened(quantiles: Mapping[float, float]) -> Mapping[float, float]:
    """``quantiles`` with the tail beyond the highest."""
    last, most = max(quantiles.items())
    if last <= TAIL_FROM:
        return quantiles
    fall = (most - at_quantile(quantiles, TAIL_FROM)) / log((1 - TAIL_FROM) / (1 - last))
    beyond = FINE_SHARES[last < FINE_SHARES].tolist()
    return {**quantiles, **{share: most + fall * log((1 - last) / (1 - share)) for share in beyond}}


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
