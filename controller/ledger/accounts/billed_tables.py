"""The tables of prices, commitments, bills and budgets. Days and hours are whole ones since 1970 UTC."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger
from sqlmodel import Field

from controller.ledger.tables import Base, Prose, UtcDateTime

COMMITMENT_SUMS = (
    *("amortised_nanousd", "used_nanousd", "billed_nanousd", "upfront_nanousd"),
    *("covered_on_demand_nanousd", "eligible_on_demand_nanousd"),
    *("units", "used_units", "used_gpu_us"),
)
"""What a commitment's hour counts; all of it adds up over revisions and hours."""

NO_POOL = 0
"""In the place of a pool: of a commitment, or of the whole account."""


class PriceQuoteRow(Base, table=True):
    """A price that somebody was asked for, and since when it holds: 1e-9 of ``currency`` an hour of one instance."""

    __tablename__ = "price_quote"
    offer: str = Field(primary_key=True)
    capacity_type: str = Field(primary_key=True)
    zone: str = Field(primary_key=True)
    effective_at: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    currency: str
    nano_per_hour: int = Field(sa_type=BigInteger)
    gpus: int | None = None
    fetched_at: datetime = Field(sa_type=UtcDateTime)
    source: str = Field(sa_type=Prose)


class PriceAppliedRow(Base, table=True):
    """What capacity was accounted at from ``since`` on, per GPU-hour; a row a change. NULL: nobody knew.

    why_missing   "": there was a price
    """

    __tablename__ = "price_applied"
    service: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    capacity_type: str = Field(primary_key=True)
    since: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    list_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    contracted_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    effective_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    billed_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    currency: str
    source: str = Field(sa_type=Prose)
    as_of_day: int | None = None
    why_missing: str = Field(sa_type=Prose)


class CommitmentRow(Base, table=True):
    """A commitment as it was known last. ``offer``: the first that it covers; ``gpus``: 0 of committed dollars."""

    __tablename__ = "commitment"
    id: str = Field(primary_key=True)
    kind: str
    offer: str
    reference: str
    starts_at: datetime = Field(sa_type=UtcDateTime)
    ends_at: datetime = Field(sa_type=UtcDateTime)
    gpus: int


class CommitmentHourRow(Base, table=True):
    """What became of a commitment's hour, see ``facts.commitments.CommitmentHour``; corrections are to be added.

    upfront_nanousd              of ``billed``: the fee that is paid once
    eligible_on_demand_nanousd   all usage that it could have covered, at list prices
    """

    __tablename__ = "commitment_hour"
    hour: int = Field(primary_key=True)
    commitment: str = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    amortised_nanousd: int = Field(sa_type=BigInteger)
    used_nanousd: int = Field(sa_type=BigInteger)
    billed_nanousd: int = Field(sa_type=BigInteger)
    upfront_nanousd: int = Field(sa_type=BigInteger)
    covered_on_demand_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    eligible_on_demand_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    units: int = Field(sa_type=BigInteger)
    used_units: int = Field(sa_type=BigInteger)
    used_gpu_us: int = Field(sa_type=BigInteger)


class BillRow(Base, table=True):
    """A bill that was imported. The same bill is known again by its digest."""

    __tablename__ = "bill"
    sha256: str = Field(primary_key=True)
    provider: str
    source: str
    period: str
    first_day: int
    until_day: int
    imported_at: datetime = Field(sa_type=UtcDateTime)
    lines: int
    billed_nanousd: int = Field(sa_type=BigInteger)
    effective_nanousd: int = Field(sa_type=BigInteger)


class AdjustmentRow(Base, table=True):
    """A difference that a bill made, see ``attribute.charges.Adjustment``. Never changed; a newer bill posts more."""

    __tablename__ = "adjustment"
    id: str = Field(primary_key=True)
    bill: str
    posted_at: datetime = Field(sa_type=UtcDateTime)
    key: str = Field(sa_type=Prose)
    day: int
    until_day: int
    pool: int
    commitment: str
    cost: str
    amount_nanousd: int = Field(sa_type=BigInteger)
    estimated_nanousd: int = Field(sa_type=BigInteger)
    billed_nanousd: int = Field(sa_type=BigInteger)
    why: str = Field(sa_type=Prose)


class AdjustmentLineRow(Base, table=True):
    """What of an adjustment falls on whom; the lines add up to it."""

    __tablename__ = "adjustment_line"
    adjustment: str = Field(primary_key=True)
    day: int = Field(primary_key=True)
    pool: int = Field(primary_key=True)
    identity: int = Field(primary_key=True)
    amount_nanousd: int = Field(sa_type=BigInteger)


class BudgetPeriodRow(Base, table=True):
    """Where a budget stood last in a period, and what was told of it, see ``facts.budgets.BudgetMemory``."""

    __tablename__ = "budget_period"
    budget: str = Field(primary_key=True)
    start: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    end_at: datetime = Field(sa_type=UtcDateTime)
    scope: str = Field(sa_type=Prose)
    limit_nanousd: int = Field(sa_type=BigInteger)
    spent_nanousd: int = Field(sa_type=BigInteger)
    p50_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    p90_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    burn_hour: float | None = None
    burn_six_hours: float | None = None
    burn_day: float | None = None
    burn_three_days: float | None = None
    phase: str
    at_limit: str
    told_threshold: float
    burning_fast: int
    burning_slow: int
    told_p50_day: int | None = None
    told_p90_day: int | None = None
    at: datetime = Field(sa_type=UtcDateTime)


class SpendForecastRow(Base, table=True):
    """A forecast that is held against what came. ``actual_nanousd`` NULL: not due yet."""

    __tablename__ = "spend_forecast"
    budget: str = Field(primary_key=True)
    made_day: int = Field(primary_key=True)
    horizon_days: int = Field(primary_key=True)
    due_day: int
    p50_nanousd: int = Field(sa_type=BigInteger)
    p90_nanousd: int = Field(sa_type=BigInteger)
    actual_nanousd: int | None = Field(default=None, sa_type=BigInteger)


class AnomalyRow(Base, table=True):
    """Cost that other weeks do not know. ``ended_hour`` NULL: it goes on; ``by_driver``: JSON, nanodollars by name."""

    __tablename__ = "anomaly"
    scope: str = Field(primary_key=True)
    began_hour: int = Field(primary_key=True)
    last_hour: int
    ended_hour: int | None = None
    expected_nanousd: int = Field(sa_type=BigInteger)
    actual_nanousd: int = Field(sa_type=BigInteger)
    driver: str
    by_driver: str = Field(sa_type=Prose)


class BillingPeriodRow(Base, table=True):
    """A month ("2026-10") that is closed: what is posted to it from then on is a correction."""

    __tablename__ = "billing_period"
    month: str = Field(primary_key=True)
    closed_at: datetime = Field(sa_type=UtcDateTime)
    closed_by: str
