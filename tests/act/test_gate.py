"""The last door: what is asked again at the moment of acting."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from controller.act.gate import Gate, StopFile, stop_file
from controller.errors import LedgerError
from controller.facts.decisions import Because, Decision, Outcome, OutcomeKind
from controller.facts.safety import Stop

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Counting:
    """An actuator that does what it is told, and remembers."""

    name = "counting"

    def __init__(self):
        self.applied = []

    def apply(self, decision, variant, now):
        self.applied.append(decision.id)
        return Outcome.of(decision, OutcomeKind.DONE, "done", now)


@pytest.fixture
def actuator():
    return Counting()


def decision(service="chat", variant="h100", name=""):
    return Decision(
        id=name or f"{service}/{variant}@{NOON.isoformat()}",
        at=NOON,
        service=service,
        variant=variant,
        current=1,
        ready=1,
        desired=2,
        wanted=2,
        because=Because.DEMAND,
        detail="",
        usd_per_hour_before=1.0,
        usd_per_hour_after=2.0,
    )


def tried(gate, actuator, *made, recorded=True, now=NOON):
    if recorded:
        gate.recorded(made, NOON)
    return [gate.act(one, None, actuator, now) for one in made]


def test_what_was_recorded_and_nobody_stopped_is_done(actuator):
    (outcome,) = tried(Gate(), actuator, decision())
    assert outcome.kind is OutcomeKind.DONE
    assert actuator.applied == [decision().id]


def test_without_its_intent_in_the_ledger_nothing_is_done(actuator):
    (outcome,) = tried(Gate(), actuator, decision(), recorded=False)
    assert (outcome.kind, actuator.applied) == (OutcomeKind.REFUSED, [])
    assert "its intent is not in the ledger" in outcome.detail


def test_an_intent_of_an_earlier_pass_is_no_intent(actuator):
    (outcome,) = tried(Gate(), actuator, decision(), now=NOON + timedelta(seconds=15))
    assert outcome.kind is OutcomeKind.REFUSED


def test_one_target_is_touched_once_in_a_pass(actuator):
    outcomes = tried(Gate(), actuator, decision(name="1"), decision(name="2"), decision(service="code", name="3"))
    assert [one.kind for one in outcomes] == [OutcomeKind.DONE, OutcomeKind.REFUSED, OutcomeKind.DONE]
    assert "acted on it already" in outcomes[1].detail


def test_a_lead_that_is_lost_while_the_stops_are_read_counts_as_lost(actuator):
    leads = [7]

    def stops():
        leads[0] = None
        return ()

    (outcome,) = tried(Gate(ledger=stops, lead=lambda: leads[0]), actuator, decision())
    assert (outcome.kind, actuator.applied) == (OutcomeKind.REFUSED, [])


def test_who_does_not_lead_any_more_does_nothing(actuator):
    epochs = iter([7, None])
    outcomes = tried(Gate(lead=lambda: next(epochs)), actuator, decision(), decision(service="code"))
    assert [one.kind for one in outcomes] == [OutcomeKind.DONE, OutcomeKind.REFUSED]
    assert "does not lead" in outcomes[1].detail


def test_a_stop_that_comes_between_two_actions_holds_the_second(actuator):
    stops = [(), (Stop(service="code", since=NOON, by="ann", reason="wrong image"),)]
    outcomes = tried(Gate(ledger=lambda: stops.pop(0)), actuator, decision(), decision(service="code"))
    assert [one.kind for one in outcomes] == [OutcomeKind.DONE, OutcomeKind.REFUSED]
    assert "code is stopped by ann since 2026-11-21 12:00 UTC: wrong image" in outcomes[1].detail
    assert "lifted by: pennyweight go code" in outcomes[1].detail


def test_a_stop_of_another_service_or_one_that_has_ended_holds_nothing(actuator):
    other = Stop(service="code", since=NOON, by="ann", reason="x")
    ended = Stop(since=NOON - timedelta(hours=2), by="ann", reason="x", until=NOON)
    (outcome,) = tried(Gate(ledger=lambda: (other, ended)), actuator, decision())
    assert outcome.kind is OutcomeKind.DONE


def unreadable():
    raise LedgerError("the ledger cannot be read: disk full")


def test_stops_that_cannot_be_read_are_stops(actuator):
    (outcome,) = tried(Gate(ledger=unreadable), actuator, decision())
    assert (outcome.kind, actuator.applied) == (OutcomeKind.REFUSED, [])
    assert "disk full" in outcome.detail


def test_a_place_that_breaks_in_any_way_stops_everything_and_is_told(actuator):
    def broken():
        raise TypeError("nonsense from the API server")

    gate = Gate(others=(broken,))
    (outcome,) = tried(gate, actuator, decision())
    assert outcome.kind is OutcomeKind.REFUSED
    (stop,) = gate.stops(NOON)
    assert stop.unsure
    assert "nonsense from the API server" in str(stop)


def test_a_pass_keeps_the_last_known_stops_while_the_ledger_is_away():
    known = Stop(since=NOON, by="ann", reason="x")
    answers = [(known,), None]

    def ledger():
        found = answers.pop(0)
        return found if found is not None else unreadable()

    gate = Gate(ledger=ledger)
    assert gate.stops(NOON) == gate.stops(NOON) == (known,)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_no_file_stops_nothing(tmp_path):
    assert StopFile(path=tmp_path / "stop")() == ()
    assert stop_file(lambda: None)() == ()


def test_a_touched_file_stops_everything_and_tells_whose_it_is_and_since_when(tmp_path, actuator):
    path = tmp_path / "stop"
    path.touch()
    os.utime(path, (NOON.timestamp(), NOON.timestamp()))
    (stop,) = StopFile(path=path)()
    assert (stop.service, stop.since, stop.reason, stop.by) == ("", NOON, "no reason given", path.owner())
    assert stop.lift == f"remove {path}"
    (outcome,) = tried(Gate(others=(stop_file(lambda: path),)), actuator, decision())
    assert outcome.kind is OutcomeKind.REFUSED


def test_the_first_line_is_the_reason(tmp_path):
    path = tmp_path / "stop"
    path.write_bytes(b"  quarter end\xff, ask ann \nmore\n")
    (stop,) = StopFile(path=path)()
    assert stop.reason == "quarter end\ufffd, ask ann"


def test_whatever_lies_there_stops_also_what_cannot_be_read(tmp_path):
    (tmp_path / "stop").mkdir()
    (stop,) = StopFile(path=tmp_path / "stop")()
    assert not stop.unsure
    assert "cannot be read" in stop.reason


def test_where_nobody_can_know_it_counts_as_stopped_and_says_so(tmp_path):
    (tmp_path / "file").touch()
    (stop,) = StopFile(path=tmp_path / "file" / "stop")()
    assert stop.unsure
    assert "cannot be known" in stop.reason


def test_a_file_that_is_removed_lets_go(tmp_path, actuator):
    path = tmp_path / "stop"
    path.touch()
    gate = Gate(others=(stop_file(lambda: path),))
    assert gate.stops(NOON)
    path.unlink()
    (outcome,) = tried(gate, actuator, decision())
    assert outcome.kind is OutcomeKind.DONE
