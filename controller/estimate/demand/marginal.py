"""The marginal distribution of a minute: what is left to go by where the last minutes say nothing of the next.

A band around a forecast is as wide wherever the forecast goes. Where bursts come and go without notice it follows each
of them, too late, and orders what nobody needs when it is there. Then the distribution of all minutes lately is the
better forecast, and it stands still. Which of both it is, is judged by what the upper quantiles lost: the pinball loss,
which the true quantile minimizes (Koenker & Bassett, "Regression quantiles", 1978).

Such requests come in bunches of seconds, of which a minute's mean knows nothing. So of each minute one pass is kept,
too, and for a fleet that stands still it is said how many requests came at once while a share of them came: a fleet
that carries what 99 % of the requests came with serves 99 % of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import floor, sqrt

import numpy as np
from numpy.typing import NDArray

from controller.estimate.demand.bands import AGE_WEIGHTS
from controller.estimate.demand.state import (
    ERRORS,
    MINUTE_S,
    PROBABILITIES,
    SURGE_SHARES,
    DemandState,
    Floats,
    Record,
)

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

GOLDEN = (sqrt(5) - 1) / 2
"""The fractions of its multiples keep no rhythm, and fill the minute more evenly than those of any other number (Knuth,
"Sorting and Searching", 6.4)."""

_LEVELS: Floats = np.array(PROBABILITIES)
_JUDGED: NDArray[np.bool_] = _LEVELS >= JUDGED_FROM
_P95 = PROBABILITIES.index(0.95)


def moment_s(at_s: float) -> float:
    """The moment of the minute of ``at_s`` whose pass is kept, seconds since 1970: in each minute another one."""
    minute = floor(at_s / MINUTE_S)
    return MINUTE_S * (minute + minute * GOLDEN % 1)


def counted(record: Record, rate: float, moment: float, *, refreshes: bool) -> Record:
    """``record`` after a minute at ``rate``, and at ``moment`` in the pass of it that is kept (nan: none)."""
    minutes, moments, place = record.minutes.copy(), record.moments.copy(), record.minutes_seen % ERRORS
    minutes[place], moments[place] = rate, moment
    record = replace(record, minutes=minutes, moments=moments, minutes_seen=record.minutes_seen + 1)
    if not refreshes:
        return record
    return replace(record, marginal=_quantiles(record), marginal_mean=_mean(record), surges=_surges(record))


def _mean(record: Record) -> float:
    values, weights = _weighted(record, record.minutes)
    return float(values @ weights / weights.sum())


def _quantiles(record: Record) -> Floats:
    """The next minute stands among them with the weight of a new one, as in bands.py."""
    values, weights = _weighted(record, record.minutes)
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / (weights.sum() + 1.0)
    found: Floats = values[order[np.minimum(np.searchsorted(reached, _LEVELS), len(values) - 1)]]
    return found


def _surges(record: Record) -> Floats:
    """Every pass counts as often as it had requests. Nothing is known of states stored before moments were."""
    values, weights = _weighted(record, record.moments)
    known = ~np.isnan(values)
    values, requests = values[known], (weights * values)[known]
    if not requests.sum() > 0:
        return np.full(len(SURGE_SHARES), np.nan)
    order = np.argsort(values)
    reached = np.cumsum(requests[order]) / requests.sum()
    found: Floats = values[order[np.minimum(np.searchsorted(reached, SURGE_SHARES), len(values) - 1)]]
    return found


def surges_of(record: Record) -> Mapping[float, float]:
    """By share of the requests: they came while no more than so many requests/s did. Empty while it is not known."""
    known = not np.isnan(record.surges).any()
    return dict(zip(SURGE_SHARES, record.surges.tolist(), strict=True)) if known else {}


def _weighted(record: Record, ring: Floats) -> tuple[Floats, Floats]:
    """What ``ring`` keeps of the minutes, and what each weighs by its age, as errors do."""
    kept = min(record.minutes_seen, ERRORS)
    return ring[:kept], AGE_WEIGHTS[(record.minutes_seen - 1 - np.arange(kept)) % ERRORS]


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
