"""Stops and the kernel's memory in the daemon as it is wired, and what a crash between any two steps leaves."""

from __future__ import annotations

from contextlib import closing

import pytest

from controller.facts.decisions import Because, OutcomeKind
from controller.facts.safety import Stop
from controller.ledger.read import LedgerReader
from controller.ledger.write import Ledger


@pytest.fixture
def url(fleet):
    return f"sqlite:///{fleet.ledger}"


@pytest.fixture
def reader(url):
    made = LedgerReader(url)
    yield made
    made.close()


def stopped(url, rig, **given):
    with closing(Ledger.open(url)) as ledger:
        ledger.stop(Stop(since=rig.now, by="ann", reason="wrong image", **given))


def test_a_stop_is_heeded_by_the_next_pass_and_go_lets_it_act(rig, url):
    rig.fleet.queue(30.0)
    with rig.daemon() as made:
        stopped(url, rig)
        (held,) = rig.passes(made.daemon, 1)
        assert (held.because, held.desired, rig.machines.applied) == (Because.STOPPED, 2, [])
        assert made.daemon.health().ready, "as ordered is not broken"
        assert [one.by for one in made.daemon.latest().safety.stops] == ["ann"]
        with closing(Ledger.open(url)) as ledger:
            ledger.lift("", rig.now, "ann")
        (moved,) = rig.passes(made.daemon, 1)
    assert (moved.desired, rig.machines.count) == (6, 6)


def test_a_stop_between_the_intent_and_the_actuator_is_heeded_too(rig, url, reader):
    rig.fleet.queue(30.0)
    with rig.daemon() as made:
        shell = made.daemon._shell
        record = shell.record_intent

        def then_stop(intent):
            record(intent)
            stopped(url, rig)

        shell.record_intent = then_stop
        (decision,) = rig.passes(made.daemon, 1)
        assert made.daemon._running.memory.safety.moves == (), "what was not done counts for no limit"
        assert made.daemon._running.memory.services["chat"].expected == {"h100": 2}
    assert (decision.desired, rig.machines.applied) == (6, [])
    (recorded,) = reader.decisions("chat", moves_only=True)
    assert recorded.outcome.kind is OutcomeKind.REFUSED
    assert "wrong image" in recorded.outcome.detail


def test_a_stop_survives_a_restart_and_ends_by_itself(rig, url):
    rig.fleet.queue(30.0)
    stopped(url, rig, until=rig.now.replace(minute=1))
    with rig.daemon() as made:
        (held,) = rig.passes(made.daemon, 1)
    with rig.daemon() as made:
        still, free = rig.passes(made.daemon, 2, seconds=30)
    assert [held.because, still.because, free.because] == [Because.STOPPED, Because.STOPPED, Because.DEMAND]


def test_the_stop_file_is_told_to_who_reads_only_the_ledger(rig, fleet, reader):
    rig.fleet.queue(30.0)
    path = fleet.folder / "pennyweight.stop"
    path.write_text("ask ann\n", encoding="utf-8")
    with rig.daemon() as made:
        (held,) = rig.passes(made.daemon, 1)
        assert held.because is Because.STOPPED
        assert [(one.source, one.reason) for one in reader.stops()] == [(str(path), "ask ann")]
        path.unlink()
        rig.passes(made.daemon, 1)
        assert reader.stops() == ()
    assert rig.machines.count == 6


def test_where_the_stop_file_cannot_be_looked_for_nothing_is_touched_and_readyz_says_why(rig, fleet):
    rig.fleet.queue(30.0)
    (fleet.folder / "file").touch()
    text = fleet.file.read_text(encoding="utf-8")
    fleet.file.write_text(text + "safety: {stop_file: file/stop}\n", encoding="utf-8")
    with rig.daemon() as made:
        (held,) = rig.passes(made.daemon, 1)
        assert held.because is Because.STOPPED
        assert any("cannot be known" in reason for reason in made.daemon.health().reasons)


def test_the_hour_s_limit_goes_on_after_a_restart(rig, fleet):
    rig.fleet.queue(30.0)
    text = fleet.file.read_text(encoding="utf-8")
    fleet.file.write_text(text + "safety: {grow: {per_hour: {replicas: 3}}}\n", encoding="utf-8")
    with rig.daemon() as made:
        (cut,) = rig.passes(made.daemon, 1)
    with rig.daemon() as made:
        (held,) = rig.passes(made.daemon, 1)
        expected = made.daemon._running.memory.services["chat"].expected
    assert (cut.desired, cut.because) == (5, Because.BLAST_LIMIT)
    assert (held.current, held.desired, held.because) == (5, 5, Because.BLAST_LIMIT), "and nobody else is blamed"
    assert expected == {"h100": 5}


# --- a crash between each two steps -----------------------------------------------------------------------------------


def _before_the_intent(shell, machines, died):
    def die(record):
        raise died

    shell.record_intent = die


def _after_the_intent(shell, machines, died):
    record = shell.record_intent

    def die(intent):
        record(intent)
        raise died

    shell.record_intent = die


def _in_the_actuator_before_anything(shell, machines, died):
    machines.dies = True


def _in_the_actuator_half_way(shell, machines, died):
    def die(decision, variant, now):
        machines.count = 4
        raise died

    machines.apply = die


def _before_the_outcome(shell, machines, died):
    def die(result, memory):
        raise died

    shell.record_outcomes = die


def _after_the_outcome(shell, machines, died):
    record = shell.record_outcomes

    def die(result, memory):
        record(result, memory)
        raise died

    shell.record_outcomes = die


@pytest.mark.parametrize(
    ("crash", "found", "recorded"),
    [
        (_before_the_intent, 2, []),
        (_after_the_intent, 2, [OutcomeKind.UNKNOWN]),
        (_in_the_actuator_before_anything, 2, [OutcomeKind.UNKNOWN]),
        (_in_the_actuator_half_way, 4, [OutcomeKind.UNKNOWN]),
        (_before_the_outcome, 6, [OutcomeKind.UNKNOWN]),
        (_after_the_outcome, 6, [OutcomeKind.DONE]),
    ],
)
def test_whatever_step_it_dies_after_the_next_daemon_finishes_and_nothing_is_done_twice(
    rig, reader, died, crash, found, recorded
):
    rig.fleet.queue(30.0)
    with rig.daemon() as made:
        crash(made.daemon._shell, rig.machines, died)
        with pytest.raises(died):
            rig.passes(made.daemon, 1)
    assert rig.machines.count == found
    rig.machines.dies = False
    vars(rig.machines).pop("apply", None)
    with rig.daemon() as made:
        (again,) = rig.passes(made.daemon, 1)
        (next_one,) = rig.passes(made.daemon, 1)
        moves = made.daemon._running.memory.safety.moves
    assert (again.current, again.because) != (found, Because.FOREIGN_CHANGE)
    assert {again.because, next_one.because} <= {Because.DEMAND, Because.STARTING, Because.STEADY, Because.LIMIT}
    assert rig.machines.count == next_one.desired
    assert sum(one.replicas for one in moves) == rig.machines.count - 2, "each replica counts once for the limits"
    told = [one.outcome.kind for one in reversed(reader.decisions("chat", moves_only=True))]
    assert told[: len(recorded)] == recorded
    assert None not in told, "no intent stays open"


def test_steps_of_the_actuators_own_are_held_by_a_stop_of_their_service_and_outside_mode_act(rig, url):
    heard = []
    rig.machines.heed = heard.append
    with rig.daemon() as made:
        rig.passes(made.daemon, 1)
        (acts,) = heard
        assert acts("chat")
        stopped(url, rig, service="chat")
        assert (acts("chat"), acts("batch")) == (False, True)
        with closing(Ledger.open(url)) as ledger:
            ledger.lift("chat", rig.now, "ann")
        assert acts("chat"), "asked anew each time"
        made.daemon._shell.acting_while(lambda: False)
        assert not acts("chat")
