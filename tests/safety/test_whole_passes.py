"""The kernel in whole passes: storms told to the decisions, cuts that nobody else is blamed for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from controller.facts.decisions import Because, OutcomeKind
from controller.facts.fleet import Capacity, CapacityType
from controller.facts.missing import Missing
from controller.facts.prices import Price
from controller.facts.readings import Observation, Phase, ReplicaState
from controller.facts.safety import Stop
from controller.loop import Running, one_pass
from controller.safety.rules import Blast, Limit, SafetyRules

SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND


@dataclass
class Passes:
    """Passes 15 s apart."""

    world: object
    plan: object
    start: datetime
    running: Running = field(default_factory=Running)
    count: int = 0

    def turn(self):
        now = self.start + timedelta(seconds=15 * self.count)
        self.count += 1
        result, self.running = one_pass(self.world, self.plan, self.running, now)
        return result


@pytest.fixture
def passes(world, plan, make):
    return Passes(world, plan, make.noon)


def test_a_cut_step_is_what_is_expected_next_and_goes_on_in_the_next_pass(passes):
    passes.plan = replace(passes.plan, safety=SafetyRules(grow=Blast(per_pass=Limit(replicas=1), per_hour=Limit())))
    passes.world.queue = 30.0
    found = [passes.turn().decisions[0] for _ in range(3)]
    assert [(one.current, one.desired, one.because) for one in found] == [
        (2, 3, Because.BLAST_LIMIT),
        (3, 4, Because.BLAST_LIMIT),
        (4, 5, Because.BLAST_LIMIT),
    ]
    events = passes.running.memory.services["chat"].scale_events
    assert [(one.before, one.after) for one in events[-1:]] == [(4, 5)]
    assert passes.world.records[0].decisions[0].desired == 3, "what is recorded is what is done"


def test_a_stop_is_shown_counts_nothing_and_alarms_nobody_of_intruders(passes, make):
    passes.world.queue = 30.0
    passes.world.stopped = (Stop(since=make.noon, by="ann", reason="x"),)
    result = passes.turn()
    assert (result.decisions[0].because, result.outcomes) == (Because.STOPPED, ())
    assert result.safety.stops == passes.world.stopped
    passes.world.stopped = ()
    assert passes.turn().decisions[0].because is Because.DEMAND


def test_what_cannot_be_recorded_counts_for_no_limit(passes):
    passes.world.queue, passes.world.ledger_down = 30.0, True
    passes.turn()
    assert passes.running.memory.safety.moves == ()


def test_what_fails_counts_until_the_next_pass_sees_what_became_of_it(passes):
    passes.world.queue, passes.world.actuator_breaks = 30.0, RuntimeError("timed out")
    assert passes.turn().outcomes[0].kind is OutcomeKind.FAILED
    assert sum(one.replicas for one in passes.running.memory.safety.moves) == 4
    passes.world.queue = 10.0
    passes.turn()
    assert passes.running.memory.safety.moves == ()


@dataclass
class Spot:
    """The world of tests with spot replicas, some of which are lost, beside an on-demand variant."""

    inner: object
    states: dict[str, tuple[ReplicaState, ...]]

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def observe(self, now: datetime) -> Observation:
        ready = [one for some in self.states.values() for one in some if one.phase is Phase.READY]
        self.inner.replicas = len(ready)
        seen = self.inner.observe(now)
        targets = [
            replace(target, replica=one.replica, variant=one.variant, url=f"http://{one.replica}")
            for target, one in zip(seen.targets, ready, strict=True)
        ]
        readings = [
            reading if isinstance(reading, Missing) else replace(reading, target=target)
            for target, reading in zip(targets, seen.engines.values(), strict=True)
        ]
        return replace(
            seen,
            targets=tuple(targets),
            engines={target.url: reading for target, reading in zip(targets, readings, strict=True)},
            replicas={("chat", name): some for name, some in self.states.items()},
        )

    def prices(self, now: datetime) -> dict:
        cheap = Price(usd_per_gpu_hour=1.0, capacity_type=SPOT, source="test")
        dear = Price(usd_per_gpu_hour=3.0, capacity_type=ON_DEMAND, source="test")
        return {("chat", "spot", SPOT): cheap, ("chat", "bought", ON_DEMAND): dear}

    def act(self, decision, now):
        self.inner.acted.append(decision)
        raise RuntimeError("nothing is to be had")


@pytest.fixture
def spot(world, plan, make, passes):
    """Six spot replicas of one domain, and a plan that may also buy."""
    names = [f"r{index}" for index in range(6)]
    states = tuple(make.state(name, variant="spot", url=f"http://{name}") for name in names)
    variant = plan.fleet.services["chat"].variants["h100"]
    service = replace(
        plan.fleet.services["chat"],
        variants={
            "spot": replace(variant, name="spot", capacity=(Capacity(type=SPOT),)),
            "bought": replace(variant, name="bought", capacity=(Capacity(type=ON_DEMAND),)),
        },
    )
    policy = replace(plan.policies["chat"], spot_allowed=True)
    passes.plan = replace(plan, fleet=replace(plan.fleet, services={"chat": service}), policies={"chat": policy})
    passes.world = Spot(world, {"spot": states, "bought": ()})
    return passes


def by_variant(result):
    return {one.variant: one for one in result.decisions}


def test_without_a_storm_the_cheapest_is_spot(spot):
    spot.world.inner.queue = 12.0
    made = by_variant(spot.turn())
    assert (made["spot"].desired, made["bought"].desired) == (8, 0)


def test_in_a_storm_what_was_lost_is_bought_and_not_taken_from_the_same_spot(spot, make):
    spot.world.inner.queue = 8.0
    spot.turn()
    before = spot.world.states["spot"]
    spot.world.states["spot"] = (
        *(replace(one, phase=Phase.DRAINING, notice=make.notice(15)) for one in before[:3]),
        *before[3:],
    )
    spot.world.inner.queue = 16.0
    result = spot.turn()
    made = by_variant(result)
    assert [one.domain for one in result.safety.storms] == ["zone-a/p5"]
    assert (made["spot"].desired, made["bought"].desired) == (3, 2)
    assert "no spot of it before 12:30 UTC" in made["bought"].detail


def test_spot_that_starts_in_a_storm_is_covered_once_and_nothing_goes_meanwhile(spot, make):
    spot.world.inner.queue = 8.0
    spot.turn()
    before = spot.world.states["spot"]
    starting = tuple(make.state(f"new{index}", variant="spot", phase=Phase.STARTING) for index in range(3))
    noticed = tuple(replace(one, phase=Phase.DRAINING, notice=make.notice(15)) for one in before[:3])
    spot.world.states["spot"] = (*noticed, *before[3:], *starting)
    spot.world.inner.queue = 16.0
    made = by_variant(spot.turn())
    assert made["bought"].desired == 2, (
        "three serve, three start on what is taken: two more make the five that are wanted"
    )
    cover = tuple(
        make.state(f"c{index}", variant="bought", phase=Phase.STARTING, capacity_type=ON_DEMAND, domain="")
        for index in range(2)
    )
    spot.world.states["bought"] = cover
    made = by_variant(spot.turn())
    assert (made["spot"].desired, made["bought"].desired) == (6, 2)


def test_a_storm_with_nothing_else_to_buy_holds_and_says_so(spot, make):
    variants = spot.plan.fleet.services["chat"].variants
    only = replace(spot.plan.fleet.services["chat"], variants={"spot": variants["spot"]})
    spot.plan = replace(spot.plan, fleet=replace(spot.plan.fleet, services={"chat": only}))
    del spot.world.states["bought"]
    spot.world.inner.queue = 8.0
    spot.turn()
    before = spot.world.states["spot"]
    spot.world.states["spot"] = (
        *(replace(one, phase=Phase.DRAINING, notice=make.notice(15)) for one in before[:3]),
        *before[3:],
    )
    spot.world.inner.queue = 16.0
    (held,) = spot.turn().decisions
    assert (held.desired, held.because) == (3, Because.STORM)
    assert isinstance(held.usd_per_hour_after, float | Missing)
