"""What was learned is there after a restart of the real daemon, over a real SQLite ledger."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from controller.settings.load import load_settings
from controller.wiring import built

LONG = 24
"""Passes in six minutes: forecasts have come due, and the ledger was handed what was learned of the first four."""


@pytest.fixture
def change(fleet):
    """Runs a statement on the ledger's file, as somebody's hand would."""

    def run(statement, *values):
        with sqlite3.connect(fleet.ledger) as connection:
            connection.execute(statement, values)
        connection.close()

    return run


def lookout(made):
    return made.daemon._running.lookouts["chat"]


def test_the_forecaster_goes_on_where_it_was(rig):
    with rig.daemon() as made:
        rig.passes(made.daemon, LONG)
        before = lookout(made).demand.record.scored
    with rig.daemon() as made:
        restored = lookout(made).demand
        rig.passes(made.daemon, LONG)
        after = lookout(made).demand.record.scored
    assert before[0] > 0
    assert 0 < restored.record.scored[0] <= before[0]
    assert before[0] - restored.record.scored[0] <= 5, "at most the minutes since it was last kept"
    assert after[0] > before[0]


def test_every_pass_shows_what_was_restored(rig):
    with rig.daemon() as made:
        rig.passes(made.daemon, LONG)
    with rig.daemon() as made:
        rig.passes(made.daemon, 1)
        learned = made.daemon.latest().learned
    assert learned.forecasts["chat"]
    assert learned.accuracy[0].scored > 0


def test_a_restored_forecast_shrinks_nothing_for_a_whole_window(rig, fleet):
    """It may say at once that one replica is enough; every signal must be live for the 60 s first."""
    fleet.policy.write_text(
        fleet.policy.read_text()
        .replace("scaling:\n", "slo: {ttft_p95: 1s}\nscaling:\n  method: predictive\n")
        .replace("{queue_depth: 10}", "{queue_depth: 100}")
    )
    fleet.queue(90.0)  # the page's own counters stand still, so this alone holds two replicas
    with rig.daemon() as made:
        before = rig.passes(made.daemon, LONG)
    fleet.queue(0.0)
    with rig.daemon() as made:
        assert lookout(made).demand.record.scored[0] > 0
        after = rig.passes(made.daemon, 8)
    counts = [one.desired for one in after]
    assert {one.desired for one in before} == {2}
    assert counts[:4] == [2] * 4
    assert counts[-1] == 1, "then it may"


def test_without_a_kept_state_the_ledgers_minutes_make_one(rig, change):
    with rig.daemon() as made:
        rig.passes(made.daemon, LONG)
    change("DELETE FROM learned_state")
    with rig.daemon() as made:
        relived = lookout(made).demand
    assert not np.isnan(relived.recent.at_s)
    assert relived.record.scored[0] > 0


def test_whoever_takes_over_waits_for_no_forecaster_and_has_it_after_the_first_pass(rig, change, monkeypatch, caplog):
    monkeypatch.setattr("controller.shell.RELIVE_S", 0.0)
    with rig.daemon() as made:
        rig.passes(made.daemon, LONG)
    change("DELETE FROM learned_state")
    with rig.daemon() as made:
        assert np.isnan(lookout(made).demand.recent.at_s)
        assert "1 services forecast from nothing until" in caplog.text
        rig.passes(made.daemon, 1)
        first = lookout(made).demand
        rig.passes(made.daemon, 1)
        then = lookout(made).demand
    assert first.record.scored[0] > 0
    assert then.recent.at_s > first.recent.at_s, "it goes on, and is not made a second time"


def test_a_state_that_cannot_be_read_is_told_and_made_from_the_minutes(rig, change, caplog):
    with rig.daemon() as made:
        rig.passes(made.daemon, LONG)
    change("UPDATE learned_state SET payload = ? WHERE kind = 'demand'", '{"version":1,"state":')
    with rig.daemon() as made:
        assert lookout(made).demand.record.scored[0] > 0
    assert "the stored 'demand' of chat cannot be read and is learned anew" in caplog.text


def test_start_up_times_survive(rig, change):
    with rig.daemon() as made:
        rig.passes(made.daemon, 1)
    change(
        "INSERT INTO learned_state (kind, service, variant, at, payload) SELECT 'start_up', 'chat', 'h100', max(at), ? "
        "FROM learned_state",
        '{"version":1,"state":{"seconds":[100.0,110.0,120.0]}}',
    )
    with rig.daemon() as made:
        assert lookout(made).start_ups_s == {"h100": (100.0, 110.0, 120.0)}


def test_a_new_ledger_starts_from_nothing(rig):
    with rig.daemon() as made:
        assert np.isnan(lookout(made).demand.recent.at_s)


def test_a_reload_keeps_demand_and_drops_what_was_learned_of_another_engine(rig, fleet):
    with built(
        load_settings(fleet.file, {}),
        clock=lambda: rig.now,
        actuators={"emulated": rig.machines},
        reload=lambda: load_settings(fleet.file, {}),
    ) as made:
        rig.passes(made.daemon, LONG)
        before = lookout(made)
        fleet.file.write_text(fleet.file.read_text().replace("gpu: H100-SXM", "gpu: A100-SXM-80GB"))
        made.daemon._reloaded(made.daemon._scheduler())
        assert made.daemon.reload_ok
        assert set(before.engines) == {"h100"}
        assert lookout(made).engines == {}
        assert lookout(made).demand is before.demand
