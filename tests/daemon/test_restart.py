"""The daemon as it is wired, over a real SQLite ledger and engines on HTTP: what survives what."""

from __future__ import annotations

import logging
import sqlite3
from datetime import timedelta

import pytest

from controller.errors import LedgerError
from controller.facts.decisions import AlertPhase, Because, OutcomeKind, Pause
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


def test_engines_are_read_and_acted_on(rig):
    rig.fleet.queue(30.0)
    with rig.daemon() as made:
        (decision,) = rig.passes(made.daemon, 1)
        assert (decision.current, decision.desired, decision.because) == (2, 6, Because.DEMAND)
        assert made.daemon.health().ready
    assert rig.machines.count == 6


def test_after_a_restart_nothing_shrinks_until_signals_were_live_for_the_whole_window(rig):
    with rig.daemon() as made:
        before = rig.passes(made.daemon, 4)
    assert {one.desired for one in before} == {2}, "the window of 60 s is not over"
    with rig.daemon() as made:
        after = rig.passes(made.daemon, 5)
    assert [one.desired for one in after] == [2, 2, 2, 2, 1]


def test_recommendations_of_before_a_restart_still_count(rig):
    """A peak within the window, seen by the process before, holds the count up."""
    rig.fleet.queue(20.0)
    with rig.daemon() as made:
        rig.passes(made.daemon, 1)
        peak = made.daemon.latest().decisions[0].desired
        recommended = made.daemon._running.memory.services["chat"].recommendations
    with rig.daemon() as made:
        restored = made.daemon._running.memory.services["chat"]
    assert peak == 4
    assert restored.recommendations == recommended
    assert restored.live_since is None
    assert restored.expected == {"h100": 4}


def test_a_replica_that_served_before_a_restart_is_replaced_at_once_when_it_is_lost(rig):
    with rig.daemon() as made:
        rig.passes(made.daemon, 2)
        ready = made.daemon._running.memory.services["chat"].ready_since
    rig.now += timedelta(hours=1)
    rig.machines.failed = rig.machines.urls[1].removeprefix("http://")
    rig.fleet.queue(30.0)
    with rig.daemon() as made:
        (decision,) = rig.passes(made.daemon, 1)
    assert set(ready) == {f"h100/{url.removeprefix('http://')}" for url in rig.machines.urls}
    assert (decision.current, decision.because) == (1, Because.DEMAND)
    assert decision.detail.endswith("1 was lost after it had served")


def test_an_alert_goes_on_pending_and_is_told_once_over_restarts(rig):
    rig.fleet.queue(8.0)
    told = []
    for _ in range(6):
        with rig.daemon() as made:
            rig.passes(made.daemon, 1)
            told.extend(alert.name for alert in made.daemon.latest().sent)
            (state,) = [one for one in made.daemon.latest().alerts if one.name == "long-queue"]
    assert told == ["long-queue"]
    assert state.phase is AlertPhase.FIRING


def test_a_pause_is_heeded_while_running_and_after_a_restart(rig, url):
    rig.fleet.queue(30.0)
    pause = Pause(service="chat", since=rig.now, by="ann", reason="launch day")
    with rig.daemon() as made:
        other = Ledger.open(url)
        other.pause(pause)
        other.close()
        (paused,) = rig.passes(made.daemon, 1)
    with rig.daemon() as made:
        (still,) = rig.passes(made.daemon, 1)
    assert {paused.because, still.because} == {Because.PAUSED}
    assert "launch day" in still.detail
    assert rig.machines.applied == []


def test_an_action_cut_short_by_death_becomes_unknown_and_is_decided_anew(rig, reader, died, caplog):
    rig.fleet.queue(30.0)
    rig.machines.dies = True
    with rig.daemon() as made, pytest.raises(died):
        rig.passes(made.daemon, 1)
    rig.machines.dies, rig.machines.count = False, 4  # half of it had been done
    with rig.daemon() as made:
        (again,) = rig.passes(made.daemon, 1)
    outcomes = [one.outcome.kind for one in reversed(reader.decisions("chat", moves_only=True)) if one.outcome]
    assert outcomes[0] is OutcomeKind.UNKNOWN
    assert again.because is not Because.FOREIGN_CHANGE, "what we began ourselves is not somebody else's doing"
    assert again.current == 4
    assert "the daemon died while acting" in caplog.text


def test_a_daemon_that_dies_again_before_its_first_pass_leaves_what_was_begun_to_the_next(rig, died):
    rig.fleet.queue(30.0)
    rig.machines.dies = True
    with rig.daemon() as made, pytest.raises(died):
        rig.passes(made.daemon, 1)
    rig.machines.dies, rig.machines.count = False, 4  # half of it had been done
    with rig.daemon():
        """It restores, and is gone before it has looked."""
    with rig.daemon() as made:
        (again,) = rig.passes(made.daemon, 1)
    assert again.because is not Because.FOREIGN_CHANGE, "what we began ourselves is not somebody else's doing"
    assert again.current == 4


def test_tokens_made_while_the_daemon_was_away_are_counted_once_and_the_gap_is_named(rig, reader, fleet):
    with rig.daemon() as made:
        rig.passes(made.daemon, 2)
    for engine in fleet.engines:
        engine.tokens += 1000
    with rig.daemon() as made:
        rig.passes(made.daemon, 1, seconds=300)
    start, end = rig.now - timedelta(hours=1), rig.now + timedelta(minutes=1)
    (total,) = reader.cost(start, end, by=())
    assert total.output_tokens == sum(engine.tokens - 60 for engine in fleet.engines)
    assert [gap.why for gap in reader.gaps(start, end)] == ["the daemon was not running"]


def test_a_second_daemon_on_the_same_ledger_is_refused(rig):
    with (
        rig.daemon(),
        pytest.raises(LedgerError, match=r"another pennyweight \(process \d+\) already works on"),
        rig.daemon(),
    ):
        pass
    with rig.daemon():
        """Free again."""


def test_while_the_ledger_is_down_nothing_is_acted_on_and_it_recovers_by_itself(rig, fleet):
    rig.fleet.queue(30.0)
    with rig.daemon() as made:
        _full(fleet, "CREATE TRIGGER full BEFORE INSERT ON {} BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        rig.passes(made.daemon, 2)
        assert rig.machines.applied == []
        (reason, *_) = made.daemon.health().reasons
        assert "disk full" in reason
        assert "nothing was acted on" in reason
        _full(fleet, "DROP TRIGGER full")
        rig.passes(made.daemon, 1)
        assert made.daemon.health().ready
        assert rig.machines.count == 6


def test_a_ledger_whose_file_is_gone_is_told_and_nothing_is_acted_on(rig, fleet):
    """SQLite would go on writing into a file that nobody can ever open again."""
    rig.fleet.queue(30.0)
    with rig.daemon() as made:
        fleet.ledger.parent.rename(fleet.folder / "moved")
        rig.passes(made.daemon, 1)
        assert rig.machines.applied == []
        assert not made.daemon.health().ready


def test_a_ledger_that_stays_away_is_one_line_a_pass_once_it_was_told(rig, fleet, caplog):
    caplog.set_level(logging.WARNING)
    with rig.daemon() as made:
        rig.passes(made.daemon, 1)
        fleet.ledger.parent.rename(fleet.folder / "moved")
        rig.passes(made.daemon, 1)
        caplog.clear()
        rig.passes(made.daemon, 2)
        lines = [one.getMessage() for one in caplog.records]
        assert len(lines) == 2, lines
        assert "nothing was acted on: could not record the pass" in lines[0]
        assert lines[0].endswith("by now, 2 passes)")


def test_engines_that_go_silent_shrink_nothing(rig, fleet):
    with rig.daemon() as made:
        rig.passes(made.daemon, 1)
        for engine in fleet.engines:
            engine.close()
        silent = rig.passes(made.daemon, 6)
        assert {one.because for one in silent} == {Because.BLIND}
        assert rig.machines.count == 2


def _full(fleet, statement):
    with sqlite3.connect(fleet.ledger) as connection:
        (name,) = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'pass%' AND name NOT LIKE '%problem%'"
        ).fetchone()
        connection.execute(statement.format(name))
    connection.close()
