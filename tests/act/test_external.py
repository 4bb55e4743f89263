"""A count that somebody else carries out: what was said last, and how far it has come."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controller.act.actuator import CountsTargets
from controller.act.external import TOLD_AFTER_S, ExternalActuator
from controller.errors import ActError, StaleActError
from controller.facts.actuators import ExternalOptions
from controller.facts.decisions import OutcomeKind
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.readings import Phase, Target

WITHIN_S = 300.0
GONE = Missing("targets of chat/l4", "list.json: cannot be read")
KEY = ("chat", "l4")


def target(number: int, **labels: str) -> Target:
    return Target(service="chat", variant="l4", replica=f"r{number}", url=f"http://10.0.0.{number}", labels=labels)


class Scaler:
    """A hand on the actuator, and whoever follows it: ``there`` targets are found."""

    def __init__(self, hand, there: int) -> None:
        self.hand, self.there, self.problems = hand, there, ()
        self.actuator, self.variant = hand.actuator, hand.variant

    def look(self, after_s: float = 15.0, **labels: str):
        self.hand.now += timedelta(seconds=after_s)
        targets = [target(number, **labels) for number in range(1, self.there + 1)]
        return self.actuator.counted(self.variant, targets, self.problems, self.hand.now)

    def counts(self, after_s: float = 15.0) -> dict[Phase, int]:
        """How many in each phase."""
        states = self.look(after_s)
        assert not isinstance(states, Missing), states
        phases = [state.phase for state in states]
        return {phase: phases.count(phase) for phase in Phase if phase in phases}

    def current(self) -> int:
        counts = self.counts()
        return counts.get(Phase.STARTING, 0) + counts.get(Phase.READY, 0)

    def late(self):
        return self.actuator.unfollowed([self.variant], self.hand.now)


@pytest.fixture
def acts():
    return [True]


@pytest.fixture
def scaler(make_hand, acts):
    options = ExternalOptions(followed_within_s=WITHIN_S)
    made = Scaler(make_hand(ExternalActuator(lambda: acts[0]), options, "external"), 3)
    made.look()
    return made


def test_it_counts_targets_and_has_nothing_of_its_own(scaler):
    assert isinstance(scaler.actuator, CountsTargets)
    assert isinstance(scaler.actuator.replicas(scaler.variant, scaler.hand.now), Missing)
    states = scaler.look(node="n1", capacity_type="spot")
    assert [(one.replica, one.phase, one.node, one.capacity_type) for one in states] == [
        (f"r{number}", Phase.READY, "n1", CapacityType.SPOT) for number in (1, 2, 3)
    ]


def test_phases_of_labels_count_from_when_they_were_first_seen(scaler):
    began = scaler.look(phase="starting")[0].since
    later = scaler.look(30.0, phase="starting")[0]
    assert (later.phase, later.since) == (Phase.STARTING, began)
    assert scaler.look(phase="ready")[0].since > began


def test_what_was_asked_for_counts_as_starting_until_it_is_there(scaler):
    outcome = scaler.hand.scale(3, 5)
    assert outcome.kind is OutcomeKind.DONE
    assert outcome.detail == "keda is told 5, 3 are there; within 300 s"
    assert scaler.counts() == {Phase.STARTING: 2, Phase.READY: 3}
    assert scaler.hand.scale(3, 5).kind is OutcomeKind.ALREADY
    scaler.there = 4
    assert scaler.counts() == {Phase.STARTING: 1, Phase.READY: 4}
    scaler.there = 5
    assert scaler.counts() == {Phase.READY: 5}


def test_what_is_too_much_counts_as_on_its_way_out_the_victims_first(scaler):
    scaler.hand.scale(3, 2, "r2")
    assert {one.replica: one.phase for one in scaler.look()}["r2"] is Phase.DRAINING
    scaler.there = 2  # somebody else chose r3
    assert scaler.counts() == {Phase.READY: 2}


def test_a_replica_that_dies_is_expected_back_and_not_taken_for_somebody_elses_change(scaler):
    scaler.there = 2
    assert scaler.current() == 3
    scaler.there = 3
    assert scaler.counts() == {Phase.READY: 3}


def test_a_surge_of_a_rollout_is_not_taken_for_somebody_elses_change(scaler):
    scaler.there = 4
    assert scaler.current() == 3
    assert scaler.late() == ()


def test_what_nobody_made_in_time_failed_once_and_then_is_not_expected_any_more(scaler):
    scaler.hand.scale(3, 5)
    assert scaler.counts(WITHIN_S) == {Phase.READY: 3, Phase.STARTING: 2}
    failed = [one for one in scaler.look() if one.phase is Phase.FAILED]
    assert [one.detail for one in failed] == ["keda has not made it"] * 2
    assert scaler.counts() == {Phase.READY: 3}


def test_whoever_comes_nearer_has_the_whole_time_again(scaler):
    scaler.hand.scale(3, 5)
    scaler.there = 4
    scaler.look(WITHIN_S)
    assert scaler.counts(WITHIN_S) == {Phase.READY: 4, Phase.STARTING: 1}


def test_a_shrink_that_nobody_follows_is_taken_back_so_that_deciding_sees_all_of_them(scaler):
    scaler.hand.scale(3, 2, "r3")
    assert scaler.counts(WITHIN_S) == {Phase.READY: 2, Phase.DRAINING: 1}
    assert scaler.counts() == {Phase.READY: 3}
    assert scaler.current() == 3


def test_one_shrink_after_the_other(scaler):
    scaler.hand.scale(3, 2, "r3")
    scaler.look()
    refused = scaler.hand.scale(2, 1, "r2")
    assert refused.kind is OutcomeKind.REFUSED
    assert refused.detail == "keda has not followed down to 2 yet, 3 are there; one shrink after the other"
    assert scaler.hand.scale(2, 4).kind is OutcomeKind.DONE, "growing waits for nothing"
    assert scaler.counts() == {Phase.READY: 3, Phase.STARTING: 1}


def test_a_count_that_is_neither_what_was_decided_on_nor_what_is_wanted_is_refused(scaler):
    with pytest.raises(StaleActError, match="decided on 7 replicas, found 3"):
        scaler.hand.scale(7, 8)


def test_before_the_first_look_nobody_knows(make_hand):
    hand = make_hand(ExternalActuator(), ExternalOptions(), "external")
    with pytest.raises(ActError, match="nobody knows how many there are"):
        hand.scale(0, 1)


# a list that cannot be read is not an empty fleet


def test_fewer_targets_while_discovery_is_in_trouble_are_no_count(scaler):
    scaler.there, scaler.problems = 1, (GONE,)
    assert scaler.look() == Missing("replicas", "list.json: cannot be read")
    with pytest.raises(ActError, match="cannot be read"):
        scaler.hand.scale(3, 2)
    scaler.there, scaler.problems = 3, ()
    assert scaler.counts() == {Phase.READY: 3}


def test_trouble_that_hides_nobody_does_no_harm(scaler):
    scaler.problems = (GONE,)
    assert scaler.counts() == {Phase.READY: 3}


def test_trouble_at_the_first_look_at_nothing_is_no_zero(make_hand):
    fresh = Scaler(make_hand(ExternalActuator(), ExternalOptions(), "external"), 0)
    fresh.problems = (GONE,)
    assert isinstance(fresh.look(), Missing)


def test_down_to_zero_and_up_again_though_the_list_is_empty_now(scaler):
    """An empty list that was not empty before is told as a problem for as long as it is empty."""
    scaler.hand.scale(3, 0, "r1", "r2", "r3")
    scaler.there, scaler.problems = 0, (GONE,)
    assert scaler.counts() == {}
    scaler.hand.scale(0, 1)
    assert scaler.counts() == {Phase.STARTING: 1}


# telling people


def test_people_hear_of_it_when_nobody_follows_and_until_somebody_does(scaler):
    scaler.hand.scale(3, 5)
    scaler.look(TOLD_AFTER_S)
    assert scaler.late() == ()
    scaler.look()
    (late,) = scaler.late()
    assert str(late) == "chat/l4: keda was told 5, 3 are there"
    scaler.look(WITHIN_S)
    assert scaler.counts() == {Phase.READY: 3}
    (late,) = scaler.late()  # it was given up, and nobody follows any better for that
    assert "was told 5, 3 are there" in str(late)
    scaler.hand.scale(3, 4)
    scaler.there = 4
    scaler.look()
    assert scaler.late() == ()


# restarts and modes


def test_a_new_process_goes_on_from_what_was_said_last(scaler):
    scaler.hand.scale(3, 5)
    scaler.look()
    scaler.actuator.resume({KEY: 5}, scaler.hand.now)
    assert scaler.counts() == {Phase.READY: 3, Phase.STARTING: 2}
    scaler.actuator.resume({}, scaler.hand.now)
    assert scaler.counts() == {Phase.READY: 3}


def test_where_nothing_is_carried_out_nothing_is_expected(scaler, acts):
    acts[0] = False
    for there in (5, 2, 0, 3):
        scaler.there = there
        assert scaler.counts() == ({Phase.READY: there} if there else {})
    acts[0] = True
    scaler.there = 2
    assert scaler.current() == 3, "from here on we answer for the count"
