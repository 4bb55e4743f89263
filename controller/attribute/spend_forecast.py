"""What a scope will spend until a day to come, with the 9-in-10 case, and how good such forecasts were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from controller.attribute.spending import Spending
from controller.facts.account_reader import HOUR
from controller.facts.budgets import SpendAccuracy, SpendForecast, SpendPromise
from controller.facts.missing import Missing

HISTORY_HOURS = 5 * 7 * 24
"""A month and a bit: older weeks tell little of the next."""

WEEK_HOURS, DAY_HOURS = 7 * 24, 24
LEAST_HOURS = 6
"""With fewer hours there is no forecast. A guess: one night of a new installation."""

HALF_LIFE_HOURS = 24.0
"""Of the level: today weighs as much as all days before. A guess."""

LEAST_ERRORS = 8
MOST_RHO = 0.95
"""Above it, the variance of a mean is not told by so few weeks."""

Z90 = 1.2816
"""The 90th percentile of the normal distribution."""

HORIZONS_DAYS = (1, 7, 14, 28)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Cost of an hour relative to the mean, by its place in a cycle of ``len(ratio)`` hours."""

    ratio: Floats
    basis: str

    def at(self, hours: NDArray[np.int64]) -> Floats:
        found: Floats = self.ratio[hours % len(self.ratio)]
        return found


def forecast(
    spending: Spending, now: datetime, due: datetime, promises: Sequence[SpendPromise] = ()
) -> SpendForecast | Missing:
    """Spend in [now, due): the level of late times the pattern of the week (of the day, with less than two weeks).

        x_h      cost of a known hour;  s_h  the median of x / mean of its week, over the weeks, by hour of the week
        level    mean of x / s, weighed by s and by age with a half-life of a day
        P50    = level x sum of s over the hours to come
        P90    = P50 x exp(1.2816 sigma)

    sigma: the root mean square of log(actual / P50) of past ``promises`` at the horizon nearest to this one, with 8 of
    them; before, that of a mean of H hours whose residuals are an AR(1): sqrt(s2 / (1 - rho)^2 / H).
    """
    known = spending.whole_hours(HISTORY_HOURS)
    if len(known) < LEAST_HOURS:
        return Missing("spend forecast", f"{len(known)} whole hours of accounts; it takes {LEAST_HOURS}")
    places = np.array([_hour(at) for at, _ in known])
    cost = np.array([float(amount) for _, amount in known])
    pattern = _pattern(places, cost)
    level = _level(cost, pattern.at(places))
    ahead = _ahead(now, due, pattern)
    p50 = level * ahead
    hours = max((due - now) / HOUR, 1.0)
    sigma = _kept_sigma(promises, hours / 24)
    if sigma is None:
        sigma = _residual_sigma(cost, level * pattern.at(places), hours)
    return SpendForecast(
        at=now,
        due=due,
        p50_nanousd=round(max(p50, 0.0)),
        p90_nanousd=round(max(p50, 0.0) * exp(Z90 * sigma)),
        basis=pattern.basis,
    )


def _hour(at: datetime) -> int:
    """Hours since a Monday at 00:00 UTC."""
    return (at - _MONDAY) // HOUR


_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)


def _pattern(places: NDArray[np.int64], cost: Floats) -> _Pattern:
    if len(cost) >= 2 * WEEK_HOURS:
        return _Pattern(_cycle(places, cost, WEEK_HOURS), "week")
    if len(cost) >= 2 * DAY_HOURS:
        return _Pattern(_cycle(places, cost, DAY_HOURS), "day")
    return _Pattern(np.ones(1), "flat")


def _cycle(places: NDArray[np.int64], cost: Floats, length: int) -> Floats:
    """Medians over whole cycles, the last ones; their mean is 1."""
    whole = len(cost) // length * length
    cycles = cost[-whole:].reshape(-1, length)
    means = cycles.mean(axis=1, keepdims=True)
    paid = cycles[means[:, 0] > 0] / means[means[:, 0] > 0]
    if not len(paid):
        return np.ones(length)
    ratio = np.median(paid, axis=0)
    ratio = np.roll(ratio, int(places[-whole]) % length)
    mean = float(ratio.mean())
    return ratio / mean if mean > 0 else np.ones(length)


def _level(cost: Floats, ratio: Floats) -> float:
    """A ratio of weighed sums, so that an hour in which little is spent tells little."""
    weights = 0.5 ** (np.arange(len(cost))[::-1] / HALF_LIFE_HOURS)
    told = float((weights * ratio).sum())
    return float((weights * cost).sum()) / told if told > 0 else float(cost.mean())


def _ahead(now: datetime, due: datetime, pattern: _Pattern) -> float:
    """Sum of the pattern from ``now`` to ``due``; cut hours by their share."""
    first = now.replace(minute=0, second=0, microsecond=0)
    starts = [first + index * HOUR for index in range(max(-((first - due) // HOUR), 0))]
    shares = np.array([(min(at + HOUR, due) - max(at, now)) / HOUR for at in starts])
    return float((shares * pattern.at(np.array([_hour(at) for at in starts], dtype=np.int64))).sum()) if starts else 0.0


def _kept_sigma(promises: Sequence[SpendPromise], days: float) -> float | None:
    """None with too few at the nearest horizon."""
    by_horizon: dict[int, list[float]] = {}
    for one in promises:
        if one.actual_nanousd and one.actual_nanousd > 0 and one.p50_nanousd > 0:
            by_horizon.setdefault(one.horizon_days, []).append(log(one.actual_nanousd / one.p50_nanousd))
    if not by_horizon:
        return None
    errors = by_horizon[min(by_horizon, key=lambda horizon: (abs(log(horizon / max(days, 1 / 24))), horizon))]
    return sqrt(sum(error * error for error in errors) / len(errors)) if len(errors) >= LEAST_ERRORS else None


def _residual_sigma(cost: Floats, fitted: Floats, hours: float) -> float:
    paid = fitted > 0
    residual = cost[paid] / fitted[paid] - 1.0
    if len(residual) < 2:
        return 0.0
    residual = residual - residual.mean()
    variance = float((residual * residual).mean())
    if variance <= 0.0:
        return 0.0
    rho = float((residual[1:] * residual[:-1]).mean()) / variance
    rho = min(max(rho, 0.0), MOST_RHO)
    return sqrt(variance * (1 - rho * rho) / (1 - rho) ** 2 / hours)


def promised(
    budget: str, spending: Spending, now: datetime, past: Sequence[SpendPromise] = ()
) -> tuple[SpendPromise, ...]:
    """The day's forecasts to be kept, one a horizon, each from the coming midnight (UTC). Empty when there is none."""
    made = now.astimezone(UTC).date()
    midnight = datetime.combine(made + timedelta(days=1), time(), UTC)
    found = []
    for days in HORIZONS_DAYS:
        due = midnight + timedelta(days=days)
        one = forecast(spending, midnight, due, past)
        if isinstance(one, Missing):
            return ()
        found.append(
            SpendPromise(
                budget=budget,
                made=made,
                horizon_days=days,
                due=due.date(),
                p50_nanousd=one.p50_nanousd,
                p90_nanousd=one.p90_nanousd,
            )
        )
    return tuple(found)


def kept(promise: SpendPromise, spending: Spending) -> SpendPromise:
    """With what came of it, when all of its days are known; else as it is."""
    due = datetime.combine(promise.due, time(), UTC)
    actual = spending.between(due - timedelta(days=promise.horizon_days), due)
    if promise.actual_nanousd is not None or due > spending.known_until or isinstance(actual, Missing):
        return promise
    return replace(promise, actual_nanousd=actual)


def accuracy(promises: Iterable[SpendPromise]) -> tuple[SpendAccuracy, ...]:
    """By horizon, of the promises that came due."""
    by_horizon: dict[int, list[SpendPromise]] = {horizon: [] for horizon in HORIZONS_DAYS}
    for one in promises:
        if one.actual_nanousd is not None:
            by_horizon.setdefault(one.horizon_days, []).append(one)
    return tuple(_scored(horizon, scored) for horizon, scored in sorted(by_horizon.items()))


def _scored(horizon: int, promises: Sequence[SpendPromise]) -> SpendAccuracy:
    missing = Missing("forecast accuracy", f"no spend forecast over {horizon} days has come due with anything spent")
    scored = [
        (1 - abs(one.actual_nanousd - one.p50_nanousd) / one.actual_nanousd, one.actual_nanousd <= one.p90_nanousd)
        for one in promises
        if one.actual_nanousd
    ]
    if not scored:
        return SpendAccuracy(horizon_days=horizon, scored=0, accuracy_ratio=missing, p90_ratio=missing)
    return SpendAccuracy(
        horizon_days=horizon,
        scored=len(scored),
        accuracy_ratio=sum(ratio for ratio, _ in scored) / len(scored),
        p90_ratio=sum(inside for _, inside in scored) / len(scored),
    )
