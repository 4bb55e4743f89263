"""The recent rates: smooth while demand is noise, at once where it jumps."""

from __future__ import annotations

from dataclasses import replace
from math import exp, isnan, nan, sqrt

from controller.estimate.demand.state import LEVELS_S, Recent, scale_of

NOISE_S = 1800.0
"""Time constant of the noise's own average: long enough to have seen some, short enough to follow the hour."""

JUMP, LEAST_JUMP = 10.0, 0.5
"""A pass this many times the usual noise away from the level, and by half of the level at least, is a jump. Normal
noise strays by 10 mean deviations (8 standard ones) never; bursty noise may, and there the mean deviation is large to
begin with."""

SURPRISE, LEAST_SURPRISE = 4.0, 0.2
"""Two passes in a row on the same side, each this far away, are a jump too."""

REFERENCE = 1
"""The level that jumps are measured from: three quarters of a minute's."""

HOUR_S = 3600.0
"""Of the mean that a burst out of a lull is measured by."""

MOST_NOISE = 4.0
"""An outlier counts as so many times the usual noise at most: a jump must not hide the next one."""


MEAN_TO_STANDARD = 0.8
"""Mean absolute over standard deviation of a normal distribution: sqrt(2 / pi)."""


def followed(recent: Recent, rate: float, spent_s: float, unseen_s: float = 0.0) -> Recent:
    """``recent`` after ``spent_s`` seconds at ``rate``; before them, nobody looked for ``unseen_s``."""
    if isnan(recent.at_s):
        return replace(recent, levels=(rate,) * len(LEVELS_S), known_s=spent_s, lived_s=spent_s, hourly=rate)
    reference = recent.levels[REFERENCE]
    off, scale = rate - reference, scale_of(max(reference, recent.hourly))
    size, usual = abs(off) / scale, max(recent.noise_ratio, _counting(reference, spent_s) / scale)
    levels, known_s, surprise = recent.levels, recent.known_s + spent_s, nan
    if _jumped(recent, off, size, usual):
        levels = (_landing(recent, rate),) * len(LEVELS_S)
        known_s = spent_s  # the averages start again: plain means of what came since
        surprise = rate  # one more pass above it is a climb that goes on
    else:
        levels = tuple(
            level + _share(spent_s + unseen_s, known_s, tau) * (rate - level)
            for level, tau in zip(levels, LEVELS_S, strict=True)
        )
        surprise = rate if size > max(SURPRISE * usual, LEAST_SURPRISE) else nan
    noise = recent.noise_ratio
    noise += (1 - exp(-spent_s / NOISE_S)) * (min(size, MOST_NOISE * noise) - noise)
    lived_s = recent.lived_s + spent_s
    hourly = recent.hourly + _share(spent_s + unseen_s, lived_s, HOUR_S) * (rate - recent.hourly)
    return replace(
        recent,
        levels=levels,
        known_s=known_s,
        lived_s=lived_s,
        hourly=hourly,
        surprise=surprise,
        noise_ratio=max(noise, 1e-3),
    )


def _share(spent_s: float, known_s: float, tau: float) -> float:
    """How much of an average the newest observation is: a plain mean until about ``tau`` seconds are known."""
    return max(1 - exp(-spent_s / tau), min(spent_s / known_s, 1.0))


def _landing(recent: Recent, rate: float) -> float:
    """Where a jump leads: two surprises of a step are averaged, those of a climb or fall that goes on are not."""
    reference = recent.levels[REFERENCE]
    going_on = isnan(recent.surprise) or abs(rate - reference) > abs(recent.surprise - reference)
    return rate if going_on else (rate + recent.surprise) / 2


def _counting(rate: float, spent_s: float) -> float:
    """The mean deviation of a Poisson count of ``spent_s`` seconds, as a rate: a request more or less is never news."""
    return MEAN_TO_STANDARD * sqrt(rate * spent_s + 1) / spent_s


def _jumped(recent: Recent, off: float, size: float, usual: float) -> bool:
    if size > max(JUMP * usual, LEAST_JUMP):
        return True
    if isnan(recent.surprise) or size <= max(SURPRISE * usual, LEAST_SURPRISE):
        return False
    return (recent.surprise >= recent.levels[REFERENCE]) == (off > 0)
