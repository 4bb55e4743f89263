"""Starts that get no further: given up when they cannot heal, or when a machine should have come; then another way."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.decide.memory import benched_until, hopeless, noticed, overdue, remember
from controller.decide.replicas import decide_replicas
from controller.decide.situation import VariantSituation
from controller.facts.decisions import Because, Outcome, OutcomeKind
from controller.facts.interruptions import Stuck, StuckKind
from controller.facts.readings import Phase

WAITING = [StuckKind.UNSCHEDULABLE, StuckKind.CAPACITY, StuckKind.QUOTA]
WRONG = [StuckKind.IMAGE, StuckKind.CRASH, StuckKind.REFUSED]


def stuck(build, kind, since_s, at=None):
    return Stuck(kind=kind, since=(at or build.noon) - timedelta(seconds=since_s), detail="0/3 nodes are available")


@pytest.fixture
def variant(build):
    """Ready replicas r0, r1, … and stuck ones s0, s1, …"""

    def made(ready, how_many=0, kind=StuckKind.UNSCHEDULABLE, since_s=400.0, *, name="h100", price=2.0, at=None):
        plain = build.variant(ready, name=name, price=price)
        one = build.replicas(1)[0]
        at = at or build.noon
        waiting = tuple(
            replace(
                one,
                name=f"s{index}",
                phase=Phase.STARTING,
                since=at - timedelta(seconds=since_s),
                stuck=stuck(build, kind, since_s, at),
                usd_per_hour=price,
            )
            for index in range(how_many)
        )
        return replace(plain, replicas=(*plain.replicas, *waiting))

    return made


def by_variant(decisions):
    return {decision.variant: decision.desired for decision in decisions}


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_heal_is_given_up_at_once(build, kind):
    assert hopeless(stuck(build, kind, 0), build.rule(), build.noon)


@pytest.mark.parametrize("kind", WAITING)
@pytest.mark.parametrize(("since_s", "given_up"), [(359, False), (360, True)])
def test_who_waits_for_a_machine_gets_as_long_as_the_setting_says(build, kind, since_s, given_up):
    assert hopeless(stuck(build, kind, since_s), build.rule(), build.noon) is given_up


def test_a_start_that_goes_on_gets_until_its_deadline(build):
    assert not hopeless(None, build.rule(), build.noon)
    (starting,) = build.replicas(0, 1)
    assert overdue([starting], build.rule(start_deadline_s=300), build.noon) == ()
    assert overdue([starting], build.rule(start_deadline_s=299), build.noon) == (starting,)


def test_a_stock_out_sends_growth_to_the_second_choice_before_the_start_deadline(build, variant):
    cheap, dear = variant(2, 2, price=1.0), build.variant(1, name="l40s", price=3.0)
    situation = build.situation(variants=(cheap, dear), queue_depth=250.0)
    decisions, memory = decide_replicas(situation, build.policy(), build.memory())
    assert by_variant(decisions) == {"h100": 4, "l40s": 3}
    assert set(memory.given_up) == {"h100/s0", "h100/s1"}
    covered = build.situation(variants=(cheap, build.variant(1, 2, name="l40s", price=3.0)), queue_depth=250.0)
    decisions, _ = decide_replicas(covered, build.policy(), replace(memory, expected={}))
    assert by_variant(decisions) == {"h100": 2, "l40s": 3}
    assert decisions[0].victims == ("s0", "s1")
    assert "2 cannot start: unschedulable since 11:53:20 UTC (0/3 nodes are available)" in decisions[0].detail


def test_without_a_second_choice_what_waits_goes_and_the_variant_rests(build, variant):
    situation = build.situation(variants=(variant(2, 2),), queue_depth=250.0)
    (decision,), _ = decide_replicas(situation, build.policy(), build.memory())
    assert (decision.desired, decision.because, decision.victims) == (2, Because.START_FAILED, ("s0", "s1"))
    assert "the next try is at 12:06:30 UTC" in decision.detail


def test_who_fails_slowly_rests_longer_than_the_next_failure_would_take(build, variant):
    slow = noticed(build.situation(variants=(variant(1, 1),)), build.policy(), build.memory())
    fast = noticed(build.situation(variants=(variant(1, 1, StuckKind.CRASH),)), build.policy(), build.memory())
    rest = [benched_until("h100", memory, build.rule()) - build.noon for memory in (slow, fast)]
    assert [one.total_seconds() for one in rest] == [390, 30]


def test_at_the_minimum_the_one_that_waits_is_the_try_and_no_other_is_put_beside_it(build, variant):
    memory, policy = build.memory(), build.policy(min_replicas=1)
    for minutes in range(60):
        at = build.noon + timedelta(minutes=minutes)
        alone = variant(0, 1, since_s=400 + 60 * minutes, at=at)
        (decision,), memory = decide_replicas(
            build.situation(variants=(alone,), queue_depth=250.0, at=at), policy, memory
        )
        assert decision.desired == 1


def test_at_the_maximum_what_waits_makes_room_for_the_second_choice(build, variant):
    cheap, dear = variant(2, 2, price=1.0), build.variant(0, name="l40s", price=3.0)
    policy = build.policy(max_replicas=4)
    decisions, memory = decide_replicas(
        build.situation(variants=(cheap, dear), queue_depth=900.0), policy, build.memory()
    )
    assert by_variant(decisions) == {"h100": 2, "l40s": 0}
    left = build.situation(variants=(variant(2, price=1.0), dear), queue_depth=900.0)
    assert by_variant(decide_replicas(left, policy, replace(memory, expected={}))[0]) == {"h100": 2, "l40s": 2}


def test_what_was_asked_for_last_and_waits_gets_no_company(build, variant):
    situation = build.situation(variants=(variant(2, 1, since_s=30),), queue_depth=900.0)
    (decision,), _ = decide_replicas(situation, build.policy(), build.memory())
    assert (decision.desired, decision.because) == (3, Because.STARTING)
    assert "no more is put beside it" in decision.detail
    beside = build.situation(variants=(variant(2, 1, since_s=30), build.variant(0, name="l40s")), queue_depth=200.0)
    assert by_variant(decide_replicas(beside, build.policy(), build.memory())[0]) == {"h100": 3, "l40s": 1}


def test_never_more_than_one_step_is_out_while_a_stock_out_lasts(build, variant):
    """Two hours with one variant that nobody sells: what is tried is given up before anything is tried again."""
    policy = build.policy(max_replicas=8, scale_up=build.behaviour(0, replicas=2, per_s=60))
    waiting, memory, tries, outs = {}, build.memory(), 0, []
    for number in range(480):
        at = build.noon + timedelta(seconds=15 * number)
        views = tuple(
            replace(
                build.replicas(1)[0],
                name=name,
                phase=Phase.STARTING,
                since=since,
                stuck=Stuck(kind=StuckKind.UNSCHEDULABLE, since=since),
            )
            for name, since in waiting.items()
        )
        ready = build.variant(2)
        now = replace(ready, replicas=(*ready.replicas, *views))
        situation = build.situation(variants=(now,), queue_depth=900.0, at=at)
        (decision,), memory = decide_replicas(situation, policy, memory)
        outs.append(len(waiting))
        done = Outcome(decision_id=decision.id, service="chat", variant="h100", kind=OutcomeKind.DONE, detail="", at=at)
        memory = remember(memory, [decision], {} if decision.holds else {decision.id: done}, at)
        for name in decision.victims:
            del waiting[name]
        grown = decision.desired - decision.current
        tries += grown > 0
        waiting |= {f"w{number}-{index}": at for index in range(max(0, grown))}
    assert max(outs) == 2
    assert outs.count(0) > 240
    assert tries < 25


@pytest.mark.parametrize("noticed_ones", [0, 1])
def test_what_lies_on_a_machine_that_goes_is_nobodys_doing(build, noticed_ones):
    before = build.memory(expected={"h100": 4})
    replicas = list(build.replicas(4))
    replicas[3] = replace(replicas[3], phase=Phase.DRAINING, noticed=bool(noticed_ones))
    left = VariantSituation(name="h100", replicas=tuple(replicas), capacity=build.variant(1).capacity)
    memory = noticed(build.situation(variants=(left,)), build.policy(), before)
    assert (memory.foreign_until is None) is bool(noticed_ones)


def test_a_failed_replica_that_its_platform_replaced_already_is_nobodys_doing(build):
    replicas = list(build.replicas(5))
    replicas[3] = replace(replicas[3], phase=Phase.FAILED)
    left = VariantSituation(name="h100", replicas=tuple(replicas), capacity=build.variant(1).capacity)
    memory = noticed(build.situation(variants=(left,)), build.policy(), build.memory(expected={"h100": 4}))
    assert memory.foreign_until is None


def test_a_failed_target_that_nobody_dates_is_one_failure_however_often_it_is_seen(build):
    memory = build.memory()
    for number in range(4):
        at = build.noon + timedelta(seconds=15 * number)
        failed = replace(build.replicas(1)[0], phase=Phase.FAILED, since=at)
        seen = VariantSituation(name="h100", replicas=(failed,), capacity=(), counted=False)
        memory = noticed(build.situation(variants=(seen,), at=at), build.policy(), memory)
    assert memory.given_up == {"h100/r0": build.noon}


def test_a_name_that_comes_back_and_fails_again_is_another_failure(build, variant):
    memory = build.memory()
    for minutes in (0, 10, 20):
        at = build.noon + timedelta(minutes=minutes)
        failing = variant(1, 1, StuckKind.CRASH, since_s=60, at=at)
        memory = noticed(build.situation(variants=(failing,), at=at), build.policy(), memory)
        memory = noticed(build.situation(variants=(failing,), at=at + timedelta(seconds=15)), build.policy(), memory)
    assert len(memory.given_up) == 3
    assert benched_until("h100", memory, build.rule()) == build.noon + timedelta(minutes=20, seconds=120)
