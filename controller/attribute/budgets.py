"""Where a budget stands: what is spent, how fast, what is told of it, and what it holds back. Nanodollars, UTC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta

from controller.attribute.apportion import largest_remainder
from controller.attribute.spending import Spending
from controller.facts.account_reader import HOUR, BudgetState, Window
from controller.facts.budgets import (
    AtLimit,
    Budget,
    BudgetMemory,
    BudgetNews,
    BudgetPeriod,
    BudgetPhase,
    BudgetStanding,
    BurnRates,
    Guard,
    NewsKind,
    SpendForecast,
)
from controller.facts.missing import Missing, mapped
from controller.facts.money import usd

FAST_BURN = 6.0
SLOW_BURN = 1.5
"""Multiples of an even spend at which both windows of a pair (1 h and 6 h, 1 d and 3 d) are told. Six hours at 6 are
5 % of a month; three days at 1.5 are 15 %."""

_WINDOWS = {"hour": HOUR, "six_hours": 6 * HOUR, "day": 24 * HOUR, "three_days": 72 * HOUR}


def period_of(kind: BudgetPeriod, at: datetime) -> Window:
    """The month or the week (from Monday) that ``at`` is in."""
    start = datetime.combine(at.astimezone(UTC).date(), time(), UTC)
    if kind is BudgetPeriod.WEEK:
        start -= timedelta(days=start.weekday())
        return Window(start=start, end=start + timedelta(days=7))
    start = start.replace(day=1)
    return Window(start=start, end=(start + timedelta(days=32)).replace(day=1))


def burn_rates(budget: Budget, spending: Spending, now: datetime) -> BurnRates:
    """burn(w) = (spend in the last w / w) / (limit / period). Missing where the accounts do not reach back so far."""
    period = period_of(budget.period, now)
    even = budget.limit_nanousd / ((period.end - period.start) / HOUR)

    def burn(length: timedelta) -> float | Missing:
        spent = spending.between(now - length, now)
        return mapped(spent, lambda amount: amount / (length / HOUR) / even)

    return BurnRates(**{name: burn(length) for name, length in _WINDOWS.items()})


def standing(budget: Budget, spending: Spending, forecast: SpendForecast | Missing, now: datetime) -> BudgetStanding:
    """``forecast``: from ``now`` to the period's end. What was spent before the accounts began counts as nothing."""
    period = period_of(budget.period, now)
    spent = spending.since(period.start, now)
    burn = burn_rates(budget, spending, now)
    p50 = mapped(forecast, lambda one: spent + one.p50_nanousd)
    return BudgetStanding(
        budget=budget,
        at=now,
        start=period.start,
        end=period.end,
        spent_nanousd=spent,
        burn=burn,
        p50_nanousd=p50,
        p90_nanousd=mapped(forecast, lambda one: spent + one.p90_nanousd),
        phase=_phase(budget, spent, burn, p50),
    )


def _phase(budget: Budget, spent: int, burn: BurnRates, p50: int | Missing) -> BudgetPhase:
    if spent >= budget.limit_nanousd:
        return BudgetPhase.OVER
    if not isinstance(p50, Missing) and p50 > budget.limit_nanousd:
        return BudgetPhase.EXPECTED_OVER
    fast = _burns(False, burn.hour, burn.six_hours, FAST_BURN)
    slow = _burns(False, burn.day, burn.three_days, SLOW_BURN)
    return BudgetPhase.BURNING if fast or slow else BudgetPhase.WITHIN


def _burns(before: bool, short: float | Missing, long: float | Missing, factor: float) -> bool:
    """It begins when both are above, and ends when the shorter no longer is. What is unknown changes nothing."""
    if isinstance(short, Missing):
        return before
    if before:
        return short > factor
    return short > factor and not isinstance(long, Missing) and long > factor


def state_of(found: BudgetStanding) -> BudgetState:
    """As reports show it."""
    return BudgetState(
        name=found.budget.name,
        scope=found.budget.told_scope(),
        start=found.start,
        end=found.end,
        limit_nanousd=found.budget.limit_nanousd,
        spent_nanousd=found.spent_nanousd,
        p50_nanousd=None if isinstance(found.p50_nanousd, Missing) else found.p50_nanousd,
        p90_nanousd=None if isinstance(found.p90_nanousd, Missing) else found.p90_nanousd,
        state=str(found.phase),
        at_limit=str(found.budget.at_limit),
        burn=_known_rates(found.burn),
    )


def _known_rates(burn: BurnRates) -> dict[str, float]:
    named = {"1 h": burn.hour, "6 h": burn.six_hours, "1 d": burn.day, "3 d": burn.three_days}
    return {name: rate for name, rate in named.items() if not isinstance(rate, Missing)}


def news(found: BudgetStanding, memory: BudgetMemory | None) -> tuple[tuple[BudgetNews, ...], BudgetMemory]:
    """What is worth telling now, and what is to be remembered of it. Asked twice, the second answer is empty."""
    memory = _of_period(memory, found.start)
    told: list[BudgetNews] = []
    for step in (_threshold, _burning, _expected):
        more, memory = step(found, memory)
        told += more
    return tuple(told), memory


def _of_period(memory: BudgetMemory | None, start: datetime) -> BudgetMemory:
    if memory is None:
        return BudgetMemory(start=start)
    if memory.start == start:
        return memory
    return BudgetMemory(start=start, burning_fast=memory.burning_fast, burning_slow=memory.burning_slow)


_Told = tuple[list[BudgetNews], BudgetMemory]


def _threshold(found: BudgetStanding, memory: BudgetMemory) -> _Told:
    """The greatest one reached. A threshold is told once a period, even when a correction takes the spend back."""
    reached = max((one for one in found.budget.thresholds if found.used_ratio >= one), default=0.0)
    if reached <= memory.told_threshold:
        return [], memory
    left = _left(found)
    text = f"{_spent(found)}: {reached:.0%} reached with {left} left{_consequence(found)}"
    return [_one(found, NewsKind.THRESHOLD, text)], replace(memory, told_threshold=reached)


def _burning(found: BudgetStanding, memory: BudgetMemory) -> _Told:
    burn = found.burn
    fast = _burns(memory.burning_fast, burn.hour, burn.six_hours, FAST_BURN)
    slow = _burns(memory.burning_slow, burn.day, burn.three_days, SLOW_BURN)
    told = []
    if fast and not memory.burning_fast:
        told.append(_one(found, NewsKind.BURN_FAST, _burn_text(found, burn.hour, burn.six_hours, ("1 h", "6 h"))))
    if slow and not memory.burning_slow:
        told.append(_one(found, NewsKind.BURN_SLOW, _burn_text(found, burn.day, burn.three_days, ("1 d", "3 d"))))
    if (memory.burning_fast or memory.burning_slow) and not (fast or slow):
        told.append(_one(found, NewsKind.BURN_OVER, f"{_spent(found)}: it is no longer spent too fast"))
    return told, replace(memory, burning_fast=fast, burning_slow=slow)


def _burn_text(found: BudgetStanding, short: float | Missing, long: float | Missing, names: tuple[str, str]) -> str:
    rates = [f"{rate:.1f} times in the last {name}" for rate, name in zip((short, long), names, strict=True)]
    return f"{_spent(found)}: spent {' and '.join(rates)} as fast as the budget allows on average"


def _expected(found: BudgetStanding, memory: BudgetMemory) -> _Told:
    """At most once a day each; and when P50 is over, P90 is no news."""
    limit, today = found.budget.limit_nanousd, found.at.date()
    p50, p90 = found.p50_nanousd, found.p90_nanousd
    if isinstance(p50, Missing) or isinstance(p90, Missing) or found.phase is BudgetPhase.OVER or p90 <= limit:
        return [], memory
    expected = f"{_usd(p50)} expected by {found.end:%Y-%m-%d}, {_usd(p90)} in the worst case of ten"
    if p50 > limit:
        if memory.told_p50 == today:
            return [], memory
        text = f"{_spent(found)}: {expected}"
        return [_one(found, NewsKind.FORECAST_P50, text)], replace(memory, told_p50=today, told_p90=today)
    if memory.told_p90 == today:
        return [], memory
    text = f"{_spent(found)}: {expected}; it may not last"
    return [_one(found, NewsKind.FORECAST_P90, text)], replace(memory, told_p90=today)


def _one(found: BudgetStanding, kind: NewsKind, text: str) -> BudgetNews:
    return BudgetNews(budget=found.budget.name, kind=kind, at=found.at, text=text, channels=found.budget.channels)


def _spent(found: BudgetStanding) -> str:
    of = f"{_usd(found.spent_nanousd)} of {_usd(found.budget.limit_nanousd)}"
    return f"budget {found.budget.name} ({found.budget.told_scope()}): {of} spent"


def _left(found: BudgetStanding) -> str:
    hours = (found.end - found.at) / HOUR
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.0f} hours"


def _consequence(found: BudgetStanding) -> str:
    budget = found.budget
    if found.phase is not BudgetPhase.OVER or budget.at_limit is AtLimit.ALERT:
        return ""
    forbidden = ", ".join(sorted((*budget.forbidden_capacity, *budget.forbidden_variants)))
    said = {
        AtLimit.REFUSE_GROWTH: "no replica is added beyond the minimum",
        AtLimit.FORBID: f"no replica is added on {forbidden}",
        AtLimit.CAP: "no replica is added beyond the minimum",
    }
    return f"; until its period ends {said[budget.at_limit]}"


def _usd(nanousd: int) -> str:
    return f"${usd(nanousd):,.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMoney:
    """What a cap is shared out by. ``minimum``: its minimum of replicas; ``recent``: what it spent lately."""

    minimum_nanousd_per_hour: int
    recent_nanousd: int


def guards(found: BudgetStanding, services: Mapping[str, ServiceMoney]) -> tuple[Guard, ...]:
    """What the budget holds back now, a guard a service. ``services``: all of the fleet."""
    budget = found.budget
    mine = [budget.service] if budget.service is not None else sorted(services)
    if budget.at_limit is AtLimit.CAP:
        if found.phase not in (BudgetPhase.OVER, BudgetPhase.EXPECTED_OVER):
            return ()
        caps = _caps(found, [services[name] for name in mine if name in services])
        known = [name for name in mine if name in services]
        return tuple(
            Guard(service=name, budget=budget.name, why=_capped(found, cap), cap_nanousd_per_hour=cap)
            for name, cap in zip(known, caps, strict=True)
        )
    if found.phase is not BudgetPhase.OVER or budget.at_limit is AtLimit.ALERT:
        return ()
    return tuple(
        Guard(
            service=name,
            budget=budget.name,
            why=_spent(found) + _consequence(found),
            refuse_growth=budget.at_limit is AtLimit.REFUSE_GROWTH,
            forbidden_variants=budget.forbidden_variants if budget.at_limit is AtLimit.FORBID else frozenset(),
            forbidden_capacity=budget.forbidden_capacity if budget.at_limit is AtLimit.FORBID else frozenset(),
        )
        for name in mine
    )


def _caps(found: BudgetStanding, services: Sequence[ServiceMoney]) -> list[int]:
    """(limit - spent) / hours left, a service: its minimum first, and of the rest as it spent lately."""
    hours = max((found.end - found.at) / HOUR, 1.0)
    left = int(max(found.budget.limit_nanousd - found.spent_nanousd, 0) / hours)
    minimums = [one.minimum_nanousd_per_hour for one in services]
    rest = max(left - sum(minimums), 0)
    weights = [max(one.recent_nanousd, 0) for one in services]
    if not services:
        return []
    shares = largest_remainder(rest, weights if any(weights) else [1] * len(services))
    return [minimum + share for minimum, share in zip(minimums, shares, strict=True)]


def _capped(found: BudgetStanding, cap: int) -> str:
    return f"{_spent(found)}, more is expected by {found.end:%Y-%m-%d}: growth stops at {_usd(cap)} an hour"


def by_service(found: Iterable[Guard]) -> dict[str, tuple[Guard, ...]]:
    """As a pass asks for them."""
    kept: dict[str, tuple[Guard, ...]] = {}
    for guard in found:
        kept[guard.service] = (*kept.get(guard.service, ()), guard)
    return kept
