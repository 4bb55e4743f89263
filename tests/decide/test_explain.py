"""The explanation carries every number that decided."""

from dataclasses import replace
from datetime import timedelta

from controller.decide.explain import NEXT, briefly, explain
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


def settled(build, **changes):
    """Four replicas of 10 requests/s each, and 34 that the forecast expects."""
    situation = build.situation(4, outlook=build.outlook({0: 36, 240: 34}))
    decisions, _ = decide_replicas(situation, build.policy(**changes), build.memory())
    return decisions[0], explain(decisions, {}, build.noon).splitlines()[-1]


def test_a_steady_forecast_says_at_what_demand_it_grows_and_shrinks(build):
    decision, last = settled(build)
    assert decision.because is Because.STEADY
    assert last == (
        "  Next      Within the policy's limits, more are ordered when the demand to be ready for in 240 s, now 34.00 "
        "requests/s, is over the 40.00 that the replicas carry, or when a live signal asks for more. One goes when the most to be ready for until then, now "
        "36.00, is within the 30.00 that the rest carry and no live signal objects."
    )


def test_how_long_the_last_one_beyond_what_is_wanted_stays_is_said(build):
    down = replace(build.behaviour(60), spare_s=600)
    _, last = settled(build, scale_down=down)
    assert "now 36.00, has been within the 30.00 that the rest carry for 600 s and no live signal objects." in last


def test_a_spare_is_told_with_the_time_at_which_it_goes(build):
    """Four were wanted seven minutes ago, and one fewer since: a spare stays ten."""
    policy = build.policy(scale_down=replace(build.behaviour(60), spare_s=600))
    memory = build.memory((900, 4), (420, 4), (400, 3), (15, 3))
    decisions, _ = decide_replicas(build.situation(4, queue_depth=140.0), policy, memory)
    assert decisions[0].because is Because.STABILIZING
    assert "the last one beyond what is wanted stays until 12:03 UTC" in briefly(decisions)[0]
    later = build.situation(4, queue_depth=140.0, at=build.noon + timedelta(seconds=181))
    assert decide_replicas(later, policy, memory)[0][0].desired == 3


def test_a_forecast_at_its_limit_says_what_holds_it_and_when_it_moves_again(build):
    decision, last = settled(build, min_replicas=4, targets=Targets())
    assert decision.because is Because.STEADY
    assert "live signal" not in last
    situation = build.situation(4, outlook=build.outlook(12))
    decisions, _ = decide_replicas(situation, build.policy(min_replicas=4), build.memory())
    told = explain(decisions, {}, build.noon).splitlines()[-1]
    assert decisions[0].because is Because.LIMIT
    assert told.startswith("  Next      Only another limit in the policy lets it go beyond. Within the policy")


def test_without_a_forecast_the_loads_say_what_comes_next(build):
    decisions, _ = decide_replicas(build.situation(4, queue_depth=200.0), build.policy(), build.memory())
    assert explain(decisions, {}, build.noon).endswith(NEXT[Because.STEADY])


def test_what_is_said_to_be_the_next_move_is_the_next_move(build):
    """Just below and just above each of the two thresholds that were told."""
    policy = build.policy(targets=Targets())
    for per_s, wanted in ((30.0, 3), (30.1, 4), (40.0, 4), (40.1, 5)):
        situation = build.situation(4, outlook=build.outlook(per_s))
        assert decide_replicas(situation, policy, build.memory())[0][0].desired == wanted, per_s


def test_briefly_is_in_the_words_of_the_explanation(build):
    decisions, _ = decide_replicas(build.situation(4, read=2), build.policy(), build.memory())
    (line,) = briefly(decisions)
    verb, because = line.removeprefix("chat on h100: ").split("; ")
    told = explain(decisions, {}, build.noon)
    assert f"Decided   {verb}." in told
    assert f"Because   {because}." in told


def test_what_is_at_rest_needs_no_line(build):
    decisions, _ = decide_replicas(build.situation(4, queue_depth=200.0), build.policy(), build.memory())
    assert briefly(decisions) == []


def test_replicas_that_nobody_could_ask_are_not_told_as_ready(build):
    replicas = [replace(one, silent=index > 0) for index, one in enumerate(build.replicas(3))]
    variant = replace(build.variant(3), replicas=tuple(replicas))
    decisions, _ = decide_replicas(build.situation(variants=(variant,), read=1), build.policy(), build.memory())
    assert "hold at 3 replicas (1 ready, 0 starting, 2 that could not be read)" in explain(decisions, {}, build.noon)
