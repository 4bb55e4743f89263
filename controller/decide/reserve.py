"""How much of what may come is worth being ready for.

A quantile of the demand treats a quiet night like a busy noon, though a replica that stands ready at noon saves many
more requests for the same money. So replicas are weighed by what they save, as a newsvendor weighs papers (Arrow,
Harris & Marschak, "Optimal inventory policy", 1951): the count n is the cheapest of

    n x stake  +  requests/s expected to miss,   where all of a demand above what n replicas carry misses

The policy's quantile says what a replica must save: stake = (1 - quantile) x usual demand, so that at the usual demand
a replica is worth it that is needed with that probability, and over a day every replica-hour buys as many requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, isfinite

STEPS = 50
SHARES = tuple(0.5 + (place + 0.5) / (2 * STEPS) for place in range(STEPS))
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
    middle = at_quantile(quantiles, 0.5)
    demands = [at_quantile(quantiles, share) for share in SHARES]
    if not isfinite(middle + demands[-1]):
        return demands[-1]
    stake_per_s = (1 - quantile) * min(usual_per_s, middle / QUIETEST)
    least = max(1, ceil(round(middle / each_per_s, 9)))
    most = min(ceil(round(demands[-1] / each_per_s, 9)), least + MOST_TRIED)
    if most <= least:
        return middle
    best = min(range(least, most + 1), key=lambda count: count * stake_per_s + _missed(demands, count * each_per_s))
    return max(middle, best * each_per_s * EXACTLY)


def _missed(demands: Sequence[float], carried_per_s: float) -> float:
    """Requests/s expected to miss, of the demands that are more than what is carried."""
    return sum(one for one in demands if one * EXACTLY > carried_per_s) / (2 * STEPS)


def share_of(quantiles: Mapping[float, float], demand_per_s: float) -> float:
    """The probability that no more than ``demand_per_s`` comes, in whole per cent, 0.5 at least."""
    inside = sum(at_quantile(quantiles, share) * EXACTLY <= demand_per_s for share in SHARES)
    return 0.5 + inside / (2 * STEPS)


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
