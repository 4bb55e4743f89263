"""Merging histograms whose bounds differ, and quantiles of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import fsum, inf

from controller.facts.missing import Missing
from controller.facts.readings import Histogram


def merge_histograms(histograms: Sequence[Histogram]) -> Histogram:
    """All observations of one or more ``histograms``, by the bounds that every one of them has.

    Engine versions differ in their bounds. A count up to a bound is only known where the bound exists, so bounds that
    some histogram lacks are dropped and their buckets joined: nothing is interpolated, only resolution is lost.
    Infinity is always common.
    """
    if not histograms:
        raise ValueError("merging needs at least one histogram")
    if len(histograms) == 1:
        return histograms[0]
    bounds = histograms[0].bounds
    if all(one.bounds is bounds or one.bounds == bounds for one in histograms):
        counts = [one.counts for one in histograms]
    else:
        bounds = tuple(sorted(set(bounds).intersection(*(one.bounds for one in histograms))))
        counts = [_coarsened(one, bounds) for one in histograms]
    return Histogram(
        bounds=bounds,
        counts=tuple(map(sum, zip(*counts, strict=True))),  # whole numbers: plain sums are exact, and faster
        total=fsum([one.total for one in histograms]),
    )


def quantile(what: str, histogram: Histogram | Missing, q: float) -> float | Missing:
    """The value below which the share ``q`` of the observations lies, as Prometheus' histogram_quantile has it.

    Linear within the bucket; the first bucket starts at 0 when its bound is above 0. A quantile in the last bucket is
    beyond the highest finite bound, which is returned: read it as "at least". Missing when nothing was observed, and
    when there is no finite bound to speak of.
    """
    if isinstance(histogram, Missing):
        return Missing(what, histogram.why)
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile is a share from 0 to 1, found {q}")
    if len(histogram.bounds) == 1:
        return Missing(what, "the replicas' engine versions have no histogram bound in common")
    upto = list(accumulate(histogram.counts))
    if upto[-1] <= 0:
        return Missing(what, "nothing finished in this window")
    # At q = 0 the empty buckets in front are skipped: the smallest observation is in the first one that has any.
    rank = max(q * upto[-1], min(count for count in histogram.counts if count > 0) * 1e-12)
    at = bisect_left(upto, rank)
    return _within(histogram, upto, min(at, len(upto) - 1), rank)


def mean(what: str, histogram: Histogram | Missing) -> float | Missing:
    """Sum of the observed values / their number."""
    if isinstance(histogram, Missing):
        return Missing(what, histogram.why)
    count = histogram.count
    return histogram.total / count if count > 0 else Missing(what, "nothing finished in this window")


def _within(histogram: Histogram, upto: Sequence[float], at: int, rank: float) -> float:
    upper = histogram.bounds[at]
    if upper == inf:
        return histogram.bounds[-2]
    if at == 0 and upper <= 0:
        return upper
    lower = histogram.bounds[at - 1] if at else 0.0
    before = upto[at - 1] if at else 0.0
    share = (rank - before) / histogram.counts[at]
    return min(lower + (upper - lower) * share, upper)


def _coarsened(histogram: Histogram, bounds: Sequence[float]) -> tuple[float, ...]:
    """``histogram``'s counts by these bounds, all of which it has."""
    counts = [0.0] * len(bounds)
    for bound, count in zip(histogram.bounds, histogram.counts, strict=True):
        counts[bisect_left(bounds, bound)] += count
    return tuple(counts)
