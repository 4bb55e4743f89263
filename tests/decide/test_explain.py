"""The explanation carries every number that decided."""

from datetime import timedelta

from controller.decide.explain import NEXT, explain
from controller.decide.replicas import decide_replicas
from controller.decide.rules import Targets
from controller.facts.decisions import Because, Outcome, OutcomeKind


def test_every_reason_says_what_happens_next():
    assert set(NEXT) == set(Because)


def test_a_move_is_told_with_its_numbers_its_money_and_its_outcome(build):
    policy = build.policy(targets=Targets(queue_depth=50, kv_cache_ratio=0.8, headroom_ratio=0))
    decisions, _ = decide_replicas(build.situation(4, queue_depth=260.0, kv_cache_ratio=0.4), policy, build.memory())
    outcome = Outcome(
        decision_id=decisions[0].id,
        service="chat",
        variant="h100",
        kind=OutcomeKind.DONE,
        detail="started r4 and r5",
        at=decisions[0].at,
    )
    assert explain(decisions, {decisions[0].id: outcome}, build.noon + timedelta(seconds=12)).splitlines() == [
        "chat on h100, at 2026-11-21 12:00:00 UTC (12 s ago):",
        "  Decided   scale up from 4 replicas (4 ready, 0 starting) to 6.",
        "  Because   demand: queue_depth 65 against a target of 50 wants 6.",
        "  Numbers   queue_depth 65, target 50: wants 6",
        "            kv_cache_ratio 0.4, target 0.8: wants 2",
        "  Money     $8.00/h before, $12.00/h after (+4.00).",
        "  Outcome   done: started r4 and r5.",
        "  Next      The next passes watch whether it helped; starting replicas count as supply until their deadline.",
    ]


def test_advice_says_that_nothing_was_touched(build):
    decisions, _ = decide_replicas(build.situation(4, queue_depth=260.0), build.policy(), build.memory())
    advised = Outcome.of(decisions[0], OutcomeKind.ADVISED, "mode is advise", decisions[0].at)
    assert "Nothing was touched" in explain(decisions, {decisions[0].id: advised}, build.noon)


def test_a_hold_says_what_is_missing(build):
    decisions, _ = decide_replicas(build.situation(4, read=2), build.policy(), build.memory())
    told = explain(decisions, {}, build.noon)
    assert "hold at 4 replicas" in told
    assert "only 2 of 4 ready replicas could be read" in told
    assert "$8.00/h, unchanged" in told


def test_a_forecast_is_told_with_what_it_expects_and_what_becomes_of_it(build):
    situation = build.situation(4, outlook=build.outlook(55))
    decisions, _ = decide_replicas(situation, build.policy(), build.memory())
    assert explain(decisions, {}, build.noon + timedelta(seconds=12)).splitlines()[2:] == [
        f"  Because   forecast: {decisions[0].detail}.",
        "  Numbers   queue_depth 0, target 50: wants 0",
        "            forecast 13.75, target 10: wants 6",
        "  Money     $8.00/h before, $12.00/h after (+4.00).",
        "  Next      The forecast is scored when its time comes; its own errors set how much is kept in reserve.",
    ]
