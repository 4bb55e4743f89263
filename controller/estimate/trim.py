"""How much of its modelled capacity a replica may really be given: learned from what the requests met.

A model of capacity is wrong by some percent, and how much of the error budget a burst costs nobody knows beforehand.
Both are settled by feedback, as adaptive conformal inference does it (Gibbs and Candès, 2021): after each look

    log trim += rate x (allowed share of misses - share missed),   only while it tells something

so that over time the share missed is the share allowed, whatever the model's error.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from math import exp, inf

from controller.facts.missing import Missing
from controller.facts.readings import Distribution, EngineReading, Histogram
from controller.facts.slo import LatencyTarget, Slo

RATE = 0.1
"""A guess: a look (15 s) in which a fifth missed takes 2 % off, an hour without a miss gives a quarter back."""

SURE_REQUESTS = 200.0
"""A look at so many requests counts half. A guess: with fewer, one miss is more than the percent that is allowed."""

LEAST_USE, MOST_USE = 0.75, 1.0
"""Requests met on replicas that carry less than this share of their capacity do not say that they could carry more;
requests missed on replicas that are given more than their capacity do not say that it is smaller."""

LOWEST, HIGHEST = 0.5, 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trim:
    """Factor on the modelled capacity. ``judged``: requests that it was learned from."""

    factor: float = 1.0
    judged: float = 0.0


def trimmed(trim: Trim, judged: float, missed: float, slo: Slo, use_ratio: float) -> Trim:
    """``trim`` after ``judged`` requests of which ``missed`` missed the SLO, on replicas used to ``use_ratio`` of their
    capacity."""
    if judged <= 0:
        return trim
    change = RATE * (1 - slo.attainment_ratio - missed / judged) * judged / (judged + SURE_REQUESTS)
    if (change > 0 and use_ratio < LEAST_USE) or (change < 0 and use_ratio > MOST_USE):
        return trim
    return Trim(factor=min(max(trim.factor * exp(change), LOWEST), HIGHEST), judged=trim.judged + judged)


def misses(readings: Iterable[EngineReading], slo: Slo) -> tuple[float, float]:
    """(judged, missed) over the windows of ``readings``, as a part of their first tokens.

    Which request missed both bounds is not known, so the larger of the two shares is taken: at least so many missed.
    """
    judged = missed = 0.0
    for reading in readings:
        late, seen = _beyond(reading.histogram(Distribution.TTFT_S), slo.ttft)
        pace = reading.histogram(Distribution.REQUEST_TPOT_S)
        slow, ended = _beyond(reading.histogram(Distribution.TPOT_S) if isinstance(pace, Missing) else pace, slo.tpot)
        judged += seen
        missed += seen * max(late / seen if seen else 0.0, slow / ended if ended else 0.0)
    return judged, missed


def _beyond(histogram: Histogram | Missing, target: LatencyTarget | None) -> tuple[float, float]:
    """(above the target, observed): straight lines within a bucket."""
    if isinstance(histogram, Missing):
        return 0.0, 0.0
    upto = [0.0, *accumulate(histogram.counts)]
    if target is None:
        return 0.0, upto[-1]
    at = bisect_left(histogram.bounds, target.seconds)
    low, high = (histogram.bounds[at - 1] if at else 0.0), histogram.bounds[at]
    share = 0.0 if high == inf else (target.seconds - low) / (high - low)
    return max(0.0, upto[-1] - upto[at] - histogram.counts[at] * share), upto[-1]
