"""What may be spent in a period, as the fleet file and policies write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from controller.documents import ContradictionError
from controller.facts.account_reader import Dimension
from controller.facts.budgets import THRESHOLDS, AtLimit, Budget, BudgetPeriod
from controller.facts.fleet import CapacityType
from controller.facts.money import nanousd
from controller.quantities import RatioValue

Amount = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]
Threshold = Annotated[float, Field(gt=0, le=10)]


class _Shape(BaseModel):
    """Unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ForbidShape(_Shape):
    """What growth may not use at the limit."""

    variants: tuple[Name, ...] = Field(default=(), description="variants by name")
    capacity_types: tuple[CapacityType, ...] = Field(default=(), description="reserved, on_demand or spot")


class LimitShape(_Shape):
    """What may be spent in a period, and what happens then: a policy's own budget has only these keys."""

    monthly_usd: Amount | None = Field(default=None, description="in a calendar month, UTC")
    weekly_usd: Amount | None = Field(default=None, description="in a week from Monday, UTC")
    at_limit: AtLimit = Field(
        default=AtLimit.ALERT,
        description="alert, refuse_growth, forbid (see there) or cap (growth stops early enough to keep it)",
    )
    forbid: ForbidShape = Field(default=ForbidShape(), description="with at_limit forbid: what growth may not use then")
    thresholds: tuple[RatioValue | Threshold, ...] = Field(
        default=THRESHOLDS, description="told once a period when they are reached"
    )
    to: tuple[str, ...] = Field(default=(), description="channels; left out: all")

    @model_validator(mode="after")
    def _right(self) -> LimitShape:
        if self.monthly_usd is not None and self.weekly_usd is not None:
            raise ContradictionError("expected one of monthly_usd and weekly_usd; make two budgets of them")
        if self.monthly_usd is None and self.weekly_usd is None:
            raise ValueError("no limit; expected monthly_usd or weekly_usd")
        self.budget(self.called, self.scoped)
        return self

    @property
    def called(self) -> str:
        """Its name in messages."""
        return "here"

    @property
    def scoped(self) -> Mapping[Dimension, str]:
        """What it counts."""
        return {}

    def budget(self, name: str, scope: Mapping[Dimension, str]) -> Budget:
        """The fact. Raises ValueError for what cannot be."""
        month = self.monthly_usd is not None
        return Budget(
            name=name,
            limit_nanousd=nanousd(self.monthly_usd or self.weekly_usd or 0.0),
            period=BudgetPeriod.MONTH if month else BudgetPeriod.WEEK,
            scope=scope,
            thresholds=self.thresholds,
            at_limit=self.at_limit,
            forbidden_variants=frozenset(self.forbid.variants),
            forbidden_capacity=frozenset(self.forbid.capacity_types),
            channels=self.to,
        )
