"""What one service decides, situation by situation."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.decide.memory import against_idleness, remember
from controller.decide.replicas import decide_replicas
from controller.decide.rules import Targets
from controller.decide.situation import CapacityPrice, VariantSituation
from controller.facts.decisions import Because, Outcome, OutcomeKind, ServiceMemory
from controller.facts.fleet import CapacityType, Mode
from controller.facts.missing import Missing
from controller.facts.readings import Phase

GONE = Missing("queue_depth", "vllm-0:8000 timed out after 2 s")


def one(decisions):
    (decision,) = decisions
    return decision


@pytest.mark.parametrize(
    ("case", "ready", "starting", "queue", "desired", "because"),
    [
        ("a long queue asks for more", 4, 0, 260.0, 6, Because.DEMAND),
        ("a queue within the tolerance does not", 4, 0, 215.0, 4, Because.STEADY),
        ("starting replicas count as supply once", 4, 2, 260.0, 6, Because.STARTING),
        ("the limit caps what is wanted", 8, 0, 4000.0, 8, Because.LIMIT),
        ("an empty queue lets replicas go", 4, 0, 0.0, 1, Because.DEMAND),
        ("a short queue keeps what it needs", 4, 0, 100.0, 2, Because.DEMAND),
        ("below the minimum comes back at once", 0, 0, 0.0, 1, Because.LIMIT),
        ("above the maximum comes back too", 9, 0, 4000.0, 8, Because.LIMIT),
    ],
)
def test_replicas_follow_the_queue(build, case, ready, starting, queue, desired, because):
    situation = build.situation(ready, starting, queue_depth=queue)
    decision = one(decide_replicas(situation, build.policy(), build.memory())[0])
    assert (decision.desired, decision.because) == (desired, because), case


def test_any_signal_may_raise_and_all_must_agree_to_lower(build):
    policy = build.policy(targets=Targets(queue_depth=50, kv_cache_ratio=0.8, headroom_ratio=0))
    busy = build.situation(4, queue_depth=0.0, kv_cache_ratio=0.96)
    assert one(decide_replicas(busy, policy, build.memory())[0]).desired == 5
    content = build.situation(4, queue_depth=0.0, kv_cache_ratio=0.8)
    assert one(decide_replicas(content, policy, build.memory())[0]).because is Because.STEADY


def test_a_missing_reading_is_not_zero_load(build):
    decision = one(decide_replicas(build.situation(4, queue_depth=GONE), build.policy(), build.memory())[0])
    assert str(decision) == ("chat/h100: hold at 4 (blind): queue_depth missing: vllm-0:8000 timed out after 2 s")


def test_one_live_signal_may_raise_while_another_is_missing_but_never_lower(build):
    policy = build.policy(targets=Targets(queue_depth=50, kv_cache_ratio=0.8, headroom_ratio=0))
    more = one(decide_replicas(build.situation(4, queue_depth=GONE, kv_cache_ratio=0.96), policy, build.memory())[0])
    assert (more.desired, more.because) == (5, Because.DEMAND)
    less = one(decide_replicas(build.situation(4, queue_depth=GONE, kv_cache_ratio=0.1), policy, build.memory())[0])
    assert (less.desired, less.because) == (4, Because.BLIND)


def test_an_unread_replica_blocks_the_shrink_and_says_which_share_was_read(build):
    decision = one(decide_replicas(build.situation(4, read=3), build.policy(), build.memory())[0])
    assert (decision.desired, decision.because) == (4, Because.BLIND)
    assert "only 3 of 4 ready replicas could be read" in decision.detail


def test_after_a_restart_nothing_shrinks_until_every_signal_was_live_for_the_whole_window(build):
    policy = build.policy(scale_down=build.behaviour(300))
    memory = build.memory((300, 1), (150, 1), live_s=285)
    assert one(decide_replicas(build.situation(4), policy, memory)[0]).because is Because.BLIND
    memory = build.memory((300, 1), (150, 1), live_s=300)
    assert one(decide_replicas(build.situation(4), policy, memory)[0]).desired == 1


def test_a_broken_latency_target_asks_for_one_more_and_one_nearly_broken_blocks_the_shrink(build):
    policy = build.policy(slo=build.slo(ttft_s=1.0), targets=Targets(queue_depth=50, headroom_ratio=0.2))
    broken = one(decide_replicas(build.situation(4, ttft_s=1.4), policy, build.memory())[0])
    assert (broken.desired, broken.signal) == (5, "ttft_p95_s")
    nearly = one(decide_replicas(build.situation(4, ttft_s=0.9), policy, build.memory())[0])
    assert (nearly.desired, nearly.because) == (4, Because.STEADY)
    met = one(decide_replicas(build.situation(4, ttft_s=0.5), policy, build.memory())[0])
    assert met.desired == 1


def test_rejected_requests_are_demand_that_no_queue_shows(build):
    decision = one(decide_replicas(build.situation(4, rejections_per_s=0.5), build.policy(), build.memory())[0])
    assert (decision.desired, decision.signal) == (5, "rejections_per_s")


def test_shrinking_stops_where_one_fewer_would_not_hold_the_load_with_headroom(build):
    policy = build.policy(targets=Targets(kv_cache_ratio=0.8, headroom_ratio=0.15))
    decision = one(decide_replicas(build.situation(6, kv_cache_ratio=0.3), policy, build.memory())[0])
    # 6 x 0.3 = 1.8 replicas' worth; on 3 it is 0.6 <= 0.68, on 2 it would be 0.9.
    assert decision.desired == 3
    held = one(decide_replicas(build.situation(3, kv_cache_ratio=0.5), policy, build.memory())[0])
    assert (held.desired, held.because) == (3, Because.HEADROOM)
    assert "on 2 replicas kv_cache_ratio would be 0.75, over 0.68" in held.detail


def test_a_window_and_a_step_hold_the_move_and_say_so(build):
    policy = build.policy(scale_up=build.behaviour(60, replicas=2, per_s=120))
    busy = build.situation(4, queue_depth=400.0)
    fresh = one(decide_replicas(busy, policy, build.memory((30, 8)))[0])
    assert (fresh.desired, fresh.because) == (4, Because.STABILIZING)
    ripe = one(decide_replicas(busy, policy, build.memory((60, 8), (30, 8)))[0])
    assert (ripe.desired, ripe.because) == (6, Because.DEMAND)
    assert "cut to 6 by scale_up.at_most" in ripe.detail


def test_replicas_past_their_start_deadline_are_given_up_and_the_variant_is_benched(build):
    policy = build.policy(start_deadline_s=240)
    decisions, memory = decide_replicas(build.situation(3, 1, queue_depth=150.0), policy, build.memory())
    decision = one(decisions)
    assert (decision.desired, decision.because, decision.victims) == (3, Because.START_FAILED, ("r3",))
    assert set(memory.given_up) == {"h100/r3"}
    done = Outcome(
        decision_id=decision.id, service="chat", variant="h100", kind=OutcomeKind.DONE, detail="", at=decision.at
    )
    memory = remember(memory, decisions, {decision.id: done}, decision.at)
    later = build.situation(3, queue_depth=400.0, at=build.noon + timedelta(seconds=15))
    benched = one(decide_replicas(later, policy, memory)[0])
    assert (benched.desired, benched.because) == (3, Because.START_FAILED)
    assert "the next try is at 12:00:30 UTC" in benched.detail
    retried = build.situation(3, queue_depth=400.0, at=build.noon + timedelta(seconds=31))
    assert one(decide_replicas(retried, policy, memory)[0]).desired == 8


def test_a_failed_start_moves_growth_to_the_second_choice(build):
    cheap, dear = build.variant(2, name="l40s", price=1.0), build.variant(2, name="h100", price=3.0)
    memory = build.memory(given_up={"l40s/r9": build.noon - timedelta(seconds=5)})
    decisions, _ = decide_replicas(build.situation(variants=(cheap, dear), queue_depth=300.0), build.policy(), memory)
    assert {decision.variant: decision.desired for decision in decisions} == {"l40s": 2, "h100": 4}


def test_growth_goes_to_the_cheapest_variant_and_shrinking_takes_the_dearest(build):
    cheap, dear = build.variant(2, name="l40s", price=1.0, bound=3), build.variant(2, name="h100", price=3.0)
    grow, _ = decide_replicas(
        build.situation(variants=(dear, cheap), queue_depth=300.0), build.policy(), build.memory()
    )
    assert {decision.variant: decision.desired for decision in grow} == {"l40s": 3, "h100": 3}
    shrink, _ = decide_replicas(
        build.situation(variants=(cheap, dear), queue_depth=90.0), build.policy(), build.memory()
    )
    assert {decision.variant: decision.desired for decision in shrink} == {"l40s": 2, "h100": 0}


def test_an_unknown_price_moves_no_cost_knob(build):
    unknown = Missing("price", "aws/us-east-1/p9 is in no price book")
    first, second = build.variant(2, name="first", price=unknown), build.variant(2, name="second", price=1.0)
    decisions, _ = decide_replicas(
        build.situation(variants=(first, second), queue_depth=250.0), build.policy(), build.memory()
    )
    assert {decision.variant: decision.desired for decision in decisions} == {"first": 3, "second": 2}
    assert decisions[0].usd_per_hour_after == unknown


def test_reserved_capacity_is_paid_whether_used_or_not(build):
    capacity = (
        CapacityPrice(type=CapacityType.RESERVED, usd_per_replica_hour=2.0, replicas=4),
        CapacityPrice(type=CapacityType.ON_DEMAND, usd_per_replica_hour=5.0),
    )
    variant = VariantSituation(name="h100", replicas=build.replicas(3), capacity=capacity)
    decision = one(
        decide_replicas(build.situation(variants=(variant,), queue_depth=300.0), build.policy(), build.memory())[0]
    )
    assert (decision.desired, decision.usd_per_hour_before, decision.usd_per_hour_after) == (6, 8.0, 18.0)


def test_spot_is_used_only_where_the_policy_allows_it(build):
    spot = build.variant(2, bought=CapacityType.SPOT)
    refused = one(
        decide_replicas(build.situation(variants=(spot,), queue_depth=300.0), build.policy(), build.memory())[0]
    )
    assert (refused.desired, refused.because) == (2, Because.INFEASIBLE)
    allowed = build.policy(spot_allowed=True)
    assert (
        one(decide_replicas(build.situation(variants=(spot,), queue_depth=300.0), allowed, build.memory())[0]).desired
        == 6
    )


def test_too_little_capacity_for_the_minimum_holds_and_is_never_zero(build):
    policy = build.policy(min_replicas=4)
    decision = one(decide_replicas(build.situation(variants=(build.variant(2, bound=2),)), policy, build.memory())[0])
    assert (decision.desired, decision.because) == (2, Because.INFEASIBLE)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({"running": 2.0}, "running is 2"),
        ({"gateway_waiting": 1.0}, "gateway_waiting is 1"),
        ({"requests_per_s": Missing("requests_per_s", "the engine does not export it")}, "requests_per_s missing: "),
        ({"read_replicas": 0}, "0 of 1 ready replicas were read"),
    ],
)
def test_what_is_not_proven_idle_is_said(build, seen, told):
    quiet = {"queue_depth": 0.0, "running": 0.0, "requests_per_s": 0.0, "token_load_per_s": 0.0}
    found = list(against_idleness(build.situation(1, **(quiet | seen))))
    assert len(found) == 1
    assert found[0].startswith(told)


def test_zero_must_be_proven_and_proven_for_the_whole_window(build):
    policy = build.policy(min_replicas=0, scale_down=build.behaviour(300))
    quiet = {"queue_depth": 0.0, "running": 0.0, "requests_per_s": 0.0, "token_load_per_s": 0.0}
    history = ((300, 0), (150, 0))
    unproven = one(decide_replicas(build.situation(1, queue_depth=0.0), policy, build.memory(*history))[0])
    assert (unproven.desired, unproven.because) == (1, Because.NOT_PROVEN_IDLE)
    young = build.memory(*history, idle_since=build.noon - timedelta(seconds=200))
    soon = one(decide_replicas(build.situation(1, **quiet), policy, young)[0])
    assert (soon.because, soon.detail) == (
        Because.NOT_PROVEN_IDLE,
        "zero needs 300 s without a request, so far there are 200",
    )
    old = build.memory(*history, idle_since=build.noon - timedelta(seconds=300))
    proven = one(decide_replicas(build.situation(1, **quiet), policy, old)[0])
    assert (proven.desired, proven.because) == (0, Because.IDLE)


@pytest.mark.parametrize(
    ("changes", "because"),
    [({"paused": "paused by ann: launch day"}, Because.PAUSED), ({"mode": Mode.OBSERVE}, Because.OBSERVING)],
)
def test_an_operator_or_the_mode_stops_every_move(build, changes, because):
    decision = one(
        decide_replicas(build.situation(4, queue_depth=4000.0, **changes), build.policy(), build.memory())[0]
    )
    assert (decision.desired, decision.because) == (4, because)


def test_somebody_elses_change_makes_us_stand_down_for_a_while(build):
    memory = build.memory(expected={"h100": 3})
    decisions, memory = decide_replicas(build.situation(5, queue_depth=4000.0), build.policy(), memory)
    assert one(decisions).because is Because.FOREIGN_CHANGE
    still = build.situation(5, queue_depth=4000.0, at=build.noon + timedelta(seconds=599))
    decisions, memory = decide_replicas(still, build.policy(), memory)
    assert one(decisions).because is Because.FOREIGN_CHANGE
    after = build.situation(5, queue_depth=4000.0, at=build.noon + timedelta(seconds=600))
    assert one(decide_replicas(after, build.policy(), memory)[0]).desired == 8


def test_a_crashed_replica_is_no_foreign_change_and_is_replaced(build):
    replicas = build.replicas(4)
    crashed = (*replicas[:3], replace(replicas[3], phase=Phase.FAILED))
    variant = VariantSituation(name="h100", replicas=crashed, capacity=build.variant(1).capacity)
    memory = build.memory(expected={"h100": 4})
    decisions, memory = decide_replicas(build.situation(variants=(variant,), queue_depth=190.0), build.policy(), memory)
    assert one(decisions).because is Because.START_FAILED  # benched for half a minute
    cleaned = build.situation(3, queue_depth=190.0, at=build.noon + timedelta(seconds=31))
    again = one(decide_replicas(cleaned, build.policy(), memory)[0])
    assert (again.desired, again.because) == (4, Because.DEMAND)


def test_only_what_was_done_counts_for_the_step_limit(build):
    policy = build.policy(scale_up=build.behaviour(0, replicas=2, per_s=120))
    decisions, memory = decide_replicas(build.situation(4, queue_depth=400.0), policy, build.memory())
    decision = one(decisions)
    for kind, events in (
        (OutcomeKind.DONE, 1),
        (OutcomeKind.FAILED, 0),
        (OutcomeKind.ADVISED, 0),
        (OutcomeKind.REFUSED, 0),
    ):
        outcome = Outcome(decision_id=decision.id, service="chat", variant="h100", kind=kind, detail="", at=decision.at)
        after = remember(memory, decisions, {decision.id: outcome}, decision.at)
        assert len(after.scale_events) == events, kind


def test_after_a_failed_action_the_next_count_is_nobodys_fault(build):
    decisions, memory = decide_replicas(build.situation(4, queue_depth=400.0), build.policy(), build.memory())
    decision = one(decisions)
    failed = Outcome(
        decision_id=decision.id, service="chat", variant="h100", kind=OutcomeKind.FAILED, detail="", at=decision.at
    )
    memory = remember(memory, decisions, {decision.id: failed}, decision.at)
    half_done = build.situation(4, 2, queue_depth=400.0, at=build.noon + timedelta(seconds=15))
    assert one(decide_replicas(half_done, build.policy(), memory)[0]).because is not Because.FOREIGN_CHANGE


def test_who_follows_advice_by_hand_is_no_intruder(build):
    memory = build.memory(expected={"h100": 3})
    situation = build.situation(5, queue_depth=4000.0, mode=Mode.ADVISE)
    assert one(decide_replicas(situation, build.policy(), memory)[0]).desired == 8


def test_a_service_that_was_never_seen_is_blind(build):
    decision = one(decide_replicas(build.situation(0, 2), build.policy(), ServiceMemory())[0])
    assert (decision.desired, decision.because) == (2, Because.BLIND)


def test_nothing_shrinks_while_the_platform_cannot_say_how_many_there_are_but_growth_goes_on(build):
    away = replace(build.variant(4), counted=False, uncounted="replicas missing: the API server is away")
    for load, expected in ((0.0, (4, Because.BLIND)), (400.0, (8, Because.DEMAND))):
        situation = build.situation(variants=(away,), queue_depth=load)
        decisions, after = decide_replicas(situation, build.policy(), build.memory((0, 4)))
        assert (one(decisions).desired, one(decisions).because) == expected
        assert after.live_since is None, "the window begins anew when it can"
        assert load or "the API server is away" in one(decisions).detail
