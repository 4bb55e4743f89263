"""The sweep: find out what the server takes, hold every load in turn, fit the model to all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.facts.missing import Missing
from controller.facts.performance import RequestShape, StepModel
from controller.facts.profile import Number, Profile, ProfilePoint
from controller.profile import measure
from controller.profile.client import Client
from controller.profile.fit import Fitted, fit
from controller.profile.load import Asking, Held, Point, Told
from controller.profile.plan import CONCURRENCY, Draw, PointPlan, SweepPlan
from controller.profile.preflight import preflight
from controller.profile.rows import Rows, joined, rows
from controller.profile.score import predicted, scored
from controller.profile.watch import EngineWatch, Watched

MOST_FAILED_RATIO = 0.05
"""A point where more requests than this failed tells little of the engine's steps and is not fitted. A guess."""

LATE_RATIO = 0.1
"""The load generator was too slow where its p99 lateness exceeds this share of the median TTFT. A guess."""

MOST_CACHED_RATIO = 0.05
"""Above this share of cached prompt tokens, unknown to the fit, prefill is misjudged by as much. A guess."""

TOKENS_A_PART = 1.1
"""From so many tokens a part of an answer on, steps cannot be counted by tokens. A guess: rounding, and then some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What the server costs, and who says so."""

    usd_per_hour: Number
    source: str = ""


@dataclass(slots=True, kw_only=True)
class Sweep:
    """A sweep under way, and what it has measured so far. ``ended``: why before its end; "" when it was not."""

    plan: SweepPlan
    price: Priced
    prior: StepModel | None
    clock: Callable[[], datetime]
    began: Callable[[int, PointPlan], None]
    told: Told
    finished: Callable[[ProfilePoint], None]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    points: list[ProfilePoint] = field(default_factory=list)
    ended: str = ""
    _model: str = ""
    _notes: list[str] = field(default_factory=list)
    _rows: list[Rows] = field(default_factory=list)
    _shapes: list[RequestShape | Missing] = field(default_factory=list)
    _at: datetime | None = None

    async def run(self) -> None:
        """Measure every point. Raises PennyweightError when the server cannot be measured at all."""
        plan = self.plan
        self._at = self.clock()
        async with Client(plan.root, api=plan.api, api_key=plan.api_key, timeout_s=plan.timeout_s) as client:
            asking, said = await preflight(client, plan)
            self._model = asking.model
            self._notes += said
            watch = EngineWatch(client, self.clock)
            for index, one in enumerate(plan.points):
                if self.stop.is_set() or self.ended:
                    break
                settled = self._settled(one)
                if isinstance(settled, Missing):
                    self._notes.append(settled.why)
                    continue
                self.began(index, settled)
                await self._point(index, settled, asking, watch)
        if self.stop.is_set():
            self.ended = f"stopped: {len(self.points)} of {len(plan.points)} points measured"

    def profile(self) -> Profile:
        """What has been measured, fitted."""
        fitted = self._fit()
        points = tuple(
            replace(one, predicted=predicted(fitted, one, shape))
            for one, shape in zip(self.points, self._shapes, strict=True)
        )
        return Profile(
            server=self.plan.root,
            model=self._model,
            at=self._at or self.clock(),
            seed=self.plan.seed,
            usd_per_hour=self.price.usd_per_hour,
            price_source=self.price.source,
            points=points,
            fit=fitted if isinstance(fitted, Missing) else scored(fitted, points, sum(map(len, self._rows))),
            notes=(*self._notes, *([self.ended] if self.ended else [])),
        )

    def _settled(self, plan: PointPlan) -> PointPlan | Missing:
        """The point with its rate, where that is a share of what the closed loop reached."""
        if plan.share is None:
            return plan
        rates = [
            one.requests_per_s
            for one in self.points
            if one.kind == CONCURRENCY and _alike(one, plan) and not _failing(one)
        ]
        if not any(rates):
            lengths = f"{plan.prompt_tokens:g} + {plan.output_tokens:g} tokens"
            why = f"nothing was measured, because at {lengths} no such point was without failures"
            return Missing("rate", f"at {plan.share:.0%} of the closed loop's rate: {why}")
        return plan.of(max(rates))

    async def _point(self, index: int, plan: PointPlan, asking: Asking, watch: EngineWatch) -> None:
        seed = self.plan.seed * 1000 + index
        run = int(self._at.timestamp()) if self._at is not None else 0
        draw = Draw(plan, spread=self.plan.spread, seed=seed, run=run, most_tokens=asking.most_tokens)
        held, watched = Held(plan=plan), Watched()
        point = Point(asking, held, draw, self.stop)
        await point.hold(
            self.plan.warm_up_s,
            self.plan.duration_s,
            self.told,
            lambda start_s, end_s: watch.watch(watched, start_s, end_s),
        )
        if held.cut and not self.stop.is_set():
            self.ended = f"the sweep ended at {plan}: {held.cut}; what was measured before is kept"
        if not any(one.ok for one in held.measured):
            if not held.cut:
                why = "no request was answered" if held.measured else "none was due within the window: measure longer"
                self._notes.append(f"{plan}: {why}")
            if held.cut and not held.measured:
                return
        self._keep(held, watched)

    def _keep(self, held: Held, watched: Watched) -> None:
        point = measure.point(held, watched.seen(), self.price.usd_per_hour)
        self.points.append(point)
        self._shapes.append(measure.shape(held))
        self._notes += _doubts(held, point)
        failing, checks = _failing(point), point.checks
        if failing and not held.cut:
            unused = "" if checks else "; not used for the fit"
            self._notes.append(f"{held.plan}: {point.failed} of {point.requests} requests failed{unused}")
        if not failing and not checks and not isinstance(self._shapes[-1], Missing):
            self._rows.append(rows(held.flights, held.start_s, held.end_s, _engine_steps(watched)))
        self.finished(point)

    def _fit(self) -> Fitted | Missing:
        if not self._rows:
            return Missing("step model", "no point was measured that could be fitted")
        largest = max(one.in_flight for one in self.points if not one.checks)
        return fit(joined(self._rows), self.prior, largest)


def _alike(point: ProfilePoint, plan: PointPlan) -> bool:
    return (point.prompt_tokens, point.output_tokens) == (plan.prompt_tokens, plan.output_tokens)


def _failing(point: ProfilePoint) -> bool:
    return point.failed > MOST_FAILED_RATIO * max(1, point.requests)


def _engine_steps(watched: Watched) -> tuple[float, float, float] | None:
    """Steps the engine counted and when, where it was busy all the time."""
    steps, span = watched.steps(), watched.span
    return (steps, *span) if span and not isinstance(steps, Missing) and steps > 0 and watched.always_busy else None


def _doubts(held: Held, point: ProfilePoint) -> list[str]:
    """What makes a point's figures doubtful."""
    said, late, typical = [], point.lateness_p99_s, point.ttft.p50
    if not isinstance(late, Missing) and not isinstance(typical, Missing) and late > LATE_RATIO * typical:
        said.append(
            f"{held.plan}: this load generator sent 1 % of the requests over {late * 1e3:.0f} ms late, "
            f"{late / typical:.0%} of the median TTFT: give it a machine of its own"
        )
    cached = Missing("cached", "") if isinstance(point.engine, Missing) else point.engine.cached_prompt_ratio
    if not isinstance(cached, Missing) and cached > MOST_CACHED_RATIO and not point.mean_cached_tokens:
        said.append(
            f"{held.plan}: the prefix cache held {cached:.0%} of the prompt tokens, but usage does not say "
            "which (vLLM: --enable-prompt-tokens-details): prefill looks faster than it is"
        )
    answered = [one for one in held.measured if one.ok]
    parts = sum(len(one.chunk_s) for one in answered)
    tokens = sum(one.output_tokens for one in answered)
    if parts and tokens / parts > TOKENS_A_PART:
        said.append(
            f"{held.plan}: {tokens / parts:.1f} tokens a part of the stream (speculation, or a server that collects): "
            "ITL is between parts, and the fitted step is a token's"
        )
    if held.plan.kind != CONCURRENCY and point.requests_per_s < 0.9 * len(held.measured) / max(point.window_s, 1e-9):
        said.append(
            f"{held.plan}: more arrived than was answered: the server is overloaded and latency grows with time"
        )
    return said
