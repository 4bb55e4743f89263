"""A replica that served and was lost is replaced at once; only starts that fail bench a variant."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.decide.memory import SERVED_LONG_ENOUGH_S, benched_until, noticed
from controller.decide.replicas import decide_replicas
from controller.decide.situation import VariantSituation
from controller.facts.decisions import Because, ServiceMemory
from controller.facts.readings import Phase


@pytest.fixture
def fleet(build):
    """A variant of replicas as (phase, seconds since), named r0, r1, …"""

    def made(*replicas, name="h100", counted=True):
        (plain,) = build.replicas(1)
        views = tuple(
            replace(plain, name=f"r{index}", phase=phase, since=build.noon - timedelta(seconds=ago_s))
            for index, (phase, ago_s) in enumerate(replicas)
        )
        return VariantSituation(name=name, replicas=views, capacity=build.variant(1).capacity, counted=counted)

    return made


def one(decisions):
    (decision,) = decisions
    return decision


def seen(build, variant, memory, at_s=0.0):
    at = build.noon + timedelta(seconds=at_s)
    return noticed(build.situation(variants=(variant,), at=at), build.policy(), memory)


def test_a_replica_lost_while_it_served_is_replaced_in_the_same_pass(build, fleet):
    before = seen(build, fleet((Phase.READY, 3600), (Phase.READY, 3600)), build.memory(), at_s=-15)
    left = fleet((Phase.READY, 3600), (Phase.FAILED, 0))
    decisions, memory = decide_replicas(build.situation(variants=(left,), queue_depth=100.0), build.policy(), before)
    decision = one(decisions)
    assert (decision.current, decision.desired, decision.because) == (1, 2, Because.DEMAND)
    assert decision.detail.endswith("; 1 was lost after it had served")
    assert (memory.given_up, set(memory.lost)) == ({}, {"h100/r1"})


def test_all_replicas_lost_at_once_leave_nobody_benched(build, fleet):
    before = seen(build, fleet(*[(Phase.READY, 3600)] * 4), build.memory(), at_s=-15)
    gone = fleet(*[(Phase.FAILED, 0)] * 4)
    situation = build.situation(variants=(gone,), outlook=build.outlook(35))
    decision = one(decide_replicas(situation, build.policy(), before)[0])
    assert (decision.current, decision.desired, decision.because) == (0, 4, Because.FORECAST)


def test_a_start_that_fails_benches_its_variant(build, fleet):
    before = seen(build, fleet((Phase.READY, 3600), (Phase.STARTING, 100)), build.memory(), at_s=-15)
    left = fleet((Phase.READY, 3600), (Phase.FAILED, 0))
    decisions, memory = decide_replicas(build.situation(variants=(left,), queue_depth=100.0), build.policy(), before)
    assert (one(decisions).desired, one(decisions).because) == (1, Because.START_FAILED)
    assert (set(memory.given_up), memory.lost) == ({"h100/r1"}, {})


@pytest.mark.parametrize(("served_s", "benched"), [(SERVED_LONG_ENOUGH_S - 1, True), (SERVED_LONG_ENOUGH_S, False)])
def test_one_that_dies_soon_after_it_became_ready_counts_as_a_failed_start(build, fleet, served_s, benched):
    before = seen(build, fleet((Phase.READY, served_s)), build.memory())
    after = seen(build, fleet((Phase.FAILED, 0)), before)
    assert (benched_until("h100", after, build.rule()) is not None) is benched


def test_a_replica_that_crashes_again_and_again_is_waited_for_longer_each_time(build, fleet):
    memory, waits_s = build.memory(), []
    for number in range(4):
        at_s = 200.0 * number
        (ready,) = fleet((Phase.READY, -at_s)).replicas
        for phase, moment_s in ((Phase.READY, at_s), (Phase.FAILED, at_s + 60)):
            view = replace(ready, name=f"try-{number}", phase=phase)
            memory = seen(build, replace(fleet(), replicas=(view,)), memory, moment_s)
        until = benched_until("h100", memory, build.rule())
        waits_s.append((until - build.noon).total_seconds() - (at_s + 60))
    assert waits_s == [30, 60, 120, 240]


def test_starts_that_fail_together_are_one_failure(build, fleet):
    memory = seen(build, fleet(*[(Phase.FAILED, 0)] * 6), build.memory())
    assert benched_until("h100", memory, build.rule()) == build.noon + timedelta(seconds=30)


def test_what_lies_there_lost_is_counted_once_and_is_nobody_elses_doing(build, fleet):
    memory = seen(build, fleet((Phase.READY, 3600), (Phase.READY, 3600)), build.memory(), at_s=-30)
    lying = fleet((Phase.READY, 3600), (Phase.FAILED, 15))
    first = seen(build, lying, memory, at_s=-15)
    second = seen(build, lying, first)
    assert second.lost == first.lost
    assert (second.given_up, second.foreign_until) == ({}, None)


def test_who_is_ready_is_remembered_while_the_actuator_cannot_tell(build, fleet):
    memory = seen(build, fleet((Phase.READY, 3600)), build.memory(), at_s=-30)
    memory = seen(build, replace(fleet(), counted=False), memory, at_s=-15)
    assert set(seen(build, fleet((Phase.FAILED, 0)), memory).lost) == {"h100/r0"}


def test_a_target_without_an_actuator_is_ready_since_it_was_first_seen(build, fleet):
    memory = seen(build, fleet((Phase.READY, 0), counted=False), ServiceMemory(), at_s=-700)
    memory = seen(build, fleet((Phase.READY, -700), counted=False), memory)
    assert memory.ready_since == {"h100/r0": build.noon}


def test_who_is_no_longer_ready_is_forgotten(build, fleet):
    memory = seen(build, fleet((Phase.READY, 3600), (Phase.READY, 3600)), ServiceMemory())
    assert set(memory.ready_since) == {"h100/r0", "h100/r1"}
    assert set(seen(build, fleet((Phase.DRAINING, 5), (Phase.READY, 3600)), memory).ready_since) == {"h100/r1"}
