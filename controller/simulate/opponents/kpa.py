"""Knative's pod autoscaler (KPA), on concurrency.

https://knative.dev/docs/serving/autoscaling/kpa-specific/ and
https://knative.dev/docs/serving/autoscaling/concurrency/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, floor
from statistics import fmean

from controller.simulate.opponents.clock import Clock, Window, clipped
from controller.simulate.opponents.contender import LOAD_RATIO, Build, Contender, Knob, Range
from controller.simulate.sight import Opponent, Sight, Wish, few


@dataclass(frozen=True, slots=True, kw_only=True)
class KpaSettings:
    """Defaults of the config-autoscaler ConfigMap
    (https://github.com/knative/serving/blob/main/config/core/configmaps/autoscaler.yaml).

    container_concurrency   container-concurrency-target-default: 100 requests a replica
    utilization_ratio       container-concurrency-target-percentage: 70 %; the target is their product
    panic_ratio             panic-window-percentage: 10 % of the stable window
    panic_threshold_ratio   panic-threshold-percentage: 200 % of what is ready
    max_up_rate, max_down_rate   1000 and 2 times the ready count, a tick
    zero_grace_s            scale-to-zero-grace-period
    """

    min_replicas: int = 0
    max_replicas: int = 100
    container_concurrency: float = 100.0
    utilization_ratio: float = 0.70
    stable_s: float = 60.0
    panic_ratio: float = 0.10
    panic_threshold_ratio: float = 2.0
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0
    scale_down_delay_s: float = 0.0
    zero_grace_s: float = 30.0
    tick_s: float = 2.0


@dataclass(slots=True)
class Kpa:
    """Mean concurrency over a long and a short window, each divided by the target; the short one counts, and nothing
    shrinks, while it asks for twice what is ready and for a stable window after.

    It starts in panic at the scale it finds, so that a restart shrinks nothing. Its own collector reads every second;
    here a scrape's value holds until the next.
    """

    settings: KpaSettings
    _clock: Clock = field(init=False)
    _concurrency: Window = field(init=False)
    _wanted: Window = field(init=False)
    _panic_since_s: float | None = None
    _most_in_panic: int = 0
    _means: tuple[float, float] = (0.0, 0.0)
    _idle_since_s: float | None = None
    _seen: bool = False

    def __post_init__(self) -> None:
        self._clock = Clock(self.settings.tick_s)
        self._concurrency = Window(self.settings.stable_s)
        self._wanted = Window(self.settings.scale_down_delay_s)

    @property
    def sync_s(self) -> float:
        return self.settings.tick_s

    def desired(self, sight: Sight) -> int:
        now_s = self._clock.tick(sight)
        if not self._seen:
            self._seen = True
            if sight.ready > 1:
                self._panic_since_s, self._most_in_panic = now_s, sight.ready
        self._concurrency.add(now_s, float(sight.running + sight.waiting))
        wanted = self._scaled(
            now_s,
            ready=sight.ready,
            stable=fmean(self._concurrency.since(now_s, self.settings.stable_s)),
            panic=fmean(self._concurrency.since(now_s, self.settings.stable_s * self.settings.panic_ratio)),
        )
        return clipped(self._kept(now_s, wanted), self.settings.min_replicas, self.settings.max_replicas)

    def _scaled(self, now_s: float, *, ready: int, stable: float, panic: float) -> int:
        """The scale by both windows' mean concurrency."""
        settings, self._means = self.settings, (stable, panic)
        target = settings.container_concurrency * settings.utilization_ratio
        base = max(1, ready)
        least, most = floor(base / settings.max_down_rate), ceil(base * settings.max_up_rate)
        by_stable, by_panic = ceil(stable / target), ceil(panic / target)
        self._note_panic(now_s, by_panic / base >= settings.panic_threshold_ratio)
        wanted = clipped(by_stable, least, most)
        if self._panic_since_s is None:
            return wanted
        self._most_in_panic = max(self._most_in_panic, wanted, clipped(by_panic, least, most))
        return self._most_in_panic

    def wish(self) -> Wish:
        settings, (stable, panic) = self.settings, self._means
        target = settings.container_concurrency * settings.utilization_ratio
        words = f"{few(stable)} requests at once ({few(panic)} lately) at {few(target)} a replica"
        if self._panic_since_s is None:
            return Wish(words, ceil(stable / target))
        return Wish(f"{words}, in panic", self._most_in_panic)

    def _note_panic(self, now_s: float, over: bool) -> None:
        if over:
            self._panic_since_s = now_s
        elif self._panic_since_s is not None and now_s - self._panic_since_s > self.settings.stable_s:
            self._panic_since_s, self._most_in_panic = None, 0

    def _kept(self, now_s: float, wanted: int) -> int:
        """After the delay of shrinking, and the grace of the last replica."""
        self._wanted.add(now_s, wanted)
        wanted = int(max((wanted, *self._wanted.since(now_s, self.settings.scale_down_delay_s))))
        if wanted:
            self._idle_since_s = None
            return wanted
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        return 0 if now_s - self._idle_since_s >= self.settings.zero_grace_s else 1


def _kpa(of: Build) -> Opponent:
    settings = of.settings
    return Kpa(
        KpaSettings(
            min_replicas=of.min_replicas,
            max_replicas=of.max_replicas,
            container_concurrency=of.profile.running,
            utilization_ratio=settings["utilization_ratio"],
            stable_s=settings["stable_s"],
            panic_ratio=settings["panic_ratio"],
            panic_threshold_ratio=settings["panic_threshold_ratio"],
            max_down_rate=settings["max_down_rate"],
            scale_down_delay_s=settings["scale_down_delay_s"],
        )
    )


KPA = Contender(
    name="kpa",
    documentation="https://knative.dev/docs/serving/autoscaling/kpa-specific/",
    translation="container concurrency = the batch at a replica's capacity; documented: 100",
    knob=Knob(name="utilization_ratio", values=LOAD_RATIO, dearer="lower"),
    defaults={
        "utilization_ratio": 0.7,
        "stable_s": 60.0,
        "panic_ratio": 0.1,
        "panic_threshold_ratio": 2.0,
        "max_down_rate": 2.0,
        "scale_down_delay_s": 0.0,
    },
    tunable={
        "stable_s": Range(low=6.0, high=900.0, kind="log"),
        "panic_ratio": Range(low=0.05, high=1.0),
        "panic_threshold_ratio": Range(low=1.1, high=5.0),
        "max_down_rate": Range(low=1.1, high=10.0),
        "scale_down_delay_s": Range(low=0.0, high=1800.0),
    },
    build=_kpa,
    documented=lambda of: Kpa(KpaSettings(min_replicas=of.min_replicas, max_replicas=of.max_replicas)),
)
