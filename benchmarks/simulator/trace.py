"""The requests that the measurements share: hours of Azure's week, at the level that a fleet is made for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.contest.cases import TRACES, Ground
from controller.backtest.tracefile import read_lengths, read_trace
from controller.simulate.workload.blocks import BlockWorkload
from controller.simulate.workload.lengths import Lengths
from controller.simulate.workload.modifiers import between
from controller.simulate.workload.rates import RateTrace, RateWorkload

WEEK = Ground(trace="azure2024", day=0, engine="70b-2xh100", start_up_s=240.0, hours=168.0)
THURSDAY = replace(WEEK, day=4, hours=24.0)
NINE_S = THURSDAY.day * 86_400.0 + 9 * 3600.0


def busy_hours(hours: float, mean_per_s: float) -> BlockWorkload:
    """Thursday from 9:00 UTC on, its level raised or lowered to a mean of ``mean_per_s``."""
    rates = read_trace(TRACES / "azure2024_conv_10s.csv.gz")
    lengths = read_lengths(TRACES / "azure2024_conv_token_quantiles.csv.gz")
    if not isinstance(rates, RateTrace) or not isinstance(lengths, Lengths):
        raise TypeError("Azure's week is rates, and lengths for all requests alike")
    begin, end = (round((at_s - rates.start_s) / rates.bin_s) for at_s in (NINE_S, NINE_S + hours * 3600))
    factor = mean_per_s * rates.bin_s / float(np.mean(rates.requests[begin:end]))
    return between(RateWorkload(rates.times(factor), lengths, seed=1), NINE_S, NINE_S + hours * 3600)
