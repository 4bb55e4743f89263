"""llm-d's Workload Variant Autoscaler (WVA) with its saturation analyzers: V1 by percentages, V2 by tokens.

https://github.com/llm-d/llm-d-workload-variant-autoscaler: docs/user-guide/saturation-analyzer.md and
docs/developer-guide/saturation-scaling-config.md. One variant: the cheapest and the dearest are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil, floor, inf
from statistics import fmean, median
from typing import Protocol

from controller.simulate.opponents.behavior import Behavior, ScalingRules, Stabilizer, StepKind, StepPolicy
from controller.simulate.opponents.clock import Clock, Round, Window, clipped
from controller.simulate.opponents.contender import LOAD_RATIO, Build, Contender, Knob, Range
from controller.simulate.opponents.hpa import SYNC_S, replicas_for_total
from controller.simulate.sight import Opponent, ReplicaSight, Sight, Wish

TEN_PODS = ScalingRules(stabilization_s=0.0, policies=(StepPolicy(kind=StepKind.PODS, value=10, period_s=15),))
"""WVA's sample HPA (config/samples/hpa-integration.yaml): no stabilization, 10 pods in 15 s, both ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The highest of one replica's KV cache ratio and queue over the last minute."""

    kv_cache_ratio: float
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What WVA's queries say when its loop comes round.

    peaks                           one a ready replica; there is at least one
    arrivals_per_s                  mean of the last minute
    input_tokens, output_tokens     means of the last 5 minutes; None before anything finished
    """

    peaks: tuple[Peak, ...]
    arrivals_per_s: float
    input_tokens: float | None
    output_tokens: float | None


class Analyzer(Protocol):
    """What decides inside WVA. ``words``: the arithmetic of its last answer."""

    words: str

    def wanted(self, sight: Sight, recent: Recent) -> int:
        """Replicas, before the minimum and the maximum."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WvaSettings:
    """How WVA runs, whichever analyzer it has.

    loop_s        GLOBAL_OPT_INTERVAL: 60
    peak_s        its queries take max_over_time(…[1m]), and rates of a minute
    length_s      and lengths of 5 minutes
    retention_s   without a request before zero: DefaultScaleToZeroRetentionPeriod, 10 min
    behavior, sync_s   of the HPA that acts on what WVA publishes
    tolerance_ratio    of that HPA. Kubernetes' 0.1 swallows a step of one from 10 replicas on; 0 is what an HPA may
                       set for itself since Kubernetes 1.33, and helps WVA
    """

    min_replicas: int
    max_replicas: int
    loop_s: float = 60.0
    peak_s: float = 60.0
    length_s: float = 300.0
    retention_s: float = 600.0
    tolerance_ratio: float = 0.0
    behavior: Behavior = field(default_factory=lambda: Behavior(up=TEN_PODS, down=TEN_PODS))
    sync_s: float = SYNC_S


@dataclass(slots=True)
class Wva:
    """Its loop asks the analyzer; the HPA below follows between. From zero at the first waiting request."""

    settings: WvaSettings
    analyzer: Analyzer
    _clock: Clock = field(init=False)
    _loop: Round = field(init=False)
    _stabilizer: Stabilizer = field(init=False)
    _seen: deque[tuple[float, tuple[ReplicaSight, ...]]] = field(default_factory=deque)
    _rates: Window = field(init=False)
    _inputs: Window = field(init=False)
    _outputs: Window = field(init=False)
    _published: int | None = None
    _asked_s: float = -inf

    def __post_init__(self) -> None:
        self._clock = Clock(self.settings.sync_s)
        self._loop = Round(self.settings.loop_s)
        self._rates = Window(self.settings.peak_s)
        self._inputs, self._outputs = Window(self.settings.length_s), Window(self.settings.length_s)
        least = max(1, self.settings.min_replicas)
        self._stabilizer = Stabilizer(self.settings.behavior, least, max(least, self.settings.max_replicas))

    @property
    def sync_s(self) -> float:
        return self.settings.sync_s

    def desired(self, sight: Sight) -> int:
        now_s = self._clock.tick(sight)
        self._remember(now_s, sight)
        if sight.current == 0:
            return clipped(1 if sight.waiting else 0, self.settings.min_replicas, self.settings.max_replicas)
        if self._idle(now_s):
            return 0
        if self._published is None:
            self._published = sight.current
        if sight.ready and self._loop.due(now_s):
            wanted = self.analyzer.wanted(sight, self._recent(sight))
            self._published = clipped(wanted, self._stabilizer.min_replicas, self._stabilizer.max_replicas)
        recommended = replicas_for_total(
            self._published, target=1.0, current=sight.current, tolerance_ratio=self.settings.tolerance_ratio
        )
        return self._stabilizer.settle(now_s, sight.current, recommended)

    def wish(self) -> Wish | None:
        return Wish(self.analyzer.words, self._published) if self.analyzer.words and self._published else None

    def _remember(self, now_s: float, sight: Sight) -> None:
        self._seen.append((now_s, sight.replicas))
        while self._seen[0][0] <= now_s - self.settings.peak_s:
            self._seen.popleft()
        self._rates.add(now_s, sight.arrivals_per_s)
        if sight.mean_prompt_tokens is not None and sight.mean_output_tokens is not None:
            self._inputs.add(now_s, sight.mean_prompt_tokens)
            self._outputs.add(now_s, sight.mean_output_tokens)
        if sight.arrivals_per_s or sight.waiting or sight.running or self._asked_s == -inf:
            self._asked_s = now_s

    def _idle(self, now_s: float) -> bool:
        return self.settings.min_replicas == 0 and now_s - self._asked_s >= self.settings.retention_s

    def _recent(self, sight: Sight) -> Recent:
        """Peaks by replica, over the looks of the last minute that saw as many replicas as now."""
        looks = [replicas for _, replicas in self._seen if len(replicas) == len(sight.replicas)]
        return Recent(
            peaks=tuple(
                Peak(
                    kv_cache_ratio=max(replica.kv_cache_ratio for replica in one),
                    waiting=max(replica.waiting for replica in one),
                )
                for one in zip(*looks, strict=True)
            ),
            arrivals_per_s=self._rates.mean() or 0.0,
            input_tokens=self._inputs.mean(),
            output_tokens=self._outputs.mean(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentageSettings:
    """V1, as its shipped ConfigMap: a replica is saturated from 80 % KV cache or 5 waiting; grow when the others have
    on average less than 10 % or 3 to spare."""

    kv_cache_threshold: float = 0.80
    queue_threshold: float = 5.0
    kv_spare_trigger: float = 0.10
    queue_spare_trigger: float = 3.0


@dataclass(slots=True)
class Percentage:
    """One up or one down, and nothing while any change is under way.

    Down when the average load x N/(N-1) would leave both spares at their triggers or more; N: unsaturated replicas,
    at least 2.
    """

    settings: PercentageSettings = field(default_factory=PercentageSettings)
    words: str = ""
    _desired: int | None = None

    def wanted(self, sight: Sight, recent: Recent) -> int:
        if self._desired is not None and self._desired != sight.current:
            return self._arriving(sight)
        self._desired = None
        if sight.ready != sight.current:
            return sight.current
        self._desired = sight.ready + self._step(recent.peaks)
        return self._desired

    def _arriving(self, sight: Sight) -> int:
        """The last answer, until the scale has it. (A limit that forbids it would hold it for ever: then it is
        dropped once all replicas are ready.)"""
        desired = self._desired if self._desired is not None else sight.current
        if sight.ready == sight.current:
            self._desired = None
        return desired

    def _step(self, peaks: tuple[Peak, ...]) -> int:
        settings = self.settings
        unsaturated = [
            peak
            for peak in peaks
            if peak.kv_cache_ratio < settings.kv_cache_threshold and peak.waiting < settings.queue_threshold
        ]
        count = len(unsaturated)
        self.words = f"{count} of {len(peaks)} replicas below the thresholds"
        if not count:
            return 1
        kv = sum(peak.kv_cache_ratio for peak in unsaturated) / count
        queue = sum(peak.waiting for peak in unsaturated) / count
        if not self._spare(kv, queue):
            return 1
        if count < 2:
            return 0
        fuller = count / (count - 1)
        return -1 if self._spare(kv * fuller, queue * fuller) else 0

    def _spare(self, kv_cache_ratio: float, waiting: float) -> bool:
        settings = self.settings
        return (
            settings.kv_cache_threshold - kv_cache_ratio >= settings.kv_spare_trigger
            and settings.queue_threshold - waiting >= settings.queue_spare_trigger
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensSettings:
    """V2, the default since 0.9.0.

    kv_cache_threshold, queue_threshold       as V1
    up_threshold_ratio, down_boundary_ratio   scaleUpThreshold 0.85, scaleDownBoundary 0.70
    token_budget, max_sequences               of the engine's arguments, for the bound before anything is observed
    cached_ratio                              prefix-cache hits, by which the gateway's queue is discounted
    """

    token_budget: int
    max_sequences: int
    cached_ratio: float = 0.0
    kv_cache_threshold: float = 0.80
    queue_threshold: float = 5.0
    up_threshold_ratio: float = 0.85
    down_boundary_ratio: float = 0.70


OBSERVATIONS = 10
"""Saturated observations of the compute bound that are averaged."""


@dataclass(slots=True)
class Tokens:
    """Capacity of a replica = median of min(memory bound, compute bound), tokens:

        memory    KV capacity x kv_cache_threshold
        compute   tokens in use while its queue is saturated; else the mean of the last 10 such by output length; else
                  n x (I + O/2) with n = min(token budget x O / (I + O), max sequences); else the memory bound
    Demand = tokens in use + waiting x I, and at the gateway waiting x (uncached I + O). Then

        required = demand / 0.85 - supply, starting replicas counted   -> grow by ceil(required / capacity)
        spare    = ready supply - demand / 0.70                        -> shrink by floor(spare / capacity)
    """

    settings: TokensSettings
    words: str = ""
    _observed: dict[int, deque[float]] = field(default_factory=dict)

    def wanted(self, sight: Sight, recent: Recent) -> int:
        settings = self.settings
        capacity = median(self._capacity(sight, recent, peak) for peak in recent.peaks)
        if capacity <= 0:
            return sight.current
        demand = self._demand(sight, recent)
        self.words = f"{demand:,.0f} tokens at {capacity:,.0f} a replica"
        required = demand / settings.up_threshold_ratio - max(sight.current, sight.ready) * capacity
        if required > 0:
            return sight.current + ceil(required / capacity)
        spare = sight.ready * capacity - demand / settings.down_boundary_ratio
        return sight.current - max(0, floor(spare / capacity))

    def _demand(self, sight: Sight, recent: Recent) -> float:
        input_tokens, output_tokens = recent.input_tokens or 0.0, recent.output_tokens or 0.0
        in_use = sum(peak.kv_cache_ratio for peak in recent.peaks) * sight.kv_capacity_tokens
        queued = sum(peak.waiting for peak in recent.peaks) * input_tokens
        coming = input_tokens * (1 - self.settings.cached_ratio) + output_tokens
        return in_use + queued + sight.waiting_at_router * coming

    def _capacity(self, sight: Sight, recent: Recent, peak: Peak) -> float:
        memory = sight.kv_capacity_tokens * self.settings.kv_cache_threshold
        output_tokens = recent.output_tokens or 0.0
        in_use = int(peak.kv_cache_ratio * sight.kv_capacity_tokens)
        bucket = sum(output_tokens >= bound for bound in (100, 500))
        if peak.waiting >= self.settings.queue_threshold and in_use > 0:
            self._observed.setdefault(bucket, deque(maxlen=OBSERVATIONS)).append(in_use)
            return float(min(memory, in_use))
        if bucket in self._observed:
            return min(memory, fmean(self._observed[bucket]))
        return min(memory, self._derived(recent.input_tokens or 0.0, output_tokens)) if output_tokens else memory

    def _derived(self, input_tokens: float, output_tokens: float) -> float:
        """What the engine's arguments allow."""
        length = input_tokens + output_tokens
        steady = min(self.settings.token_budget * output_tokens / length, float(self.settings.max_sequences))
        return steady * (length - output_tokens / 2)


WVA_DOCS = (
    "https://github.com/llm-d/llm-d-workload-variant-autoscaler/blob/main/docs/developer-guide/"
    "saturation-scaling-config.md"
)
WVA_DEFAULTS: Mapping[str, float] = {"loop_s": 60.0, "down_stabilization_s": 0.0}
WVA_TUNABLE: Mapping[str, Range] = {
    "loop_s": Range(low=15.0, high=120.0, kind="log"),
    "down_stabilization_s": Range(low=0.0, high=1800.0),
}


def wva_settings(of: Build) -> WvaSettings:
    """How the contest runs every WVA; the settings are those of ``WVA_DEFAULTS``."""
    default = WvaSettings(min_replicas=of.min_replicas, max_replicas=of.max_replicas)
    return WvaSettings(
        min_replicas=of.min_replicas,
        max_replicas=of.max_replicas,
        loop_s=of.settings["loop_s"],
        behavior=Behavior(
            up=default.behavior.up,
            down=ScalingRules(
                stabilization_s=of.settings["down_stabilization_s"], policies=default.behavior.down.policies
            ),
        ),
    )


def _wva_v1(of: Build) -> Opponent:
    kv_threshold = min(1.0, of.settings["load_ratio"] * of.profile.kv_cache_ratio)
    queue_threshold = of.settings["queue_threshold"]
    return Wva(
        wva_settings(of),
        Percentage(
            PercentageSettings(
                kv_cache_threshold=kv_threshold,
                kv_spare_trigger=kv_threshold * of.settings["spare_ratio"],
                queue_threshold=queue_threshold,
                queue_spare_trigger=queue_threshold * 0.6,
            )
        ),
    )


def _tokens_settings(of: Build) -> TokensSettings:
    return TokensSettings(
        token_budget=of.profile.limits.token_budget,
        max_sequences=of.profile.limits.max_sequences,
        cached_ratio=of.profile.shape.cached_ratio,
    )


def _wva_v2(of: Build) -> Opponent:
    up = of.settings["up_threshold_ratio"]
    settings = replace(
        _tokens_settings(of),
        queue_threshold=of.settings["queue_threshold"],
        up_threshold_ratio=up,
        down_boundary_ratio=up * of.settings["down_ratio"],
    )
    return Wva(wva_settings(of), Tokens(settings))


WVA_V1 = Contender(
    name="wva-v1",
    documentation=WVA_DOCS,
    translation="the KV cache threshold as a share of that at capacity, its spare trigger an eighth of it as 10 % are "
    "of 80 %; 3 of 5 queue places to spare; an HPA tolerance of 0, so that a step of one lands",
    knob=Knob(name="load_ratio", values=LOAD_RATIO, dearer="lower"),
    defaults={**WVA_DEFAULTS, "load_ratio": 1.0, "spare_ratio": 0.125, "queue_threshold": 5.0},
    tunable={
        **WVA_TUNABLE,
        "spare_ratio": Range(low=0.05, high=0.4),
        "queue_threshold": Range(low=2.0, high=20.0, kind="log"),
    },
    build=_wva_v1,
    documented=lambda of: Wva(wva_settings(of), Percentage()),
)
WVA_V2 = Contender(
    name="wva-v2",
    documentation=WVA_DOCS,
    translation="scaleUpThreshold down to what latency targets need; scaleDownBoundary a constant share of it, 0.70 / "
    "0.85 by default; an HPA tolerance of 0, so that a step of one lands",
    knob=Knob(name="up_threshold_ratio", values=Range(low=0.03, high=1.0, kind="log"), dearer="lower"),
    defaults={**WVA_DEFAULTS, "up_threshold_ratio": 0.85, "down_ratio": 0.70 / 0.85, "queue_threshold": 5.0},
    tunable={
        **WVA_TUNABLE,
        "down_ratio": Range(low=0.5, high=0.98),
        "queue_threshold": Range(low=1.0, high=20.0, kind="log"),
    },
    build=_wva_v2,
    documented=lambda of: Wva(wva_settings(of), Tokens(_tokens_settings(of))),
)
