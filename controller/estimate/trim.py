"""How much of its modelled capacity a replica may really be given: learned from what the requests met.

A model of capacity is wrong by some percent, and how much of the error budget a burst costs nobody knows beforehand.
Both are settled by feedback, as adaptive conformal inference does it (Gibbs and Candès, 2021): after each look

    log trim += rate x (allowed share of misses - share missed),   only while it tells something

so that over time the share missed is the share allowed, whatever the model's error. Half of what the SLO allows is
spent here, on replicas that carry what they should; the other half is left for surges that no forecast saw.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate
from math import exp, inf

from controller.estimate.histograms import merge_histograms
from controller.facts.missing import Missing, known
from controller.facts.readings import Distribution, EngineReading, Histogram
from controller.facts.slo import LatencyTarget, Slo

RATE = 0.1
"""A guess: a look (15 s) in which a fifth missed takes 2 % off, an hour without a miss gives a quarter back."""

RATE_IN_BURSTS = 0.3
"""Where nothing foresees bursts a model of smooth arrivals is wrong by more, and only bursts tell by how much, a few an
hour. A guess: on Azure's code completion (2023, its hour repeated for a day), asked for 99 %, ours kept 97.9 % of that
first day with 0.1 and 98.6 % with 0.3."""

SURE_REQUESTS = 200.0
"""A look at so many requests counts half. A guess: with fewer, one miss is more than the percent that is allowed."""

LEAST_USE, MOST_USE = 0.9, 1.0
"""Requests met on replicas that carry less than this share of their capacity do not say that they could carry more;
requests missed on replicas that are given more than their capacity do not say that it is smaller. Below 0.9 hardly any
request misses whatever the capacity is: learned from 0.75 on, with a spare replica on ServeGen's day 10, it rose until
a jump came (98.87 % inside the SLO for $947, with 0.9 99.74 % for $952; one run each)."""

STEADY_SHARE = 0.5
"""Of the misses that the SLO allows. A guess, between two kinds of error of which neither is rare."""

LOWEST, HIGHEST = 0.5, 1.5
LOWEST_IN_BURSTS = 0.25
"""What misses beyond that is no error of the model's: something else is wrong, which more replicas do not mend. Bursts
that nothing foresees come on top of each other within seconds, of which passes know the mean. A guess."""


FORGET = 0.98
"""Of a tail's counts, at each look: half of what is known of it is from the last 9 minutes. A guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """How a latency's tail falls across the bucket that holds its target: forgetful counts of all that was observed,
    of what was above the bucket's lower bound, and of what was above its upper one."""

    seen: float = 0.0
    above_low: float = 0.0
    above_high: float = 0.0

    def after(self, seen: float, above_low: float, above_high: float) -> Tail:
        return Tail(
            seen=FORGET * self.seen + seen,
            above_low=FORGET * self.above_low + above_low,
            above_high=FORGET * self.above_high + above_high,
        )

    def beyond(self, share: float) -> float:
        """Of the bucket's observations, the part that lies beyond ``share`` of its width.

        Tails of waiting times fall exponentially, so the logarithm of what is above is a straight line across the
        bucket; a uniform spread over vLLM's bucket from 1 to 2.5 s takes twice too many for slower than 2 s. Half an
        observation stands for none.
        """
        low, high = max(self.above_low, 0.5), max(self.above_high, 0.5)
        if low <= high or share <= 0:
            return 1 - share
        return float(low * (high / low) ** share - high) / (low - high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trim:
    """Factor on the modelled capacity. ``judged``: requests that it was learned from."""

    factor: float = 1.0
    judged: float = 0.0
    ttft: Tail = Tail()
    tpot: Tail = Tail()


def trimmed(trim: Trim, histograms: Histograms, slo: Slo, use_ratio: float, *, foreseeable: bool = True) -> Trim:
    """``trim`` after what the requests of one look met, on replicas used to ``use_ratio`` of their capacity.

    Surges that nothing foresees are no accident of one day: where there are no others (``foreseeable`` is False), what
    they cost is taken off the capacity, too, and what comes between them, on replicas with little to do, gives it back:
    the fleet stands there for the surges, and it is the share over both that the SLO asks for.

    Which request missed both bounds is not known, so the larger of the two shares is taken: at least so many missed.
    """
    ttft, late, started = _missed(histograms.ttft, slo.ttft, trim.ttft)
    tpot, slow, ended = _missed(histograms.tpot, slo.tpot, trim.tpot)
    trim = replace(trim, ttft=ttft, tpot=tpot)
    judged = started or ended
    if judged <= 0:
        return trim
    missed = max(late / started if started else 0.0, slow / ended if ended else 0.0)
    rate = RATE if foreseeable else RATE_IN_BURSTS
    change = rate * (STEADY_SHARE * (1 - slo.attainment_ratio) - missed) * judged / (judged + SURE_REQUESTS)
    if foreseeable and (use_ratio < LEAST_USE if change > 0 else use_ratio > MOST_USE):
        return trim
    lowest = LOWEST if foreseeable else LOWEST_IN_BURSTS
    factor = min(max(trim.factor * exp(change), lowest), HIGHEST)
    return replace(trim, factor=factor, judged=trim.judged + judged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Histograms:
    """What the requests of one look met, over all replicas of a variant."""

    ttft: Histogram | Missing
    tpot: Histogram | Missing


def histograms_of(readings: Iterable[EngineReading]) -> Histograms:
    """Each request's mean time per token where the engine says it, else the gaps between tokens."""
    readings = tuple(readings)

    def merged(name: Distribution) -> Histogram | Missing:
        found = known([reading.histogram(name) for reading in readings])
        return merge_histograms(found) if found else Missing(name.value, "no replica said it")

    tpot = merged(Distribution.REQUEST_TPOT_S)
    return Histograms(
        ttft=merged(Distribution.TTFT_S), tpot=merged(Distribution.TPOT_S) if isinstance(tpot, Missing) else tpot
    )


def _missed(histogram: Histogram | Missing, target: LatencyTarget | None, tail: Tail) -> tuple[Tail, float, float]:
    """The tail with what ``histogram`` adds, how many were beyond the target, and of how many."""
    if isinstance(histogram, Missing) or target is None:
        return tail, 0.0, 0.0
    upto = [0.0, *accumulate(histogram.counts)]
    at = bisect_left(histogram.bounds, target.seconds)
    inside, above = histogram.counts[at], upto[-1] - upto[at + 1]
    tail = tail.after(upto[-1], inside + above, above)
    low, high = (histogram.bounds[at - 1] if at else 0.0), histogram.bounds[at]
    share = 0.0 if high == inf else (target.seconds - low) / (high - low)
    return tail, above + inside * tail.beyond(share), upto[-1]
