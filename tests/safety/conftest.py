"""Fleets of decisions small enough to think through, at two dollars a replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.facts.decisions import Because, Decision, Outcome, OutcomeKind
from controller.facts.fleet import CapacityType
from controller.facts.interruptions import Notice, NoticeKind
from controller.facts.missing import Missing
from controller.facts.readings import Observation, Phase, ReplicaState
from controller.facts.safety import SafetyMemory
from controller.safety.kernel import Scene, screened, settled
from controller.safety.rules import Blast, Limit, SafetyRules

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
USD = 2.0


@dataclass(frozen=True)
class Make:
    """What a test is not about, filled in."""

    noon: datetime = NOON
    usd: float = USD

    def at(self, seconds: float) -> datetime:
        return NOON + timedelta(seconds=seconds)

    def decision(self, service: str, current: int, desired: int, seconds: float = 0, **given: Any) -> Decision:
        variant = given.pop("variant", "h100")
        usual: dict[str, Any] = {
            "id": f"{service}/{variant}@{seconds}",
            "at": self.at(seconds),
            "service": service,
            "variant": variant,
            "current": current,
            "ready": current,
            "desired": desired,
            "wanted": desired,
            "because": Because.DEMAND,
            "detail": "queue_depth 30 of 10",
            "usd_per_hour_before": USD * current,
            "usd_per_hour_after": USD * desired,
            "victims": tuple(f"r{index}" for index in range(current - desired)),
        }
        return Decision(**usual | given)

    def scene(self, seconds: float = 0, **given: Any) -> Scene:
        usual: dict[str, Any] = {"minimums": {}, "usd_per_hour": lambda decision, count: USD * count}
        return Scene(**usual | given, at=self.at(seconds))

    def rules(self, **given: Any) -> SafetyRules:
        """Without limits but those of the test."""
        nothing = Blast(per_pass=Limit(), per_hour=Limit())
        return SafetyRules(**{"grow": nothing, "shrink": nothing} | given)

    def limits(self, **per_pass: Any) -> Blast:
        return Blast(per_pass=Limit(**per_pass), per_hour=Limit())

    def hourly(self, **per_hour: Any) -> Blast:
        return Blast(per_pass=Limit(), per_hour=Limit(**per_hour))

    def unpriced(self, decision: Decision, count: int) -> Missing:
        del decision, count
        return Missing("usd_per_hour", "no source was asked")

    def state(self, name: str, **given: Any) -> ReplicaState:
        usual: dict[str, Any] = {
            "variant": "h100",
            "phase": Phase.READY,
            "since": NOON,
            "capacity_type": CapacityType.SPOT,
            "domain": "zone-a/p5",
        }
        return ReplicaState(**usual | given, replica=name)

    def notice(self, seconds: float = 0, kind: NoticeKind = NoticeKind.SPOT) -> Notice:
        return Notice(node="node", kind=kind, at=self.at(seconds))

    def seen(self, seconds: float, *states: ReplicaState) -> Observation:
        by_variant: dict[tuple[str, str], tuple[ReplicaState, ...]] = {}
        for one in states:
            key = ("chat", one.variant)
            by_variant[key] = (*by_variant.get(key, ()), one)
        return Observation(at=self.at(seconds), targets=(), engines={}, gpus={}, replicas=by_variant)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@dataclass
class Fleet:
    """Services whose counts follow what the kernel lets through."""

    counts: dict[str, int]
    rules: SafetyRules
    minimums: dict[str, int]
    memory: SafetyMemory = field(default_factory=SafetyMemory)
    seconds: float = 0.0

    def turn(self, desired: dict[str, int], kind: OutcomeKind = OutcomeKind.DONE) -> tuple[Decision, ...]:
        """One pass, 15 s after the last."""
        make = Make()
        self.seconds += 15
        asked = [make.decision(one, self.counts[one], desired[one], self.seconds) for one in self.counts]
        scene = make.scene(self.seconds, minimums=self.minimums)
        made, memory = screened(asked, self.rules, self.memory, scene)
        outcomes = {one.id: Outcome.of(one, kind, "", one.at) for one in made if not one.holds}
        self.memory = settled(memory, made, outcomes)
        if kind is OutcomeKind.DONE:
            self.counts = {one.service: one.desired for one in made}
        return made


@pytest.fixture
def fleet() -> Callable[..., Fleet]:
    return lambda counts, rules, minimums=None: Fleet(dict(counts), rules, minimums or {})
