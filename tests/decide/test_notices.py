"""A machine's end is a fact: what lies on it is no supply, and cover comes in the very pass of the notice."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.decide.replicas import decide_replicas
from controller.decide.rules import Behaviour, Method, Step
from controller.facts.decisions import Because
from controller.facts.fleet import CapacityType, Mode
from controller.facts.readings import Phase


def warned(variant, *which):
    """``variant`` as its actuator tells it once these of its replicas lie on machines that end."""
    replicas = tuple(
        replace(one, phase=Phase.DRAINING, noticed=True) if number in which else one
        for number, one in enumerate(variant.replicas)
    )
    return replace(variant, replicas=replicas)


def passes(build, policy, *moments, **signals):
    """Decisions of one pass after the other, 15 s apart, each done; ``moments``: what the variants are then."""
    memory = build.memory(live_s=0)
    for number, variants in enumerate(moments):
        at = build.noon + timedelta(seconds=15 * number)
        situation = build.situation(variants=variants, at=at, **signals)
        decisions, memory = decide_replicas(situation, policy, memory)
    return {one.variant: one for one in decisions}, memory


@pytest.mark.parametrize("method", Method)
def test_cover_comes_in_the_pass_of_the_notice(build, method):
    """By loads the need was there all along, so no window is waited for; by forecast there is none."""
    policy = build.policy(scale_up=Behaviour(stabilization_s=60), method=method)
    whole = build.variant(4)
    outlook = build.outlook(38) if method is Method.PREDICTIVE else build.situation().outlook
    before = [(whole,)] * 5
    decisions, memory = passes(build, policy, *before, (warned(whole, 0, 3),), outlook=outlook, queue_depth=200.0)
    assert (decisions["h100"].current, decisions["h100"].desired) == (2, 4)
    assert memory.foreign_until is None
    assert not memory.given_up, "a notice is no failed start: nothing rests"


def test_what_was_lost_is_not_brought_back_to_the_minimum_alone(build):
    policy = build.policy(min_replicas=2)
    whole = build.variant(4)
    decisions, _ = passes(build, policy, (whole,), (warned(whole, 0, 1, 2),), queue_depth=200.0)
    assert (decisions["h100"].current, decisions["h100"].desired) == (1, 4)


def test_without_signals_the_minimum_is_kept_all_the_same(build):
    policy = build.policy(min_replicas=3)
    whole = build.variant(4)
    unread = build.situation().outlook
    decisions, _ = passes(build, policy, (whole,), (warned(whole, 0, 1),), queue_depth=unread)
    assert (decisions["h100"].desired, decisions["h100"].because) == (3, Because.LIMIT)


def test_a_notice_twice_is_covered_once(build):
    policy = build.policy()
    whole = build.variant(4)
    hit = warned(whole, 0)
    coming = replace(hit, replicas=(*hit.replicas, *(replace(build.variant(0, 1).replicas[0], name="new"),)))
    decisions, _ = passes(build, policy, (whole,), (hit,), (coming,), (coming,), queue_depth=200.0, mode=Mode.ADVISE)
    assert (decisions["h100"].holds, decisions["h100"].because) == (True, Because.STARTING)


def test_limits_hold_in_a_storm_too(build):
    whole = build.variant(8)
    at_most = Behaviour(stabilization_s=0, at_most=Step(per_s=60, replicas=2))
    policy = build.policy(scale_up=at_most)
    decisions, _ = passes(build, policy, (whole,), (warned(whole, *range(5)),), queue_depth=400.0)
    assert (decisions["h100"].current, decisions["h100"].desired) == (3, 5)


def test_in_a_storm_cover_is_on_demand_and_a_budget_may_still_refuse_it(build):
    spot = build.variant(4, name="spot", price=1.0, bought=CapacityType.SPOT)
    dear = build.variant(0, name="dear", price=5.0)
    policy = build.policy(spot_allowed=True)
    storm = build.guard(budget="storm", forbidden_pools=frozenset({("spot", CapacityType.SPOT)}), storm=True)
    decisions, _ = passes(build, policy, (spot, dear), (warned(spot, 0, 1), dear), queue_depth=200.0, guards=(storm,))
    assert (decisions["spot"].desired, decisions["dear"].desired) == (2, 2)
    poor = build.guard(refuse_growth=True)
    decisions, _ = passes(
        build, policy, (spot, dear), (warned(spot, 0, 1), dear), queue_depth=200.0, guards=(storm, poor)
    )
    assert all(one.holds for one in decisions.values())
