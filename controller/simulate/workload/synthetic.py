"""Invented load: a shape in requests/s over time, made into counts with a stated dispersion."""

from __future__ import annotations

from collections.abc import Callable
from math import log

import numpy as np

from controller.simulate.traffic import DAY_S, DISPERSION
from controller.simulate.workload.blocks import Draw, Floats, generator
from controller.simulate.workload.rates import RateTrace

Shape = Callable[[Floats], Floats]
"""Requests/s at each of some times in seconds."""

BIN_S = 10.0
"""As wide as the bins of Azure's week, where the default dispersion was measured."""


def rates_of(
    shape: Shape, *, hours: float, seed: int, dispersion: float = DISPERSION, start_s: float = 0.0
) -> RateTrace:
    """Counts per 10 s whose mean follows ``shape`` at the middle of each bin.

    dispersion   variance to mean of a count: 1 is Poisson, more is negative binomial (a Gamma-distributed rate), and
                 0 takes the mean itself, so that arrivals are random only within their bin
    """
    if dispersion != 0 and dispersion < 1:
        raise ValueError(f"a dispersion is 0 or at least 1, not {dispersion}")
    bins = np.arange(max(1, round(hours * 3600 / BIN_S)), dtype=np.float64)
    time_s: Floats = start_s + BIN_S * (bins + 0.5)
    mean: Floats = np.maximum(shape(time_s), 0.0) * BIN_S
    random = generator(seed, Draw.SHAPE)
    if dispersion > 1:
        mean = random.standard_gamma(mean / (dispersion - 1)) * (dispersion - 1)
    requests = mean if dispersion == 0 else random.poisson(mean).astype(np.float64)
    return RateTrace(start_s=start_s, bin_s=BIN_S, requests=requests)


def steady(level_per_s: float) -> Shape:
    """Always the same."""
    return lambda time_s: np.full_like(time_s, level_per_s)


def step(level_per_s: float, to_per_s: float, *, at_s: float) -> Shape:
    """One level, then another from ``at_s`` on."""
    return lambda time_s: np.where(time_s < at_s, level_per_s, to_per_s)


def ramp(level_per_s: float, to_per_s: float, *, from_s: float, to_s: float) -> Shape:
    """From one level to another in a straight line."""
    return lambda time_s: np.interp(time_s, [from_s, to_s], [level_per_s, to_per_s])


def spike(level_per_s: float, peak_per_s: float, *, at_s: float, lasting_s: float) -> Shape:
    """To the peak at once, for ``lasting_s``, and back at once."""
    return lambda time_s: np.where((time_s >= at_s) & (time_s < at_s + lasting_s), peak_per_s, level_per_s)


def silence(level_per_s: float, *, from_s: float, to_s: float) -> Shape:
    """Nothing at all from ``from_s`` up to ``to_s``."""
    return spike(level_per_s, 0.0, at_s=from_s, lasting_s=to_s - from_s)


def going_viral(
    level_per_s: float, peak_per_s: float, *, at_s: float, doubling_s: float = 900.0, half_life_s: float = 14_400.0
) -> Shape:
    """A launch: from ``at_s`` on the level doubles every ``doubling_s`` up to the peak, then what is above the old
    level halves every ``half_life_s``. The defaults are guesses: known in an hour, forgotten by the next morning."""
    if not 0 < level_per_s <= peak_per_s:
        raise ValueError(f"a level of {level_per_s}/s cannot grow to {peak_per_s}/s by doubling")
    peak_s = at_s + doubling_s * log(peak_per_s / level_per_s) / log(2)

    def rate(time_s: Floats) -> Floats:
        rising = level_per_s * 2 ** (np.clip(time_s - at_s, 0.0, peak_s - at_s) / doubling_s)
        left = 0.5 ** (np.maximum(time_s - peak_s, 0.0) / half_life_s)
        return np.where(time_s < peak_s, rising, level_per_s + (peak_per_s - level_per_s) * left)

    return rate


def daily(level_per_s: float, *, busiest_to_quietest: float, peak_s: float = 50_400.0) -> Shape:
    """A sine over the day around ``level_per_s``, highest at ``peak_s`` (14:00 on a clock that starts at midnight)."""
    if not busiest_to_quietest >= 1:
        raise ValueError(f"the busiest cannot be {busiest_to_quietest} times the quietest")
    swing = (busiest_to_quietest - 1) / (busiest_to_quietest + 1)
    return lambda time_s: level_per_s * (1 + swing * np.cos(2 * np.pi * (time_s - peak_s) / DAY_S))


def weekly(day: Shape, *, weekend_ratio: float, first_weekday: int = 0) -> Shape:
    """``day``, times ``weekend_ratio`` on Saturday and Sunday. ``first_weekday``: of the day at 0 s, Monday is 0."""

    def rate(time_s: Floats) -> Floats:
        weekday = (np.floor(time_s / DAY_S) + first_weekday) % 7
        return day(time_s) * np.where(weekday >= 5, weekend_ratio, 1.0)

    return rate
