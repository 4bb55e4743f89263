"""Looking at an Auto Scaling group, and growing it: the actuator against moto's server."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controller.act.aws_asg.actuator import AwsAsgActuator
from controller.aws.groups import GroupBook
from controller.errors import ActError, StaleActError
from controller.facts.actuators import AwsAsgOptions
from controller.facts.decisions import OutcomeKind
from controller.facts.fleet import CapacityType
from controller.facts.interruptions import StuckKind
from controller.facts.missing import Missing
from controller.facts.readings import Bounds, Phase
from tests.auto_scaling import REGION

# --- looking ---------------------------------------------------------------------------------------------------------


def test_an_instance_is_a_replica_that_is_ready_when_its_engine_answers(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2), served=False)
    one, two = fleet.ids()
    assert fleet.phases() == ["starting", "starting"]
    cloud.serve(one)
    states = {state.replica: state for state in fleet.look()}
    assert (states[one].phase, states[two].phase) == (Phase.READY, Phase.STARTING)
    assert states[one].node == one
    assert states[one].domain == "eu-central-1a/g5.xlarge"
    assert states[one].capacity_type is CapacityType.ON_DEMAND
    assert states[one].url.endswith(f"/{one}")


def test_who_was_ready_stays_ready_through_a_restart_and_a_slow_answer(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    (before,) = fleet.look()
    cloud.serve(before.replica, running=None)
    fleet.restart()
    (after,) = fleet.look()
    assert (after.phase, after.since) == (Phase.READY, before.since)


def test_a_start_is_not_waited_for_longer_because_our_clock_was_set_back(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1), served=False)
    (before,) = fleet.look()
    (after,) = fleet.look(-3600.0)
    assert (before.phase, after.phase) == (Phase.STARTING, Phase.STARTING)
    assert after.since == fleet.hand.now
    assert fleet.look()[0].since == after.since


def test_ready_instances_are_protected_and_others_are_not(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2), served=False)
    one, _ = fleet.ids()
    cloud.serve(one)
    fleet.look()
    assert cloud.protected(fleet.group) == {one}


def test_a_group_that_is_not_ours_is_only_looked_at(cloud, fleet_of):
    group = cloud.group(2)
    cloud.hook(group, "LAUNCHING", "warm-up")
    fleet = fleet_of(group, ours=False, launch_hook="warm-up")
    cloud.set_state(group, fleet.ids()[0], "Pending:Wait")
    cloud.of(group).desired_capacity = 3
    fleet.phases()
    assert fleet.look(2000)
    assert {name for name, _ in cloud.asked} <= {"describe_auto_scaling_groups", "describe_scaling_activities"}
    assert not any(key.startswith("pennyweight") for one in fleet.ids() for key in cloud.tags(one))


def test_a_pass_asks_once_for_all_groups_and_all_their_instances(cloud, make_hand):
    groups = [cloud.group(2) for _ in range(3)]
    hands = [
        make_hand(None, AwsAsgOptions(group=one, region=REGION, url=cloud.engines.url), "aws_asg") for one in groups
    ]
    actuator = AwsAsgActuator(cloud.aws, GroupBook(cloud.aws))
    now = hands[0].now
    for hand in hands:
        actuator.replicas(hand.variant, now)  # it learns whom it is asked for
    before = dict(actuator.calls)
    for hand in hands:
        assert len(actuator.replicas(hand.variant, now + timedelta(seconds=15))) == 2
    made = {key: count - before.get(key, 0) for key, count in actuator.calls.items() if count != before.get(key, 0)}
    assert made == {"autoscaling:DescribeAutoScalingGroups": 1, "ec2:DescribeInstances": 1}


def test_a_group_that_is_not_there_is_missing_and_told_which(cloud, make_hand):
    hand = make_hand(AwsAsgActuator(cloud.aws), AwsAsgOptions(group="nobodys", region=REGION), "aws_asg")
    assert hand.actuator.replicas(hand.variant, hand.now) == Missing(
        "replicas", "there is no Auto Scaling group nobodys in eu-central-1, or we may not see it"
    )


def test_a_group_is_found_by_its_tags_and_two_of_them_are_refused(cloud, make_hand):
    first, second = cloud.group(1), cloud.group(2)
    cloud.tag(first, team="red")
    hand = make_hand(AwsAsgActuator(cloud.aws), AwsAsgOptions(tags=(("team", "red"),), region=REGION), "aws_asg")
    assert len(hand.look()) == 1
    cloud.tag(second, team="red")
    missing = hand.actuator.replicas(hand.variant, hand.now + timedelta(seconds=15))
    assert isinstance(missing, Missing)
    assert f"2 Auto Scaling groups have team=red in eu-central-1 ({first}, {second})" in missing.why


def test_weights_are_refused_because_nobody_could_count(cloud, make_hand):
    spec = {"LaunchTemplateName": "weighted", "Version": "$Latest"}
    cloud.ec2().create_launch_template(
        LaunchTemplateName="weighted", LaunchTemplateData={"ImageId": cloud._image(), "InstanceType": "g5.xlarge"}
    )
    overrides = [{"InstanceType": "g5.xlarge", "WeightedCapacity": "4"}]
    policy = {"LaunchTemplate": {"LaunchTemplateSpecification": spec, "Overrides": overrides}}
    group = cloud.group(0, LaunchTemplate=None, MixedInstancesPolicy=policy)
    hand = make_hand(AwsAsgActuator(cloud.aws), AwsAsgOptions(group=group, region=REGION), "aws_asg")
    missing = hand.actuator.replicas(hand.variant, hand.now)
    assert isinstance(missing, Missing)
    assert missing.why.startswith(f"{group} cannot be scaled in replicas, each of which is one instance: ")
    assert "(g5.xlarge counts 4); take them out of the overrides" in missing.why
    with pytest.raises(ActError, match="take them out of the overrides"):
        hand.scale(0, 1)


def test_a_spot_instance_is_told_and_priced_as_one(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2))
    spot = fleet.ids()[0]
    cloud.backend.ec2_backend.get_instance(spot).lifecycle = "spot"
    bought = {one.replica: one.capacity_type for one in fleet.look()}
    assert sorted(map(str, bought.values())) == ["on_demand", "spot"]
    assert bought[spot] is CapacityType.SPOT


# --- growing ---------------------------------------------------------------------------------------------------------


def test_growing_raises_the_desired_capacity_and_claims_the_group(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1), ours=False)
    outcome = fleet.hand.scale(1, 3)
    assert outcome.kind is OutcomeKind.DONE
    assert fleet.desired == 3
    (asked,) = cloud.of_operation("set_desired_capacity")
    assert asked["HonorCooldown"] is False
    assert cloud.group_tags(fleet.group)["pennyweight:managed-by"] == "chat/l4"
    assert fleet.phases() == ["ready", "starting", "starting"]


def test_acting_twice_is_acting_once(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    fleet.hand.scale(1, 2)
    assert fleet.hand.scale(1, 2).kind is OutcomeKind.ALREADY
    assert fleet.desired == 2


def test_growing_beyond_the_groups_maximum_is_refused_with_both_numbers(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2, maximum=3))
    outcome = fleet.hand.scale(2, 4)
    assert outcome.kind is OutcomeKind.REFUSED
    assert "does not grow to 4 instances: its MaxSize is 3; nothing was changed" in outcome.detail
    assert fleet.desired == 2


def test_a_groups_limits_are_told_with_the_places_that_are_left(cloud, fleet_of):
    fleet = fleet_of(cloud.group(3, minimum=1, maximum=5))
    assert fleet.hand.actuator.bounds(fleet.hand.variant) == Bounds(
        least=1, most=5, free=2, said=f"{fleet.group} has MinSize 1 and MaxSize 5"
    )
    cloud.serve(fleet.ids()[0], running=1)
    fleet.hand.scale(3, 2, fleet.ids()[0])
    fleet.look()
    bounds = fleet.hand.actuator.bounds(fleet.hand.variant)
    assert (bounds.free, bounds.said.endswith(", 1 of its instances on their way out")) == (2, True)
    assert fleet.hand.scale(2, 2 + bounds.free).kind is OutcomeKind.DONE
    assert fleet.desired == 5


def test_a_group_whose_owner_suspended_its_launches_has_no_place_until_they_are_resumed(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2, minimum=1, maximum=5))
    cloud.suspend(fleet.group, "Launch")
    fleet.look()
    bounds = fleet.hand.actuator.bounds(fleet.hand.variant)
    assert (bounds.least, bounds.most, bounds.free) == (1, 5, 0), "nothing keeps it from shrinking"
    assert f"the process Launch of {fleet.group} is suspended (" in bounds.said
    cloud.resume(fleet.group)
    fleet.look()
    assert fleet.hand.actuator.bounds(fleet.hand.variant).free == 3


def test_a_group_whose_owner_suspended_its_terminations_keeps_all_it_has(cloud, fleet_of):
    fleet = fleet_of(cloud.group(3, minimum=1, maximum=5))
    cloud.suspend(fleet.group, "Terminate")
    fleet.look()
    bounds = fleet.hand.actuator.bounds(fleet.hand.variant)
    assert (bounds.least, bounds.free) == (3, 2)
    assert f"the process Terminate of {fleet.group} is suspended (" in bounds.said


def test_what_is_missing_while_launches_are_suspended_is_refused_at_once(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2))
    cloud.suspend(fleet.group, "Launch")
    cloud.ends(fleet.group, fleet.ids()[0])
    cloud.step(fleet.group)
    (waits,) = [one for one in fleet.look() if one.stuck is not None]
    assert (waits.stuck.kind, waits.stuck.since) == (StuckKind.REFUSED, waits.since)
    assert waits.stuck.detail.startswith(f"the process Launch of {fleet.group} is suspended (")
    cloud.resume(fleet.group)
    assert [one.stuck for one in fleet.look()] == [None, None], "it is waited for again"
    cloud.step(fleet.group)
    assert len(fleet.ids()) == 2


@pytest.mark.parametrize("code", ["ScalingActivityInProgress", "ResourceContention"])
def test_a_busy_group_is_read_again_and_tried_again_and_then_left(cloud, fleet_of, code):
    fleet = fleet_of(cloud.group(1))
    cloud.fail("set_desired_capacity", code, times=2)
    fleet.hand.scale(1, 2)
    assert fleet.desired == 2
    cloud.fail("set_desired_capacity", code, times=100)
    with pytest.raises(ActError, match=f"{code}.*the next pass decides again"):
        fleet.hand.scale(2, 3)
    tries = 100 - len(cloud.faults.pop("set_desired_capacity"))
    assert 3 <= tries <= 6  # botocore tries some codes again by itself
    assert fleet.desired == 2


def test_a_group_that_cannot_be_looked_at_is_not_touched(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    cloud.fail("describe_auto_scaling_groups", "InternalFailure", times=99)
    refused = fleet.hand.scale(1, 2)
    assert (refused.kind, refused.detail.startswith("did not touch chat/l4: ")) == (OutcomeKind.REFUSED, True)
    assert "InternalFailure" in refused.detail
    assert cloud.of_operation("set_desired_capacity") == []
    cloud.faults.clear()


def test_what_aws_does_not_accept_is_told_and_not_tried_again_before_the_next_pass(cloud, fleet_of):
    """Somebody lowered MaxSize in this moment."""
    fleet = fleet_of(cloud.group(1))
    cloud.fail("set_desired_capacity", "ValidationError", times=9)
    with pytest.raises(ActError, match=r"ValidationError.*the next pass decides again"):
        fleet.hand.scale(1, 2)
    assert len(cloud.of_operation("set_desired_capacity")) == 1
    assert fleet.desired == 1
    cloud.faults.clear()


def test_an_answer_that_was_lost_does_not_grow_twice(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    cloud.fail("set_desired_capacity", "ResourceContention", after=True)
    fleet.hand.scale(1, 3)
    assert fleet.desired == 3
    assert {one["DesiredCapacity"] for one in cloud.of_operation("set_desired_capacity")} == {3}


def test_a_count_of_somebody_elses_doing_is_stale_and_its_author_named(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    fleet.look()
    cause = (
        "At 2026-11-21T12:00:00Z a user request explicitly set group desired capacity changing the desired capacity from "
        "1 to 4. At 2026-11-21T12:00:10Z an instance was started in response to a difference."
    )
    cloud.failed(fleet.group, "", cause, status="Successful")
    cloud.client().set_desired_capacity(AutoScalingGroupName=fleet.group, DesiredCapacity=4)
    with pytest.raises(StaleActError, match=r"decided on 1 .*found 4 .*user request explicitly set.*from 1 to 4"):
        fleet.hand.scale(1, 2)
    assert fleet.desired == 4


def test_a_role_that_may_not_claim_the_group_is_told_how_it_becomes_ours(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1), ours=False)
    cloud.fail("create_or_update_tags", "AccessDenied")
    with pytest.raises(
        ActError, match=r"is not ours yet: .*AccessDenied.*tag it pennyweight:managed-by=chat/l4 yourself"
    ):
        fleet.hand.scale(1, 2)
    assert fleet.desired == 1


def test_a_suspended_process_is_told_instead_of_waited_for(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    cloud.suspend(fleet.group, "Launch", "Terminate")
    for desired, process in ((2, "Launch"), (0, "Terminate")):
        outcome = fleet.hand.scale(1, desired)
        assert outcome.kind is OutcomeKind.REFUSED
        assert outcome.detail.startswith(f"the process {process} of {fleet.group} is suspended")
