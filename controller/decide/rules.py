"""The rules of one service, frozen: a policy file after it was read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from controller.facts.budgets import Budget
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.slo import Slo

DEFAULT_TOLERANCE_RATIO = 0.10
"""Deviations from a target smaller than this share are no reason to move.

Source: Kubernetes HPA, --horizontal-pod-autoscaler-tolerance.
"""

DEFAULT_HEADROOM_RATIO = 0.15
"""Capacity that must stay free after a shrink. A guess: the demand target of llm-d's WVA, 0.85, leaves as much."""

DEFAULT_START_DEADLINE_S = 600.0
"""A cold 235B mixture of experts needs close to 600 s (Baidu); an 8B with cold caches 294 s (Tensorfuse, 2025-09)."""

DEFAULT_STUCK_DEADLINE_S = 360.0
"""How long a start may wait for a machine before another way is tried. A guess: longer than a node autoscaler takes to
bring a machine with GPUs and their drivers (one or two minutes without), and shorter than the start deadline."""

DEFAULT_FORECAST_QUANTILE = 0.95
"""A guess that the contest confirms (BENCHMARKS.md): one start-up in twenty meets more than it was ordered for."""

QUANTILE_RATIO = 5.0
"""A quantile leaves out so many times what an attainment does: the default's 5 % where 1 % may miss."""

QUANTILES = (0.5, 0.999)
"""What a policy may say: below the middle nobody is ready for what is expected, and rarer demands than one in a
thousand are not known."""

DEFAULT_DRAIN_S = 60.0
"""A guess: new replicas that come after a minute of queueing should not take more than another to end it."""

DEFAULT_SPARE_S = 600.0
"""What noise takes back and forth is the last replica. A guess: in a model without single requests, over two days of
ServeGen and one of Azure at start-ups of 75 to 480 s, ten and fifteen minutes did best; simulated, a day of ServeGen
and one of Azure got cheaper by 4 and 1 % at equal attainment, another of ServeGen no cheaper (docs/decisions/0006)."""

DEFAULT_SPOT_SAVING_RATIO = 0.15
"""A guess: what a loss costs beside money, requests that miss their SLO while cover starts, is in no price. Spot of
GPUs is listed 50 to 70 % below on demand: this shuns it only where it is lost ten times an hour, or nearly as dear."""

DEFAULT_SPOT_QUIET_S = 1800.0
"""As long as a storm counts (safety/rules.py), which is longer than a failing launch takes: else the two alternate."""

DEFAULT_FOREIGN_HOLD_S = 600.0
"""How long to stand down after somebody else's change. A guess: long enough for a person to say `pause`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What one ready replica should carry; None = this signal does not decide.

    queue_depth             requests waiting per replica
    kv_cache_ratio          mean KV-cache use
    token_load_per_s        computed prompt tokens + output tokens per second and replica
    gpu_utilization_ratio   mean GPU utilization
    headroom_ratio          share of each target that must stay free after a shrink
    """

    queue_depth: float | None = None
    kv_cache_ratio: float | None = None
    token_load_per_s: float | None = None
    gpu_utilization_ratio: float | None = None
    headroom_ratio: float = DEFAULT_HEADROOM_RATIO

    @property
    def named(self) -> bool:
        """Whether any load decides."""
        loads = (self.queue_depth, self.kv_cache_ratio, self.token_load_per_s, self.gpu_utilization_ratio)
        return any(load is not None for load in loads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """At most so many replicas, or such a share of the count at the period's start, in every ``per_s`` seconds.

    Exactly one of ``replicas`` and ``ratio`` is set.
    """

    per_s: float
    replicas: int | None = None
    ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One direction: a move must have been wanted for ``stabilization_s``, and is cut to ``at_most``.

    spare_s   when shrinking: one replica more than wanted stays until it was not wanted for so long
    """

    stabilization_s: float
    at_most: Step | None = None
    spare_s: float = 0.0

    @property
    def keeps_spare(self) -> bool:
        return self.spare_s > self.stabilization_s


class Method(StrEnum):
    """What decides how many replicas. Predictive falls back to the reactive rules while it has nothing to go by, and
    never goes below what they ask."""

    PREDICTIVE = "predictive"
    REACTIVE = "reactive"


USUAL_UP: Mapping[Method, Behaviour] = {
    Method.PREDICTIVE: Behaviour(stabilization_s=0.0),
    Method.REACTIVE: Behaviour(stabilization_s=60.0),
}
USUAL_DOWN: Mapping[Method, Behaviour] = {
    Method.PREDICTIVE: Behaviour(stabilization_s=60.0, spare_s=DEFAULT_SPARE_S),
    Method.REACTIVE: Behaviour(stabilization_s=300.0),
}
"""Where the policy does not say. A forecast has weighed the noise already; loads jump, and what they ask for must last
(300 s down as the HPA's default)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRule:
    """How careful the predictive method is.

    quantile        a replica stands ready where it saves (1 - quantile) of the usual demand, see reserve.py
    drain_s         what waits when new replicas become ready is worked off within this time
    """

    quantile: float = DEFAULT_FORECAST_QUANTILE
    drain_s: float = DEFAULT_DRAIN_S


def quantile_for(attainment_ratio: float, ratio: float = QUANTILE_RATIO) -> float:
    """The quantile that goes with an attainment: what is surer of the one must be of the other."""
    least, most = QUANTILES
    return min(max(round(1 - ratio * (1 - attainment_ratio), 9), least), most)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRule:
    """How many replicas. Limits count the whole service, over all its variants.

    stuck_deadline_s   for a start that waits for a machine; what does not heal by itself is given up at once
    """

    min_replicas: int
    max_replicas: int
    targets: Targets
    scale_up: Behaviour
    scale_down: Behaviour
    method: Method = Method.PREDICTIVE
    forecast: ForecastRule = ForecastRule()
    tolerance_ratio: float = DEFAULT_TOLERANCE_RATIO
    start_deadline_s: float = DEFAULT_START_DEADLINE_S
    stuck_deadline_s: float = DEFAULT_STUCK_DEADLINE_S
    foreign_hold_s: float = DEFAULT_FOREIGN_HOLD_S


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRule:
    """Which variants may serve, in order of preference. ``capacity_types`` None: all that the fleet file names."""

    name: str
    capacity_types: tuple[CapacityType, ...] | None = None
    token_load_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotRule:
    """When spot is worth its risk.

    min_saving_ratio      it is taken first only where it saves so much of the on-demand price, losses included
    quiet_s               it takes the place of dearer capacity only after so long without a loss
    min_placement_score   nor while AWS gives its chance a lower score; None: never asked
    prelaunch             spot that may be taken back gets a replacement before it is
    spare                 so much more spot is kept that the rest carries what is wanted when one domain of it goes
    """

    min_saving_ratio: float = DEFAULT_SPOT_SAVING_RATIO
    quiet_s: float = DEFAULT_SPOT_QUIET_S
    min_placement_score: int | None = None
    prelaunch: bool = False
    spare: bool = True


class Condition(Protocol):
    """An alert's condition, compiled."""

    @property
    def text(self) -> str: ...

    def evaluate(self, values: Mapping[str, float | Missing]) -> bool | Missing:
        """Whether it holds, or which value it would need."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """When to tell whom. ``for_s``: it must have held so long; ``keep_firing_for_s``: it stays so long after."""

    name: str
    condition: Condition
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    severity: str = "warning"
    channels: tuple[str, ...] = ("log",)
    do: str = ""
    resend_s: float = 14_400.0
    """Tell again while firing. Source: Alertmanager's repeat_interval default, 4 h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePolicy:
    """Everything wanted for one service. ``variants`` empty: every variant of the fleet file, in its order.

    budget   what the service may cost; more of them may stand in the fleet file
    """

    service: str
    source: str
    slo: Slo
    replicas: ReplicaRule
    variants: tuple[VariantRule, ...] = ()
    spot_allowed: bool = False
    spot: SpotRule = SpotRule()
    alerts: tuple[AlertRule, ...] = ()
    budget: Budget | None = None
