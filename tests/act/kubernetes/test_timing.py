"""What the Kubernetes actuator does while controllers are slow, and while clocks differ."""

from __future__ import annotations

from datetime import timedelta

from controller.facts.decisions import OutcomeKind
from controller.facts.readings import Phase


def test_a_count_is_not_raised_before_its_controller_has_carried_out_the_lower_one(stage_of):
    """Raised at once it would keep the drained pod, pass after pass, and the one that is wanted would never come."""
    stage = stage_of(replicas=2)
    stage.scale(2, 1, victims=[stage.pods()[0]])
    stage.seen()
    stage.seen()
    assert stage.replicas == 1
    assert len(stage.pods()) == 2, "nobody has acted on it yet"
    waits = stage.scale(1, 2)
    assert waits.kind is OutcomeKind.REFUSED
    assert "is being removed; the next pass adds" in waits.detail
    stage.world.step(1)
    assert stage.scale(1, 2).kind is OutcomeKind.DONE
    assert stage.replicas == 2


def test_a_start_is_dated_by_our_own_clock_wherever_the_api_servers_is(stage_of):
    stage = stage_of(replicas=1)
    for ahead in (timedelta(minutes=20), timedelta(minutes=-20)):
        now = stage.world.now + ahead
        stage.actuator.replicas(stage.variant, now)
        stage.world.scale(stage.kind, stage.name, stage.replicas + 1)
        stage.world.step(1)
        states = stage.actuator.replicas(stage.variant, now)
        assert [one.since for one in states if one.phase is Phase.STARTING] == [now]
        stage.world.step(20)


def test_a_start_that_was_there_before_us_is_as_old_as_it_says(stage_of):
    stage = stage_of(replicas=1)
    stage.world.scale(stage.kind, stage.name, 2)
    stage.world.step(1)
    since = stage.world.now
    later = stage.another()
    states = later.actuator.replicas(later.variant, since + timedelta(minutes=9))
    assert all(one.since <= since for one in states)
