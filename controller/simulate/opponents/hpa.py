"""Kubernetes' HorizontalPodAutoscaler v2 on an engine's metrics.

https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from statistics import fmean

from controller.simulate.opponents.behavior import (
    BEHAVIOR_DEFAULTS,
    BEHAVIOR_TUNABLE,
    DOWN,
    TOLERANCE_RATIO,
    Behavior,
    ScalingRules,
    Stabilizer,
    StepKind,
    StepPolicy,
    behavior_of,
)
from controller.simulate.opponents.clock import Clock, clipped
from controller.simulate.opponents.contender import LOAD_RATIO, Build, Contender, Knob, Range
from controller.simulate.sight import Opponent, ReplicaSight, Sight, Wish, few


class PodMetric(StrEnum):
    """What an HPA averages over the pods. Requests that no engine has yet are in none of these."""

    LOAD = "running and waiting requests"
    QUEUE = "waiting requests"
    KV_CACHE = "KV cache ratio"
    GPU = "GPU utilization ratio"


READ: Mapping[PodMetric, Callable[[ReplicaSight], float]] = {
    PodMetric.LOAD: lambda replica: float(replica.running + replica.waiting),
    PodMetric.QUEUE: lambda replica: float(replica.waiting),
    PodMetric.KV_CACHE: lambda replica: replica.kv_cache_ratio,
    PodMetric.GPU: lambda replica: replica.gpu_utilization_ratio,
}

SYNC_S = 15.0
"""Documented default, --horizontal-pod-autoscaler-sync-period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The mean that a metric shall have: requests per replica, or a ratio."""

    metric: PodMetric
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaSettings:
    """Kubernetes' defaults; targets have none. With several targets the highest answer counts."""

    targets: tuple[Target, ...]
    min_replicas: int
    max_replicas: int
    tolerance_ratio: float = TOLERANCE_RATIO
    behavior: Behavior = field(default_factory=Behavior)
    sync_s: float = SYNC_S


@dataclass(slots=True)
class Hpa:
    """ceil(pods x mean / target), with the pods that do not report yet counted against the change.

    It does not scale to zero: that needs an alpha feature gate and an external metric.
    """

    settings: HpaSettings
    _clock: Clock = field(init=False)
    _stabilizer: Stabilizer = field(init=False)
    _answer: tuple[Sight, int] | None = None

    def __post_init__(self) -> None:
        self._clock = Clock(self.settings.sync_s)
        least = max(1, self.settings.min_replicas)
        self._stabilizer = Stabilizer(self.settings.behavior, least, max(least, self.settings.max_replicas))

    @property
    def sync_s(self) -> float:
        return self.settings.sync_s

    def desired(self, sight: Sight) -> int:
        now_s = self._clock.tick(sight)
        if not sight.ready:  # no metrics for any pod: an error, and the scale stays
            self._answer = None
            return clipped(sight.current, self._stabilizer.min_replicas, self._stabilizer.max_replicas)
        starting = max(0, sight.current - sight.ready)
        recommended = max(
            replicas_for_pods(
                [READ[target.metric](replica) for replica in sight.replicas],
                target=target.value,
                starting=starting,
                current=sight.current,
                tolerance_ratio=self.settings.tolerance_ratio,
            )
            for target in self.settings.targets
        )
        self._answer = sight, recommended
        return self._stabilizer.settle(now_s, sight.current, recommended)

    def wish(self) -> Wish | None:
        """By the metric that is the farthest above its target."""
        if self._answer is None:
            return None
        sight, recommended = self._answer
        means = {one: fmean(map(READ[one.metric], sight.replicas)) for one in self.settings.targets}
        target = max(means, key=lambda one: means[one] / one.value)
        return Wish(f"{target.metric} {few(means[target])} at {few(target.value)} a replica", recommended)


def replicas_for_pods(
    values: list[float], *, target: float, starting: int, current: int, tolerance_ratio: float
) -> int:
    """A Pods metric. ``values``: one a pod that reports; ``starting``: pods that do not.

    Those are taken to be at the target when the mean is below it, and at zero when it is above; a ratio that then
    is within the tolerance, or on the other side of 1, changes nothing.
    """
    total, pods = sum(values), len(values)
    ratio = total / pods / target
    if starting:
        below = ratio < 1
        pods += starting
        assumed = (total + starting * target if below else total) / pods / target
        if (assumed > 1) if below else (assumed < 1):
            return current
        ratio = assumed
    if abs(1 - ratio) <= tolerance_ratio:
        return current
    return ceil(_tidy(ratio * pods))


def replicas_for_total(total: float, *, target: float, current: int, tolerance_ratio: float) -> int:
    """An External metric with an AverageValue target: ceil(total / target), unless total per pod is within the
    tolerance of the target."""
    if current and abs(1 - total / (target * current)) <= tolerance_ratio:
        return current
    return ceil(_tidy(total / target))


def reference_policy(
    *, min_replicas: int, max_replicas: int, queue: float = 50.0, gpu_ratio: float = 0.75
) -> HpaSettings:
    """What most guides give an LLM service, as in our policies/reference.yaml: 50 waiting requests a replica or 75 %
    GPU utilization; up by 2 in 120 s after 60 s, down after 300 s."""
    return HpaSettings(
        targets=(Target(metric=PodMetric.QUEUE, value=queue), Target(metric=PodMetric.GPU, value=gpu_ratio)),
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        behavior=Behavior(
            up=ScalingRules(
                stabilization_s=60.0,
                policies=(StepPolicy(kind=StepKind.PODS, value=2, period_s=120),),
            ),
            down=DOWN,
        ),
    )


def _tidy(replicas: float) -> float:
    """Without the last binary digits: 3 x 1.1 / 1.1 is 3 replicas, not 4. Kubernetes reckons in whole thousandths."""
    return round(replicas, 9)


HPA_DOCS = "https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/"


def _hpa(metric: PodMetric, target: Callable[[Build], float]) -> Callable[[Build], Opponent]:
    def build(of: Build) -> Opponent:
        return Hpa(
            HpaSettings(
                targets=(Target(metric=metric, value=target(of)),),
                min_replicas=of.min_replicas,
                max_replicas=of.max_replicas,
                tolerance_ratio=of.settings["tolerance_ratio"],
                behavior=behavior_of(of.settings),
            )
        )

    return build


def _hpa_contender(
    metric: PodMetric,
    *,
    name: str,
    knob: Knob,
    default: float,
    target: Callable[[Build], float],
    documented: Callable[[Build], float],
    translation: str,
) -> Contender:
    """``target`` from the knob; ``documented``: the target that guides give."""
    return Contender(
        name=name,
        documentation=HPA_DOCS,
        translation=translation,
        knob=knob,
        defaults={**BEHAVIOR_DEFAULTS, knob.name: default},
        tunable=BEHAVIOR_TUNABLE,
        build=_hpa(metric, target),
        documented=_hpa(metric, documented),
    )


HPA_LOAD = _hpa_contender(
    PodMetric.LOAD,
    name="hpa-load",
    knob=Knob(name="load_ratio", values=LOAD_RATIO, dearer="lower"),
    default=0.8,
    target=lambda of: of.settings["load_ratio"] * of.profile.running,
    documented=lambda of: 0.8 * of.profile.running,
    translation="running + waiting requests a replica, as a share of the batch at its capacity; documented is no "
    "number, only that a load test finds it: 80 % of that batch",
)
HPA_QUEUE = _hpa_contender(
    PodMetric.QUEUE,
    name="hpa-queue",
    knob=Knob(name="queue", values=Range(low=0.25, high=50.0, kind="log"), dearer="lower"),
    default=5.0,
    target=lambda of: of.settings["queue"],
    documented=lambda of: 5.0,
    translation="waiting requests a replica; 5 as in vLLM production-stack's tutorial",
)
HPA_KV = _hpa_contender(
    PodMetric.KV_CACHE,
    name="hpa-kv",
    knob=Knob(name="load_ratio", values=LOAD_RATIO, dearer="lower"),
    default=0.8,
    target=lambda of: of.settings["load_ratio"] * of.profile.kv_cache_ratio,
    documented=lambda of: 0.8,
    translation="KV cache use as a share of that at capacity; documented: 80 % of the cache, which a service whose "
    "latency targets bind before its memory never reaches",
)
HPA_GPU = _hpa_contender(
    PodMetric.GPU,
    name="hpa-gpu",
    knob=Knob(name="gpu_ratio", values=Range(low=0.3, high=1.1), dearer="lower"),
    default=0.75,
    target=lambda of: of.settings["gpu_ratio"],
    documented=lambda of: 0.75,
    translation="DCGM's GPU utilization; it says that a kernel ran, not how full the GPU is",
)


def _reference(of: Build) -> Opponent:
    ratio = of.settings["targets_ratio"]
    return Hpa(
        reference_policy(
            min_replicas=of.min_replicas, max_replicas=of.max_replicas, queue=50 * ratio, gpu_ratio=0.75 * ratio
        )
    )


HPA_REFERENCE = Contender(
    name="hpa-reference",
    documentation="policies/reference.yaml",
    translation="both targets of the policy times one factor; nothing else may be tuned, because it is the policy",
    knob=Knob(name="targets_ratio", values=Range(low=0.2, high=2.0, kind="log"), dearer="lower"),
    defaults={"targets_ratio": 1.0},
    build=_reference,
    documented=_reference,
)
