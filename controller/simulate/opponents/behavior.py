"""How fast an HPA may change the scale: its ``behavior`` block. Shared by everything that an HPA acts for.

https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#configurable-scaling-behavior
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, floor

from controller.simulate.opponents.clock import Window, clipped
from controller.simulate.opponents.contender import Range


class StepKind(StrEnum):
    PODS = "pods"
    PERCENT = "percent"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPolicy:
    """At most ``value`` pods, or per cent of the scale, in any ``period_s``."""

    kind: StepKind
    value: float
    period_s: float

    def most(self, start: int) -> int:
        """The highest scale that growth from ``start`` may reach."""
        return start + int(self.value) if self.kind is StepKind.PODS else ceil(start * (1 + self.value / 100))

    def least(self, start: int) -> int:
        """The lowest scale that shrinking from ``start`` may reach."""
        return start - int(self.value) if self.kind is StepKind.PODS else floor(start * (1 - self.value / 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """One direction. The policy that allows the largest change counts (``selectPolicy: Max``, the default)."""

    stabilization_s: float
    policies: tuple[StepPolicy, ...]


UP = ScalingRules(
    stabilization_s=0.0,
    policies=(
        StepPolicy(kind=StepKind.PERCENT, value=100, period_s=15),
        StepPolicy(kind=StepKind.PODS, value=4, period_s=15),
    ),
)
"""Documented default: no stabilization; the larger of 100 % and 4 pods in 15 s."""

DOWN = ScalingRules(
    stabilization_s=300.0,
    policies=(StepPolicy(kind=StepKind.PERCENT, value=100, period_s=15),),
)
"""Documented default: 300 s stabilization (--horizontal-pod-autoscaler-downscale-stabilization); 100 % in 15 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    up: ScalingRules = UP
    down: ScalingRules = DOWN


@dataclass(slots=True)
class Stabilizer:
    """The state behind a ``behavior``: recommendations and changes of the last minutes.

    Growing goes to the lowest recommendation of the up window, shrinking to the highest of the down window; then the
    policies limit the step, counted from where the scale was a period ago; then the minimum and maximum. The scale at
    the first look counts as a recommendation, as after a restart of the controller.
    """

    behavior: Behavior
    min_replicas: int
    max_replicas: int
    _recommended: Window = field(init=False)
    _changes: deque[tuple[float, int]] = field(default_factory=deque)
    _seen: bool = False

    def __post_init__(self) -> None:
        self._recommended = Window(max(self.behavior.up.stabilization_s, self.behavior.down.stabilization_s))

    def settle(self, now_s: float, current: int, recommended: int) -> int:
        """The scale to set now."""
        if not self._seen:
            self._recommended.add(now_s, current)
            self._seen = True
        if not self.min_replicas <= current <= self.max_replicas:
            desired = clipped(current, self.min_replicas, self.max_replicas)
        else:
            stable = self._stabilized(now_s, current, recommended)
            desired = clipped(self._limited(now_s, current, stable), self.min_replicas, self.max_replicas)
        self._recommended.add(now_s, recommended)
        if desired != current:
            self._changes.append((now_s, desired - current))
        return desired

    def _stabilized(self, now_s: float, current: int, recommended: int) -> int:
        up = min((recommended, *self._recommended.since(now_s, self.behavior.up.stabilization_s)))
        down = max((recommended, *self._recommended.since(now_s, self.behavior.down.stabilization_s)))
        return int(min(max(current, up), down))

    def _limited(self, now_s: float, current: int, wanted: int) -> int:
        self._forget(now_s)
        if wanted > current:
            policies = self.behavior.up.policies
            most = max(policy.most(self._before(now_s, policy.period_s, current)) for policy in policies)
            return min(wanted, max(most, current))
        if wanted < current:
            policies = self.behavior.down.policies
            least = min(policy.least(self._before(now_s, policy.period_s, current)) for policy in policies)
            return max(wanted, min(least, current))
        return wanted

    def _before(self, now_s: float, period_s: float, current: int) -> int:
        """The scale before the changes of the last period."""
        return current - sum(change for at_s, change in self._changes if at_s > now_s - period_s)

    def _forget(self, now_s: float) -> None:
        longest = max(policy.period_s for policy in (*self.behavior.up.policies, *self.behavior.down.policies))
        while self._changes and self._changes[0][0] <= now_s - longest:
            self._changes.popleft()


TOLERANCE_RATIO = 0.1
"""Documented default, --horizontal-pod-autoscaler-tolerance."""

BEHAVIOR_DEFAULTS: Mapping[str, float] = {
    "tolerance_ratio": TOLERANCE_RATIO,
    "up_stabilization_s": 0.0,
    "down_stabilization_s": 300.0,
    "down_percent": 100.0,
}
"""Kubernetes' defaults of what may be tuned in every HPA."""

BEHAVIOR_TUNABLE: Mapping[str, Range] = {
    "tolerance_ratio": Range(low=0.0, high=0.2),
    "up_stabilization_s": Range(low=0.0, high=120.0),
    "down_stabilization_s": Range(low=30.0, high=1800.0, kind="log"),
    "down_percent": Range(low=10.0, high=100.0),
}


def behavior_of(settings: Mapping[str, float]) -> Behavior:
    """Kubernetes' behavior with what may be tuned of it."""
    default = Behavior()
    return Behavior(
        up=ScalingRules(stabilization_s=settings["up_stabilization_s"], policies=default.up.policies),
        down=ScalingRules(
            stabilization_s=settings["down_stabilization_s"],
            policies=(StepPolicy(kind=StepKind.PERCENT, value=settings["down_percent"], period_s=15),),
        ),
    )
