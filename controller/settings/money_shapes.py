"""The shapes of what is agreed about money: budgets, commitments, contracts, fixed costs, exchange rates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated

from pydantic import Field, model_validator

from controller.documents import ContradictionError
from controller.facts.account_reader import OF_IDENTITY, OF_POOL, Dimension
from controller.facts.commitments import Commitment, CommitmentKind, Power, Share
from controller.facts.money import nanousd
from controller.limits import LimitShape
from controller.quantities import RatioValue
from controller.settings.base import Shape
from controller.settings.values import Amount, Name, Whole

Fee = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Scope = dict[Dimension, Name]


def midnight(day: date) -> datetime:
    """UTC."""
    return datetime.combine(day, time(), UTC)


class RateShape(Shape):
    """An exchange rate."""

    since: date = Field(alias="from", description="from this day on")
    usd: Amount = Field(description="USD for one unit")


class DatedUsdShape(Shape):
    """A price from a day on."""

    since: date = Field(alias="from", description="from this day (UTC) on")
    usd: Amount = Field(description="for a GPU-hour")


class ContractShape(Shape):
    """A discount on a provider's list prices."""

    discount: Annotated[RatioValue, Field(ge=0, lt=1)] = Field(description="off the on-demand list price, as 12%")
    since: date | None = Field(default=None, description="from this day on; left out: from the beginning")


class SharedCostShape(Shape):
    """A fixed cost."""

    name: Name = Field(description="as reports show it")
    usd_per_month: Amount = Field(description="spread evenly over the hours of each month")
    service: Name | None = Field(default=None, description="whose; left out: everybody's")
    since: date | None = Field(default=None, description="from this day (UTC) on; left out: from the beginning")
    until: date | None = Field(default=None, description="up to this day; left out: for good")

    @model_validator(mode="after")
    def _ordered(self) -> SharedCostShape:
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise ContradictionError(f"ends ({self.until}) before it begins ({self.since})")
        return self


class BudgetShape(LimitShape):
    """One budget."""

    name: Name = Field(description="as reports and alerts show it")
    scope: Scope = Field(default={}, description="dimension: value, all of them must hold; left out: the whole fleet")

    @property
    def called(self) -> str:
        return self.name

    @property
    def scoped(self) -> Mapping[Dimension, str]:
        askable = (*OF_IDENTITY, *OF_POOL)
        strange = [dim for dim in self.scope if dim not in askable]
        if strange:
            raise ValueError(f"a budget cannot be by {', '.join(strange)}; expected some of {', '.join(askable)}")
        return self.scope


class PowerShape(Shape):
    """What hardware of one's own draws."""

    watts_per_gpu: Fee = Field(description="with its share of the server, where no meter read it")
    usd_per_kwh: Fee = Field(description="price of the electricity")
    pue: Annotated[float, Field(ge=1, le=5)] = Field(
        default=1.0, description="what the building draws for a watt of the servers"
    )


class CommitmentShape(Shape):
    """One purchase."""

    id: Name = Field(description="as reports show it; capacity names it")
    kind: CommitmentKind = Field(description="reserved_instance, savings_plan, capacity_block or owned")
    start: date = Field(description="first day of its term, UTC")
    end: date = Field(description="the day after its last; owned: when it is worth its salvage only")
    quantity: Amount = Field(description="instances, or GPUs; a savings plan: USD an hour")
    gpus_per_unit: Whole = Field(default=1, description="of one instance")
    upfront_usd: Fee = Field(default=0.0, description="paid at the start; owned: what it was bought for")
    salvage_usd: Fee = Field(default=0.0, description="owned: what it will be sold for")
    usd_per_hour: Fee = Field(default=0.0, description="paid as the term goes on, all units together")
    offers: tuple[Name, ...] = Field(default=(), description="provider/region/instance_type that it covers")
    usd_per_gpu_hour: dict[Name, Amount] = Field(default={}, description="a savings plan's rate by offer")
    services: tuple[Name, ...] = Field(default=(), description="whose usage it covers; left out: everybody's")
    variants: tuple[Name, ...] = Field(default=(), description="the same, as service/variant")
    share: Share = Field(default=Share.FIRST, description="first (the dearest usage first, as providers do) or by_use")
    power: PowerShape | None = Field(default=None, description="owned: what it draws")
    reference: str = Field(default="", description="its id on the provider's bill, such as an ARN")

    @model_validator(mode="after")
    def _right(self) -> CommitmentShape:
        if self.end <= self.start:
            raise ContradictionError(f"ends ({self.end}) before it begins ({self.start})")
        if self.salvage_usd > self.upfront_usd:
            raise ContradictionError(f"salvage_usd {self.salvage_usd:g} is more than upfront_usd {self.upfront_usd:g}")
        if self.power is not None and self.kind is not CommitmentKind.OWNED:
            raise ContradictionError(f"power belongs to kind owned; the price of a {self.kind} holds it already")
        self.commitment()
        return self

    def commitment(self) -> Commitment:
        """The fact. Raises ValueError for what cannot be."""
        plan = self.kind is CommitmentKind.SAVINGS_PLAN
        # A plan's quantity is what it takes an hour: what is not paid ahead is paid as it goes on.
        hourly = self.quantity if plan and not self.upfront_usd and not self.usd_per_hour else self.usd_per_hour
        power = None if self.power is None else Power(**self.power.model_dump())
        return Commitment(
            id=self.id,
            kind=self.kind,
            start=midnight(self.start),
            end=midnight(self.end),
            quantity=self.quantity,
            upfront_nanousd=nanousd(self.upfront_usd) - nanousd(self.salvage_usd),
            recurring_nanousd_per_hour=nanousd(hourly),
            gpus_per_unit=self.gpus_per_unit,
            offers=self.offers,
            rates_nanousd_per_gpu_hour={offer: nanousd(usd) for offer, usd in self.usd_per_gpu_hour.items()},
            services=self.services,
            variants=self.variants,
            share=self.share,
            power=power,
            reference=self.reference,
        )
