"""KEDA: an HPA on an external metric, and a gate between zero and one.

https://keda.sh/docs/latest/reference/scaledobject-spec/ and https://keda.sh/docs/latest/scalers/prometheus/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from controller.simulate.opponents.behavior import (
    BEHAVIOR_DEFAULTS,
    BEHAVIOR_TUNABLE,
    TOLERANCE_RATIO,
    Behavior,
    Stabilizer,
    behavior_of,
)
from controller.simulate.opponents.clock import Clock, Round, clipped
from controller.simulate.opponents.contender import LOAD_RATIO, Build, Contender, Knob, Range
from controller.simulate.opponents.hpa import SYNC_S, replicas_for_total
from controller.simulate.sight import Opponent, Sight, Wish, few


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """After ``failures`` polls in a row without a value: hold ``replicas``. KEDA has none unless it is written down;
    3 failures is what its documentation shows."""

    replicas: int
    failures: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaSettings:
    """One Prometheus trigger.

    threshold              requests per replica: waiting ones, with ``count_running`` also those that run. No default
                           in KEDA; 5 waiting is vLLM production-stack's tutorial
                           (https://docs.vllm.ai/projects/production-stack/en/latest/use_cases/autoscaling-keda.html)
    activation_threshold   active above it; default 0
    polling_s, cooldown_s  defaults 30 and 300. The cooldown only delays the way to zero
    ignore_null_values     default true: no engine answering reads as 0
    min_replicas           default 0; max_replicas: 100
    tolerance_ratio, behavior, sync_s   the HPA's that KEDA makes
    """

    threshold: float = 5.0
    count_running: bool = False
    activation_threshold: float = 0.0
    polling_s: float = 30.0
    cooldown_s: float = 300.0
    ignore_null_values: bool = True
    fallback: Fallback | None = None
    min_replicas: int = 0
    max_replicas: int = 100
    tolerance_ratio: float = TOLERANCE_RATIO
    behavior: Behavior = field(default_factory=Behavior)
    sync_s: float = SYNC_S


@dataclass(slots=True)
class Keda:
    """Polls decide between none and some; the HPA below decides how many."""

    settings: KedaSettings
    _clock: Clock = field(init=False)
    _poll: Round = field(init=False)
    _stabilizer: Stabilizer = field(init=False)
    _active: bool = False
    _active_s: float = -inf
    _failures: int = 0
    _wish: tuple[float | None, int] = (None, 0)

    def __post_init__(self) -> None:
        self._clock = Clock(self.settings.sync_s)
        self._poll = Round(self.settings.polling_s)
        least = max(1, self.settings.min_replicas)
        self._stabilizer = Stabilizer(self.settings.behavior, least, max(least, self.settings.max_replicas))

    @property
    def sync_s(self) -> float:
        return self.settings.sync_s

    def desired(self, sight: Sight) -> int:
        now_s = self._clock.tick(sight)
        value = self._value(sight)
        if self._poll.due(now_s):
            self._polled(now_s, value)
        if self.settings.min_replicas == 0 and not self._some(now_s, sight, value):
            self._wish = None, 0
            return 0
        if sight.current == 0:
            self._wish = None, 1
            return clipped(1, self._stabilizer.min_replicas, self._stabilizer.max_replicas)
        recommended = self._recommended(sight, value)
        self._wish = value, recommended
        return self._stabilizer.settle(now_s, sight.current, recommended)

    def wish(self) -> Wish | None:
        value, replicas = self._wish
        if value is None:
            return None
        requests = "running and waiting requests" if self.settings.count_running else "waiting requests"
        return Wish(f"{few(value)} {requests} at {few(self.settings.threshold)} a replica", replicas)

    def _value(self, sight: Sight) -> float | None:
        """What the query gives, gateway's queue included; None when no engine answers and that is not taken for 0."""
        if not sight.ready and not self.settings.ignore_null_values:
            return None
        return float(sight.waiting + (sight.running if self.settings.count_running else 0))

    def _polled(self, now_s: float, value: float | None) -> None:
        self._failures = self._failures + 1 if value is None else 0
        self._active = value is not None and value > self.settings.activation_threshold
        if self._active:
            self._active_s = now_s

    def _some(self, now_s: float, sight: Sight, value: float | None) -> bool:
        """Whether there shall be any replica. A failing trigger does not take the last one away."""
        if self._active:
            return True
        if sight.current == 0:
            return False
        return value is None or now_s - self._active_s < self.settings.cooldown_s

    def _recommended(self, sight: Sight, value: float | None) -> int:
        if value is None:
            fallback = self.settings.fallback
            failed = fallback is not None and self._failures >= fallback.failures
            return fallback.replicas if fallback is not None and failed else sight.current
        return replicas_for_total(
            value,
            target=self.settings.threshold,
            current=sight.current,
            tolerance_ratio=self.settings.tolerance_ratio,
        )


KEDA_DOCS = "https://keda.sh/docs/latest/reference/scaledobject-spec/"


def _keda(of: Build, *, threshold: float, count_running: bool) -> Opponent:
    return Keda(
        KedaSettings(
            threshold=threshold,
            count_running=count_running,
            min_replicas=of.min_replicas,
            max_replicas=of.max_replicas,
            polling_s=of.settings["polling_s"],
            cooldown_s=of.settings["cooldown_s"],
            tolerance_ratio=of.settings["tolerance_ratio"],
            behavior=behavior_of(of.settings),
        )
    )


KEDA_DEFAULTS: Mapping[str, float] = {**BEHAVIOR_DEFAULTS, "polling_s": 30.0, "cooldown_s": 300.0}
KEDA_TUNABLE: Mapping[str, Range] = {
    **BEHAVIOR_TUNABLE,
    "polling_s": Range(low=5.0, high=60.0),
    "cooldown_s": Range(low=30.0, high=1800.0, kind="log"),
}

KEDA_QUEUE = Contender(
    name="keda-queue",
    documentation=KEDA_DOCS,
    translation="5 waiting requests a replica, as in vLLM production-stack's tutorial; KEDA has no default",
    knob=Knob(name="threshold", values=Range(low=0.25, high=50.0, kind="log"), dearer="lower"),
    defaults={**KEDA_DEFAULTS, "threshold": 5.0},
    tunable=KEDA_TUNABLE,
    build=lambda of: _keda(of, threshold=of.settings["threshold"], count_running=False),
    documented=lambda of: _keda(of, threshold=5.0, count_running=False),
)
KEDA_LOAD = Contender(
    name="keda-load",
    documentation=KEDA_DOCS,
    translation="running + waiting requests a replica, as a share of the batch at its capacity; documented is no "
    "number: 80 %, as for hpa-load",
    knob=Knob(name="load_ratio", values=LOAD_RATIO, dearer="lower"),
    defaults={**KEDA_DEFAULTS, "load_ratio": 0.8},
    tunable=KEDA_TUNABLE,
    build=lambda of: _keda(of, threshold=of.settings["load_ratio"] * of.profile.running, count_running=True),
    documented=lambda of: _keda(of, threshold=0.8 * of.profile.running, count_running=True),
)
