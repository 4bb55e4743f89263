"""Acceptance: a storm takes 40 % of the spot. Cover on demand follows the spot that is ready, launches are limited, and
spot comes back after a quiet time without going back and forth. The pure rules of a pass, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from controller.decide.replicas import decide_replicas
from controller.decide.rules import Behaviour, ReplicaRule, ServicePolicy, Targets
from controller.decide.situation import CapacityPrice, ReplicaView, Signals, Situation, VariantSituation
from controller.facts.decisions import ServiceMemory
from controller.facts.fleet import CapacityType, Mode
from controller.facts.interruptions import Notice, NoticeKind
from controller.facts.missing import Missing
from controller.facts.readings import Observation, Phase, ReplicaState
from controller.facts.safety import SafetyMemory
from controller.facts.slo import Slo
from controller.safety.kernel import screened
from controller.safety.rules import SafetyRules, StormRule
from controller.screening import scene_of, sheltered, weather

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
UNREAD = Missing("signal", "not part of this test")
WANTED, INTERVAL_S, START_S = 10, 15, 240
RULES = SafetyRules(storm=StormRule(launches=3, launches_per_s=60.0))
"""Launches are limited to three a minute, so that four are seen to wait."""

POLICY = ServicePolicy(
    service="chat",
    source="storm",
    slo=Slo(),
    replicas=ReplicaRule(
        min_replicas=1,
        max_replicas=30,
        targets=Targets(queue_depth=50.0, headroom_ratio=0.0),
        scale_up=Behaviour(stabilization_s=0),
        scale_down=Behaviour(stabilization_s=60),
    ),
    spot_allowed=True,
)


@dataclass(slots=True)
class Fleet:
    """Replicas of a spot and an on-demand variant: ordered ones are ready START_S later, warned ones go 120 s later."""

    states: list[ReplicaState]
    number: int = 100
    moves: list[tuple[float, str, int]] = field(default_factory=list)

    def step(self, now: datetime) -> None:
        kept = [
            one for one in self.states if one.notice is None or one.notice.deadline is None or now < one.notice.deadline
        ]
        self.states = [
            replace(one, phase=Phase.READY, since=now)
            if one.phase is Phase.STARTING and now - one.since >= timedelta(seconds=START_S)
            else one
            for one in kept
        ]

    def storm(self, now: datetime, taken: int) -> None:
        notice = Notice(node="", kind=NoticeKind.SPOT, at=now, deadline=now + timedelta(seconds=120), source="sqs")
        for place in [n for n, one in enumerate(self.states) if one.variant == "spot"][:taken]:
            self.states[place] = replace(self.states[place], phase=Phase.DRAINING, notice=notice)

    def order(self, variant: str, more: int, now: datetime) -> None:
        for _ in range(more):
            self.number += 1
            self.states.append(_state(f"r{self.number}", variant, Phase.STARTING, now))

    def count(self, variant: str, *phases: Phase) -> int:
        return sum(one.variant == variant and one.phase in phases for one in self.states)


def _state(name: str, variant: str, phase: Phase, since: datetime) -> ReplicaState:
    bought = CapacityType.SPOT if variant == "spot" else CapacityType.ON_DEMAND
    domain = "us-east-2a/g6e" if variant == "spot" else ""
    return ReplicaState(
        replica=name, variant=variant, phase=phase, since=since, capacity_type=bought, node=name, domain=domain
    )


USD = {"spot": 2.0, "dear": 5.0}


def _situation(fleet: Fleet, now: datetime) -> Situation:
    def view(one: ReplicaState) -> ReplicaView:
        return ReplicaView(
            name=one.replica,
            phase=one.phase,
            since=one.since,
            running=1.0,
            usd_per_hour=USD[one.variant],
            noticed=one.notice is not None,
            spot_domain=one.domain if one.capacity_type is CapacityType.SPOT else None,
        )

    types = {"spot": CapacityType.SPOT, "dear": CapacityType.ON_DEMAND}
    variants = {
        name: VariantSituation(
            name=name,
            replicas=tuple(view(one) for one in fleet.states if one.variant == name),
            capacity=(CapacityPrice(type=types[name], usd_per_replica_hour=USD[name]),),
        )
        for name in USD
    }
    ready = sum(variant.ready for variant in variants.values())
    seen = Signals(
        read_replicas=ready,
        queue_depth=50.0 * WANTED,
        kv_cache_ratio=UNREAD,
        token_load_per_s=UNREAD,
        gpu_utilization_ratio=UNREAD,
        ttft_s=UNREAD,
        tpot_s=UNREAD,
        running=1.0,
        requests_per_s=1.0,
        rejections_per_s=UNREAD,
    )
    return Situation(service="chat", at=now, mode=Mode.ADVISE, signals=seen, variants=variants)


def _pass(
    fleet: Fleet, memory: ServiceMemory, safety: SafetyMemory, now: datetime
) -> tuple[ServiceMemory, SafetyMemory]:
    seen = Observation(
        at=now,
        targets=(),
        engines={},
        gpus={},
        replicas={("chat", name): tuple(one for one in fleet.states if one.variant == name) for name in USD},
    )
    found = weather(safety, RULES, seen, {"chat": memory})
    situation = sheltered(_situation(fleet, now), found)
    decided, memory = decide_replicas(situation, POLICY, memory)
    policies = {"chat": POLICY}
    made, safety = screened(decided, RULES, found.memory, scene_of((situation,), policies, found, (), now))
    for decision in made:
        change = decision.desired - decision.current
        if change:
            fleet.moves.append(((now - NOON).total_seconds(), decision.variant, change))
        if change > 0:
            fleet.order(decision.variant, change, now)
        gone = set(decision.victims[:-change] if change < 0 else ())
        fleet.states = [one for one in fleet.states if one.replica not in gone]
    return memory, safety


def test_a_storm_of_forty_percent_is_covered_on_demand_and_spot_returns_without_a_flap():
    fleet = Fleet([_state(f"r{n}", "spot", Phase.READY, NOON - timedelta(hours=1)) for n in range(WANTED)])
    memory, safety = ServiceMemory(live_since=NOON - timedelta(hours=1)), SafetyMemory()
    storm_s, hours_s = 300, 3 * 3600
    covered = []
    for second in range(0, hours_s, INTERVAL_S):
        now = NOON + timedelta(seconds=second)
        fleet.step(now)
        if second == storm_s:
            fleet.storm(now, 4)
        memory, safety = _pass(fleet, memory, safety, now)
        alive = (Phase.STARTING, Phase.READY)
        covered.append(fleet.count("spot", Phase.READY) + fleet.count("dear", *alive))

    assert not [move for move in fleet.moves if move[0] < storm_s], "calm before the storm"
    cover = [move for move in fleet.moves if storm_s <= move[0] < storm_s + 120]
    assert cover[0] == (storm_s, "dear", 3), "in the very pass, as many as a minute's launches allow"
    assert sum(change for _, variant, change in cover if variant == "dear") == 4
    assert all(variant == "dear" for _, variant, _ in cover), "no spot while it is taken"
    assert min(covered[(storm_s + 120) // INTERVAL_S :]) >= WANTED, "ready spot and cover carry all that is wanted"

    back = [move for move in fleet.moves if move[0] >= storm_s + 120]
    assert min(at for at, _, _ in back) >= storm_s + RULES.storm.quiet_s, "nothing before the quiet time is over"
    assert fleet.count("spot", Phase.READY) in (WANTED, WANTED + 1), "an eleventh is inside the tolerance of 10 %"
    assert fleet.count("dear", Phase.STARTING, Phase.READY) == 0
    grown = [change for _, variant, change in back if variant == "spot"]
    gone = [change for _, variant, change in back if variant == "dear"]
    assert all(change > 0 for change in grown), "what came back never went again"
    assert all(change < 0 for change in gone)
    assert sum(gone) == -4
    assert sum(grown) in (4, 5), "each of the four once: no flap"
