"""The marginal distribution of a minute: what is left to go by where the last minutes say nothing of the next.

A band around a forecast is as wide wherever the forecast goes. Where bursts come and go without notice it follows each
of them, too late, and orders what nobody needs when it is there. Then the distribution of all minutes lately is the
better forecast, and it stands still. Which of both it is, is judged by what the upper quantiles lost: the pinball loss,
which the true quantile minimizes (Koenker & Bassett, "Regression quantiles", 1978).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from controller.estimate.demand.bands import AGE_WEIGHTS
from controller.estimate.demand.state import ERRORS, PROBABILITIES, DemandState, Floats, Record

JUDGED_FROM = 0.9
"""The quantiles that decide how many replicas stand ready."""

LEAST_MINUTES = 120
"""Minutes before it counts. A guess: six of them lie above P95."""

CLEARLY = 0.9
"""Of the band's loss: the marginal distribution must lose less. A guess, so that noise does not change the basis."""

ALIKE = (0.25, 3.0)
"""Times the mean of those minutes, as which the last hour must be: a night is not what a day of bursts was. A guess."""

BURSTY = 2.0
"""Times their mean that P95 of the minutes must be: of Poisson arrivals it is 1.1, of a day with its night 1.6, of
Azure's code completion (2023) 3. What hardly varies has no bursts, and its first jump must be followed at once."""

NEWS = 2
"""Minutes in a row beyond the highest quantile: a jump, and no burst as they were. By chance it would take weeks."""

_LEVELS: Floats = np.array(PROBABILITIES)
_JUDGED: NDArray[np.bool_] = _LEVELS >= JUDGED_FROM
_P95 = PROBABILITIES.index(0.95)


def counted(record: Record, rate: float, *, refreshes: bool) -> Record:
    """``record`` after a minute at ``rate``."""
    minutes, seen = record.minutes.copy(), record.minutes_seen + 1
    minutes[record.minutes_seen % ERRORS] = rate
    record = replace(record, minutes=minutes, minutes_seen=seen)
    return replace(record, marginal=_quantiles(record), marginal_mean=_mean(record)) if refreshes else record


def _mean(record: Record) -> float:
    values, weights = _weighted(record)
    return float(values @ weights / weights.sum())


def _quantiles(record: Record) -> Floats:
    """The next minute stands among them with the weight of a new one, as in bands.py."""
    values, weights = _weighted(record)
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / (weights.sum() + 1.0)
    found: Floats = values[order[np.minimum(np.searchsorted(reached, _LEVELS), len(values) - 1)]]
    return found


def _weighted(record: Record) -> tuple[Floats, Floats]:
    """The minutes that are kept and what each weighs by its age, as errors do."""
    kept = min(record.minutes_seen, ERRORS)
    return record.minutes[:kept], AGE_WEIGHTS[(record.minutes_seen - 1 - np.arange(kept)) % ERRORS]


def pinball(actual: float, bounds: Floats, marginal: Floats) -> Floats:
    """What ``bounds`` (a row a horizon) and ``marginal`` lose by ``actual``, requests/s, over the judged quantiles."""
    return np.stack((_loss(actual, bounds), _loss(actual, np.broadcast_to(marginal, bounds.shape))), axis=1)


def _loss(actual: float, bounds: Floats) -> Floats:
    over = actual - bounds[:, _JUDGED]
    lost: Floats = np.maximum(_LEVELS[_JUDGED] * over, (_LEVELS[_JUDGED] - 1) * over).sum(axis=1)
    return lost


def unforeseeable(state: DemandState) -> bool:
    """Whether the marginal distribution is clearly the better forecast, over all horizons, and what came last is like
    the minutes that it knows."""
    record, recent = state.record, state.recent
    if record.minutes_seen < LEAST_MINUTES:
        return False
    band, marginal = record.pinball.sum(axis=0).tolist()
    least, most = ALIKE
    alike = least * record.marginal_mean <= recent.hourly <= most * record.marginal_mean
    bursty = record.marginal[_P95] >= BURSTY * record.marginal_mean
    last = [record.minutes[(record.minutes_seen - back) % ERRORS] for back in range(1, NEWS + 1)]
    return bool(bursty and marginal < CLEARLY * band and alike and min(last) <= record.marginal[-1])
