"""The candidate forecasts, and how much each is believed.

No single one is right for all services: what has just arrived is noise to one and news to another, and a time of day
that rules one says nothing of the next. So all are made, each is scored at every horizon when its time has come, and
they are averaged with weights that fall with their recent errors: weight ~ (forgetful mean error) ^ -POWER, as
in Bates & Granger, "The Combination of Forecasts", 1969, and Stock & Watson, "Combination forecasts of output growth
in a seven-country data set", 2004. A candidate that the history does not support yet says nothing (nan) and is charged
what the combination loses, so that it starts as an average one (Freund, Schapire, Singer & Warmuth, "Using and
combining predictors that specialize", 1997).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isnan

import numpy as np

from controller.estimate.demand.season import FLOOR_RATIO, MOST_CHANGE, change, expected
from controller.estimate.demand.state import EXPERTS, LEVELS_S, MINUTE_S, DemandState, Floats

POWER = 16.0
"""An expert with errors 5 % above the best one's counts for half of it. A guess between averaging all of them (0) and
following the luckiest (infinity); from 8 to 30 the errors on both public weeks differ by less than 1 %."""

TRENDS = ((1, 2, 300.0), (2, 3, 1800.0))
"""Fast level, slow level, seconds after which the slope has died down. Two averages with time constants a < b lag a
line by a x slope and b x slope, so their difference measures it: Brown's double exponential smoothing (1956), damped as
Gardner & McKenzie (1985) advise."""

SEASONED = (2, 3)
"""The levels that the day's shape carries forward."""

_LAGS_S: Floats = -np.array([LEVELS_S[one] for one in SEASONED])

BASES = tuple(dict.fromkeys(EXPERTS))


def predictions(state: DemandState, now_s: float, horizons_s: Floats) -> Floats:
    """Each expert's mean rate over the minute from ``now`` + horizon: a row a horizon, a column an expert; nan where it
    has nothing to say."""
    levels = state.recent.levels
    ahead = horizons_s + MINUTE_S / 2
    table = np.empty((len(horizons_s), len(EXPERTS)))
    table[:, : len(levels)] = levels
    columns = iter(range(len(levels), len(EXPERTS)))
    for fast, slow, lasting_s in TRENDS:
        slope = (levels[fast] - levels[slow]) / (LEVELS_S[slow] - LEVELS_S[fast])
        line = levels[fast] + slope * (LEVELS_S[fast] - lasting_s * np.expm1(-ahead / lasting_s))
        table[:, next(columns)] = np.minimum(np.maximum(line, 0.0), MOST_CHANGE * levels[fast])
    times = now_s + np.concatenate((_LAGS_S, ahead))
    for rates, seasoned in ((state.season.day, SEASONED), (state.season.week, SEASONED[:1])):
        shape = expected(rates, times)
        then = shape[len(SEASONED) :]
        for place, one in enumerate(seasoned):
            table[:, next(columns)] = levels[one] * change(shape[place], then, FLOOR_RATIO * _mean(shape))
    table[:, next(columns)] = then
    return table


def _mean(rates: Floats) -> float:
    mean = float(rates.sum()) / len(rates)
    return 0.0 if isnan(mean) else mean


def weights_of(losses: Floats) -> Floats:
    """Rows that sum to 1; equal where nothing was scored."""
    floor = np.maximum(losses.min(axis=1, keepdims=True), 1e-12)
    weights = (np.maximum(losses, floor) / floor) ** -POWER
    normal: Floats = weights / weights.sum(axis=1, keepdims=True)
    return normal


def supported(state: DemandState) -> tuple[str, ...]:
    """The bases that the history knows of."""
    unknown = {
        "day": state.season.day_seen.min() < 1,
        "week": state.season.week_seen.min() < 1,
    }
    return tuple(basis for basis in BASES if not unknown.get(basis, False))


def basis_of(support: Iterable[str], weights: Iterable[float]) -> str:
    """What carries the most weight of ``support``."""
    carried = dict.fromkeys(support, 0.0)
    for basis, weight in zip(EXPERTS, weights, strict=True):
        if basis in carried:
            carried[basis] += weight
    return max(carried, key=carried.__getitem__)


def combined_of(table: Floats, weights: Floats) -> Floats:
    """The weighted mean of the experts that have an opinion, a row a horizon."""
    awake = np.where(np.isnan(table), 0.0, weights)
    combined: Floats = np.nansum(table * awake, axis=1) / awake.sum(axis=1)
    return combined
