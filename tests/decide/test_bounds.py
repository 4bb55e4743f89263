"""What a platform's owner allows, such as an Auto Scaling group's MinSize and MaxSize, bounds a decision."""

from __future__ import annotations

from dataclasses import replace

from controller.decide.replicas import decide_replicas
from controller.decide.situation import VariantSituation
from controller.facts.decisions import Because, ServiceMemory
from controller.facts.readings import Bounds


def bounded(variant: VariantSituation, least: int, most: int, free: int | None = None) -> VariantSituation:
    free = most - variant.current if free is None else free
    said = f"the group of {variant.name} has MinSize {least} and MaxSize {most}"
    return replace(variant, bounds=Bounds(least=least, most=most, free=free, said=said))


def decided(build, *variants, memory: ServiceMemory | None = None, **rule):
    queue_depth = rule.pop("queue_depth")
    situation = build.situation(variants=variants, queue_depth=queue_depth)
    decisions, _ = decide_replicas(situation, build.policy(**rule), memory or build.memory())
    return {one.variant: one for one in decisions}


def test_it_grows_as_far_as_the_group_lets_it_and_says_why_no_further(build):
    made = decided(build, bounded(build.variant(2), 0, 5), queue_depth=300.0)["h100"]
    assert (made.wanted, made.desired) == (6, 5)
    assert "1 found no capacity; the group of h100 has MinSize 0 and MaxSize 5" in made.detail


def test_what_the_group_has_no_room_for_goes_to_the_next_variant(build):
    first, second = bounded(build.variant(2), 0, 3), build.variant(0, name="a100", price=9.0)
    made = decided(build, first, second, queue_depth=300.0)
    assert [one.desired for one in made.values()] == [3, 3]


def test_the_decision_says_whose_owner_has_no_place_where_the_next_variant_grows(build):
    first, second = bounded(build.variant(2), 0, 9, free=0), build.variant(0, name="a100", price=9.0)
    made = decided(build, first, second, queue_depth=300.0)
    assert [one.desired for one in made.values()] == [2, 4]
    assert made["a100"].detail.endswith("; the group of h100 has MinSize 0 and MaxSize 9")


def test_the_decision_says_nothing_of_who_is_full_and_would_have_come_later(build):
    first, full = build.variant(2), bounded(build.variant(1, name="a100", price=9.0), 0, 1)
    made = decided(build, first, full, queue_depth=300.0)
    assert made["h100"].desired > 2
    assert "MaxSize" not in made["h100"].detail


def test_a_group_that_is_full_holds_and_says_so(build):
    made = decided(build, bounded(build.variant(5), 0, 5), queue_depth=300.0)["h100"]
    assert (made.desired, made.because) == (5, Because.INFEASIBLE)
    assert made.detail.endswith("no allowed variant has capacity left; the group of h100 has MinSize 0 and MaxSize 5")


def test_who_is_on_its_way_out_takes_a_place_but_makes_no_minimum_infeasible(build):
    full = bounded(build.variant(2), 0, 3, free=0)
    made = decided(build, full, queue_depth=100.0, min_replicas=3)["h100"]
    assert made.desired == 2
    assert "but the allowed capacity holds" not in made.detail
    made = decided(build, bounded(build.variant(2), 0, 2), queue_depth=100.0, min_replicas=3)["h100"]
    assert made.because is Because.INFEASIBLE
    assert "the allowed capacity holds 2; the group of h100 has MinSize 0 and MaxSize 2" in made.detail


def test_it_shrinks_to_what_the_group_keeps_and_then_holds(build):
    made = decided(build, bounded(build.variant(4), 2, 8), queue_depth=0.0)["h100"]
    assert (made.desired, len(made.victims)) == (2, 2)
    assert made.detail.endswith("the group of h100 has MinSize 2 and MaxSize 8")
    made = decided(build, bounded(build.variant(2), 2, 8), queue_depth=0.0)["h100"]
    assert (made.desired, made.because, made.victims) == (2, Because.LIMIT, ())
    assert made.detail.endswith("the group of h100 has MinSize 2 and MaxSize 8")


def test_what_one_group_keeps_goes_from_the_other_variant(build):
    dear, cheap = bounded(build.variant(2, price=9.0), 2, 8), build.variant(2, name="a100")
    made = decided(build, dear, cheap, queue_depth=0.0)
    assert [one.desired for one in made.values()] == [2, 0]


def test_starts_that_failed_stay_where_the_group_keeps_them(build):
    made = decided(build, bounded(build.variant(1, 2), 3, 8), queue_depth=0.0, start_deadline_s=60.0)["h100"]
    assert (made.desired, made.because) == (3, Because.LIMIT)
