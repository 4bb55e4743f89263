"""What may be spent, what is expected to be, and what is held back at the limit. Money is integer nanodollars, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from controller.facts.account_reader import Dimension
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing


class BudgetPeriod(StrEnum):
    """Months, and weeks from Monday, both UTC."""

    MONTH = "month"
    WEEK = "week"


class AtLimit(StrEnum):
    """What happens when a budget is spent.

    alert           somebody is told
    refuse_growth   and no replica is added beyond the minimum
    forbid          and none of certain variants or capacity types is
    cap             as soon as more than the budget is expected to be spent: growth stops at the rate that keeps it
    """

    ALERT = "alert"
    REFUSE_GROWTH = "refuse_growth"
    FORBID = "forbid"
    CAP = "cap"


THRESHOLDS = (0.5, 0.8, 1.0)
"""Shares of a budget that are told when they are reached, unless it has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """So much for a scope in each period.

    scope        what counts: values of dimensions, all of them; empty: the whole fleet
    thresholds   shares of the limit that are told once a period, ascending
    forbidden_…  with ``at_limit`` FORBID: what growth may not use
    channels     where it is told; empty: everywhere

    Only a budget of one service or of the whole fleet can hold anything back: ValueError for any other.
    """

    name: str
    limit_nanousd: int
    period: BudgetPeriod = BudgetPeriod.MONTH
    scope: Mapping[Dimension, str] = field(default_factory=dict)
    thresholds: tuple[float, ...] = THRESHOLDS
    at_limit: AtLimit = AtLimit.ALERT
    forbidden_variants: frozenset[str] = frozenset()
    forbidden_capacity: frozenset[CapacityType] = frozenset()
    channels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.limit_nanousd <= 0:
            raise ValueError(f"budget {self.name} is {self.limit_nanousd} nanodollars; expected more than nothing")
        if list(self.thresholds) != sorted(set(self.thresholds)) or any(one <= 0 for one in self.thresholds):
            raise ValueError(f"thresholds of budget {self.name} are {self.thresholds}; expected positive, ascending")
        if self.at_limit is not AtLimit.ALERT and set(self.scope) - {Dimension.SERVICE}:
            dims = ", ".join(sorted(self.scope))
            raise ValueError(
                f"budget {self.name} is by {dims}: replicas belong to services, so only a budget of one service or of "
                f"the whole fleet can {self.at_limit.replace('_', ' ')}; with at_limit: alert it can be by anything"
            )
        if self.at_limit is AtLimit.FORBID and not (self.forbidden_variants or self.forbidden_capacity):
            raise ValueError(f"budget {self.name} forbids nothing; expected variants or capacity types")

    @property
    def service(self) -> str | None:
        """The one service it is about, None when it is about more or less than one."""
        return self.scope.get(Dimension.SERVICE) if set(self.scope) == {Dimension.SERVICE} else None

    def told_scope(self) -> str:
        return ", ".join(f"{dim}={value}" for dim, value in sorted(self.scope.items())) or "fleet"


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnRates:
    """Spend in the last hours, as a multiple of what would use the budget up exactly at its period's end."""

    hour: float | Missing
    six_hours: float | Missing
    day: float | Missing
    three_days: float | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendForecast:
    """What will be spent from ``at`` to ``due``, without what is spent already.

    basis   the pattern that is taken to go on: "week", "day" or "flat"
    """

    at: datetime
    due: datetime
    p50_nanousd: int
    p90_nanousd: int
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendPromise:
    """A forecast that is kept, to be held against what came. ``actual_nanousd`` None: not due yet."""

    budget: str
    made: date
    horizon_days: int
    due: date
    p50_nanousd: int
    p90_nanousd: int
    actual_nanousd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendAccuracy:
    """How good forecasts of one horizon were.

    accuracy_ratio   mean of 1 - |actual - P50| / actual; below zero when it was out by more than all of it
    p90_ratio        share in which no more than P90 was spent; 0.9 would be right
    """

    horizon_days: int
    scored: int
    accuracy_ratio: float | Missing
    p90_ratio: float | Missing


class BudgetPhase(StrEnum):
    """The worst that is true of a budget."""

    WITHIN = "within"
    BURNING = "burning"  # spent too fast, though more may not be expected over the whole period
    EXPECTED_OVER = "expected_over"  # the forecast's P50 is over the limit
    OVER = "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStanding:
    """A budget in its running period. ``p50_nanousd`` and ``p90_nanousd``: at the period's end, spent included."""

    budget: Budget
    at: datetime
    start: datetime
    end: datetime
    spent_nanousd: int
    burn: BurnRates
    p50_nanousd: int | Missing
    p90_nanousd: int | Missing
    phase: BudgetPhase

    @property
    def used_ratio(self) -> float:
        return self.spent_nanousd / self.budget.limit_nanousd


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetMemory:
    """What was told already. It is for one period: at the next, all is new but what still burns.

    told_threshold   the greatest threshold told, 0 for none
    told_p50, …      the day on which it was told last
    """

    start: datetime
    told_threshold: float = 0.0
    burning_fast: bool = False
    burning_slow: bool = False
    told_p50: date | None = None
    told_p90: date | None = None


class NewsKind(StrEnum):
    """What can be told of a budget."""

    THRESHOLD = "threshold"
    BURN_FAST = "burn_fast"
    BURN_SLOW = "burn_slow"
    BURN_OVER = "burn_over"
    FORECAST_P50 = "forecast_p50"
    FORECAST_P90 = "forecast_p90"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetNews:
    """One thing worth telling, in words, once."""

    budget: str
    kind: NewsKind
    at: datetime
    text: str
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What a budget, or a spot storm, holds back in one service. It bounds growth alone: nothing is removed for it, and
    minimums stand.

    forbidden_…            growth beyond the minimum may not use them; pools: (variant, how it is bought)
    cap_nanousd_per_hour   growth stops where the service would cost more; None: no such bound
    """

    service: str
    budget: str
    why: str
    refuse_growth: bool = False
    forbidden_variants: frozenset[str] = frozenset()
    forbidden_capacity: frozenset[CapacityType] = frozenset()
    cap_nanousd_per_hour: int | None = None
    forbidden_pools: frozenset[tuple[str, CapacityType]] = frozenset()
    storm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """Cost that the same hours of other weeks do not know, in one scope.

    began, last                first and last hour of it, by their start; ``ended`` None: it goes on
    expected, actual_nanousd   over all of its hours
    driver                     "price", "volume", "mix" or "efficiency"; "" when it was not explained
    by_driver                  nanodollars of each, against the mean of the hours it is held against
    """

    scope: str
    began: datetime
    last: datetime
    expected_nanousd: int
    actual_nanousd: int
    ended: datetime | None = None
    driver: str = ""
    by_driver: Mapping[str, int] = field(default_factory=dict)

    @property
    def cost_nanousd(self) -> int:
        """What it cost beyond the expected, so far."""
        return self.actual_nanousd - self.expected_nanousd

    @property
    def hours(self) -> int:
        return (self.last - self.began) // timedelta(hours=1) + 1
