"""A run over time, thinned to what a plot can show."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from controller.simulate.score import Series

Floats = NDArray[np.float64]

BUCKETS = 360
"""A plot is some 700 points wide, and two points stand for each of these. Keeps a noisy week in 2 MB."""
WINDOW_S = 300.0
FEWEST_JUDGED = 20
"""As in RunScore's worst five minutes: fewer requests say nothing about a share."""
SECONDS_PER_HOUR = 3600.0


def start_s(series: Series) -> float:
    """When the first interval began, on the trace's clock."""
    return float(series.time_s[0]) - _interval_s(series) if len(series.time_s) else 0.0


def hours(series: Series) -> Floats:
    """Time since the start of the run at the end of each interval."""
    return (series.time_s - start_s(series)) / SECONDS_PER_HOUR


def _interval_s(series: Series) -> float:
    return float(np.median(np.diff(series.time_s))) if len(series.time_s) > 1 else 0.0


def rolling_attainment(series: Series) -> Floats:
    """Share within the SLO of the requests that arrived in the last five minutes; NaN where they were under 20."""
    met = np.concatenate(([0], np.cumsum(series.within_slo, dtype=np.int64)))
    judged = np.concatenate(([0], np.cumsum(series.judged, dtype=np.int64)))
    first = np.searchsorted(series.time_s, series.time_s - WINDOW_S, side="right")
    last = np.arange(1, len(series.time_s) + 1)
    among = judged[last] - judged[first]
    share = (met[last] - met[first]) / np.maximum(among, 1)
    return np.where(among >= FEWEST_JUDGED, share, np.nan)


def thinned(x: Floats, y: Floats, buckets: int = BUCKETS) -> tuple[Floats, Floats]:
    """The lowest and the highest point of each bucket, in order: no dip and no peak is lost. NaN gaps remain."""
    if len(x) <= 2 * buckets:
        return x, y
    kept = {0, len(x) - 1}
    edges = np.linspace(0, len(x), buckets + 1).astype(np.int64)
    for start, end in pairwise(edges.tolist()):
        part = y[start:end]
        gaps = np.isnan(part)
        if not gaps.all():
            kept.update((int(start + np.nanargmin(part)), int(start + np.nanargmax(part))))
        if gaps.any():
            kept.add(int(start + np.argmax(gaps)))
    order = np.array(sorted(kept), dtype=np.int64)
    return x[order], y[order]


def averaged(x: Floats, y: Floats, buckets: int = BUCKETS) -> tuple[Floats, Floats]:
    """Means of equal shares of the points: for what is noisy from one interval to the next."""
    if len(x) <= buckets:
        return x, y
    edges = np.linspace(0, len(x), buckets + 1).astype(np.int64)[:-1]
    sizes = np.diff(np.append(edges, len(x)))
    return x[edges], np.add.reduceat(y, edges) / sizes


def changes_only(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The points at which a staircase steps, and its ends."""
    if len(x) == 0:
        return x, y
    kept = np.unique(np.concatenate(([0], np.flatnonzero(np.diff(y)) + 1, [len(y) - 1])))
    return x[kept], y[kept]
