"""What is recorded, on SQLite and on PostgreSQL alike."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.errors import LedgerError
from controller.facts.decisions import (
    Alert,
    AlertPhase,
    AlertState,
    Memory,
    Outcome,
    OutcomeKind,
    Pause,
    Recommendation,
    ScaleEvent,
    ServiceMemory,
    SpotRecord,
)
from controller.facts.fleet import CapacityType, Mode
from controller.facts.passes import Gap
from controller.facts.readings import Counter, CounterMark, Phase
from controller.ledger.read import LedgerReader
from controller.ledger.write import Ledger


def outcome(decision, kind=OutcomeKind.DONE, detail="2 replicas are starting"):
    return Outcome(
        decision_id=decision.id,
        service=decision.service,
        variant=decision.variant,
        kind=kind,
        detail=detail,
        at=decision.at,
    )


def full_memory(make):
    chat = ServiceMemory(
        recommendations=tuple(Recommendation(at=make.at(-15 * n), wanted=n % 3) for n in range(12)),
        scale_events=(
            ScaleEvent(at=make.at(-90), variant="h100", before=1, after=3),
            ScaleEvent(at=make.at(-90), variant="h100", before=3, after=2),
        ),
        live_since=make.at(-600.000001),
        idle_since=None,
        given_up={"chat-7": make.at(-30), "chat-8": make.at(-20)},
        lost={"chat-5": make.at(-40)},
        ready_since={"chat-1": make.at(-7200), "chat-2": make.at(-3600)},
        expected={"h100": 3, "l4": 0},
        foreign_until=make.at(300),
        spot={
            ("h100", "us-east-2a"): SpotRecord(replica_h=12.25, losses=1.5, at=make.at(0), lost_at=make.at(-600)),
            ("l4", ""): SpotRecord(at=make.at(-15)),
        },
    )
    state = AlertState(
        service="chat",
        name="paying-for-idle",
        phase=AlertPhase.FIRING,
        since=make.at(-900),
        last_sent=make.at(-300),
        cleared_since=make.at(-10),
    )
    pending = AlertState(service="code", name="slow", phase=AlertPhase.PENDING, since=make.at(-5))
    return Memory(
        services={"chat": chat, "code": ServiceMemory(idle_since=make.at(-60))},
        alerts={("chat", "paying-for-idle"): state, ("code", "slow"): pending},
    )


def test_an_empty_ledger_restores_nothing(ledger):
    restored = ledger.restore()
    assert restored.memory == Memory()
    assert (restored.marks, restored.last_pass_at, restored.unfinished) == ((), None, ())
    assert ledger.pauses() == {}


def test_memory_comes_back_equal_after_a_restart(url, ledger, make):
    memory = full_memory(make)
    ledger.record_intent(make.record(0, memory=memory))
    ledger.close()
    reopened = Ledger.open(url)
    assert reopened.restore().memory == memory
    assert reopened.restore().last_pass_at == make.at(0)
    reopened.close()


def test_only_the_newest_memory_is_remembered(ledger, make):
    ledger.record_intent(make.record(0, memory=full_memory(make)))
    later = Memory(services={"chat": ServiceMemory(expected={"h100": 5})})
    ledger.record_outcomes(make.result(0), later)
    assert ledger.restore().memory == later


def test_counter_marks_move_on_and_those_of_vanished_targets_stay(ledger, make):
    def mark(url, value, seconds, started_s=1.5e9):
        return CounterMark(
            target_url=url, series="output_tokens/0", started_s=started_s, value=value, at=make.at(seconds)
        )

    ledger.record_intent(make.record(0, marks=(mark("http://a", 10.0, 0), mark("http://b", 7.0, 0))))
    ledger.record_intent(make.record(15, marks=(mark("http://a", 25.0, 15, None), mark("http://c", nan, 15))))
    assert ledger.restore().marks == (mark("http://a", 25.0, 15, None), mark("http://b", 7.0, 0))


def test_an_intent_without_its_outcome_is_unfinished_until_it_is_settled(url, ledger, make):
    moves, shrinks = make.decision(0), make.decision(0, current=3, desired=1, victims=("chat-2", "chat-1"))
    holds = make.decision(0, desired=1)
    ledger.record_intent(make.record(0, decisions=(moves, shrinks, holds)))
    ledger.close()
    reopened = Ledger.open(url)
    assert sorted(reopened.restore().unfinished, key=str) == sorted((moves, shrinks), key=str)
    unknown = (outcome(moves, OutcomeKind.UNKNOWN), outcome(shrinks, OutcomeKind.UNKNOWN))
    reopened.record_outcomes(make.result(15, outcomes=unknown), Memory())
    assert reopened.restore().unfinished == ()
    reopened.close()


def test_the_first_outcome_of_an_action_stands(ledger, reader, make):
    decision = make.decision(0)
    ledger.record_intent(make.record(0, decisions=(decision,)))
    ledger.record_outcomes(make.result(0, outcomes=(outcome(decision),)), Memory())
    ledger.record_outcomes(make.result(0, outcomes=(outcome(decision, OutcomeKind.UNKNOWN),)), Memory())
    assert reader.last_decision("chat").outcome.kind is OutcomeKind.DONE


def test_the_same_pass_recorded_twice_changes_nothing(ledger, reader, make):
    decision = make.decision(0)
    use = make.use(-15, 0, counts={Counter.OUTPUT_TOKENS: 90.0}, cost_nanousd=123)
    record = make.record(0, decisions=(decision,), uses=(use,), memory=full_memory(make))
    result = make.result(0, outcomes=(outcome(decision),), problems=("one", "two"))
    for _twice in range(2):
        ledger.record_intent(record)
        ledger.record_outcomes(result, record.memory)
    (cost,) = reader.cost(make.at(-60), make.at(60))
    assert (cost.cost_nanousd, cost.output_tokens) == (123, 90.0)
    assert len(reader.decisions()) == 1
    assert reader.last_pass().problems == ("one", "two")
    assert reader.last_pass().duration_s == 0.25


def test_unknown_is_null_and_not_zero(ledger, reader, make):
    unread = make.use(0, 15, missing="timed out after 2 s")
    read = make.use(15, 30, counts={Counter.REQUESTS: 3.0}, running=2.0, mfu_ratio=nan, cost_nanousd=50)
    ledger.record_intent(make.record(15, uses=(unread,)))
    (minute,) = reader.replica_minutes(make.at(0), make.at(60))
    assert (minute.requests, minute.running, minute.cost_nanousd) == (None, None, None)
    assert (minute.missing_s, minute.missing_why, minute.unpriced_s) == (15.0, "timed out after 2 s", 15.0)
    ledger.record_intent(make.record(30, uses=(read,)))
    (minute,) = reader.replica_minutes(make.at(0), make.at(60))
    assert (minute.requests, minute.running, minute.mfu_ratio, minute.output_tokens) == (3.0, 2.0, None, None)
    assert (minute.cost_nanousd, minute.unpriced_s, minute.covered_s) == (50, 15.0, 30.0)
    assert minute.missing_why == "timed out after 2 s"


def test_levels_are_weighted_by_time_and_phases_add_up(ledger, reader, make):
    uses = (
        make.use(0, 10, queue_depth=30.0, phase=Phase.STARTING),
        make.use(10, 40, queue_depth=10.0),
    )
    ledger.record_intent(make.record(40, uses=uses))
    (minute,) = reader.replica_minutes(make.at(0), make.at(60))
    assert minute.queue_depth == pytest.approx(15.0)
    assert (minute.starting_s, minute.ready_s, minute.covered_s) == (10.0, 30.0, 40.0)


def test_a_service_minute_keeps_the_worst_latency_and_the_last_price(ledger, reader, make):
    for seconds, ttft, usd in ((0, 0.4, 8.0), (15, 2.5, 9.0), (30, 0.3, 16.0)):
        estimates = make.estimates(seconds, ttft_p95_s=ttft, usd_per_hour=usd, tpot_p95_s=inf)
        ledger.record_intent(make.record(seconds, estimates=estimates, decisions=(make.decision(seconds),)))
    ledger.record_intent(make.record(45))
    (minute,) = reader.service_series("chat", make.at(0), make.at(60))
    assert (minute.ttft_p95_s, minute.usd_per_hour, minute.tpot_p95_s) == (2.5, 16.0, None)
    assert (minute.replicas_current, minute.replicas_ready, minute.replicas_desired) == (2, 1, 3)


def test_passes_that_could_not_be_recorded_leave_a_named_gap(url, ledger, reader, make):
    ledger.record_intent(make.record(0))
    first = make.decision(15)
    with pytest.raises(LedgerError, match="nothing is acted on until it can be recorded"):
        ledger.record_intent(make.record(15, decisions=(first, first)))
    with pytest.raises(LedgerError):
        ledger.record_intent(make.record(30, decisions=(first, first)))
    ledger.record_intent(make.record(45))
    ledger.record_intent(make.record(60))
    assert reader.gaps(make.at(0), make.at(90)) == (
        Gap(start=make.at(0), end=make.at(30), why="the ledger could not be written"),
    )


def test_a_failed_intent_leaves_nothing_behind(ledger, reader, make):
    double = make.decision(15)
    with pytest.raises(LedgerError):
        ledger.record_intent(make.record(15, decisions=(double, double), uses=(make.use(0, 15, cost_nanousd=1),)))
    assert reader.cost(make.at(0), make.at(60)) == ()
    assert reader.last_pass() is None


def test_a_pause_lasts_over_restarts_until_it_is_resumed(url, ledger, reader, make):
    pause = Pause(service="chat", since=make.at(0), by="ops", reason="maintenance\0")
    ledger.pause(pause)
    ledger.pause(replace(pause, service="code"))
    ledger.close()
    reopened = Ledger.open(url)
    assert set(reopened.pauses()) == {"chat", "code"}
    assert reopened.resume("chat", make.at(60), "ops")
    assert not reopened.resume("chat", make.at(61), "ops")
    assert reopened.pauses() == reader.pauses() == {"code": replace(pause, service="code", reason="maintenance\ufffd")}
    again = Pause(service="code", since=make.at(90), by="night", reason="still broken")
    reopened.pause(again)
    assert reopened.pauses() == {"code": again}
    reopened.close()


def test_alert_messages_are_kept(ledger, reader, make):
    alert = Alert(
        service="chat",
        name="slow",
        phase=AlertPhase.FIRING,
        severity="warning",
        condition="ttft_p95_s > 1",
        summary="p95 is 2.5 s",
        do="look at the queue",
        since=make.at(-60),
        at=make.at(0),
    )
    ledger.record_intent(make.record(0))
    ledger.record_outcomes(make.result(0, sent=(alert,)), full_memory(make))
    (event,) = reader.alerts(make.at(0), make.at(1))
    assert (event.name, event.phase, event.do, event.since) == ("slow", AlertPhase.FIRING, alert.do, make.at(-60))
    assert reader.alerts(make.at(1), make.at(2)) == ()
    assert {state.name for state in reader.alert_states()} == {"paying-for-idle", "slow"}


def test_old_rows_are_forgotten_but_never_what_is_unfinished(ledger, reader, make):
    old, lost, young = make.decision(0), make.decision(0), make.decision(3600)
    mark = CounterMark(target_url="http://gone", series="requests/0", started_s=None, value=1.0, at=make.at(0))
    gap = Gap(start=make.at(-60), end=make.at(0), why="the daemon was not running")
    use = make.use(0, 15, cost_nanousd=1)
    ledger.record_intent(make.record(15, decisions=(old, lost), uses=(use,), marks=(mark,), gaps=(gap,)))
    ledger.record_outcomes(make.result(15, outcomes=(outcome(old),)), Memory())
    ledger.record_intent(make.record(3600, decisions=(young,), uses=(make.use(3585, 3600, cost_nanousd=2),)))
    assert ledger.prune(make.at(3660), minutes_s=600, decisions_s=600) > 0
    assert {one.decision.id for one in reader.decisions()} == {lost.id, young.id}
    assert reader.decisions(start=make.at(3600))[0].decision == young
    assert sum(one.cost_nanousd for one in reader.replica_minutes(make.at(-60), make.at(7200))) == 2
    assert reader.gaps(make.at(-60), make.at(7200)) == ()
    assert ledger.restore().marks == ()
    ledger.prune(make.at(9e6), minutes_s=0, decisions_s=0)
    assert ledger.restore().last_pass_at == make.at(3600)
    assert {one.id for one in ledger.restore().unfinished} == {lost.id, young.id}


PASSES = st.lists(
    st.fixed_dictionaries(
        {
            "length_s": st.integers(1, 200),
            "cost": st.lists(st.none() | st.integers(0, 10**15), min_size=3, max_size=3),
            "tokens": st.lists(st.none() | st.integers(0, 10**9), min_size=3, max_size=3),
            "dies": st.booleans(),
            "twice": st.booleans(),
        }
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(passes=PASSES)
def test_the_ledger_adds_up_to_the_uses_exactly_through_deaths_and_repeats(fresh_url, make, passes):
    url = fresh_url()
    ledger, now_s = Ledger.open(url), 0
    for one in passes:
        uses = [
            make.use(
                now_s,
                now_s + one["length_s"],
                replica=f"chat-{number}",
                capacity_type=list(CapacityType)[number],
                cost_nanousd=cost,
                counts={} if tokens is None else {Counter.OUTPUT_TOKENS: float(tokens)},
            )
            for number, (cost, tokens) in enumerate(zip(one["cost"], one["tokens"], strict=True))
        ]
        now_s += one["length_s"]
        record = make.record(now_s, uses=tuple(uses))
        ledger.record_intent(record)
        if one["dies"]:
            ledger.close()
            ledger = Ledger.open(url)
        else:
            ledger.record_outcomes(make.result(now_s), record.memory)
        if one["twice"]:
            ledger.record_intent(record)
    ledger.close()
    reader = LedgerReader(url)
    found = {cost.replica: cost for cost in reader.cost(make.at(0), make.at(now_s + 60), by=("replica",))}
    for number in range(3):
        costs = [one["cost"][number] for one in passes if one["cost"][number] is not None]
        tokens = [one["tokens"][number] for one in passes if one["tokens"][number] is not None]
        unpriced_s = sum(one["length_s"] for one in passes if one["cost"][number] is None)
        row = found[f"chat-{number}"]
        assert row.cost_nanousd == (sum(costs) if costs else None)
        assert row.output_tokens == (sum(tokens) if tokens else None)
        assert row.unpriced_s == pytest.approx(unpriced_s)
        assert row.covered_s == pytest.approx(now_s)
    reader.close()


def test_a_reader_never_sees_half_a_pass_while_the_daemon_writes(url, ledger, make):
    done, halves, failures = threading.Event(), [], []

    def watch():
        reader = LedgerReader(url)
        try:
            while not done.is_set():
                costs = {one.cost_nanousd for one in reader.cost(make.at(0), make.at(9999), by=("replica",))}
                if len(costs) > 1:
                    halves.append(costs)
        except Exception as error:
            failures.append(error)
        reader.close()

    watchers = [threading.Thread(target=watch) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    for number in range(40):
        uses = tuple(
            make.use(number * 15, number * 15 + 15, replica=f"chat-{one}", cost_nanousd=7) for one in range(20)
        )
        ledger.record_intent(make.record(number * 15 + 15, uses=uses))
    done.set()
    for watcher in watchers:
        watcher.join(timeout=60)
    assert (halves, failures) == ([], [])


DIE_AFTER_THE_INTENT = """
    import importlib.util, os, signal, sys
    spec = importlib.util.spec_from_file_location("facts_to_write", sys.argv[2])
    module = importlib.util.module_from_spec(spec)
    sys.modules["facts_to_write"] = module
    spec.loader.exec_module(module)
    from controller.ledger.write import Ledger
    make = module.Make()
    Ledger.open(sys.argv[1]).record_intent(make.record(0, decisions=(make.decision(0, id="the-one"),)))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_intent_survives_kill_9(url, make, request):
    facts = str(request.path.parent / "conftest.py")
    command = [sys.executable, "-c", textwrap.dedent(DIE_AFTER_THE_INTENT), url, facts]
    died = subprocess.run(command, cwd=request.config.rootpath, env=dict(os.environ), timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    ledger = Ledger.open(url)
    assert [one.id for one in ledger.restore().unfinished] == ["the-one"]
    ledger.close()


def test_the_mode_of_a_decision_is_kept(ledger, reader, make):
    ledger.record_intent(make.record(0, mode=Mode.ADVISE, decisions=(make.decision(0),)))
    assert reader.last_decision("chat").mode is Mode.ADVISE
