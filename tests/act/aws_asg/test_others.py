"""What an Auto Scaling group does not launch, and who else writes its count: the actuator against moto's server."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import Any

import pytest

from controller.errors import ActError, StaleActError
from controller.facts.decisions import OutcomeKind
from controller.facts.interruptions import StuckKind
from controller.facts.readings import Phase
from tests.auto_scaling import World

# --- what does not come ----------------------------------------------------------------------------------------------


def test_what_is_not_launched_is_waited_for_with_the_groups_words_and_survives_a_restart(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    cloud.stock[fleet.group] = 0
    fleet.hand.scale(1, 3)
    asked_at = fleet.hand.now
    states = [one for one in fleet.look() if one.phase is Phase.STARTING]
    assert [(one.since, one.stuck.kind) for one in states] == [(asked_at, StuckKind.CAPACITY)] * 2
    assert "sufficient p5.48xlarge capacity" in states[0].detail
    fleet.restart()
    again = [one for one in fleet.look(60) if one.phase is Phase.STARTING]
    assert [(one.replica, one.since) for one in again] == [(one.replica, one.since) for one in states]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (
            (
                "Could not launch Spot Instances. InsufficientInstanceCapacity - There is no Spot capacity available that "
                "matches your request. Launching EC2 instance failed."
            ),
            StuckKind.CAPACITY,
        ),
        (
            (
                "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request "
                "configuration. Launching EC2 instance failed."
            ),
            StuckKind.CAPACITY,
        ),
        (
            (
                "Could not launch On-Demand Instances. VcpuLimitExceeded - You have requested more vCPU capacity than your "
                "current vCPU limit of 0 allows for the instance bucket that the specified instance type belongs to. Please "
                "visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit. Launching EC2 "
                "instance failed."
            ),
            StuckKind.QUOTA,
        ),
        (
            (
                "Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count exceeded. "
                "Launching EC2 instance failed."
            ),
            StuckKind.QUOTA,
        ),
        (
            (
                "Could not launch On-Demand Instances. InvalidParameterValue - The image id '[ami-0]' does not exist. "
                "Launching EC2 instance failed."
            ),
            StuckKind.REFUSED,
        ),
    ],
)
def test_why_it_does_not_come_is_told_by_kind_and_word_for_word(cloud, fleet_of, words, kind):
    fleet = fleet_of(cloud.group(1))
    cloud.stock[fleet.group], cloud.words[fleet.group] = 0, words
    fleet.hand.scale(1, 2)
    (missing,) = [one for one in fleet.look() if one.phase is Phase.STARTING]
    assert (missing.stuck.kind, missing.stuck.detail) == (kind, words)


def test_two_tries_are_two_names_and_each_has_its_own_time(cloud, fleet_of):
    fleet = fleet_of(cloud.group(0))
    cloud.stock[fleet.group] = 0
    fleet.hand.scale(0, 1)
    (first,) = fleet.look(60)
    fleet.hand.scale(1, 2)
    earlier, later = fleet.look(60)
    assert earlier.replica == first.replica
    assert earlier.since == first.since
    assert later.since - first.since == timedelta(seconds=60)
    fleet.hand.scale(2, 0)
    assert fleet.look(60) == ()
    fleet.hand.scale(0, 1)
    (next_try,) = fleet.look()
    assert next_try.replica != first.replica


def test_giving_up_what_never_came_ends_nobody(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2))
    cloud.stock[fleet.group] = 0
    fleet.hand.scale(2, 4)
    waiting = [one.replica for one in fleet.look() if one.phase is Phase.STARTING]
    before = fleet.ids()
    cloud.forget()
    fleet.hand.scale(4, 2, *waiting)
    assert fleet.desired == 2
    assert fleet.ids() == before
    assert not cloud.of_operation("terminate_instance_in_auto_scaling_group")
    assert fleet.phases() == ["ready", "ready"]


def test_what_came_in_the_last_moment_is_not_given_up_blindly(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    cloud.stock[fleet.group] = 0
    fleet.hand.scale(1, 2)
    waiting = [one.replica for one in fleet.look() if one.phase is Phase.STARTING]
    real = cloud.backend.describe_policies

    def arrives(*arguments: Any, **named: Any) -> Any:
        """While the actuator asks for other writers."""
        cloud.stock[fleet.group] = 1
        cloud.step(fleet.group)
        return real(*arguments, **named)

    cloud.backend.describe_policies = arrives
    try:
        with pytest.raises(ActError, match="2 of 2 instances are there by now; none is given up"):
            fleet.hand.scale(2, 1, *waiting)
    finally:
        del cloud.backend.describe_policies
    assert fleet.desired == 2
    assert len(fleet.ids()) == 2


def test_an_instance_that_aws_replaces_is_waited_for_from_now_on(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2))
    fleet.look()
    fleet.look(3600)
    gone = fleet.ids()[0]
    cloud.ends(fleet.group, gone)
    cloud.stock[fleet.group] = 0
    states = {one.replica: one for one in fleet.look(3600)}
    assert states[gone].phase is Phase.DRAINING
    (missing,) = [one for one in states.values() if one.phase is Phase.STARTING]
    assert missing.since == fleet.hand.now


def test_an_unhealthy_instance_is_no_supply_and_its_replacement_is_counted(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2))
    cloud.sick(fleet.group, fleet.ids()[0])
    assert fleet.phases() == ["draining", "ready", "starting"]


# --- other writers ---------------------------------------------------------------------------------------------------


def scaled_by_a_policy(cloud: World, group: str) -> None:
    tracked = {
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
        "TargetValue": 50.0,
    }
    cloud.client().put_scaling_policy(
        AutoScalingGroupName=group,
        PolicyName="cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingConfiguration=tracked,
    )


def scaled_by_the_clock(cloud: World, group: str) -> None:
    cloud.client().put_scheduled_update_group_action(
        AutoScalingGroupName=group, ScheduledActionName="nights", DesiredCapacity=1, Recurrence="0 22 * * *"
    )


def refreshed(cloud: World, group: str) -> None:
    cloud.refreshes[group] = "InProgress"


def somebody_elses(cloud: World, group: str) -> None:
    cloud.tag(group, pennyweight__managed_by="search/h100")


@pytest.mark.parametrize(
    ("writer", "named"),
    [
        (scaled_by_a_policy, "the TargetTrackingScaling policy cpu"),
        (scaled_by_the_clock, "the scheduled action nights"),
        (refreshed, r"the instance refresh refresh-1 \(InProgress\)"),
        (somebody_elses, "search/h100, says its tag"),
    ],
)
def test_a_group_that_somebody_else_scales_is_refused_and_they_are_named(cloud, fleet_of, writer, named):
    fleet = fleet_of(cloud.group(2))
    writer(cloud, fleet.group)
    for desired in (3, 1):
        outcome = fleet.hand.scale(2, desired)
        assert outcome.kind is OutcomeKind.REFUSED
        assert re.search(named, outcome.detail), outcome.detail
    assert fleet.desired == 2
    assert not any("pennyweight:draining-since" in cloud.tags(one) for one in fleet.ids())


def test_what_a_refresh_launches_before_it_ends_the_old_ones_is_not_one_too_many(cloud, fleet_of):
    fleet = fleet_of(cloud.group(3))
    fleet.look()
    refreshed(cloud, fleet.group)
    cloud.of(fleet.group).desired_capacity = 2  # one more is there than the group is to have
    for _ in range(4):
        assert fleet.phases() == ["draining", "ready", "ready"]
    assert len(fleet.ids()) == 3
    assert not any("pennyweight:draining-since" in cloud.tags(one) for one in fleet.ids())


# --- what AWS does not tell ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAction", "InternalFailure"])
def test_that_refreshes_cannot_be_asked_for_is_told_once_and_keeps_nobody_from_growing_or_shrinking(
    cloud, fleet_of, caplog, code
):
    caplog.set_level(logging.INFO)
    fleet = fleet_of(cloud.group(1))
    cloud.fail("describe_instance_refreshes", code, times=9)
    assert fleet.hand.scale(1, 2).kind is OutcomeKind.DONE
    cloud.serve(*fleet.ids())
    fleet.look()
    assert fleet.hand.scale(2, 1, fleet.ids()[1]).kind is OutcomeKind.DONE
    assert fleet.phases() == ["draining", "ready"]
    (told,) = [one for one in caplog.messages if "DescribeInstanceRefreshes is not to be had" in one]
    assert code in told
    cloud.faults.clear()
    assert fleet.hand.scale(1, 2).kind is OutcomeKind.DONE
    assert any(one.endswith("DescribeInstanceRefreshes is answered again") for one in caplog.messages)


@pytest.mark.parametrize("operation", ["describe_instance_refreshes", "describe_policies"])
def test_a_question_about_other_writers_that_may_be_answered_later_is_waited_for(cloud, fleet_of, operation):
    fleet = fleet_of(cloud.group(1))
    cloud.fail(operation, "Throttling", times=9)
    with pytest.raises(ActError, match=r"Throttling.*the next pass decides again"):
        fleet.hand.scale(1, 2)
    cloud.faults.clear()
    assert fleet.desired == 1


def test_nobody_acts_where_whether_somebody_else_sets_the_count_is_not_to_be_had(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    cloud.fail("describe_policies", "AccessDenied", times=9)
    with pytest.raises(ActError, match="AccessDenied"):
        fleet.hand.scale(1, 2)
    cloud.faults.clear()
    assert fleet.desired == 1


def test_a_stale_count_is_stale_also_where_its_author_is_not_known(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    cloud.client().set_desired_capacity(AutoScalingGroupName=fleet.group, DesiredCapacity=4)
    cloud.fail("describe_scaling_activities", "AccessDenied", times=9)
    with pytest.raises(StaleActError, match="decided on 1 replicas, found 4; nothing was changed"):
        fleet.hand.scale(1, 2)
    cloud.faults.clear()


def test_why_nothing_comes_that_cannot_be_asked_is_told_once(cloud, fleet_of, caplog):
    fleet = fleet_of(cloud.group(1))
    cloud.stock[fleet.group] = 0
    cloud.fail("describe_scaling_activities", "AccessDenied", times=9)
    fleet.hand.scale(1, 2)
    for _ in range(3):
        assert [one.stuck for one in fleet.look() if one.phase is Phase.STARTING] == [None]
    cloud.faults.clear()
    assert len([one for one in caplog.messages if "DescribeScalingActivities" in one]) == 1


def test_a_hook_that_cannot_be_answered_is_told_once_and_a_lost_start_ends_without(cloud, fleet_of, caplog):
    group = cloud.group(0)
    cloud.hook(group, "LAUNCHING", "warm-up", heartbeat_s=30)
    fleet = fleet_of(group, launch_hook="warm-up", start_timeout_s=120.0)
    for operation in ("complete_lifecycle_action", "record_lifecycle_action_heartbeat"):
        cloud.fail(operation, "AccessDenied", times=99)
    fleet.hand.scale(0, 1)
    for _ in range(4):
        assert fleet.phases() == ["starting"]
    assert len([one for one in caplog.messages if "heartbeat" in one]) == 1
    assert fleet.phases(200) == ["failed"]
    cloud.faults.clear()
    cloud.step(group)
    assert (fleet.look(), fleet.desired) == ((), 0)
