"""Builders for situations: every test says only what matters to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.decide.rules import Behaviour, ReplicaRule, ServicePolicy, Step, Targets
from controller.decide.situation import CapacityPrice, ReplicaView, Signals, Situation, VariantSituation
from controller.facts.budgets import Guard
from controller.facts.decisions import Recommendation, ServiceMemory
from controller.facts.demand import Demand, Forecast, Outlook
from controller.facts.fleet import CapacityType, Mode
from controller.facts.missing import Missing
from controller.facts.performance import ReplicaCapacity, ServingPoint
from controller.facts.readings import Phase
from controller.facts.slo import LatencyTarget, Slo

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
UNREAD = Missing("signal", "not part of this test")


class Builder:
    """Situations, rules and memories with everyday defaults."""

    noon = NOON

    def rule(self, **changes: object) -> ReplicaRule:
        plain = ReplicaRule(
            min_replicas=1,
            max_replicas=8,
            targets=Targets(queue_depth=50.0, headroom_ratio=0.0),
            scale_up=Behaviour(stabilization_s=0),
            scale_down=Behaviour(stabilization_s=0),
        )
        return replace(plain, **changes)

    def policy(self, **changes: object) -> ServicePolicy:
        slo = changes.pop("slo", Slo())
        spot = changes.pop("spot_allowed", False)
        variants = changes.pop("variants", ())
        return ServicePolicy(
            service="chat",
            source="chat.yaml",
            slo=slo,
            replicas=self.rule(**changes),
            variants=variants,
            spot_allowed=spot,
        )

    def signals(self, read: int, **changes: object) -> Signals:
        quiet = Signals(
            read_replicas=read,
            queue_depth=0.0,
            kv_cache_ratio=UNREAD,
            token_load_per_s=UNREAD,
            gpu_utilization_ratio=UNREAD,
            ttft_s=UNREAD,
            tpot_s=UNREAD,
            running=1.0,
            requests_per_s=1.0,
            rejections_per_s=UNREAD,
        )
        return replace(quiet, **changes)

    def replicas(self, ready: int, starting: int = 0, *, price: float | Missing = 2.0) -> tuple[ReplicaView, ...]:
        phases = [Phase.READY] * ready + [Phase.STARTING] * starting
        return tuple(
            ReplicaView(
                name=f"r{index}",
                phase=phase,
                since=NOON - timedelta(minutes=5),
                running=float(index),
                usd_per_hour=price,
            )
            for index, phase in enumerate(phases)
        )

    def variant(
        self,
        ready: int,
        starting: int = 0,
        *,
        name: str = "h100",
        price: float | Missing = 2.0,
        bound: int | None = None,
        bought: CapacityType = CapacityType.ON_DEMAND,
    ) -> VariantSituation:
        capacity = (CapacityPrice(type=bought, usd_per_replica_hour=price, replicas=bound),)
        return VariantSituation(name=name, replicas=self.replicas(ready, starting, price=price), capacity=capacity)

    def situation(
        self,
        ready: int = 4,
        starting: int = 0,
        *,
        at: datetime = NOON,
        read: int | None = None,
        mode: Mode = Mode.ACT,
        paused: str = "",
        variants: tuple[VariantSituation, ...] | None = None,
        outlook: Outlook | Missing = UNREAD,
        **signals: object,
    ) -> Situation:
        chosen = variants if variants is not None else (self.variant(ready, starting),)
        all_ready = sum(variant.ready for variant in chosen)
        guards = signals.pop("guards", ())
        return Situation(
            service="chat",
            at=at,
            mode=mode,
            signals=self.signals(all_ready if read is None else read, **signals),
            variants={variant.name: variant for variant in chosen},
            paused=paused,
            outlook=outlook,
            guards=guards,
        )

    def guard(self, **changes: object) -> Guard:
        plain = Guard(service="chat", budget="chat-month", why="budget chat-month (service=chat): $900 of $900 spent")
        return replace(plain, **changes)

    def forecast(self, horizon_s: float, per_s: float, p50_per_s: float | None = None) -> Forecast:
        """``per_s`` at P95; the same at the median unless that is told."""
        middle = per_s if p50_per_s is None else p50_per_s
        return Forecast(at=NOON, horizon_s=horizon_s, quantiles={0.5: middle, 0.95: per_s}, basis="level", scored=50)

    def carries(self, requests_per_s: float) -> ReplicaCapacity:
        point = ServingPoint(
            requests_per_s=requests_per_s, running=8.0, kv_cache_ratio=0.5, busy_ratio=0.3, ttft_s=0.2, tpot_s=0.02
        )
        return ReplicaCapacity(
            requests_per_s=requests_per_s, binding="tpot", at=point, source="learned", band_ratio=0.1
        )

    def outlook(
        self,
        needs: Mapping[float, float] | float,
        *,
        capacity: Mapping[str, float | Missing] | float = 10.0,
        start_up_s: Mapping[str, float] | float = 240.0,
        arriving: float | Missing = 20.0,
        waiting: float | Missing = 0.0,
    ) -> Outlook:
        """``needs``: requests/s at P95 by horizon, or at every horizon."""
        points = needs if isinstance(needs, Mapping) else {0.0: needs, 240.0: needs}
        each = capacity if isinstance(capacity, Mapping) else {"h100": capacity}
        return Outlook(
            demand=Demand(requests_per_s=arriving, waiting_requests=waiting, shape=UNREAD),
            forecasts=tuple(self.forecast(at_s, per_s) for at_s, per_s in points.items()),
            capacity={name: one if isinstance(one, Missing) else self.carries(one) for name, one in each.items()},
            start_up_s=start_up_s if isinstance(start_up_s, Mapping) else dict.fromkeys(each, start_up_s),
        )

    def memory(self, *wanted: tuple[float, int], live_s: float = 3600, **changes: object) -> ServiceMemory:
        """``wanted``: (seconds ago, recommendation)."""
        past = tuple(Recommendation(at=NOON - timedelta(seconds=ago), wanted=count) for ago, count in wanted)
        plain = ServiceMemory(recommendations=past, live_since=NOON - timedelta(seconds=live_s))
        return replace(plain, **changes)

    def behaviour(self, stabilization_s: float, replicas: int | None = None, per_s: float = 60) -> Behaviour:
        step = Step(per_s=per_s, replicas=replicas) if replicas is not None else None
        return Behaviour(stabilization_s=stabilization_s, at_most=step)

    def slo(self, *, ttft_s: float | None = None, tpot_s: float | None = None) -> Slo:
        return Slo(
            ttft=LatencyTarget(quantile=0.95, seconds=ttft_s) if ttft_s else None,
            tpot=LatencyTarget(quantile=0.95, seconds=tpot_s) if tpot_s else None,
        )


@pytest.fixture(scope="session")
def build() -> Builder:
    return Builder()


@pytest.fixture(scope="session")
def ago() -> Callable[[float], datetime]:
    return lambda seconds: NOON - timedelta(seconds=seconds)
