"""What requests look like lately: lengths, their spread and the cached share, as forgetful sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from math import inf, sqrt

from controller.facts.missing import Missing
from controller.facts.performance import RequestShape
from controller.facts.readings import Counter, Distribution, EngineReading, Histogram

HALF_LIFE_S = 600.0
"""What finished ten minutes ago counts half: long enough for means of heavy-tailed lengths, short enough to follow a
new use. A guess."""

LEAST_REQUESTS = 1.0
"""Below so many (forgetfully counted) requests there is no shape: half an hour after the last 8 of them."""

LEAST_FOR_SPREAD = 30.0
"""Below so many, the spread is taken as the exponential's, 1: a standard deviation of fewer says little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthSums:
    """Of one kind of length: how many, their sum (tokens) and the sum of their squares."""

    count: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def aged(self, share: float, histograms: Iterable[Histogram]) -> LengthSums:
        """``share`` of these, and what ``histograms`` add."""
        count, total, squares = self.count * share, self.total * share, self.squares * share
        for one in histograms:
            count += one.count
            total += one.total
            squares += _squares(one)
        return LengthSums(count=count, total=total, squares=squares)

    @property
    def mean(self) -> float:
        return self.total / self.count

    @property
    def variation(self) -> float:
        """Standard deviation / mean."""
        if self.count < LEAST_FOR_SPREAD or self.total <= 0:
            return 1.0
        return sqrt(max(self.squares / self.count / self.mean**2 - 1, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeSums:
    """``cached_tokens`` are those of ``prompt_tokens`` that prefix caches served, on the engines that count both."""

    prompts: LengthSums = field(default_factory=LengthSums)
    outputs: LengthSums = field(default_factory=LengthSums)
    prompt_tokens: float = 0.0
    cached_tokens: float = 0.0

    def aged(self, spent_s: float, readings: Iterable[EngineReading]) -> ShapeSums:
        """After ``spent_s`` more seconds, in which ``readings`` were made."""
        readings = tuple(readings)
        share = 0.5 ** (max(spent_s, 0.0) / HALF_LIFE_S)
        both = [pair for one in readings if (pair := _cached(one)) is not None]
        return ShapeSums(
            prompts=self.prompts.aged(share, _lengths(readings, Distribution.PROMPT_LENGTH_TOKENS)),
            outputs=self.outputs.aged(share, _lengths(readings, Distribution.OUTPUT_LENGTH_TOKENS)),
            prompt_tokens=self.prompt_tokens * share + sum(prompt for prompt, _ in both),
            cached_tokens=self.cached_tokens * share + sum(cached for _, cached in both),
        )

    def shape(self, why: str) -> RequestShape | Missing:
        """The shape, or Missing because of ``why`` where too little finished lately."""
        if self.prompts.count < LEAST_REQUESTS or self.outputs.count < LEAST_REQUESTS:
            return Missing("shape", why)
        return RequestShape(
            prompt_tokens=self.prompts.mean,
            output_tokens=self.outputs.mean,
            cached_ratio=min(self.cached_tokens / self.prompt_tokens, 1.0) if self.prompt_tokens > 0 else 0.0,
            prompt_cv=self.prompts.variation,
            output_cv=self.outputs.variation,
        )


def _lengths(readings: tuple[EngineReading, ...], name: Distribution) -> list[Histogram]:
    return [one.histograms[name] for one in readings if name in one.histograms]


def _cached(reading: EngineReading) -> tuple[float, float] | None:
    """Prompt tokens, and those of them that the prefix cache served; its hits where cached tokens are not counted."""
    counters = reading.counters
    cached = counters.get(Counter.CACHED_PROMPT_TOKENS, counters.get(Counter.PREFIX_HITS_TOKENS))
    prompt = counters.get(Counter.PROMPT_TOKENS)
    return None if cached is None or prompt is None else (prompt, min(cached, prompt))


def _squares(histogram: Histogram) -> float:
    """The sum of squares: values are taken as spread evenly over their bucket, then scaled so that their sum is right.

    Evenly from a to b, the mean square is (a² + ab + b²) / 3. The last bucket has no end: values stand at its start.
    """
    twice, thrice = _of_buckets(histogram.bounds)
    sums = sum([count * one / 2 for count, one in zip(histogram.counts, twice, strict=True)])
    squares = sum([count * one / 3 for count, one in zip(histogram.counts, thrice, strict=True)])
    return squares * (histogram.total / sums) ** 2 if sums > 0 else 0.0


@lru_cache(maxsize=256)  # every engine of a version has the same
def _of_buckets(bounds: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Twice the mean and three times the mean square of values spread evenly over each bucket."""
    edges = [0.0, *bounds]
    buckets = [(low, low if high == inf else high) for low, high in pairwise(edges)]
    twice = tuple(low + high for low, high in buckets)
    return twice, tuple(low * low + low * high + high * high for low, high in buckets)
