"""SkyPilot SkyServe's request-rate autoscaler.

https://docs.skypilot.co/en/latest/serving/autoscaling.html; constants in sky/serve/constants.py of
https://github.com/skypilot-org/skypilot
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from controller.simulate.opponents.clock import Clock, Round, Window, clipped
from controller.simulate.opponents.contender import LOAD_RATIO, Build, Contender, Knob, Range
from controller.simulate.sight import Opponent, Sight, Wish, few


@dataclass(frozen=True, slots=True, kw_only=True)
class SkySettings:
    """Documented defaults; ``target_qps_per_replica`` has none, 2.5 is the documentation's example.

    up_delay_s, down_delay_s   upscale_delay_seconds 300, downscale_delay_seconds 1200
    window_s                   AUTOSCALER_QPS_WINDOW_SIZE_SECONDS
    decision_s, idle_decision_s   AUTOSCALER_DEFAULT_DECISION_INTERVAL_SECONDS, and with no replica 5
    """

    min_replicas: int
    max_replicas: int
    target_qps_per_replica: float = 2.5
    up_delay_s: float = 300.0
    down_delay_s: float = 1200.0
    window_s: float = 60.0
    decision_s: float = 20.0
    idle_decision_s: float = 5.0


@dataclass(slots=True)
class Sky:
    """ceil(requests/s of the last minute / target), once it has been above, or below, for its delay in rounds.

    From zero it follows at once. It starts at the scale that it finds.
    """

    settings: SkySettings
    _clock: Clock = field(init=False)
    _round: Round = field(init=False)
    _rates: Window = field(init=False)
    _target: int | None = None
    _above: int = 0
    _below: int = 0

    def __post_init__(self) -> None:
        self._clock = Clock(self.sync_s)
        self._round = Round(self.settings.decision_s)
        self._rates = Window(self.settings.window_s)

    @property
    def sync_s(self) -> float:
        return self.settings.decision_s if self.settings.min_replicas else self.settings.idle_decision_s

    def desired(self, sight: Sight) -> int:
        now_s = self._clock.tick(sight)
        self._rates.add(now_s, sight.arrivals_per_s)
        if self._target is None:
            self._target = self._clipped(sight.current)
        if self._target == 0 or self._round.due(now_s):
            self._target = self._decided(self._target)
        return self._target

    def wish(self) -> Wish:
        rate, target = self._rates.mean() or 0.0, self.settings.target_qps_per_replica
        return Wish(f"{few(rate)} requests/s at {few(target)} a replica", ceil(rate / target))

    def _decided(self, target: int) -> int:
        settings = self.settings
        wanted = self._clipped(ceil((self._rates.mean() or 0.0) / settings.target_qps_per_replica))
        if target == 0:
            return wanted
        self._above = self._above + 1 if wanted > target else 0
        self._below = self._below + 1 if wanted < target else 0
        if self._above < int(settings.up_delay_s / settings.decision_s) and wanted > target:
            return target
        if self._below < int(settings.down_delay_s / settings.decision_s) and wanted < target:
            return target
        self._above = self._below = 0
        return wanted

    def _clipped(self, replicas: int) -> int:
        return clipped(replicas, self.settings.min_replicas, self.settings.max_replicas)


def _sky(of: Build) -> Opponent:
    settings = of.settings
    return Sky(
        SkySettings(
            min_replicas=of.min_replicas,
            max_replicas=of.max_replicas,
            target_qps_per_replica=settings["load_ratio"] * of.profile.requests_per_s,
            up_delay_s=settings["up_delay_s"],
            down_delay_s=settings["down_delay_s"],
        )
    )


SKYSERVE = Contender(
    name="skyserve",
    documentation="https://docs.skypilot.co/en/latest/serving/autoscaling.html",
    translation="target_qps_per_replica as a share of a replica's capacity; documented: the example's 2.5",
    knob=Knob(name="load_ratio", values=LOAD_RATIO, dearer="lower"),
    defaults={"load_ratio": 0.8, "up_delay_s": 300.0, "down_delay_s": 1200.0},
    tunable={
        "up_delay_s": Range(low=20.0, high=300.0, kind="log"),
        "down_delay_s": Range(low=60.0, high=3600.0, kind="log"),
    },
    build=_sky,
    documented=lambda of: Sky(SkySettings(min_replicas=of.min_replicas, max_replicas=of.max_replicas)),
)
