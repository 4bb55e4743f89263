"""Whole passes over a fake shell: the order of safety, and what survives what."""

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from controller.errors import ActError, StaleActError
from controller.facts.budgets import Guard
from controller.facts.decisions import Because, OutcomeKind, Pause
from controller.facts.fleet import Mode
from controller.facts.money import accrued_nanousd, nanousd
from controller.loop import Running, one_pass

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def passes(world, plan, count, running=None, start=0):
    """Run ``count`` passes, 15 s apart; the results and what they leave."""
    results = []
    running = running or Running()
    for index in range(count):
        result, running = one_pass(world, plan, running, NOON + timedelta(seconds=15 * (start + index)))
        results.append(result)
    return results, running


def test_a_long_queue_is_recorded_then_acted_on_then_its_outcome_recorded(world, plan):
    world.queue = 30.0
    (result,), _ = passes(world, plan, 1)
    assert [decision.desired for decision in world.records[0].decisions] == [6]
    assert world.replicas == 6
    assert [outcome.kind for outcome in world.results[0].outcomes] == [OutcomeKind.DONE]
    assert world.memories[0].services["chat"].scale_events[0].after == 6
    assert result.duration_s == 0.25


def test_a_service_whose_pods_prefill_and_decode_apart_is_left_alone_and_told(world, plan):
    world.queue, world.roles = 30.0, ("prefill", "decode")
    (result,), _ = passes(world, plan, 1)
    assert (world.acted, [one.because for one in result.decisions]) == ([], [Because.INFEASIBLE])
    assert "h100 has 1 decode and 1 prefill; make a service of each" in result.decisions[0].detail
    world.roles = ("decode", "decode")
    passes(world, plan, 1, start=1)
    assert [one.desired for one in world.acted] == [6]


def test_what_cannot_be_recorded_is_not_done(world, plan):
    world.queue, world.ledger_down = 30.0, True
    (result,), _ = passes(world, plan, 1)
    assert world.acted == []
    assert result.problems == ("nothing was acted on: the ledger cannot be written: disk full",)


def test_a_lost_outcome_is_a_problem_that_people_see(world, plan):
    world.queue, world.outcomes_down = 30.0, True
    (result,), _ = passes(world, plan, 1)
    assert world.replicas == 6
    assert "were not recorded" in result.problems[0]


def test_advice_is_recorded_and_touches_nothing(world, plan, in_mode):
    world.queue = 30.0
    (result,), _ = passes(world, in_mode(plan, Mode.ADVISE), 1)
    assert world.acted == []
    assert [outcome.kind for outcome in result.outcomes] == [OutcomeKind.ADVISED]


def test_a_broken_actuator_is_recorded_and_the_next_pass_decides_again(world, plan):
    world.queue, world.actuator_breaks = 30.0, ActError("no port is free")
    (result,), running = passes(world, plan, 1)
    assert [outcome.kind for outcome in result.outcomes] == [OutcomeKind.FAILED]
    assert "no port is free" in result.problems[0]
    world.actuator_breaks = None
    passes(world, plan, 1, running, start=1)
    assert world.replicas == 6


def test_a_target_that_changed_since_the_decision_is_left_alone(world, plan):
    world.queue, world.actuator_breaks = 30.0, StaleActError(where="chat/h100", expected=2, found=3)
    (result,), _ = passes(world, plan, 1)
    assert [outcome.kind for outcome in result.outcomes] == [OutcomeKind.REFUSED]
    assert result.problems == ()


def test_silent_engines_are_blind_and_shrink_nothing(world, plan):
    world.queue = None
    results, _ = passes(world, plan, 10)
    assert {decision.because for result in results for decision in result.decisions} == {Because.BLIND}
    assert world.replicas == 2


def test_a_pause_holds_and_says_who_paused(world, plan, after):
    world.queue = 30.0
    world.paused = {"chat": Pause(service="chat", since=after(-60), by="ann", reason="launch day")}
    (result,), _ = passes(world, plan, 1)
    assert result.decisions[0].because is Because.PAUSED
    assert "ann" in result.decisions[0].detail
    assert "launch day" in result.decisions[0].detail


def test_a_spent_budget_refuses_growth_in_its_service(world, plan):
    world.queue = 30.0
    world.guarded = {"chat": (Guard(service="chat", budget="q4", why="budget q4: $9 of $9 spent", refuse_growth=True),)}
    (result,), _ = passes(world, plan, 1)
    assert result.decisions[0].because is Because.BUDGET
    assert "budget q4: $9 of $9 spent" in result.decisions[0].detail
    assert world.acted == []


def test_every_replica_second_is_paid_exactly_once(world, plan):
    passes(world, plan, 9)
    costs = [use.cost_nanousd for record in world.records for use in record.uses]
    shrunk_at = next(
        record.at for record in world.records if any(one.desired < one.current for one in record.decisions)
    )
    first, last = world.records[0].at, world.records[-1].at
    rate = nanousd(2.0)
    assert sum(costs) == accrued_nanousd(rate, first, last) + accrued_nanousd(rate, first, shrunk_at)


def test_time_without_passes_is_a_named_gap(world, plan):
    _, running = passes(world, plan, 1)
    passes(world, plan, 1, running, start=3)
    (gap,) = world.records[-1].gaps
    assert (gap.end - gap.start).total_seconds() == 45
    assert gap.why == "passes overran or the machine slept"


def test_after_a_restart_the_gap_says_that_the_daemon_was_away(world, plan):
    _, running = passes(world, plan, 1)
    passes(world, plan, 1, replace(running, resumed=True), start=20)
    assert world.records[-1].gaps[0].why == "the daemon was not running"


def test_rates_look_back_over_the_whole_window_and_forget_replicas_that_left(world, plan):
    results, running = passes(world, plan, 6)
    assert (
        results[-1].estimates.services["chat"].output_tokens_per_s
        == 100.0 * results[-1].estimates.services["chat"].replicas_read
    )
    assert set(running.history) == {target.url for target in results[-1].observation.targets}
    assert max(len(readings) for readings in running.history.values()) == 4


def test_advice_that_nobody_follows_is_in_the_log_once_and_again_when_it_changes(world, plan, caplog):
    caplog.set_level(logging.INFO, "pennyweight")
    plan, running, told = replace(plan, mode=Mode.ADVISE), Running(), []
    for index, queue in enumerate((30.0, 30.0, 30.0, 12.0, 12.0)):
        world.queue = queue
        caplog.clear()
        (result,), running = passes(world, plan, 1, running, index)
        told.append((result.decisions[0].desired, len(caplog.records)))
    assert told == [(6, 1), (6, 0), (6, 0), (3, 1), (3, 0)]
