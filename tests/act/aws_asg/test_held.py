"""Nothing of an Auto Scaling group is changed that may not be changed at that moment: the actuator against moto's server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.errors import ActError
from controller.facts.decisions import OutcomeKind
from controller.facts.interruptions import NoticeKind
from tests.act.aws_asg.stage import Fleet, notice
from tests.auto_scaling import World


def changes(cloud: World) -> int:
    """Calls that changed something."""
    looks = (":Describe", ":Get")
    return sum(count for name, count in cloud.aws.calls.items() if not any(look in name for look in looks))


def held_after(fleet: Fleet, cloud: World, allowed: int) -> None:
    """From now on so many changes may be made."""
    before = changes(cloud)
    fleet.hand.actuator.heed(lambda service: changes(cloud) - before < allowed)


def grows(fleet: Fleet) -> None:
    fleet.hand.scale(3, 5)


def shrinks_by_who_starts(fleet: Fleet) -> None:
    fleet.hand.scale(3, 5)
    fleet.look()
    fleet.hand.scale(5, 3)


def shrinks_and_ends_the_drained(fleet: Fleet) -> None:
    fleet.hand.scale(3, 1)
    for _ in range(3):
        fleet.look()


def gives_up_late_starts(fleet: Fleet) -> None:
    fleet.hand.scale(3, 5)
    fleet.look()
    fleet.look(1000)


def gives_up_what_never_came(fleet: Fleet) -> None:
    fleet.cloud.stock[fleet.group] = 0
    fleet.hand.scale(3, 5)
    fleet.look()
    fleet.hand.scale(5, 3)


def drains_for_a_notice(fleet: Fleet) -> None:
    for one in fleet.ids()[:2]:
        fleet.notices[one] = notice(one, fleet.hand.now, kind=NoticeKind.SPOT)
    fleet.look()
    fleet.look(95)


STORIES = [
    grows,
    shrinks_by_who_starts,
    shrinks_and_ends_the_drained,
    gives_up_late_starts,
    gives_up_what_never_came,
    drains_for_a_notice,
]


@pytest.mark.parametrize("story", STORIES)
def test_it_is_asked_before_each_single_change(cloud, fleet_of, story: Callable[[Fleet], None]):
    fleet = fleet_of(cloud.group(3))
    before, asked = changes(cloud), set()

    def may(service: str) -> bool:
        asked.add(changes(cloud) - before)
        return True

    fleet.hand.actuator.heed(may)
    story(fleet)
    made = changes(cloud) - before
    assert made >= 2
    assert set(range(made)) <= asked


@pytest.mark.parametrize("allowed", [0, 1])
def test_growing_that_is_held_before_the_count_is_raised_has_touched_no_count(cloud, fleet_of, allowed):
    fleet = fleet_of(cloud.group(1))
    held_after(fleet, cloud, allowed)
    outcome = fleet.hand.scale(1, 3)
    assert outcome.kind is OutcomeKind.REFUSED
    assert "may not be touched any more" in outcome.detail
    assert "1 of 3 are there" in outcome.detail
    assert fleet.desired == 1
    fleet.hand.actuator.heed(lambda service: True)
    assert fleet.hand.scale(1, 3).kind is OutcomeKind.DONE


def test_giving_up_two_starts_that_is_held_after_one_says_so_and_the_other_waits(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    fleet.hand.scale(1, 3)
    fleet.look()
    fleet.hand.actuator.heed(lambda service: not cloud.of_operation("terminate_instance_in_auto_scaling_group"))
    with pytest.raises(ActError, match=r"may not be touched any more.*2 of 1 are there; what had begun waits"):
        fleet.hand.scale(3, 1)
    assert fleet.desired == len(fleet.ids()) == 2
    fleet.look(1000)
    assert fleet.desired == 2
    fleet.hand.actuator.heed(lambda service: True)
    assert fleet.hand.scale(2, 1).kind is OutcomeKind.DONE
    assert fleet.desired == 1


def test_who_was_marked_before_it_was_held_drains_as_decided(cloud, fleet_of):
    """Only its protection stays, which keeps us from nothing."""
    fleet = fleet_of(cloud.group(2))
    held_after(fleet, cloud, 1)
    outcome = fleet.hand.scale(2, 1, fleet.ids()[0])
    assert outcome.kind is OutcomeKind.DONE
    assert "may not be touched any more" in outcome.detail
    for _ in range(3):
        assert fleet.phases(600) == ["draining", "ready"]
    fleet.hand.actuator.heed(lambda service: True)
    for _ in range(3):
        fleet.look()
    assert fleet.desired == 1


def test_of_several_that_have_drained_no_more_are_ended_once_it_is_held(cloud, fleet_of):
    fleet = fleet_of(cloud.group(4))
    fleet.hand.scale(4, 1)
    fleet.look()
    fleet.hand.actuator.heed(lambda service: not cloud.of_operation("terminate_instance_in_auto_scaling_group"))
    for _ in range(3):
        fleet.look()
    assert len(cloud.of_operation("terminate_instance_in_auto_scaling_group")) == 1
    assert fleet.desired == len(fleet.ids()) == 3
    fleet.hand.actuator.heed(lambda service: True)
    for _ in range(3):
        fleet.look()
    assert fleet.desired == len(fleet.ids()) == 1


def test_a_late_start_that_was_ended_before_it_was_held_is_told_as_failed(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2), served=False, start_timeout_s=120.0)
    fleet.look(0)
    fleet.hand.actuator.heed(lambda service: not cloud.of_operation("terminate_instance_in_auto_scaling_group"))
    assert fleet.phases(200) == ["failed", "starting"]


def test_while_it_is_held_nobody_is_marked_as_ready_but_counts_as_such(cloud, fleet_of):
    group = cloud.group(1)
    cloud.hook(group, "LAUNCHING", "warm-up")
    fleet = fleet_of(group, served=False, launch_hook="warm-up")
    cloud.set_state(group, fleet.ids()[0], "Pending:Wait")
    cloud.serve(*fleet.ids())
    held_after(fleet, cloud, 0)
    before = changes(cloud)
    assert fleet.phases() == ["ready"]
    assert fleet.ids("InService") == fleet.ids(), "its hook would end it otherwise"
    assert changes(cloud) - before == 1
    assert fleet.phases() == ["ready"]
    assert "pennyweight:ready-since" not in cloud.tags(fleet.ids()[0])
    fleet.hand.actuator.heed(lambda service: True)
    fleet.look()
    assert "pennyweight:ready-since" in cloud.tags(fleet.ids()[0])
