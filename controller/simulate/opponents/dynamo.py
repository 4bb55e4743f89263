"""NVIDIA Dynamo's planner for engines that prefill and decode: a slow loop on throughput, a fast one on load.

https://github.com/ai-dynamo/dynamo: docs/components/planner/planner-guide.md and, for the arithmetic,
components/src/dynamo/planner/core. Left out: ARIMA, its default predictor, is fitted anew at each look and too slow for
weeks of simulation, so its Kalman filter stands in; the regression of step times keeps to the profile, which here is
exact, because a scrape has no single steps to correct it with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, inf
from typing import NamedTuple

from controller.simulate.opponents.clock import Clock, Round, Window, clipped
from controller.simulate.opponents.contender import Build, Contender, Knob, Range
from controller.simulate.opponents.profile import ReplicaProfile, StepPlane, plane_of
from controller.simulate.sight import Opponent, Sight, Wish, few


class Aim(StrEnum):
    """``optimization_target``: what the load loop keeps."""

    SLA = "sla"
    THROUGHPUT = "throughput"
    LATENCY = "latency"


KV_THRESHOLDS = {Aim.THROUGHPUT: (1.0, 0.6), Aim.LATENCY: (0.4, 0.1)}
"""KV cache use, queued prompts counted, above which any engine's means one more and below which all mean one fewer
(constants of load_scaling.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamoSettings:
    """Defaults of PlannerConfig.

    throughput, load       enable_throughput_scaling true, enable_load_scaling false
    throughput_s, load_s   throughput_adjustment_interval 180, load_adjustment_interval 5
    ttft_s, itl_s          500 ms, 50 ms
    down_sensitivity_ratio load_scaling_down_sensitivity 80 %
    kalman_…               kalman_q_level 1.0, kalman_q_trend 0.1, kalman_r 10.0, kalman_min_points 5
    min_replicas           min_endpoint 1; it does not scale to zero
    max_replicas           max_gpu_budget / GPUs per engine
    """

    profile: ReplicaProfile
    min_replicas: int = 1
    max_replicas: int = 8
    throughput: bool = True
    load: bool = False
    aim: Aim = Aim.THROUGHPUT
    throughput_s: float = 180.0
    load_s: float = 5.0
    ttft_s: float = 0.5
    itl_s: float = 0.05
    down_sensitivity_ratio: float = 0.80
    kalman_q_level: float = 1.0
    kalman_q_trend: float = 0.1
    kalman_r: float = 10.0
    kalman_min_points: int = 5


@dataclass(slots=True)
class Trend:
    """A Kalman filter of a level and its trend; it forecasts one interval ahead.

    Until it has ``min_points`` it forecasts the last value. It starts with a variance of ``r``, a guess that is
    forgotten after some points.
    """

    q_level: float
    q_trend: float
    r: float
    min_points: int
    _points: int = 0
    _last: float = 0.0
    _level: float = 0.0
    _trend: float = 0.0
    _covariance: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def add(self, value: float) -> None:
        self._points += 1
        self._last = value
        if self._points == 1:
            self._level, self._covariance = value, (self.r, 0.0, self.r)
            return
        level, cross, trend = self._covariance
        level, cross, trend = level + 2 * cross + trend + self.q_level, cross + trend, trend + self.q_trend
        expected = self._level + self._trend
        gain_level, gain_trend = level / (level + self.r), cross / (level + self.r)
        self._level = expected + gain_level * (value - expected)
        self._trend += gain_trend * (value - expected)
        self._covariance = ((1 - gain_level) * level, (1 - gain_level) * cross, trend - gain_trend * cross)

    def next(self) -> float:
        return self._last if self._points < self.min_points else max(0.0, self._level + self._trend)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What one engine can do: its best rate, and the latencies there."""

    requests_per_s: float
    ttft_s: float
    itl_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineModel:
    """Latencies of an engine from the regression of its step times.

    A new prompt of I tokens behind ``queued`` ones goes through in chunks of the token budget beside the decoding
    sequences: ttft = sum of those steps. itl = one step with the mean prompt tokens a step.
    """

    plane: StepPlane
    token_budget: int
    max_sequences: int
    kv_capacity_tokens: int
    cached_ratio: float

    def ttft_s(self, queued_tokens: float, input_tokens: float, decode_kv_tokens: float) -> float:
        tokens = (queued_tokens + input_tokens) * (1 - self.cached_ratio)
        return ceil(tokens / self.token_budget) * self.plane.step_s(0, decode_kv_tokens) + (
            self.plane.per_prefill_token_s * tokens
        )

    def best(self, input_tokens: float, output_tokens: float, *, ttft_s: float, itl_s: float) -> Planned:
        """The largest batch that keeps both latencies; a batch of one when none does.

        By Little's law it serves batch / (O x step time) requests/s. At most as many sequences as fit the KV cache and
        the scheduler, and as the token budget left can keep supplied: batch <= O x budget / (I + O).
        """
        resident = input_tokens + output_tokens / 2
        supplied = output_tokens * self.token_budget / (input_tokens + output_tokens)
        low, high = 1, max(1, int(min(self.kv_capacity_tokens / resident, self.max_sequences, supplied)))
        while low < high:
            middle = (low + high + 1) // 2
            tried = self._planned(middle, input_tokens, output_tokens)
            low, high = (middle, high) if tried.ttft_s <= ttft_s and tried.itl_s <= itl_s else (low, middle - 1)
        return self._planned(low, input_tokens, output_tokens)

    def _planned(self, batch: int, input_tokens: float, output_tokens: float) -> Planned:
        kv_tokens = batch * (input_tokens + output_tokens / 2)
        prompt = min(batch * input_tokens * (1 - self.cached_ratio) / output_tokens, self.token_budget)
        step_s = self.plane.step_s(prompt, kv_tokens)
        return Planned(
            requests_per_s=batch / (output_tokens * step_s),
            ttft_s=self.ttft_s(prompt, input_tokens, kv_tokens),
            itl_s=step_s,
        )


class _Load(NamedTuple):
    """Of one engine: prompt tokens that wait for it, its share of the router's queue included, and KV tokens in use."""

    queued_tokens: float
    kv_tokens: float


@dataclass(slots=True)
class Dynamo:
    """Throughput: every 180 s ceil(forecast requests/s / an engine's best rate). Load: every 5 s one more, one fewer or
    as many, unless a change is under way. With both, the first is the floor of the second."""

    settings: DynamoSettings
    _engine: EngineModel = field(init=False)
    _clock: Clock = field(init=False)
    _round: Round = field(init=False)
    _rates: Window = field(init=False)
    _rate: Trend = field(init=False)
    _input: Trend = field(init=False)
    _output: Trend = field(init=False)
    _inputs: Window = field(init=False)
    _outputs: Window = field(init=False)
    _input_tokens: float = field(init=False)
    _output_tokens: float = field(init=False)
    _floor: int = 0
    _rates_told: str = ""
    _load_told: str = ""
    _target: int | None = None

    def __post_init__(self) -> None:
        settings, profile = self.settings, self.settings.profile
        self._engine = EngineModel(
            plane=plane_of(profile.passes),
            token_budget=profile.limits.token_budget,
            max_sequences=profile.limits.max_sequences,
            kv_capacity_tokens=profile.limits.kv_capacity_tokens,
            cached_ratio=profile.shape.cached_ratio,
        )
        self._clock = Clock(self.sync_s)
        self._round = Round(settings.throughput_s, next_s=inf)  # the first look sets it
        self._rates, self._inputs, self._outputs = (Window(settings.throughput_s) for _ in range(3))
        self._rate, self._input, self._output = (
            Trend(settings.kalman_q_level, settings.kalman_q_trend, settings.kalman_r, settings.kalman_min_points)
            for _ in range(3)
        )
        self._input_tokens, self._output_tokens = profile.shape.prompt_tokens, profile.shape.output_tokens

    @property
    def sync_s(self) -> float:
        """The load loop's interval; without it, fine enough to average the arrivals of the slow one."""
        return self.settings.load_s if self.settings.load else self.settings.throughput_s / 12

    def desired(self, sight: Sight) -> int:
        now_s = self._clock.tick(sight)
        if self._target is None:
            self._target = sight.current
            self._round.next_s = now_s + self.settings.throughput_s
        self._observe(now_s, sight)
        if self.settings.throughput and self._round.due(now_s):
            self._floor = self._by_throughput()
            self._target = self._target if self.settings.load else self._floor
        if self.settings.load and sight.ready and sight.ready == sight.current:
            step = self._step(sight)
            self._target = max(self._floor, sight.ready + step)
            self._load_told = f"load asks for {step:+d} beside {sight.ready}" if step else "load asks for no change"
        return clipped(self._target, max(1, self.settings.min_replicas), max(1, self.settings.max_replicas))

    def wish(self) -> Wish | None:
        told = ", ".join(filter(None, (self._load_told, self._rates_told)))
        return None if self._target is None or not told else Wish(told, self._target)

    def _observe(self, now_s: float, sight: Sight) -> None:
        self._rates.add(now_s, sight.arrivals_per_s)
        if sight.mean_prompt_tokens is not None and sight.mean_output_tokens is not None:
            self._inputs.add(now_s, sight.mean_prompt_tokens)
            self._outputs.add(now_s, sight.mean_output_tokens)
            self._input_tokens = max(1.0, self._inputs.mean() or 1.0)
            self._output_tokens = max(1.0, self._outputs.mean() or 1.0)

    def _by_throughput(self) -> int:
        self._rate.add(self._rates.mean() or 0.0)
        self._input.add(self._input_tokens)
        self._output.add(self._output_tokens)
        best = self._engine.best(
            max(1.0, self._input.next()),
            max(1.0, self._output.next()),
            ttft_s=self.settings.ttft_s,
            itl_s=self.settings.itl_s,
        )
        self._rates_told = f"{few(self._rate.next())} requests/s forecast at {few(best.requests_per_s)} an engine"
        return ceil(self._rate.next() / best.requests_per_s)

    def _step(self, sight: Sight) -> int:
        """+1, 0 or -1."""
        routed = sight.waiting_at_router / sight.ready
        loads = [
            _Load(
                queued_tokens=(replica.waiting + routed) * self._input_tokens,
                kv_tokens=replica.kv_cache_ratio * self._engine.kv_capacity_tokens,
            )
            for replica in sight.replicas
        ]
        if self.settings.aim is not Aim.SLA:
            return self._by_kv_cache(loads)
        by_ttft = self._by_ttft(loads)
        return 1 if by_ttft > 0 else max(by_ttft, self._by_itl(loads, self._prompt_a_step(sight)))

    def _by_kv_cache(self, loads: list[_Load]) -> int:
        above, below = KV_THRESHOLDS[self.settings.aim]
        uses = [(load.kv_tokens + load.queued_tokens) / self._engine.kv_capacity_tokens for load in loads]
        if any(use > above for use in uses):
            return 1
        return -1 if len(uses) > 1 and all(use < below for use in uses) else 0

    def _by_ttft(self, loads: list[_Load]) -> int:
        """Up when every engine is late. Down when, with N/(N-1) of the queue and of the KV, what the queue adds stays
        below the sensitivity x what the target leaves beside the prompt's own time."""
        engine, settings = self._engine, self.settings
        if all(
            engine.ttft_s(load.queued_tokens, self._input_tokens, load.kv_tokens) > settings.ttft_s for load in loads
        ):
            return 1
        if len(loads) < 2:
            return 0
        fuller = len(loads) / (len(loads) - 1)
        for load in loads:
            kv_tokens = load.kv_tokens * fuller
            own_s = engine.ttft_s(0, self._input_tokens, kv_tokens)
            added_s = engine.ttft_s(load.queued_tokens * fuller, self._input_tokens, kv_tokens) - own_s
            left_s = (settings.ttft_s - own_s) * settings.down_sensitivity_ratio
            if left_s <= 0 or added_s >= left_s:
                return 0
        return -1

    def _by_itl(self, loads: list[_Load], prompt_tokens: float) -> int:
        """Up when every engine is late. Down when, with N/(N-1) of the KV and of the queue, every engine's cache holds
        it and its step stays below the sensitivity x the target. ``prompt_tokens``: computed in a step."""
        settings, plane = self.settings, self._engine.plane
        context = self._input_tokens + self._output_tokens / 2
        if plane.step_s(prompt_tokens, min(load.kv_tokens for load in loads) + context) > settings.itl_s:
            return 1
        if len(loads) < 2:
            return 0
        fullest = max(load.kv_tokens + load.queued_tokens for load in loads) * len(loads) / (len(loads) - 1)
        late = plane.step_s(prompt_tokens, fullest + context) >= settings.itl_s * settings.down_sensitivity_ratio
        return 0 if late or fullest >= self._engine.kv_capacity_tokens else -1

    def _prompt_a_step(self, sight: Sight) -> float:
        """Mean prompt tokens in a step of an engine: prompt tokens/s x the time of a step."""
        if sight.tpot_s is None or not sight.ready:
            return 0.0
        return sight.prompt_tokens_per_s / sight.ready * sight.tpot_s


def _dynamo(of: Build, *, throughput: bool, load: bool) -> Opponent:
    settings = of.settings
    return Dynamo(
        DynamoSettings(
            profile=of.profile,
            min_replicas=of.min_replicas,
            max_replicas=of.max_replicas,
            throughput=throughput,
            load=load,
            aim=Aim.SLA,
            ttft_s=of.profile.ttft_s * settings["slo_ratio"],
            itl_s=of.profile.tpot_s * settings["slo_ratio"],
            throughput_s=settings["throughput_s"],
            load_s=settings["load_s"],
            down_sensitivity_ratio=settings["down_sensitivity_ratio"],
            kalman_r=settings["kalman_r"],
        )
    )


def _dynamo_documented(of: Build, *, throughput: bool, load: bool) -> Opponent:
    return Dynamo(
        DynamoSettings(
            profile=of.profile,
            min_replicas=of.min_replicas,
            max_replicas=of.max_replicas,
            throughput=throughput,
            load=load,
        )
    )


DYNAMO_TUNABLE: Mapping[str, Range] = {
    "throughput_s": Range(low=30.0, high=600.0, kind="log"),
    "load_s": Range(low=5.0, high=60.0, kind="log"),
    "down_sensitivity_ratio": Range(low=0.3, high=0.95),
    "kalman_r": Range(low=0.1, high=100.0, kind="log"),
}


def _dynamo_contender(name: str, *, throughput: bool, load: bool, unused: tuple[str, ...]) -> Contender:
    """``unused``: settings of the loop that this one does not run."""
    return Contender(
        name=name,
        documentation="https://github.com/ai-dynamo/dynamo/blob/main/docs/components/planner/planner-guide.md",
        translation="the service's own latencies, times the knob, in place of 500 ms and 50 ms, and the SLA in place "
        "of full KV caches for the load loop; its Kalman predictor in place of ARIMA",
        knob=Knob(name="slo_ratio", values=Range(low=0.35, high=2.0, kind="log"), dearer="lower"),
        defaults={
            "slo_ratio": 1.0,
            "throughput_s": 180.0,
            "load_s": 5.0,
            "down_sensitivity_ratio": 0.8,
            "kalman_r": 10.0,
        },
        tunable={setting: values for setting, values in DYNAMO_TUNABLE.items() if setting not in unused},
        build=lambda of: _dynamo(of, throughput=throughput, load=load),
        documented=lambda of: _dynamo_documented(of, throughput=throughput, load=load),
    )


DYNAMO_THROUGHPUT = _dynamo_contender(
    "dynamo-throughput", throughput=True, load=False, unused=("load_s", "down_sensitivity_ratio")
)
DYNAMO_LOAD = _dynamo_contender("dynamo-load", throughput=False, load=True, unused=("throughput_s", "kalman_r"))
DYNAMO = _dynamo_contender("dynamo", throughput=True, load=True, unused=())
