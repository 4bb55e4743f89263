"""What spot really costs, and when it takes the place of dearer capacity."""

from dataclasses import replace
from datetime import timedelta
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.placement import growth_order
from controller.decide.replicas import decide_replicas
from controller.decide.rules import SpotRule
from controller.decide.spot import (
    HALF_LIFE_S,
    PRIOR_HOURS,
    effective_usd_per_hour,
    losses_per_hour,
    watched,
    weighed,
)
from controller.facts.decisions import Because, SpotRecord
from controller.facts.fleet import CapacityType, Mode
from controller.facts.readings import Phase

RATES = st.floats(0, 20)
USD = st.floats(0.01, 500)
SECONDS = st.floats(0, 3600)


@given(USD, RATES, SECONDS, SECONDS)
def test_losses_only_make_it_dearer_and_the_more_the_dearer(usd, rate, start_up_s, lost_work_s):
    plain = effective_usd_per_hour(usd, 0.0, start_up_s)
    assert plain == usd
    one = effective_usd_per_hour(usd, rate, start_up_s)
    assert usd <= one <= effective_usd_per_hour(usd, rate + 0.5, start_up_s)
    assert one <= effective_usd_per_hour(usd, rate, start_up_s + 60)
    assert one <= effective_usd_per_hour(usd, rate, start_up_s, lost_work_s=lost_work_s)


def test_the_formula_by_hand():
    # Two losses an hour: 1/15 of the time drains, and two starts of 300 s, a sixth of an hour together, serve nobody.
    assert effective_usd_per_hour(10.0, 2.0, 300.0) == pytest.approx(10 / (1 - 1 / 15) + 10 / 6)
    assert effective_usd_per_hour(10.0, 30.0, 300.0) == inf


def record(build, losses=0.0, hours=0.0, lost_ago_s=None):
    lost_at = None if lost_ago_s is None else build.noon - timedelta(seconds=lost_ago_s)
    return SpotRecord(losses=losses, replica_h=hours, at=build.noon, lost_at=lost_at)


def test_little_seen_believes_the_prior_and_much_seen_itself(build):
    assert losses_per_hour([]) == pytest.approx(1 / PRIOR_HOURS)
    assert losses_per_hour([record(build, 50.0, 1000.0), record(build, 50.0, 1000.0)]) == pytest.approx(0.05, rel=0.02)


def spot_variant(build, ready=0, starting=0, price=2.0, **kwargs):
    variant = build.variant(ready, starting, name="spot", price=price, bought=CapacityType.SPOT, **kwargs)
    return replace(variant, replicas=tuple(replace(one, spot_domain="a") for one in variant.replicas))


def fleet(build, spot, on_demand, *, price=2.0, starting=0, bound=None):
    dear = build.variant(on_demand, name="dear", price=5.0)
    dear = replace(dear, replicas=tuple(replace(one, name=f"d{one.name}") for one in dear.replicas))
    return spot_variant(build, spot, starting, price, bound=bound), dear


def decided(build, variants, memory=None, rule=None, at_s=0.0, **situation):
    policy = replace(build.policy(spot_allowed=True, max_replicas=20), spot=rule or SpotRule())
    at = build.noon + timedelta(seconds=at_s)
    made = build.situation(variants=variants, at=at, mode=Mode.ADVISE, **situation)  # whoever follows is no stranger
    decisions, after = decide_replicas(made, policy, memory or build.memory())
    return {one.variant: one for one in decisions}, after


def steady(count):
    """Queues that ask for exactly so many replicas."""
    return {"queue_depth": 50.0 * count}


def test_hours_and_losses_are_counted_by_domain_and_fade(build):
    (variant, _) = fleet(build, 2, 1)
    situation = build.situation(variants=(variant,))
    memory = replace(build.memory(), ready_since={"spot/r0": build.noon, "spot/r1": build.noon})
    first = watched(situation, memory)
    assert first == {("spot", "a"): record(build)}
    later = replace(situation, at=build.noon + timedelta(seconds=30))
    after = watched(later, replace(memory, spot=first))
    assert after["spot", "a"].replica_h == pytest.approx(2 * 30 / 3600)
    one, other = variant.replicas
    lost = replace(variant, replicas=(one, replace(other, phase=Phase.DRAINING, noticed=True)))
    gone = watched(replace(later, variants={"spot": lost}), replace(memory, spot=after))
    assert (gone["spot", "a"].losses, gone["spot", "a"].lost_at) == (1, later.at)
    week = replace(
        later, at=later.at + timedelta(seconds=HALF_LIFE_S), variants={"spot": replace(variant, replicas=())}
    )
    faded = watched(week, replace(memory, spot=gone))
    assert faded["spot", "a"].losses == pytest.approx(0.5)


def test_a_loss_is_counted_once(build):
    (variant, _) = fleet(build, 1, 0)
    warned = replace(variant, replicas=(replace(variant.replicas[0], phase=Phase.DRAINING, noticed=True),))
    memory = replace(build.memory(), ready_since={"spot/r0": build.noon})
    _, memory = decided(build, (warned,), memory)
    assert memory.spot["spot", "a"].losses == 1
    _, memory = decided(build, (warned,), memory, at_s=15)
    assert memory.spot["spot", "a"].losses == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    ("price", "losses", "first"),
    [(2.0, 0.0, "spot"), (4.4, 0.0, "dear"), (2.0, 400.0, "dear")],
    ids=["cheap and calm", "saves too little", "lost all the time"],
)
def test_spot_comes_first_only_where_it_saves_more_than_it_risks(build, price, losses, first):
    policy = build.policy(spot_allowed=True)
    situation = build.situation(variants=fleet(build, 1, 1, price=price))
    memory = replace(build.memory(), spot={("spot", "a"): record(build, losses, 20.0)})
    order = growth_order(weighed(situation, policy, memory).variants, policy, ())
    assert order[0].name == first
    assert len(order) == 2, "shunned is last, not forbidden"


def test_a_low_placement_score_shuns_it_where_the_policy_says_so(build):
    variant, dear = fleet(build, 1, 1)
    scored = replace(variant, capacity=tuple(replace(one, placement_score=3) for one in variant.capacity))
    situation = build.situation(variants=(scored, dear))
    for least, first in ((None, "spot"), (3, "spot"), (4, "dear")):
        policy = replace(build.policy(spot_allowed=True), spot=SpotRule(min_placement_score=least))
        assert growth_order(weighed(situation, policy, build.memory()).variants, policy, ())[0].name == first


def test_where_no_spot_may_be_bought_nothing_is_weighed(build):
    situation = build.situation(variants=fleet(build, 1, 1))
    assert weighed(situation, build.policy(), build.memory()) is situation


def test_after_a_quiet_time_spot_takes_the_place_of_half_of_what_is_dearer(build):
    variants = fleet(build, 2, 8)
    decisions, _ = decided(build, variants, **steady(10))
    assert (decisions["spot"].desired, decisions["dear"].desired) == (6, 8)
    assert decisions["spot"].because is Because.SPOT
    lost = replace(build.memory(), spot={("spot", "a"): record(build, 1, 5, lost_ago_s=1799)})
    decisions, _ = decided(build, variants, lost, **steady(10))
    assert decisions["spot"].holds
    decisions, _ = decided(build, variants, lost, at_s=1, **steady(10))
    assert decisions["spot"].desired == 6


def test_nothing_goes_before_the_spot_in_its_place_serves_and_then_the_dearest_does(build):
    decisions, memory = decided(build, fleet(build, 2, 8, starting=2), **steady(10))
    assert all(one.holds for one in decisions.values())
    decisions, _ = decided(build, fleet(build, 2, 8, starting=2), **steady(7))
    assert all(one.holds for one in decisions.values()), "fewer are wanted: still not the ones that are to stay"
    decisions, _ = decided(build, fleet(build, 4, 8), memory, at_s=60, **steady(10))
    assert (decisions["spot"].desired, decisions["dear"].desired) == (4, 6)
    assert all(name.startswith("d") for name in decisions["dear"].victims)


def test_it_comes_no_further_than_its_places_and_the_maximum(build):
    decisions, _ = decided(build, fleet(build, 2, 8, bound=3), **steady(10))
    assert decisions["spot"].desired == 3
    decisions, _ = decided(build, fleet(build, 2, 18), **steady(20))
    assert decisions["spot"].holds


def test_a_hint_alone_moves_nothing_but_makes_the_first_victim(build):
    (variant, _) = fleet(build, 4, 0)
    hinted = replace(variant, replicas=(*variant.replicas[:3], replace(variant.replicas[3], hinted=True)))
    decisions, _ = decided(build, (hinted,), **steady(4))
    assert decisions["spot"].holds
    decisions, _ = decided(build, (hinted,), **steady(3))
    assert decisions["spot"].victims == ("r3",)


def test_with_prelaunch_what_may_be_taken_back_is_replaced_before_and_then_goes(build):
    rule = SpotRule(prelaunch=True)
    (variant, _) = fleet(build, 4, 0)
    hinted = replace(variant, replicas=(*variant.replicas[:3], replace(variant.replicas[3], hinted=True)))
    decisions, memory = decided(build, (hinted,), rule=rule, **steady(4))
    assert (decisions["spot"].desired, decisions["spot"].because) == (5, Because.SPOT)
    new = replace(variant.replicas[0], name="r9", phase=Phase.STARTING)
    coming = replace(hinted, replicas=(*hinted.replicas, new))
    decisions, memory = decided(build, (coming,), memory, rule, at_s=15, **steady(4))
    assert decisions["spot"].holds
    there = replace(hinted, replicas=(*hinted.replicas, replace(new, phase=Phase.READY)))
    _, memory = decided(build, (there,), memory, rule, at_s=30, **steady(4))
    decisions, _ = decided(build, (there,), memory, rule, at_s=45, **steady(4))
    assert (decisions["spot"].desired, decisions["spot"].victims) == (4, ("r3",))
    budget = (build.guard(refuse_growth=True),)
    decisions, _ = decided(build, (hinted,), rule=rule, guards=budget, **steady(4))
    assert decisions["spot"].holds


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3), st.integers(0, 12), st.booleans(), st.integers(0, 3000))
def test_no_limit_is_ever_left_and_deciding_twice_is_equal(build, spot, dear, starting, wanted, prelaunch, lost_ago_s):
    variants = fleet(build, spot, dear, starting=starting)
    memory = replace(build.memory(), spot={("spot", "a"): record(build, 1, 5, lost_ago_s=lost_ago_s)})
    rule = SpotRule(prelaunch=prelaunch)
    first = decided(build, variants, memory, rule, **steady(wanted))
    assert first == decided(build, variants, memory, rule, **steady(wanted))
    current = spot + dear + starting
    assert sum(one.desired for one in first[0].values()) <= max(20, current)


# --- a spare ----------------------------------------------------------------------------------------------------------


def spread(build, *counts, on_demand=0, price=2.0):
    """So many ready spot replicas in each domain, beside some on demand."""
    spot, dear = fleet(build, sum(counts), on_demand, price=price)
    domains = [name for name, count in zip("abcdef", counts, strict=False) for _ in range(count)]
    placed = tuple(replace(one, spot_domain=name) for one, name in zip(spot.replicas, domains, strict=True))
    return replace(spot, replicas=placed), dear


def total(decisions):
    return sum(one.desired for one in decisions.values())


def test_spot_in_several_domains_has_a_spare_for_the_loss_of_one_and_says_so(build):
    decisions, _ = decided(build, spread(build, 2, 2, 2, 2), **steady(8))
    assert (decisions["spot"].desired, decisions["spot"].because) == (10, Because.SPOT), "as many as the largest has"
    assert "losing one of its failure domains leaves enough" in decisions["spot"].detail
    decisions, _ = decided(build, spread(build, 3, 3, 3, 2), **steady(8))
    assert all(one.holds for one in decisions.values())
    decisions, _ = decided(build, spread(build, 3, 3, 2), **steady(8))
    assert total(decisions) == 11, "lost: what is left is enough, and the spare comes back"


@pytest.mark.parametrize(
    ("counts", "wanted", "more"),
    [((8,), 8, 0), ((4, 4), 8, 0), ((1,), 1, 1), ((1, 1), 1, 0), ((2,), 1, 0)],
    ids=["one domain", "two domains", "the only replica", "its spare elsewhere", "its spare beside it"],
)
def test_in_fewer_than_three_domains_only_the_only_replica_has_one(build, counts, wanted, more):
    decisions, _ = decided(build, spread(build, *counts), **steady(wanted))
    assert total(decisions) == sum(counts) + more


def test_a_spare_is_kept_only_where_it_is_worth_it(build):
    variants = spread(build, 2, 2, 2, 2)
    calm = replace(build.memory(), spot={("spot", name): record(build, 0, 400.0) for name in "abcd"})
    for memory, rule, chosen in (
        (calm, SpotRule(), variants),
        (None, SpotRule(spare=False), variants),
        (None, SpotRule(), spread(build, 2, 2, 2, 2, price=4.0)),
    ):
        decisions, _ = decided(build, chosen, memory, rule, **steady(8))
        assert all(one.holds for one in decisions.values())
    budget = (build.guard(refuse_growth=True),)
    decisions, _ = decided(build, variants, guards=budget, **steady(8))
    assert all(one.holds for one in decisions.values())


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(1, 14), st.integers(0, 4))
def test_a_spare_is_never_dearer_than_on_demand_nor_goes_up_and_down(build, counts, wanted, on_demand):
    """Wherever the new ones come to lie, it settles: one pass after the other with nothing else changing."""
    counts, rule = [*counts], SpotRule(quiet_s=0)
    memory, at_s, turns, last = None, 0.0, 0, 0
    for _ in range(25):
        variants = spread(build, *counts, on_demand=on_demand)
        decisions, memory = decided(build, variants, memory, rule, at_s=at_s, **steady(wanted))
        spot, dear = decisions["spot"].desired - sum(counts), decisions["dear"].desired - on_demand
        step = (spot + dear > 0) - (spot + dear < 0)
        turns += bool(step and last and step != last)
        last, at_s = step or last, at_s + 60
        on_demand += dear
        for _ in range(max(0, spot)):
            counts[counts.index(min(counts))] += 1
        gone = [
            next(one.spot_domain for one in variants[0].replicas if one.name == name)
            for name in decisions["spot"].victims
        ]
        for name in gone:
            counts["abcdef".index(name)] -= 1
        assert total(decisions) <= 20
    assert (spot, dear) == (0, 0), f"it settles {counts} {wanted} {on_demand}"
    assert turns <= 8
    assert 2.0 * sum(counts) + 5.0 * on_demand <= max(5.0 * wanted, 2.0 * (wanted + 1))
