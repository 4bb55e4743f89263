"""One decision after the other through the kernel: what each rule cuts, and how it is told."""

from dataclasses import replace

import pytest

from controller.facts.decisions import Because, Outcome, OutcomeKind
from controller.facts.missing import Missing
from controller.facts.safety import Damping, SafetyMemory, Stop, Storm
from controller.safety.kernel import ASKED, ASKED_USD, screened, settled
from controller.safety.rules import Freeze, SafetyRules

NOTHING = SafetyMemory()


def one(made):
    (decision,), _ = made
    return decision


def test_what_meets_no_rule_stays_as_it_is(make):
    decision = make.decision("chat", 2, 6)
    assert one(screened([decision], SafetyRules(), NOTHING, make.scene())) is decision


def test_a_cut_step_says_who_cut_it_what_was_asked_and_what_it_costs(make):
    rules = make.rules(grow=make.limits(replicas=3))
    made = one(screened([make.decision("chat", 2, 8)], rules, NOTHING, make.scene()))
    assert (made.desired, made.because) == (5, Because.BLAST_LIMIT)
    assert made.detail == (
        "safety.grow.per_pass allows 3 replicas. Decided: goes to 5, would scale up from 2 to 8 "
        "(demand: queue_depth 30 of 10)"
    )
    assert made.numbers == {ASKED: 8.0, ASKED_USD: 16.0}
    assert made.usd_per_hour_after == 10.0


def test_of_a_cut_shrink_the_first_victims_go(make):
    rules = make.rules(shrink=make.limits(replicas=2))
    made = one(screened([make.decision("chat", 6, 1)], rules, NOTHING, make.scene()))
    assert (made.desired, made.victims) == (4, ("r0", "r1"))


@pytest.mark.parametrize("desired", [0, 6])
def test_a_stop_holds_both_directions_and_tells_what_would_have_been(make, desired):
    stop = Stop(since=make.noon, by="ann", reason="the bill")
    made = one(screened([make.decision("chat", 2, desired)], SafetyRules(), NOTHING, make.scene(stops=(stop,))))
    assert (made.desired, made.because, made.victims) == (2, Because.STOPPED, ())
    assert "everything is stopped by ann since 2026-11-21 12:00 UTC: the bill; lifted by: pennyweight go" in made.detail
    assert made.numbers[ASKED] == desired
    assert made.usd_per_hour_after == made.usd_per_hour_before


def test_a_stop_holds_even_what_the_minimum_demands(make):
    stop = Stop(service="chat", since=make.noon, by="ann", reason="x")
    scene = make.scene(stops=(stop,), minimums={"chat": 2, "code": 2})
    made, _ = screened([make.decision("chat", 0, 2), make.decision("code", 0, 2)], SafetyRules(), NOTHING, scene)
    assert [each.desired for each in made] == [0, 2]


def test_what_is_stopped_takes_nothing_of_what_others_may(make):
    stop = Stop(service="a", since=make.noon, by="ann", reason="x")
    rules = make.rules(grow=make.limits(replicas=3))
    asked = [make.decision("a", 0, 2), make.decision("b", 2, 5)]
    made, _ = screened(asked, rules, NOTHING, make.scene(stops=(stop,), minimums={"a": 2}))
    assert [each.desired for each in made] == [0, 5]


def test_a_stop_that_has_ended_holds_nothing(make):
    stop = Stop(since=make.at(-60), by="ann", reason="x", until=make.noon)
    assert one(screened([make.decision("chat", 2, 6)], SafetyRules(), NOTHING, make.scene(stops=(stop,)))).desired == 6


def test_a_fleet_at_zero_comes_back_to_its_minimums_whatever_the_limits(make):
    rules = make.rules(grow=make.limits(replicas=1), freezes=(Freeze(name="night", zone=make.noon.tzinfo),))
    asked = [make.decision(f"s{index}", 0, 2) for index in range(5)]
    scene = make.scene(minimums={each.service: 2 for each in asked})
    made, memory = screened(asked, rules, NOTHING, scene)
    assert [each.desired for each in made] == [2] * 5
    assert sum(move.replicas for move in memory.moves) == 10


def test_what_minimums_take_is_not_left_for_others(make):
    rules = make.rules(grow=make.limits(replicas=3))
    scene = make.scene(minimums={"a": 2, "b": 2})
    made, _ = screened([make.decision("a", 0, 2), make.decision("b", 4, 9)], rules, NOTHING, scene)
    assert [each.desired for each in made] == [2, 5]


def test_nothing_goes_below_the_minimum_whoever_decided_so(make):
    made = one(screened([make.decision("chat", 4, 0)], SafetyRules(), NOTHING, make.scene(minimums={"chat": 3})))
    assert (made.desired, made.because) == (3, Because.LIMIT)


@pytest.mark.parametrize(("grow", "shrink", "desired"), [(True, False, [2, 1]), (False, True, [6, 4])])
def test_a_freeze_holds_its_own_direction(make, grow, shrink, desired):
    rules = make.rules(freezes=(Freeze(name="launch", grow=grow, shrink=shrink, zone=make.noon.tzinfo),))
    made, _ = screened([make.decision("a", 2, 6), make.decision("b", 4, 1)], rules, NOTHING, make.scene())
    assert [each.desired for each in made] == desired
    assert any("frozen by 'launch'" in each.detail for each in made)


def test_services_below_their_slo_grow_first_and_the_rest_share(make):
    rules = make.rules(grow=make.limits(replicas=7))
    asked = [make.decision(name, 2, 6) for name in ("a", "b", "c")]
    made, _ = screened(asked, rules, NOTHING, make.scene(urgent={"b"}))
    assert {each.service: each.desired - each.current for each in made} == {"b": 4, "a": 2, "c": 1}


def test_dollars_bound_what_replicas_do_not(make):
    rules = make.rules(grow=make.limits(replicas=100, usd=7.0))
    made = one(screened([make.decision("chat", 2, 9)], rules, NOTHING, make.scene()))
    assert made.desired == 5
    assert "safety.grow.per_pass allows 100 replicas and $7 an hour" in made.detail


def test_what_costs_more_than_the_whole_limit_moves_alone(make):
    rules = make.rules(grow=make.limits(usd=1.0))
    assert one(screened([make.decision("chat", 2, 9)], rules, NOTHING, make.scene())).desired == 3


def test_with_a_limit_in_dollars_an_unknown_price_grows_to_the_minimum_only(make):
    rules = make.rules(grow=make.limits(usd=100.0))
    unknown = Missing("price", "nobody knows")
    decision = make.decision("chat", 1, 9, usd_per_hour_after=unknown)
    made = one(screened([decision], rules, NOTHING, make.scene(usd_per_hour=make.unpriced, minimums={"chat": 2})))
    assert made.desired == 2
    assert "no price is known" in made.detail


def test_a_share_of_the_fleet_widens_a_limit_and_lets_one_go_at_least(make):
    rules = make.rules(shrink=make.limits(ratio=0.1))
    small, _ = screened([make.decision("a", 4, 1)], rules, NOTHING, make.scene())
    large, _ = screened([make.decision("a", 100, 1)], rules, NOTHING, make.scene())
    assert (small[0].desired, large[0].desired) == (3, 90)
    both = make.rules(shrink=make.limits(ratio=0.1, replicas=30))
    assert screened([make.decision("a", 100, 1)], both, NOTHING, make.scene())[0][0].desired == 70


def test_an_hour_is_shared_by_its_passes_and_then_over(make, fleet):
    turned = fleet({"a": 1}, make.rules(grow=make.hourly(replicas=5)))
    assert [turned.turn({"a": turned.counts["a"] + 2})[0].desired for _ in range(4)] == [3, 5, 6, 6]
    turned.seconds += 3600
    assert turned.turn({"a": 8})[0].desired == 8


@pytest.mark.parametrize("kind", [OutcomeKind.REFUSED, OutcomeKind.ADVISED])
def test_what_was_not_done_gives_its_room_back(make, fleet, kind):
    turned = fleet({"a": 1}, make.rules(grow=make.hourly(replicas=5)))
    turned.turn({"a": 6}, kind)
    assert turned.memory.moves == ()


@pytest.mark.parametrize(("found", "left"), [(1, 5), (4, 2), (6, 0), (0, 5), (9, 0)])
def test_what_failed_or_was_cut_short_counts_as_much_as_the_next_count_shows(make, fleet, found, left):
    turned = fleet({"a": 1}, make.rules(grow=make.hourly(replicas=5)))
    turned.turn({"a": 6}, OutcomeKind.UNKNOWN)
    assert sum(move.replicas for move in turned.memory.moves) == 5, "nobody knows yet"
    turned.counts["a"] = found
    assert turned.turn({"a": 100})[0].desired == found + left


def test_starts_that_were_given_up_give_their_room_back(make, fleet):
    turned = fleet({"a": 1}, make.rules(grow=make.hourly(replicas=4), shrink=make.hourly(replicas=0)))
    turned.turn({"a": 5})
    gone = make.decision("a", 5, 1, 30, because=Because.START_FAILED)
    rules = replace(turned.rules, shrink=make.hourly(replicas=4))
    made, memory = screened([gone], rules, turned.memory, make.scene(30))
    memory = settled(memory, made, {gone.id: Outcome.of(gone, OutcomeKind.DONE, "", gone.at)})
    again = make.decision("a", 1, 5, 45, variant="l40s")
    assert one(screened([again], rules, memory, make.scene(45))).desired == 5


def test_pending_supply_is_counted_once(make, fleet):
    """Replicas that still start are no second move."""
    turned = fleet({"a": 1}, make.rules(grow=make.hourly(replicas=5)))
    turned.turn({"a": 5})
    for _ in range(5):
        turned.turn({"a": 5})
    assert turned.turn({"a": 6})[0].desired == 6


def test_a_swap_whose_growth_is_cut_lets_as_much_less_go(make):
    rules = make.rules(grow=make.limits(replicas=1))
    swap = [make.decision("a", 2, 5, variant="new"), make.decision("a", 3, 0, variant="old")]
    made, _ = screened(swap, rules, NOTHING, make.scene())
    assert [each.desired for each in made] == [3, 2]
    assert "what should replace it may not grow yet" in made[1].detail


STORM = Storm(domain="z", since=None, last=None, until=None, why="5 of 9 spot replicas were lost within 300 s")


def test_struck_spot_is_not_bought_and_other_ways_are(make):
    storm = replace(STORM, since=make.noon, last=make.noon, until=make.at(1800))
    scene = make.scene(struck={("chat", "h100"): storm}, off_spot=lambda decision: 3)
    made = one(screened([make.decision("chat", 2, 9)], make.rules(), NOTHING, scene))
    assert (made.desired, made.because) == (5, Because.STORM)
    assert "no spot of it before 12:30 UTC" in made.detail


def test_in_a_storm_launches_are_limited_over_passes(make, fleet):
    storm = replace(STORM, since=make.noon, last=make.noon, until=make.at(1800))
    turned = fleet({"a": 10}, make.rules())
    turned.memory = SafetyMemory(storms={"z": storm})
    counts = [turned.turn({"a": 100})[0].desired for _ in range(5)]
    assert counts == [30, 30, 30, 30, 50], "twenty a minute"


def test_who_flaps_does_not_shrink_and_still_grows(make):
    memory = SafetyMemory(damped={"a": Damping(since=make.noon, until=make.at(600), hold_s=600)})
    made, _ = screened([make.decision("a", 4, 2)], make.rules(), memory, make.scene())
    assert (made[0].desired, made[0].because) == (4, Because.FLAPPING)
    assert screened([make.decision("a", 4, 6)], make.rules(), memory, make.scene())[0][0].desired == 6
    given_up = make.decision("a", 4, 2, because=Because.START_FAILED)
    assert screened([given_up], make.rules(), memory, make.scene())[0][0].desired == 2


def test_the_usual_rules_leave_a_small_fleet_alone(make):
    asked = [make.decision("a", 0, 40), make.decision("b", 40, 0)]
    assert screened(asked, SafetyRules(), NOTHING, make.scene())[0] == tuple(asked)
