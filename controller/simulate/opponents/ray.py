"""Ray Serve's autoscaler.

https://docs.ray.io/en/latest/serve/advanced-guides/advanced-autoscaling.html and
https://docs.ray.io/en/latest/serve/api/doc/ray.serve.config.AutoscalingConfig.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from controller.simulate.opponents.clock import Clock, Window, clipped
from controller.simulate.opponents.contender import LOAD_RATIO, Build, Contender, Knob, Range
from controller.simulate.sight import Opponent, Sight, Wish, few


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySettings:
    """Defaults of AutoscalingConfig.

    target_ongoing_requests   2 since Ray 2.32: requests in and queued for a replica
    up_factor, down_factor    upscaling_factor and downscaling_factor: 1, the share of a change that is made
    interval_s                metrics_interval_s: 10. Ray's control loop runs ten times a second on metrics of that age
    look_back_s               look_back_period_s: 30, over which requests are averaged
    down_to_zero_delay_s      downscale_to_zero_delay_s: as downscale_delay_s
    """

    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing_requests: float = 2.0
    up_delay_s: float = 30.0
    down_delay_s: float = 600.0
    down_to_zero_delay_s: float | None = None
    up_factor: float = 1.0
    down_factor: float = 1.0
    look_back_s: float = 30.0
    interval_s: float = 10.0


@dataclass(slots=True)
class Ray:
    """ceil(ongoing requests / target), once wanted for more rounds than the delay holds. To zero only from one; from
    zero at once."""

    settings: RaySettings
    _clock: Clock = field(init=False)
    _ongoing: Window = field(init=False)
    _target: int | None = None
    _ready: int = 0
    _rounds: int = 0  # above zero: in a row that wanted more; below: fewer

    def __post_init__(self) -> None:
        self._clock = Clock(self.settings.interval_s)
        self._ongoing = Window(self.settings.look_back_s)

    @property
    def sync_s(self) -> float:
        return self.settings.interval_s

    def desired(self, sight: Sight) -> int:
        now_s, self._ready = self._clock.tick(sight), sight.ready
        self._ongoing.add(now_s, float(sight.running + sight.waiting))
        if self._target is None:
            self._target = self._clipped(sight.current)
        self._target = self._decided(self._target, sight)
        return self._target

    def wish(self) -> Wish | None:
        if not self._ready:
            return None
        ongoing = f"{few(self._ongoing.mean() or 0.0)} ongoing requests"
        return Wish(f"{ongoing} at {few(self.settings.target_ongoing_requests)} a replica", self._wanted(self._ready))

    def _decided(self, target: int, sight: Sight) -> int:
        if sight.ready == 0:
            asked = sight.running + sight.waiting > 0
            return self._clipped(max(ceil(self.settings.up_factor), target)) if asked else target
        wanted = self._clipped(self._wanted(sight.ready))
        if wanted == target:
            self._rounds = 0
            return target
        return self._grown(target, wanted) if wanted > target else self._shrunk(target, wanted)

    def _wanted(self, ready: int) -> int:
        """The change from what is ready, damped by its factor; a damped shrink takes at least one away."""
        settings = self.settings
        exact = (self._ongoing.mean() or 0.0) / settings.target_ongoing_requests
        change = exact - ready
        damped = ceil(ready + (settings.up_factor if change > 0 else settings.down_factor) * change)
        return damped - 1 if ceil(exact) < ready == damped else damped

    def _grown(self, target: int, wanted: int) -> int:
        self._rounds = max(0, self._rounds) + 1
        if self._rounds <= int(self.settings.up_delay_s / self.settings.interval_s):
            return target
        self._rounds = 0
        return wanted

    def _shrunk(self, target: int, wanted: int) -> int:
        settings = self.settings
        delay_s, least = settings.down_delay_s, 1
        if target == 1:
            zero_s = settings.down_to_zero_delay_s
            delay_s, least = (delay_s if zero_s is None else zero_s), 0
        self._rounds = min(0, self._rounds) - 1
        if -self._rounds <= int(delay_s / settings.interval_s):
            return target
        self._rounds = 0
        return max(least, wanted)

    def _clipped(self, replicas: int) -> int:
        return clipped(replicas, self.settings.min_replicas, self.settings.max_replicas)


def _ray(of: Build) -> Opponent:
    settings = of.settings
    return Ray(
        RaySettings(
            min_replicas=of.min_replicas,
            max_replicas=of.max_replicas,
            target_ongoing_requests=settings["load_ratio"] * of.profile.running,
            up_delay_s=settings["up_delay_s"],
            down_delay_s=settings["down_delay_s"],
            up_factor=settings["up_factor"],
            down_factor=settings["down_factor"],
            look_back_s=settings["look_back_s"],
        )
    )


RAY_SERVE = Contender(
    name="ray-serve",
    documentation="https://docs.ray.io/en/latest/serve/advanced-guides/advanced-autoscaling.html",
    translation="target_ongoing_requests as a share of the batch at a replica's capacity; documented: 2, for models "
    "that serve one request at a time",
    knob=Knob(name="load_ratio", values=LOAD_RATIO, dearer="lower"),
    defaults={
        "load_ratio": 0.8,
        "up_delay_s": 30.0,
        "down_delay_s": 600.0,
        "up_factor": 1.0,
        "down_factor": 1.0,
        "look_back_s": 30.0,
    },
    tunable={
        "up_delay_s": Range(low=0.0, high=120.0),
        "down_delay_s": Range(low=30.0, high=1800.0, kind="log"),
        "up_factor": Range(low=0.5, high=2.0),
        "down_factor": Range(low=0.2, high=1.0),
        "look_back_s": Range(low=10.0, high=120.0, kind="log"),
    },
    build=_ray,
    documented=lambda of: Ray(RaySettings(min_replicas=of.min_replicas, max_replicas=of.max_replicas)),
)
