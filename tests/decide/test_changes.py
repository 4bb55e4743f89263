"""Other engines in the place of those that run: a decision of its own, and when it is not made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.decide.changes import SURGE, SURGE_USD
from controller.decide.explain import explain
from controller.decide.memory import remember
from controller.decide.replicas import decide_replicas
from controller.facts.changes import Change, ChangeStage
from controller.facts.decisions import Because, Outcome, OutcomeKind
from controller.facts.fleet import Mode
from controller.facts.missing import Missing

NEW = Change(what="image vllm:2", stage=ChangeStage.WANTED, surge=1)
CALM_QUEUE = 180.0
"""What four replicas carry at the policy's target of 50 each: nothing moves."""


@pytest.fixture
def decided(build):
    """The decisions about a service; ``changes`` by variant."""

    def made(changes=None, policy=None, ready=4, queue_depth=CALM_QUEUE, variants=None, **how):
        situation = build.situation(ready, queue_depth=queue_depth, variants=variants, **how)
        changed = {
            name: replace(one, change=(changes or {"h100": NEW}).get(name)) for name, one in situation.variants.items()
        }
        situation = replace(situation, variants=changed)
        return decide_replicas(situation, policy or build.policy(), build.memory((0, 4)))[0]

    return made


def test_a_calm_service_begins_and_says_what_it_costs_meanwhile(decided, build):
    (one,) = decided()
    assert (one.change, one.because, one.desired, one.holds, one.moves) == (
        "image vllm:2",
        Because.ROLLOUT,
        4,
        False,
        False,
    )
    assert (one.numbers[SURGE], one.numbers[SURGE_USD]) == (1, 2.0)
    assert "1 more as long as it takes ($2.00/h)" in one.detail
    assert (one.verb, "change 4 to image vllm:2 (rollout)" in str(one)) == ("change", True)
    told = explain([one], {}, build.noon)
    assert "Decided   change 4 replicas (4 ready, 0 starting) to image vllm:2." in told
    assert "$8.00/h, and $2.00/h more while it lasts" in told


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"queue_depth": 400.0}, "first h100 comes to rest (demand)"),
        ({"queue_depth": 10.0}, "first h100 comes to rest"),
        ({"paused": "paused by ann"}, "first h100 comes to rest (paused)"),
        ({"mode": Mode.OBSERVE}, "first h100 comes to rest (observing)"),
        ({"queue_depth": Missing("queue_depth", "away")}, "first h100 comes to rest (blind)"),
        ({"ready": 3, "starting": 1}, "first h100 comes to rest (starting)"),
    ],
)
def test_nothing_begins_while_anything_else_goes_on(decided, how, why):
    (one,) = decided(**how)
    assert (one.change, f"a rollout (image vllm:2) waits: {why}" in one.detail) == ("", True)


def test_nothing_begins_without_room_or_budget_for_what_stands_beside(decided, build):
    full = build.variant(4, bound=4)
    (one,) = decided(variants=(full,))
    assert (one.change, "no room for 1 beside the 4 that run" in one.detail) == ("", True)
    (one,) = decided(guards=(build.guard(refuse_growth=True),))
    assert (one.change, "budget chat-month" in one.detail) == ("", True)


def test_of_two_variants_one_begins_and_the_other_waits_for_it(decided, build):
    variants = (build.variant(2), build.variant(2, name="l40s"))
    first, second = decided({"h100": NEW, "l40s": NEW}, variants=variants)
    assert (first.change, second.change) == ("image vllm:2", "")
    assert "waits: that of h100 comes first" in second.detail
    rolling = Change(what="args", stage=ChangeStage.ROLLING, detail="1 of 2 replicas are new, since 11:58:00 UTC")
    first, second = decided({"h100": rolling, "l40s": NEW}, variants=variants)
    assert (first.change, first.because, second.change) == ("", Because.ROLLOUT, "")
    assert "a rollout (args) is under way: 1 of 2 replicas are new" in first.detail


def test_while_it_is_under_way_nothing_goes_and_growing_is_not_held(decided):
    rolling = Change(what="args", stage=ChangeStage.ROLLING, detail="1 of 4 replicas are new")
    (down,) = decided({"h100": rolling}, queue_depth=10.0)
    assert (down.desired, down.victims, down.because, down.usd_per_hour_after) == (4, (), Because.ROLLOUT, 8.0)
    assert "nothing goes before it is through. Decided: would scale down to" in down.detail
    (up,) = decided({"h100": rolling}, queue_depth=400.0)
    assert (up.desired > 4, up.because) == (True, Because.DEMAND)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (ChangeStage.BLOCKED, "a rollout (args) cannot begin: its maxSurge is 0"),
        (ChangeStage.TAKEN_BACK, "the rollout (args) was taken back: its maxSurge is 0; another template is tried"),
    ],
)
def test_what_gets_no_further_is_told_and_not_decided_again(decided, stage, said):
    (one,) = decided({"h100": Change(what="args", stage=stage, detail="its maxSurge is 0")})
    assert (one.change, one.because, said in one.detail) == ("", Because.ROLLOUT, True)


def test_a_change_is_no_scale_event_and_its_failure_leaves_the_count_expected(decided, build):
    (one,) = decided()
    memory = build.memory((0, 4), expected={"h100": 4})
    for kind in OutcomeKind:
        after = remember(memory, [one], {one.id: Outcome.of(one, kind, "", build.noon)}, build.noon)
        assert (after.scale_events, after.expected) == ((), {"h100": 4})
