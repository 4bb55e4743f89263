"""Counting into histograms."""

from __future__ import annotations

from numba import njit

from controller.simulate.compiled.layout import State


@njit(cache=True)
def observe(state: State, row: int, name: int, value: float, times: float) -> None:
    """``value`` was seen ``times`` times. A value equal to a bound belongs below it, as in Prometheus."""
    bucket = 0
    while value > state.bounds[name, bucket]:
        bucket += 1
    state.buckets[row, name, bucket] += times
    state.totals[row, name] += value * times


@njit(cache=True)
def observe_spread(state: State, row: int, name: int, first: float, last: float, values: int, times: float) -> None:
    """``values`` values, evenly spaced from ``first`` up to ``last``, each seen ``times`` times."""
    state.totals[row, name] += (first + last) / 2 * values * times
    bucket = 0
    while first > state.bounds[name, bucket]:
        bucket += 1
    below = 0
    while last > state.bounds[name, bucket]:
        share = (state.bounds[name, bucket] - first) / (last - first)
        upto = min(int(share * (values - 1)) + 1, values)
        state.buckets[row, name, bucket] += (upto - below) * times
        below = upto
        bucket += 1
    state.buckets[row, name, bucket] += (values - below) * times
