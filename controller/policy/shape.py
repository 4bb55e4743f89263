"""The shape of a policy file. Every field's description is the reference that docs/policy.md prints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    WithJsonSchema,
    model_validator,
)

from controller.decide import rules
from controller.documents import ContradictionError
from controller.facts.fleet import CapacityType
from controller.limits import LimitShape
from controller.policy.condition import CelCondition, compiled
from controller.quantities import DurationS, RatioValue

LONGEST_S = 31 * 86_400.0
"""No duration of a policy may be longer: a guess, because a month is past any use and far from overflow."""

Wait = Annotated[DurationS, Field(ge=0, le=LONGEST_S)]
Period = Annotated[DurationS, Field(gt=0, le=LONGEST_S)]
Count = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]
Amount = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Share = Annotated[RatioValue, Field(gt=0, le=1)]
Name = Annotated[str, Field(min_length=1)]


def _condition(value: object) -> CelCondition:
    if isinstance(value, str):
        return compiled(value)
    raise ValueError(f"expected a condition in CEL, such as 'queue_depth > 50', found {value!r}")


When = Annotated[CelCondition, PlainValidator(_condition), WithJsonSchema({"type": "string", "minLength": 1})]

LATENCIES = ("ttft", "tpot")
LOADS = ("queue_depth", "kv_cache", "token_load", "gpu_utilization")
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Shape(BaseModel):
    """Unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class SloShape(Shape):
    """Latency targets: at most one quantile of each latency."""

    ttft_p50: Period | None = Field(default=None, description="median time to first token")
    ttft_p95: Period | None = Field(default=None, description="95th percentile of the time to first token")
    ttft_p99: Period | None = Field(default=None, description="99th percentile of the time to first token")
    tpot_p50: Period | None = Field(default=None, description="median time per output token")
    tpot_p95: Period | None = Field(default=None, description="95th percentile of the time per output token")
    tpot_p99: Period | None = Field(default=None, description="99th percentile of the time per output token")
    attainment: Share = Field(default=0.99, description="share of requests that must meet them")

    @model_validator(mode="after")
    def _one_of_each(self) -> SloShape:
        for latency in LATENCIES:
            named = [f"{latency}_{name}" for name in QUANTILES if getattr(self, f"{latency}_{name}") is not None]
            if len(named) > 1:
                raise ContradictionError(f"names {' and '.join(named)}; expected at most one {latency} target")
        return self


class VariantShape(Shape):
    """One variant that may serve."""

    capacity_types: tuple[CapacityType, ...] | None = Field(
        default=None, min_length=1, description="how its GPUs may be bought; left out: every way the fleet file names"
    )
    token_load: Amount | None = Field(
        default=None, description="computed prompt + output tokens/s a replica of it carries; compares prices fairly"
    )


class TargetsShape(Shape):
    """What one ready replica should carry. At least one of the four loads."""

    queue_depth: Amount | None = Field(default=None, description="requests waiting per replica")
    kv_cache: Share | None = Field(default=None, description="mean share of the KV cache in use")
    token_load: Amount | None = Field(default=None, description="computed prompt + output tokens/s per replica")
    gpu_utilization: Share | None = Field(default=None, description="mean share of time in which any kernel ran")
    headroom: Annotated[RatioValue, Field(lt=1)] = Field(
        default=rules.DEFAULT_HEADROOM_RATIO, description="share of each target that must stay free after a shrink"
    )

    @model_validator(mode="after")
    def _at_least_one(self) -> TargetsShape:
        if all(getattr(self, load) is None for load in LOADS):
            raise ValueError(f"names no load; expected at least one of {', '.join(LOADS)}")
        return self


class StepShape(Shape):
    """The largest change in any period: a number of replicas, or a share of those at its start."""

    replicas: Positive | None = Field(default=None, description="at most so many replicas in each period")
    percent: Annotated[RatioValue, Field(gt=0)] | None = Field(
        default=None, description="at most such a share of the replicas at the period's start, as 50%"
    )
    per: Period = Field(description="the period")

    @model_validator(mode="after")
    def _one_measure(self) -> StepShape:
        if self.replicas is not None and self.percent is not None:
            raise ContradictionError("expected exactly one of replicas and percent")
        if self.replicas is None and self.percent is None:
            raise ValueError("expected exactly one of replicas and percent")
        return self


class ScaleUpShape(Shape):
    """How to grow."""

    stabilization: Wait | None = Field(
        default=None, description="growth must have been wanted for so long; left out: 0s by forecast, 60s by loads"
    )
    at_most: StepShape | None = Field(default=None, description="the largest growth in a period; left out: any")


class ScaleDownShape(Shape):
    """How to shrink."""

    stabilization: Wait | None = Field(
        default=None,
        description="fewer must have been wanted, all signals live, so long; left out: 60s by forecast, 300s by loads",
    )
    spare: Wait | None = Field(
        default=None,
        description="one more than wanted stays until not wanted for so long; left out: 10m by forecast, else 0s",
    )
    at_most: StepShape | None = Field(default=None, description="the largest shrink in a period; left out: any")


class ForecastShape(Shape):
    """How careful the predictive method is."""

    quantile: Annotated[RatioValue, Field(ge=rules.QUANTILES[0], le=rules.QUANTILES[1])] | None = Field(
        default=None,
        description="how much of what may come is worth a replica that stands ready; higher is surer and costs more; "
        "left out: 95%, or what a higher slo.attainment than 99% asks for, 99.5% for 99.9%",
    )
    drain: Period = Field(
        default=rules.DEFAULT_DRAIN_S, description="what waits is worked off within this time by the replicas added"
    )


class ScalingShape(Shape):
    """How many replicas, over all variants of the service."""

    min_replicas: Count = Field(default=1, description="never fewer; 0 allows scaling to zero when proven idle")
    max_replicas: Positive = Field(description="never more")
    method: rules.Method = Field(
        default=rules.Method.PREDICTIVE,
        description="by forecast and capacity, where both are known, or by the loads alone",
    )
    forecast: ForecastShape = Field(default=ForecastShape(), description="how careful the predictive method is")
    targets: TargetsShape | None = Field(
        default=None,
        description="what one ready replica should carry; at least one load. Beside a forecast a floor, needed without",
    )
    scale_up: ScaleUpShape = Field(default=ScaleUpShape(), description="how to grow")
    scale_down: ScaleDownShape = Field(default=ScaleDownShape(), description="how to shrink")
    tolerance: Annotated[RatioValue, Field(lt=1)] = Field(
        default=rules.DEFAULT_TOLERANCE_RATIO, description="deviations from a target up to this share move nothing"
    )
    start_deadline: Period = Field(
        default=rules.DEFAULT_START_DEADLINE_S, description="a replica not ready by then is given up and removed"
    )
    stuck_deadline: Period = Field(
        default=rules.DEFAULT_STUCK_DEADLINE_S,
        description="a start that waits for a machine (no room, no capacity, no quota) is given up after so long",
    )
    foreign_hold: Wait = Field(
        default=rules.DEFAULT_FOREIGN_HOLD_S, description="how long to stand down after somebody else's change"
    )

    @model_validator(mode="after")
    def _ordered(self) -> ScalingShape:
        if self.min_replicas > self.max_replicas:
            raise ContradictionError(f"min_replicas {self.min_replicas} is more than max_replicas {self.max_replicas}")
        return self

    @model_validator(mode="after")
    def _something_decides(self) -> ScalingShape:
        if self.method is rules.Method.REACTIVE and self.targets is None:
            raise ValueError(f"method is reactive, which needs targets: at least one of {', '.join(LOADS)}")
        return self

    @model_validator(mode="after")
    def _one_method(self) -> ScalingShape:
        if self.method is rules.Method.REACTIVE and "forecast" in self.model_fields_set:
            raise ContradictionError(
                "method is reactive, which reads no forecast; remove forecast, or make it predictive"
            )
        return self


class SpotShape(Shape):
    """Interruptible capacity."""

    allow: StrictBool = Field(default=False, description="whether spot capacity may be bought")
    min_saving: Annotated[RatioValue, Field(ge=0, lt=1)] = Field(
        default=rules.DEFAULT_SPOT_SAVING_RATIO,
        description="it is bought before on-demand only where it saves so much, the cost of its losses included",
    )
    quiet: Wait = Field(
        default=rules.DEFAULT_SPOT_QUIET_S,
        description="it takes the place of on-demand replicas only after so long without a loss",
    )
    min_placement_score: Annotated[int, Field(strict=True, ge=1, le=10)] | None = Field(
        default=None, description="nor while AWS's placement score is lower; left out: not asked"
    )
    prelaunch: StrictBool = Field(
        default=False, description="a replacement starts, within budgets, when a replica may be taken back soon"
    )
    spare: StrictBool = Field(
        default=True, description="more spot than is wanted, so that losing one failure domain of it leaves enough"
    )


class CapacityMixShape(Shape):
    """Which capacity to buy."""

    reserved: Literal["first"] = Field(default="first", description="what is paid for anyway is used first")
    spot: SpotShape = Field(default=SpotShape(), description="interruptible capacity")


class AlertShape(Shape):
    """One alert."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = Field(description="unique in the file")
    when: When = Field(description="a condition in CEL over the service's quantities")
    for_: Wait = Field(default=0.0, alias="for", description="it must have held so long before it fires")
    keep_firing_for: Wait = Field(default=0.0, description="it keeps firing so long after it stopped holding")
    severity: Literal["info", "warning", "critical"] = Field(default="warning", description="how loud")
    to: tuple[str, ...] = Field(default=("log",), min_length=1, description="channels: log, slack")
    do: str = Field(default="", description="what the reader should do, told with the alert")


class PolicyShape(Shape):
    """What is wanted for one service."""

    service: Name = Field(description="a service of the fleet file")
    slo: SloShape = Field(default=SloShape(), description="latency targets: at most one quantile of each latency")
    variants: dict[str, VariantShape] = Field(
        default={}, description="which variants may serve, in order of preference; left out: all of the fleet file"
    )
    scaling: ScalingShape = Field(description="how many replicas, over all variants of the service")
    capacity_mix: CapacityMixShape = Field(default=CapacityMixShape(), description="which capacity to buy")
    alerts: tuple[AlertShape, ...] = Field(default=(), description="when to tell whom")
    budget: LimitShape | None = Field(
        default=None, description="what the service may cost; account.budgets of the fleet file has more scopes"
    )
