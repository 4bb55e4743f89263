"""What a service will be asked for, at any horizon.

No forecasting library. One that fits a model at every pass takes 7 to 250 ms of CPU a service (AutoETS 15), so 4 s and
more for 500; this takes 0.3 to 0.4, learning included. AutoETS fitted hourly and carried forward (1.2 ms) would be fast
enough and errs 1 % more on one recorded trace and 2 % less on the other. Measured by ``python -m benchmarks.forecast
--libraries``; BENCHMARKS.md, "Forecasts", has the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from math import isnan

import numpy as np

from controller.estimate.demand.bands import bounded
from controller.estimate.demand.experts import basis_of, combined_of, predictions, supported
from controller.estimate.demand.marginal import unforeseeable
from controller.estimate.demand.schedule import lifts
from controller.estimate.demand.state import HORIZONS_S, MINUTE_S, PROBABILITIES, DemandState, Floats, Integers
from controller.facts.demand import Forecast

_LOG_HORIZONS: Floats = np.log(np.array(HORIZONS_S))


def forecasts(state: DemandState, now: datetime, horizons_s: Sequence[float]) -> tuple[Forecast, ...]:
    """The mean requests/s over the minute that begins ``horizon`` after ``now``, per horizon, ascending.

    Between the horizons that are scored, weights and bands are interpolated (by the horizon's logarithm); beyond them
    the nearest one's hold. Nothing was ever observed: no forecast.
    """
    if isnan(state.recent.at_s) or not horizons_s:
        return ()
    wanted, lower, upper, share = _between(tuple(sorted(horizons_s)))
    record = state.record
    weights = _mixed(record.weights, lower, upper, share)
    table = predictions(state, now.timestamp(), wanted)
    combined = combined_of(table, weights)
    steps = lifts(state.schedule, now.timestamp(), now.timestamp() + wanted + MINUTE_S)
    bounds = bounded(combined, _mixed(record.offsets, lower, upper, share), steps, state.recent)
    by_chance = unforeseeable(state)
    if by_chance:
        bounds = np.broadcast_to(record.marginal, bounds.shape)
    scored = np.minimum(record.scored[lower], record.scored[upper])
    support = supported(state)
    return tuple(
        Forecast(
            at=now,
            horizon_s=horizon,
            quantiles=dict(zip(PROBABILITIES, row, strict=True)),
            basis="minutes" if by_chance else basis_of(support, weight),
            scored=count,
        )
        for horizon, row, weight, count in zip(
            wanted.tolist(), bounds.tolist(), weights.tolist(), scored.tolist(), strict=True
        )
    )


@lru_cache(maxsize=1024)  # the same from pass to pass, until start-up times change
def _between(horizons_s: tuple[float, ...]) -> tuple[Floats, Integers, Integers, Floats]:
    """The horizons, the scored ones below and above each, and its share of the way."""
    wanted = np.array(horizons_s, dtype=np.float64)
    places = np.interp(np.log(np.maximum(wanted, 1.0)), _LOG_HORIZONS, np.arange(len(HORIZONS_S)))
    lower = np.floor(places).astype(np.int64)
    upper = np.minimum(lower + 1, len(HORIZONS_S) - 1)
    return wanted, lower, upper, places - lower


def _mixed(rows: Floats, lower: Integers, upper: Integers, share: Floats) -> Floats:
    mixed: Floats = rows[lower] * (1 - share)[:, None] + rows[upper] * share[:, None]
    return mixed
