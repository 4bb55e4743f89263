"""What ``/api/v1/allocation`` and its like answer: shapes for the OpenAPI document. Money is text, never rounded."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from controller.attribute.unit_costs import Basis

Digits = Annotated[str, Field(pattern=r"^-?[0-9]+$", description="Nanodollars, as text: no reader rounds it.")]
Number = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="A decimal number, as text.")]


class WindowTold(BaseModel):
    """From ``start`` to ``end``, without ``end``."""

    start: datetime
    end: datetime


class NanousdTold(BaseModel):
    """Of the effective cost: all that counts on the asked basis, then what it consists of. ``cost`` is the sum of all
    parts, or on the usage basis of the first four. Beside it, other views of the whole cost; null where unknown."""

    model_config = ConfigDict(populate_by_name=True)

    cost: Digits
    work: Digits
    idle: Digits
    overhead: Digits
    prefill: Digits
    cached: Digits
    decode: Digits
    unmeasured: Digits
    idle_warm: Digits
    idle_unscheduled: Digits
    idle_stuck: Digits
    idle_stranded: Digits
    overhead_starting: Digits
    overhead_draining: Digits
    overhead_swapping: Digits
    overhead_interrupted: Digits
    list_: Digits | None = Field(alias="list")
    contracted: Digits | None
    billed: Digits | None


class TokensTold(BaseModel):
    """``input`` without those found in the prefix cache."""

    input: int
    cached_input: int
    output: int


class UnitCostsTold(BaseModel):
    """USD per million tokens of a kind; null without such tokens."""

    input: Number | None
    cached_input: Number | None
    output: Number | None


class ItemTold(BaseModel):
    """One row. ``key``: a value for each asked dimension."""

    key: dict[str, str]
    nanousd: NanousdTold
    tokens: TokensTold
    requests: int
    usd_per_million: UnitCostsTold
    usd_per_request: Number | None


class StepTold(BaseModel):
    """``unattributed_ratio``: share of the work's cost that no usage record explains; null without work."""

    start: datetime
    end: datetime
    items: list[ItemTold]
    total: ItemTold
    unattributed_ratio: Number | None


class AllocationTold(BaseModel):
    """``open_hours``: hours of the window that are not settled, whose numbers may still change."""

    window: WindowTold
    by: list[str]
    basis: Basis
    open_hours: int
    steps: list[StepTold]


class UnitCostTold(BaseModel):
    """Of one variant, on both bases. ``utilization``: usage cost / allocation cost."""

    service: str
    variant: str
    allocation: UnitCostsTold
    usage: UnitCostsTold
    utilization: Number | None


class UnitCostsAnswer(BaseModel):
    window: WindowTold
    unit_costs: list[UnitCostTold]


class BudgetTold(BaseModel):
    """``p50`` and ``p90``: the forecast at the period's end; null without one."""

    name: str
    scope: str
    start: datetime
    end: datetime
    limit_nanousd: Digits
    spent_nanousd: Digits
    p50_nanousd: Digits | None
    p90_nanousd: Digits | None
    state: str


class BudgetsTold(BaseModel):
    budgets: list[BudgetTold]


class CommitmentTold(BaseModel):
    """``amortised`` = ``used`` + ``unused``. Null: some on-demand price is unknown."""

    id: str
    kind: str
    offer: str
    amortised_nanousd: Digits
    used_nanousd: Digits
    unused_nanousd: Digits
    covered_on_demand_nanousd: Digits | None
    eligible_on_demand_nanousd: Digits | None


class CommitmentsTold(BaseModel):
    window: WindowTold
    commitments: list[CommitmentTold]


class AnomalyTold(BaseModel):
    """``driver``: price, volume, mix or efficiency; "" when it was not explained. ``ended`` null: it goes on."""

    scope: str
    began: datetime
    ended: datetime | None
    hours: int
    expected_nanousd: Digits
    actual_nanousd: Digits
    cost_nanousd: Digits
    driver: str
    by_driver: dict[str, Digits]


class AnomaliesTold(BaseModel):
    window: WindowTold
    anomalies: list[AnomalyTold]


class Problem(BaseModel):
    """What was wrong with the question, or why it could not be answered."""

    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The question cannot be read; the answer says what was expected."},
    503: {"model": Problem, "description": "The ledger cannot be read."},
}
