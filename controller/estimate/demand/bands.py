"""How far off forecasts may be, from how far off they were: conformal quantiles of their own errors.

The quantile of n past errors at probability p is the smallest of which p x (n + 1) are not above it, so that the next
one, were it exchangeable with them, stays below with probability p (Vovk et al., 2005). Demand is not exchangeable:
recent errors weigh more (Barber, Candes, Ramdas & Tibshirani, "Conformal prediction beyond exchangeability", 2023), and
the miss rate asked of the errors is itself corrected by what was missed (Gibbs & Candes, "Adaptive conformal inference
under distribution shift", 2021), so that a band that fails widens until it holds.
"""

from __future__ import annotations

import numpy as np

from controller.estimate.demand.state import (
    ERRORS,
    PROBABILITIES,
    Floats,
    Integers,
    Recent,
    guessed_offsets,
    scales_of,
)

HALF_LIFE = 480.0
"""Scored forecasts after which an error counts half: eight hours of minutes."""

AGE_WEIGHTS: Floats = 0.5 ** (np.arange(ERRORS) / HALF_LIFE)
"""By age, the newest first."""

ALPHAS: Floats = 1 - np.array(PROBABILITIES)

STEP = 0.05
"""How fast the miss rate moves, in its own size a miss: 0.005 at 10 %, the step of Gibbs & Candes."""

LEAST_ALPHA, MOST_ALPHA = 0.1, 2.0
"""Bounds of the corrected miss rate, in its own size, and never 0.1 away: one bad hour must not undo the band."""


MOST_RATIO = 3.0
"""Times the busiest minute lately, or the forecast where that is more: beyond it no band goes. Errors are kept in
scales of the forecast, and what a burst out of a lull was of that lull (80 times, in an hour of Azure's code
completion, 2023) says nothing of what it would be of the next hour. A guess: the band of a service that nobody has
scored yet ends about there."""

MOST_LIFT = 2.0
"""Times the busiest minute lately, or the forecast where that is more: no scheduled step goes beyond it. A step out of
a lull was thousands of times that lull, and says nothing of what it would be of today (BurstGPT, 2023: 6,700 requests/s
where the busiest minute had 88). A guess: peaks are forgotten by a tenth a day, and demand may have grown since."""

_LEAST_ALPHAS: Floats = np.maximum(LEAST_ALPHA * ALPHAS, ALPHAS - 0.1)
_MOST_ALPHAS: Floats = np.minimum(MOST_ALPHA * ALPHAS, ALPHAS + 0.1)
_GUESS: Floats = guessed_offsets()


def corrected(alphas: Floats, missed: Floats) -> Floats:
    """``alphas`` after one more forecast per row, of which ``missed`` (1: failed, 0: held, ALPHAS: not judged)."""
    moved = alphas + STEP * ALPHAS * (ALPHAS - missed)
    return np.minimum(np.maximum(moved, _LEAST_ALPHAS), _MOST_ALPHAS)


def bounded(combined: Floats, offsets: Floats, lifts: Floats | None, recent: Recent) -> Floats:
    """The quantiles of forecasts: a row a horizon, a column a probability.

    Scheduled steps (``lifts``, see schedule.py) carry the middle by their own middle. Above it the band holds, or what
    the steps alone would make of today, whichever is more. No step goes beyond MOST_LIFT.
    """
    if lifts is None:
        lifted = combined
        least = np.zeros_like(offsets)
    else:
        most = np.maximum(combined, MOST_LIFT * recent.peak)
        lifted = np.minimum(combined * np.exp(lifts[:, 0]), most)
        least = np.minimum(combined[:, None] * np.exp(lifts), most[:, None])
    spread = lifted[:, None] + offsets * scales_of(lifted, recent.hourly)[:, None]
    if recent.peak > 0:
        spread = np.minimum(spread, MOST_RATIO * np.maximum(lifted, recent.peak)[:, None])
    bounds = np.maximum(spread, least)
    ascending: Floats = np.maximum.accumulate(bounds, axis=1)
    return ascending


def offsets_of(errors: Floats, scored: Integers, alphas: Floats) -> Floats:
    """Where each quantile lies from the forecast, in scales. Too few errors to tell: the guess, if it is wider.

    The middle is the forecast itself: moving it by the median of its errors made them 1 to 5 % larger on two public
    traces (``benchmarks/forecast``), because experts that lean to one side have lost their weight already.
    """
    offsets = _GUESS.copy()
    for row, count in enumerate(scored):
        kept = min(int(count), ERRORS)
        if kept == 0:
            continue
        ages = (int(count) - 1 - np.arange(kept)) % ERRORS
        values, weights = errors[row, :kept], AGE_WEIGHTS[ages]
        order = np.argsort(values)
        # The next error stands among those seen with the weight of a new one, and above them all.
        reached = np.cumsum(weights[order]) / (weights.sum() + 1.0)
        places = np.searchsorted(reached, 1 - alphas[row])
        sure = values[order[np.minimum(places, kept - 1)]]
        offsets[row] = np.where(places < kept, sure, np.maximum(sure, _GUESS[row]))
        offsets[row, 0] = 0.0
        offsets[row] = np.maximum.accumulate(offsets[row])
    return offsets
