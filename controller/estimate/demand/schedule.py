"""Jumps that come at the same minute of the day: batch jobs, cron, shifts, markets.

The day's shape is learnt by half hours and would spread a job that begins at 02:00 over 01:45 to 02:15; whoever orders
replicas by it is too early for the cost and too few for the load. So sharp steps between five minutes and the next are
remembered as they came, for the last days, and the next ones are expected to be like them.
"""

from __future__ import annotations

from dataclasses import replace
from math import isnan, log, sqrt

import numpy as np

from controller.estimate.demand.state import DAY_FIVES, FIVE_S, KEPT_DAYS, PROBABILITIES, Floats, Schedule

SHARP = log(1.15)
"""Smaller steps are left to levels, trends and shapes. A guess: Azure's conversation service (2024) has few sharper
ones within five minutes, ServeGen's multi-tenant one several a day."""

SIGMAS = 2.0
"""And a step must stand out of the noise of counting: twice the standard deviation of two Poisson counts' quotient."""

LEAST_DAYS = 3
"""One odd day is no schedule: the largest step of all days is left out, and two days must remain."""


def learned(schedule: Schedule, five: int, requests: float, seconds: float) -> Schedule:
    """The five minutes ``five`` (since 1970) are over: ``requests`` came in the ``seconds`` of them that were seen."""
    rate, place = requests / seconds, (five // DAY_FIVES % KEPT_DAYS, five % DAY_FIVES)
    if schedule.before_five == five - 1 and not isnan(schedule.before):
        jumps = schedule.jumps.copy()  # a state is replaced, never changed
        jumps[place] = step(schedule.before, rate)
        schedule = replace(schedule, jumps=jumps)
    return replace(schedule, before=rate, before_five=five)


def step(before: float, after: float) -> float:
    """log(after / before), 0 unless it is a sharp one. Rates in requests/s, each over five minutes."""
    counts = (before * FIVE_S + 1, after * FIVE_S + 1)
    found = log(counts[1] / counts[0])
    return found if abs(found) > SHARP + SIGMAS * sqrt(1 / counts[0] + 1 / counts[1]) else 0.0


def lifts(schedule: Schedule, now_s: float, until_s: Floats) -> Floats | None:
    """How much more will come by each time than ``now``, in logarithms, as earlier days say it: a row a time, a column
    a quantile of PROBABILITIES; None where no day says anything.

    Steps add up within a day, so that a job that is late on one of them does not count twice.
    """
    first, last = int(now_s // FIVE_S) + 1, (until_s // FIVE_S).astype(np.int64)
    ahead = np.arange(first, int(last.max()) + 1)
    days = schedule.jumps[:, ahead % DAY_FIVES]
    if not (days > 0).any():
        return None
    rows = [_quantiles(days[:, : max(0, int(one) - first + 1)]) for one in last]
    return None if all(row is None for row in rows) else np.array([0 * _PLACES if row is None else row for row in rows])


_PLACES: Floats = np.array(PROBABILITIES)


def _quantiles(days: Floats) -> Floats | None:
    """Of what each day's steps add up to, the largest left out, at PROBABILITIES; nothing below 0."""
    known = np.sort(days.sum(axis=1)[~np.isnan(days).any(axis=1)])[:-1]
    if len(known) < LEAST_DAYS - 1 or known[-1] <= 0:
        return None
    # Conformal, as in bands.py; what lies beyond the largest of the others is not known to be more.
    places = np.minimum(np.ceil(_PLACES * (len(known) + 1)).astype(np.int64), len(known)) - 1
    found: Floats = np.maximum(known[places], 0.0)
    return found
