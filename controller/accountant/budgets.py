"""Budgets kept: where each stands, what is told of it, what it holds back, and how good its forecasts were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controller.accountant.protocols import Duties, Kept, Known
from controller.accountant.series import Series
from controller.attribute.budgets import ServiceMoney, by_service, guards, news, period_of, standing
from controller.attribute.spend_forecast import forecast, kept, promised
from controller.attribute.spending import Spending
from controller.facts.account_reader import HOUR, Dimension
from controller.facts.budgets import (
    Budget,
    BudgetNews,
    BudgetStanding,
    Guard,
    NewsKind,
    SpendPromise,
)
from controller.facts.decisions import Alert, AlertPhase

LATELY = 24 * HOUR
"""What a service spent in it is its share of a cap."""

SEVERITY: Mapping[NewsKind, str] = {
    NewsKind.BURN_FAST: "critical",
    NewsKind.FORECAST_P90: "info",
    NewsKind.BURN_OVER: "info",
}
"""All else is a warning, but for a budget that is spent, which is critical."""

DO: Mapping[NewsKind, str] = {
    NewsKind.THRESHOLD: "`pennyweight report` says by whom; raise the budget, or see what it holds back.",
    NewsKind.BURN_FAST: "Look for a loop or a new customer now: `pennyweight report --by team` of today.",
    NewsKind.BURN_SLOW: "Look what grew over the days: `pennyweight report` shows price, volume, mix and efficiency.",
    NewsKind.BURN_OVER: "",
    NewsKind.FORECAST_P50: "Raise the budget, or cap it (at_limit) before the period ends.",
    NewsKind.FORECAST_P90: "Nothing yet.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetsSeen:
    """All budgets at one moment. ``guards``: by service."""

    standings: tuple[BudgetStanding, ...] = ()
    guards: Mapping[str, tuple[Guard, ...]] = field(default_factory=dict)
    alerts: tuple[Alert, ...] = ()


def budgets_seen(duties: Duties, series: Series, known: Known, store: Kept, now: datetime) -> BudgetsSeen:
    """LedgerError when the accounts cannot be read; then nothing is told, and asked again next time."""
    if not duties.budgets:
        return BudgetsSeen()
    memories, promises = dict(store.memories()), _by_budget(store.promises())
    standings: list[BudgetStanding] = []
    told: list[tuple[BudgetStanding, BudgetNews]] = []
    made: list[SpendPromise] = []
    for budget in duties.budgets:
        spent = series.of(budget.scope, known, now)
        if spent is None:
            continue
        past = promises.get(budget.name, ())
        found = _stands(budget, spent, past, now)
        fresh, memories[budget.name] = news(found, memories.get(budget.name))
        standings.append(found)
        told += [(found, one) for one in fresh]
        made += _promises(budget, spent, past, now)
    held = _guards(standings, duties, series, known, now)
    # Kept before it is told: told twice is worse than a line in the log that nobody got.
    store.keep_budgets(standings, {one.budget.name: memories[one.budget.name] for one in standings})
    store.keep_promises(made)
    return BudgetsSeen(
        standings=tuple(standings),
        guards=held,
        alerts=tuple(_alert(found, one, duties.channels) for found, one in told),
    )


def _stands(budget: Budget, spent: Spending, past: Sequence[SpendPromise], now: datetime) -> BudgetStanding:
    due = period_of(budget.period, now).end
    return standing(budget, spent, forecast(spent, now, due, past), now)


def _by_budget(promises: Sequence[SpendPromise]) -> dict[str, tuple[SpendPromise, ...]]:
    found: dict[str, tuple[SpendPromise, ...]] = {}
    for one in promises:
        found[one.budget] = (*found.get(one.budget, ()), one)
    return found


def _promises(budget: Budget, spent: Spending, past: Sequence[SpendPromise], now: datetime) -> list[SpendPromise]:
    """Today's, once; and those of earlier days that came due."""
    due = [done for one in past if (done := kept(one, spent)) != one]
    today = now.astimezone(UTC).date()
    new = () if any(one.made == today for one in past) else promised(budget.name, spent, now, past)
    return [*due, *new]


def _guards(
    standings: Sequence[BudgetStanding], duties: Duties, series: Series, known: Known, now: datetime
) -> dict[str, tuple[Guard, ...]]:
    minimums = duties.minimums(now) if standings else {}
    services: dict[str, ServiceMoney] = {}
    for name in duties.services if standings else ():
        spent = series.of({Dimension.SERVICE: name}, known, now)
        recent = 0 if spent is None else spent.since(now - LATELY, now)
        services[name] = ServiceMoney(minimum_nanousd_per_hour=minimums.get(name, 0), recent_nanousd=recent)
    return by_service(guard for found in standings for guard in guards(found, services))


def _alert(found: BudgetStanding, one: BudgetNews, channels: Sequence[str]) -> Alert:
    spent = one.kind is NewsKind.THRESHOLD and found.used_ratio >= 1
    return Alert(
        service=found.budget.service or found.budget.told_scope(),
        name=f"budget_{one.kind}",
        phase=AlertPhase.RESOLVED if one.kind is NewsKind.BURN_OVER else AlertPhase.FIRING,
        severity="critical" if spent else SEVERITY.get(one.kind, "warning"),
        condition=f"budget {one.budget}",
        summary=one.text,
        do=DO[one.kind],
        since=one.at,
        at=one.at,
        numbers={"used_ratio": found.used_ratio},
        channels=one.channels or tuple(channels),
    )
