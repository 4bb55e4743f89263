from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller.decide.clock import carried_over
from controller.facts.decisions import AlertPhase, AlertState, Memory, Recommendation, ServiceMemory
from controller.facts.safety import Move, SafetyMemory, Stop

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PASS = timedelta(seconds=15)
HOUR = timedelta(hours=1)


@pytest.fixture
def memory() -> Memory:
    past = tuple(Recommendation(at=NOON - number * PASS, wanted=3) for number in (2, 1, 0))
    chat = ServiceMemory(
        recommendations=past,
        live_since=NOON - HOUR,
        idle_since=NOON - PASS,
        given_up={"h100/a": NOON},
        foreign_until=NOON + 4 * PASS,
        expected={"h100": 3},
    )
    alert = AlertState(service="chat", name="long", phase=AlertPhase.PENDING, since=NOON - PASS)
    move = Move(id="m", at=NOON - PASS, service="chat", variant="h100", replicas=1, usd=2.0)
    stop = Stop(since=NOON, by="ann", reason="launch", source="/etc/stop")
    return Memory(
        services={"chat": chat}, alerts={("chat", "long"): alert}, safety=SafetyMemory(moves=(move,), stops=(stop,))
    )


def test_from_pass_to_pass_nothing_changes(memory):
    assert carried_over(memory, NOON, 15.0, NOON + 2 * PASS) is memory
    assert carried_over(memory, None, 15.0, NOON + HOUR) is memory


def test_where_nobody_looked_for_long_no_signal_was_live(memory):
    after = carried_over(memory, NOON, 15.0, NOON + HOUR).services["chat"]
    assert (after.live_since, after.idle_since) == (None, None)
    assert after.recommendations == memory.services["chat"].recommendations


def test_where_the_clock_went_back_every_window_is_as_long_as_it_was(memory):
    after = carried_over(memory, NOON, 15.0, NOON - HOUR)
    chat = after.services["chat"]
    assert [one.at for one in chat.recommendations] == [NOON - HOUR - number * PASS for number in (2, 1, 0)]
    assert (chat.live_since, chat.given_up, chat.expected) == (NOON - 2 * HOUR, {"h100/a": NOON - HOUR}, {"h100": 3})
    assert chat.foreign_until == NOON - HOUR + 4 * PASS
    assert after.alerts["chat", "long"].since == NOON - HOUR - PASS
    assert after.safety.moves[0].at == NOON - HOUR - PASS


def test_where_the_clock_was_set_ahead_every_window_is_as_long_as_it_was_and_goes_on(memory):
    after = carried_over(memory, NOON, 15.0, NOON + HOUR + PASS, set_ahead=HOUR)
    chat = after.services["chat"]
    assert [one.at for one in chat.recommendations] == [NOON + HOUR - number * PASS for number in (2, 1, 0)]
    assert (chat.live_since, chat.idle_since) == (NOON, NOON + HOUR - PASS)
    assert chat.foreign_until == NOON + HOUR + 4 * PASS
    assert after.safety.stops == memory.safety.stops


def test_what_operators_said_of_times_stays_as_they_said_it(memory):
    assert carried_over(memory, NOON, 15.0, NOON - HOUR).safety.stops == memory.safety.stops
