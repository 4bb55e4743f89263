"""What forecasting remembers of one service. Everything is small and of fixed size, so that a pass can afford it."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MINUTE_S = 60.0

HORIZONS_S = (60.0, 120.0, 240.0, 480.0, 900.0, 1800.0)
"""Where forecasts are scored; between them weights and bands are interpolated. They span a warm node's start-up
(60 to 90 s) to a cold one's (360 to 600 s) and twice the 900 s that a slow one takes."""

HORIZON_MINUTES: Integers = np.array([round(one / MINUTE_S) for one in HORIZONS_S], dtype=np.int64)

PROBABILITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995)
"""The quantiles of every forecast."""

SURGE_SHARES = (0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999)
"""Of the requests: what an SLO may ask for, and what lies between."""

LEVELS_S = (20.0, 45.0, 120.0, 360.0, 1200.0, 3600.0)
"""Time constants of the recent rates, a factor of 2 to 3 apart: from one pass to an hour."""
EXPERTS = (*(("level",) * len(LEVELS_S)), "trend", "trend", "day", "day", "week", "week")
"""What each candidate forecast rests on, in the order of ``experts.predictions``."""

DAY_SLOTS, WEEK_SLOTS, SLOT_S = 48, 336, 1800.0
"""Half hours: long enough to average the noise away; straight lines between their middles keep the slope."""

FIVE_S, DAY_FIVES = 300.0, 288
"""Five minutes, and how many a day has: what runs by the clock mostly begins at such a time."""

KEPT_DAYS = 14
"""Days whose steps are remembered: twice every day of the week."""

ERRORS = 1440
"""Scored forecasts kept per horizon: one a minute for a day."""

NOISE_GUESS = 0.15
"""Of a pass's rate, before it is measured: 15 s at 3 requests/s stray by as much if they are Poisson."""

GUESS_MOST = 0.8
"""Where the guessed spread stops growing: a day's shape does not let demand wander for ever."""

PENDING = 32
"""Minutes that an issued forecast can wait to be scored; above the longest horizon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """Mean rate by half hour: of the day, then of the week (from Thursday 00:00 UTC, where 1970 began).

    rates   requests/s; nan: never seen
    seen    how often each slot was seen
    """

    day: Floats
    day_seen: Integers
    week: Floats
    week_seen: Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Sharp steps of the rate between five minutes and the next, by day (modulo KEPT_DAYS) and time of day.

    jumps         log(rate / rate of the five minutes before); 0: none that was sharp; nan: never seen
    before        rate of the newest five minutes that are over, requests/s; nan: none
    before_five   which those were, since 1970
    """

    jumps: Floats
    before: float
    before_five: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """The last seconds to hours.

    at_s           newest observation, seconds since 1970; nan: none yet
    known_s        seconds observed since the last jump: what young averages rest on
    levels         exponentially weighted mean rates, by LEVELS_S; a jump is followed by all of them at once
    lived_s        seconds observed in all
    hourly         mean rate over the last hour or so, whatever jumped
    noise_ratio    mean |rate of a pass - level| / scale: what is noise, and so what is a jump
    surprise       the rate of the pass before, when that was a surprise; else nan
    peak           the busiest minute that is over, requests/s, slowly forgotten; 0: none yet
    moment         rate of the pass that saw one moment of the minute not over yet, see marginal.py; nan: not yet seen
    minute, five, slot   sums of requests and seconds of the minute, the five minutes, the half hour not over yet
    """

    at_s: float
    known_s: float
    levels: tuple[float, ...]
    lived_s: float
    hourly: float
    noise_ratio: float
    surprise: float
    peak: float
    moment: float
    minute: tuple[float, float]
    five: tuple[float, float]
    slot: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Forecasts that were made, and what became of them. Rows are horizons unless said otherwise.

    issued          by minute of issue modulo PENDING, then horizon: the experts', then the combined one, then quantiles
    issued_minute   which minute (since 1970) each of those was issued after; -1: none
    losses          by expert: forgetful sum of absolute errors, in scales; ``weights`` follow from it
    errors          ring of the combined forecast's signed errors, in scales
    scored          how many were ever scored
    alphas          by probability: the miss rate asked of ``errors``, so that the realised one is right
    offsets         by probability: where the quantile lies from the combined forecast, in scales
    sums            forgetful sums: weight, |error|, error, actual, then by probability: covered
    minutes         ring of the mean rates of the minutes that were seen, requests/s
    moments         ring, too: of each of those minutes the rate of one pass, requests/s; nan: nobody looked
    minutes_seen    how many minutes ever were
    marginal        by probability: the quantile of ``minutes``, requests/s
    marginal_mean   their mean, requests/s
    surges          by SURGE_SHARES: so much of the requests came in passes of at most that rate; nan: unknown
    pinball         forgetful sums of what the upper quantiles lost: the band's, then the marginal ones'
    """

    issued: Floats
    issued_minute: Integers
    losses: Floats
    weights: Floats
    errors: Floats
    scored: Integers
    alphas: Floats
    offsets: Floats
    sums: Floats
    minutes: Floats
    moments: Floats
    minutes_seen: int
    marginal: Floats
    marginal_mean: float
    surges: Floats
    pinball: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandState:
    """One service's memory: replaced, never changed."""

    recent: Recent
    season: Season
    schedule: Schedule
    record: Record


LULL = 2.0
"""Compared from 0 to 2 (``benchmarks/forecast``, 240 s ahead): as many came inside every band, and the bands became
narrower all the way, P99 by 1 % on Azure's conversation service and by 4 % on ServeGen's, P95 by half on bursts."""


def scale_of(rate: float) -> float:
    """What errors are measured in, requests/s: the rate, and what counting it for a minute adds when requests are few.

    Relative errors lose their meaning near zero; a Poisson count of a minute strays by sqrt(rate / 60 s) and never by
    less than one request.
    """
    return rate + float((max(rate, 0.0) / MINUTE_S) ** 0.5) + 1 / MINUTE_S


def scales_of(rates: Floats, hourly: float) -> Floats:
    """What errors of forecasts are measured in: ``scale_of`` each, of LULL times the ``hourly`` mean at least.

    A burst out of a lull is many times what was forecast, and would be none of those times of another forecast.
    """
    least = np.maximum(rates, LULL * hourly)
    scales: Floats = least + np.sqrt(np.maximum(least, 0.0) / MINUTE_S) + 1 / MINUTE_S
    return scales


def empty_state() -> DemandState:
    """Nothing seen yet."""
    rows, experts, quantiles = len(HORIZONS_S), len(EXPERTS), len(PROBABILITIES)
    return DemandState(
        recent=Recent(
            at_s=nan,
            known_s=0.0,
            levels=(0.0,) * len(LEVELS_S),
            lived_s=0.0,
            hourly=0.0,
            noise_ratio=NOISE_GUESS,
            surprise=nan,
            peak=0.0,
            moment=nan,
            minute=(0.0, 0.0),
            five=(0.0, 0.0),
            slot=(0.0, 0.0),
        ),
        season=Season(
            day=np.full(DAY_SLOTS, nan),
            day_seen=np.zeros(DAY_SLOTS, dtype=np.int64),
            week=np.full(WEEK_SLOTS, nan),
            week_seen=np.zeros(WEEK_SLOTS, dtype=np.int64),
        ),
        schedule=Schedule(jumps=np.full((KEPT_DAYS, DAY_FIVES), nan), before=nan, before_five=nan),
        record=Record(
            issued=np.zeros((PENDING, rows, experts + 1 + quantiles)),
            issued_minute=np.full(PENDING, -1, dtype=np.int64),
            losses=np.zeros((rows, experts)),
            weights=np.full((rows, experts), 1 / experts),
            errors=np.full((rows, ERRORS), nan),
            scored=np.zeros(rows, dtype=np.int64),
            alphas=np.tile(1 - np.array(PROBABILITIES), (rows, 1)),
            offsets=guessed_offsets(),
            sums=np.zeros((rows, 4 + quantiles)),
            minutes=np.full(ERRORS, nan),
            moments=np.full(ERRORS, nan),
            minutes_seen=0,
            marginal=np.zeros(quantiles),
            marginal_mean=0.0,
            surges=np.full(len(SURGE_SHARES), nan),
            pinball=np.zeros((rows, 2)),
        ),
    )


def guessed_offsets() -> Floats:
    """The band of a service that nobody has scored yet, in scales: wide on purpose.

    Normal, with a standard deviation that grows with the square root of the horizon as a random walk's does: 20 % at a
    minute, 45 % at five. A guess: about three times the errors of Azure's conversation service (2024), and the size of
    those of a bursty one.
    """
    spread = 0.2 * np.sqrt(np.array(HORIZONS_S) / MINUTE_S)
    normal = np.array([NormalDist().inv_cdf(one) for one in PROBABILITIES])
    guess: Floats = np.outer(np.minimum(spread, GUESS_MOST), normal) / LULL  # of a scale that is LULL times the rate
    return guess
