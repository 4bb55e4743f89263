"""The shape of the day and of the week, learnt half hour by half hour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from controller.estimate.demand.state import DAY_SLOTS, SLOT_S, WEEK_SLOTS, Floats, Integers, Season
from controller.facts.missing import Missing

DAY_SHARE, WEEK_SHARE = 0.3, 0.5
"""How much the newest day or week counts once there are several. Guesses: a day's shape follows a new use within a
week, a week's within a month, and one odd day does not undo either."""

LEAST_CHANGE, MOST_CHANGE = 1 / 3, 3.0
"""A shape may say no more than this of the next half hour: it was learnt from few days."""

FLOOR_RATIO = 0.05
"""Of the shape's mean, added to both rates of a quotient: slots that were nearly empty say little about growth."""


_LEAST = 1e-9
"""So that a silent day has a quotient at all."""


def learned(season: Season, slot: int, rate: float) -> Season:
    """``rate`` was the mean of the half hour ``slot`` (since 1970)."""
    day, day_seen = _averaged(season.day, season.day_seen, slot % DAY_SLOTS, rate, DAY_SHARE)
    week, week_seen = _averaged(season.week, season.week_seen, slot % WEEK_SLOTS, rate, WEEK_SHARE)
    return replace(season, day=day, day_seen=day_seen, week=week, week_seen=week_seen)


def _averaged(rates: Floats, seen: Integers, slot: int, rate: float, share: float) -> tuple[Floats, Integers]:
    """A plain mean at first, then an exponentially weighted one."""
    rates, seen = rates.copy(), seen.copy()
    before = int(seen[slot])
    rates[slot] = rate if not before else rates[slot] + max(1 / (before + 1), share) * (rate - rates[slot])
    seen[slot] = before + 1
    return rates, seen


def expected(rates: Floats, at_s: NDArray[np.float64]) -> Floats:
    """The shape's rate at each time, on straight lines between the middles of the half hours; nan where unknown."""
    places = at_s / SLOT_S - 0.5
    before = np.floor(places)
    share = places - before
    slots = before.astype(np.int64)
    here, after = rates[slots % len(rates)], rates[(slots + 1) % len(rates)]
    between: Floats = here + share * (after - here)
    return between


def usual(season: Season) -> float | Missing:
    """Mean rate over the day, requests/s, from the half hours that were seen: half of them at least."""
    known = season.day[~np.isnan(season.day)]
    if len(known) < DAY_SLOTS / 2:
        return Missing("usual_per_s", f"{len(known)} of the day's {DAY_SLOTS} half hours were seen")
    return float(known.mean())


def change(now: float, then: Floats, floor: float) -> Floats:
    """``then`` over ``now``, both raised by ``floor`` and the quotient kept sane; nan where either is unknown."""
    quotient: Floats = (then + (floor + _LEAST)) / (now + (floor + _LEAST))
    return np.minimum(np.maximum(quotient, LEAST_CHANGE), MOST_CHANGE)
