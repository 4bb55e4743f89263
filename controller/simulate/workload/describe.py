"""What a report prints about a workload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.facts.missing import Missing
from controller.simulate.workload.blocks import BlockWorkload, Floats, Grid, Ints

Number = float | Missing
Counts = NDArray[np.int64]

FINE_S, MINUTE_S = 10.0, 60.0
LOCAL_BINS = {FINE_S: 30, MINUTE_S: 15}
"""Dispersion is around a local mean, so that the course of the day does not count as bursts: 5 min for counts per 10 s,
15 min for counts per minute."""

QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSummary:
    """Lengths of prompts or outputs: mean, and quantiles by probability."""

    mean: float
    quantiles: Mapping[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One workload in figures.

    peak_minute_per_s, peak_10s_per_s   the busiest minute's and 10 seconds' mean rate
    peak_to_mean                        busiest minute over mean
    dispersion_10s, dispersion_minute   variance to mean of counts around a local mean; Poisson has 1
    cached_ratio                        share of prompt tokens that a prefix cache holds
    """

    hours: float
    requests: int
    mean_per_s: float
    peak_minute_per_s: float
    peak_10s_per_s: float
    peak_to_mean: Number
    dispersion_10s: Number
    dispersion_minute: Number
    prompt_tokens: TokenSummary | Missing
    output_tokens: TokenSummary | Missing
    cached_ratio: Number
    notes: tuple[str, ...]


def describe(workload: BlockWorkload) -> Description:
    """Go through all requests once, a block at a time; what ``until`` has taken makes no difference."""
    span_s = workload.end_s - workload.start_s
    counts = {width_s: _Histogram(len(_bins(workload, width_s))) for width_s in LOCAL_BINS}
    prompts, outputs, cached = _Histogram(), _Histogram(), 0
    for requests in workload.blocks():
        for width_s, histogram in counts.items():
            histogram.add(((requests.arrival_s - workload.start_s) / width_s).astype(np.int64))
        prompts.add(requests.prompt_tokens)
        outputs.add(requests.output_tokens)
        cached += int(requests.cached_tokens.sum(dtype=np.int64))
    fine, minute = counts[FINE_S].counts, counts[MINUTE_S].counts
    total = int(fine.sum())
    mean_per_s = total / span_s if span_s else 0.0
    peak_minute_per_s = float(minute.max()) / MINUTE_S
    nothing = Missing("workload", "no request arrived")
    return Description(
        hours=span_s / 3600,
        requests=total,
        mean_per_s=mean_per_s,
        peak_minute_per_s=peak_minute_per_s,
        peak_10s_per_s=float(fine.max()) / FINE_S,
        peak_to_mean=peak_minute_per_s / mean_per_s if total else nothing,
        dispersion_10s=dispersion(fine, LOCAL_BINS[FINE_S]),
        dispersion_minute=dispersion(minute, LOCAL_BINS[MINUTE_S]),
        prompt_tokens=prompts.summary() if total else nothing,
        output_tokens=outputs.summary() if total else nothing,
        cached_ratio=cached / prompts.total if total else nothing,
        notes=workload.notes,
    )


def dispersion(counts: Counts, local_bins: int) -> Number:
    """Variance to mean of counts within groups of ``local_bins`` neighbours, groups weighing by their mean."""
    groups = counts[: len(counts) // local_bins * local_bins].reshape(-1, local_bins).astype(np.float64)
    mean = float(groups.mean(axis=1).sum()) if len(groups) else 0.0
    if mean == 0:
        return Missing("dispersion", f"fewer than {local_bins} bins, or no request in them")
    variance: Floats = groups.var(axis=1, ddof=1)
    return float(variance.sum()) / mean


def _bins(workload: BlockWorkload, width_s: float) -> range:
    """The last bin may be a part of one."""
    return Grid(origin_s=0.0, block_s=width_s).indices(0.0, max(workload.end_s - workload.start_s, width_s))


class _Histogram:
    """How often each whole number was seen."""

    def __init__(self, size: int = 0) -> None:
        self.counts: Counts = np.zeros(size, np.int64)

    def add(self, values: Ints | Counts) -> None:
        seen = np.bincount(values, minlength=len(self.counts))
        if len(seen) > len(self.counts):
            self.counts = np.concatenate([self.counts, np.zeros(len(seen) - len(self.counts), np.int64)])
        self.counts += seen

    @property
    def total(self) -> int:
        return int(self.counts @ np.arange(len(self.counts)))

    def summary(self) -> TokenSummary:
        below = np.cumsum(self.counts)
        places = {level: int(np.searchsorted(below, level * below[-1])) for level in QUANTILES}
        return TokenSummary(
            mean=self.total / int(below[-1]), quantiles={level: float(place) for level, place in places.items()}
        )
