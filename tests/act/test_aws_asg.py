"""The actuator of Auto Scaling groups, against moto's server with what it lacks (tests/auto_scaling.py)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.act.aws_asg import AwsAsgActuator
from controller.aws.groups import GroupBook
from controller.errors import ActError, StaleActError
from controller.facts.actuators import AwsAsgOptions
from controller.facts.decisions import OutcomeKind
from controller.facts.fleet import CapacityType
from controller.facts.interruptions import Notice, NoticeKind, StuckKind
from controller.facts.missing import Missing
from controller.facts.readings import Phase, ReplicaState
from tests.act.conftest import Hand
from tests.auto_scaling import REGION, World, auto_scaling


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with auto_scaling() as made:
        yield made


class Fleet:
    """One variant on one group, and the daemon that holds it."""

    def __init__(self, world: World, hand: Hand, group: str) -> None:
        self.world, self.hand, self.group = world, hand, group
        self.notices: dict[str, Notice] = {}
        self.restart()

    def restart(self) -> None:
        """A new daemon: it knows what AWS tells, and nothing else."""
        book = GroupBook(self.world.aws)
        self.hand.actuator = AwsAsgActuator(self.world.aws, book, pause=lambda seconds: None)

    def look(self, after_s: float = 15.0) -> tuple[ReplicaState, ...]:
        self.hand.actuator.warn(self.notices)
        return self.hand.look(after_s)

    def phases(self, after_s: float = 15.0) -> list[str]:
        return sorted(str(one.phase) for one in self.look(after_s))

    def ids(self, state: str = "") -> list[str]:
        return self.world.ids(self.group, state)

    @property
    def desired(self) -> int:
        return self.world.desired(self.group)


@pytest.fixture
def fleet_of(world: World, make_hand: Callable[..., Hand], tmp_path: Any) -> Callable[..., Fleet]:
    def made(group: str, *, served: bool = True, ours: bool = True, **options: Any) -> Fleet:
        chosen = {"group": group, "region": REGION, "url": world.engines.url} | options
        targets = str(tmp_path / "run" / "targets.json")
        hand = make_hand(None, AwsAsgOptions(targets_file=targets, **chosen), "aws_asg")
        hand.now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251
        fleet = Fleet(world, hand, group)
        if ours:
            world.tag(group, pennyweight__managed_by="chat/l4")
        if served:
            world.serve(*fleet.ids())
            fleet.look(0)
        world.forget()
        return fleet

    return made


def notice(instance: str, now: datetime, *, kind: NoticeKind = NoticeKind.SPOT, left_s: float = 120.0) -> Notice:
    return Notice(node=instance, kind=kind, at=now, deadline=now + timedelta(seconds=left_s), source="test")


# --- looking --------------------------------------------------------------------------------------------------------


def test_an_instance_is_a_replica_that_is_ready_when_its_engine_answers(world, fleet_of):
    fleet = fleet_of(world.group(2), served=False)
    one, two = fleet.ids()
    assert fleet.phases() == ["starting", "starting"]
    world.serve(one)
    states = {state.replica: state for state in fleet.look()}
    assert (states[one].phase, states[two].phase) == (Phase.READY, Phase.STARTING)
    assert states[one].node == one
    assert states[one].domain == "eu-central-1a/g5.xlarge"
    assert states[one].capacity_type is CapacityType.ON_DEMAND
    assert states[one].url.endswith(f"/{one}")


def test_who_was_ready_stays_ready_through_a_restart_and_a_slow_answer(world, fleet_of):
    fleet = fleet_of(world.group(1))
    (before,) = fleet.look()
    world.serve(before.replica, running=None)
    fleet.restart()
    (after,) = fleet.look()
    assert (after.phase, after.since) == (Phase.READY, before.since)


def test_ready_instances_are_protected_and_others_are_not(world, fleet_of):
    fleet = fleet_of(world.group(2), served=False)
    one, _ = fleet.ids()
    world.serve(one)
    fleet.look()
    assert world.protected(fleet.group) == {one}


def test_a_group_that_is_not_ours_is_only_looked_at(world, fleet_of):
    group = world.group(2)
    world.hook(group, "LAUNCHING", "warm-up")
    fleet = fleet_of(group, ours=False, launch_hook="warm-up")
    world.set_state(group, fleet.ids()[0], "Pending:Wait")
    world.of(group).desired_capacity = 3
    fleet.phases()
    assert fleet.look(2000)
    assert {name for name, _ in world.asked} <= {"describe_auto_scaling_groups", "describe_scaling_activities"}
    assert not any(key.startswith("pennyweight") for one in fleet.ids() for key in world.tags(one))


def test_a_pass_asks_once_for_all_groups_and_all_their_instances(world, make_hand):
    groups = [world.group(2) for _ in range(3)]
    hands = [
        make_hand(None, AwsAsgOptions(group=one, region=REGION, url=world.engines.url), "aws_asg") for one in groups
    ]
    actuator = AwsAsgActuator(world.aws, GroupBook(world.aws))
    now = hands[0].now
    for hand in hands:
        actuator.replicas(hand.variant, now)  # it learns whom it is asked for
    before = dict(actuator.calls)
    for hand in hands:
        assert len(actuator.replicas(hand.variant, now + timedelta(seconds=15))) == 2
    made = {key: count - before.get(key, 0) for key, count in actuator.calls.items() if count != before.get(key, 0)}
    assert made == {"autoscaling:DescribeAutoScalingGroups": 1, "ec2:DescribeInstances": 1}


def test_a_group_that_is_not_there_is_missing_and_told_which(world, make_hand):
    hand = make_hand(AwsAsgActuator(world.aws), AwsAsgOptions(group="nobodys", region=REGION), "aws_asg")
    assert hand.actuator.replicas(hand.variant, hand.now) == Missing(
        "replicas", "there is no Auto Scaling group nobodys in eu-central-1, or we may not see it"
    )


def test_a_group_is_found_by_its_tags_and_two_of_them_are_refused(world, make_hand):
    first, second = world.group(1), world.group(2)
    world.tag(first, team="red")
    hand = make_hand(AwsAsgActuator(world.aws), AwsAsgOptions(tags=(("team", "red"),), region=REGION), "aws_asg")
    assert len(hand.look()) == 1
    world.tag(second, team="red")
    missing = hand.actuator.replicas(hand.variant, hand.now + timedelta(seconds=15))
    assert isinstance(missing, Missing)
    assert f"2 Auto Scaling groups have team=red in eu-central-1 ({first}, {second})" in missing.why


def test_weights_are_refused_because_nobody_could_count(world, make_hand):
    spec = {"LaunchTemplateName": "weighted", "Version": "$Latest"}
    world.ec2().create_launch_template(
        LaunchTemplateName="weighted", LaunchTemplateData={"ImageId": world._image(), "InstanceType": "g5.xlarge"}
    )
    overrides = [{"InstanceType": "g5.xlarge", "WeightedCapacity": "4"}]
    policy = {"LaunchTemplate": {"LaunchTemplateSpecification": spec, "Overrides": overrides}}
    group = world.group(0, LaunchTemplate=None, MixedInstancesPolicy=policy)
    hand = make_hand(AwsAsgActuator(world.aws), AwsAsgOptions(group=group, region=REGION), "aws_asg")
    missing = hand.actuator.replicas(hand.variant, hand.now)
    assert isinstance(missing, Missing)
    assert "g5.xlarge counts 4" in missing.why
    with pytest.raises(ActError, match="take the weights out"):
        hand.scale(0, 1)


def test_a_spot_instance_is_told_and_priced_as_one(world, fleet_of):
    fleet = fleet_of(world.group(2))
    spot = fleet.ids()[0]
    world.backend.ec2_backend.get_instance(spot).lifecycle = "spot"
    bought = {one.replica: one.capacity_type for one in fleet.look()}
    assert sorted(map(str, bought.values())) == ["on_demand", "spot"]
    assert bought[spot] is CapacityType.SPOT


# --- growing --------------------------------------------------------------------------------------------------------


def test_growing_raises_the_desired_capacity_and_claims_the_group(world, fleet_of):
    fleet = fleet_of(world.group(1), ours=False)
    outcome = fleet.hand.scale(1, 3)
    assert outcome.kind is OutcomeKind.DONE
    assert fleet.desired == 3
    (asked,) = world.of_operation("set_desired_capacity")
    assert asked["HonorCooldown"] is False
    assert world.group_tags(fleet.group)["pennyweight:managed-by"] == "chat/l4"
    assert fleet.phases() == ["ready", "starting", "starting"]


def test_acting_twice_is_acting_once(world, fleet_of):
    fleet = fleet_of(world.group(1))
    fleet.hand.scale(1, 2)
    assert fleet.hand.scale(1, 2).kind is OutcomeKind.ALREADY
    assert fleet.desired == 2


def test_growing_beyond_the_groups_maximum_is_an_error_with_both_numbers(world, fleet_of):
    fleet = fleet_of(world.group(2, maximum=3))
    with pytest.raises(ActError, match="to 4 instances: its MaxSize is 3"):
        fleet.hand.scale(2, 4)
    assert fleet.desired == 2


@pytest.mark.parametrize("code", ["ScalingActivityInProgress", "ResourceContention"])
def test_a_busy_group_is_read_again_and_tried_again_and_then_left(world, fleet_of, code):
    fleet = fleet_of(world.group(1))
    world.fail("set_desired_capacity", code, times=2)
    fleet.hand.scale(1, 2)
    assert fleet.desired == 2
    world.fail("set_desired_capacity", code, times=100)
    with pytest.raises(ActError, match=f"{code}.*the next pass decides again"):
        fleet.hand.scale(2, 3)
    tries = 100 - len(world.faults.pop("set_desired_capacity"))
    assert 3 <= tries <= 6  # botocore tries some codes again by itself
    assert fleet.desired == 2


def test_an_answer_that_was_lost_does_not_grow_twice(world, fleet_of):
    fleet = fleet_of(world.group(1))
    world.fail("set_desired_capacity", "ResourceContention", after=True)
    fleet.hand.scale(1, 3)
    assert fleet.desired == 3
    assert {one["DesiredCapacity"] for one in world.of_operation("set_desired_capacity")} == {3}


def test_a_count_of_somebody_elses_doing_is_stale_and_its_author_named(world, fleet_of):
    fleet = fleet_of(world.group(1))
    fleet.look()
    cause = (
        "At 2026-11-21T12:00:00Z a user request explicitly set group desired capacity changing the desired capacity from "
        "1 to 4. At 2026-11-21T12:00:10Z an instance was started in response to a difference."
    )
    world.failed(fleet.group, "", cause, status="Successful")
    world.client().set_desired_capacity(AutoScalingGroupName=fleet.group, DesiredCapacity=4)
    with pytest.raises(StaleActError, match=r"decided on 1 .*found 4 .*user request explicitly set.*from 1 to 4"):
        fleet.hand.scale(1, 2)
    assert fleet.desired == 4


def test_a_role_that_may_not_claim_the_group_is_told_how_it_becomes_ours(world, fleet_of):
    fleet = fleet_of(world.group(1), ours=False)
    world.fail("create_or_update_tags", "AccessDenied")
    with pytest.raises(
        ActError, match=r"is not ours yet: .*AccessDenied.*tag it pennyweight:managed-by=chat/l4 yourself"
    ):
        fleet.hand.scale(1, 2)
    assert fleet.desired == 1


def test_a_suspended_process_is_told_instead_of_waited_for(world, fleet_of):
    fleet = fleet_of(world.group(1))
    world.client().suspend_processes(AutoScalingGroupName=fleet.group, ScalingProcesses=["Launch", "Terminate"])
    with pytest.raises(ActError, match=r"the process Launch of .* is suspended"):
        fleet.hand.scale(1, 2)
    with pytest.raises(ActError, match=r"the process Terminate of .* is suspended"):
        fleet.hand.scale(1, 0)


def scaled_by_a_policy(world: World, group: str) -> None:
    tracked = {
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
        "TargetValue": 50.0,
    }
    world.client().put_scaling_policy(
        AutoScalingGroupName=group,
        PolicyName="cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingConfiguration=tracked,
    )


def scaled_by_the_clock(world: World, group: str) -> None:
    world.client().put_scheduled_update_group_action(
        AutoScalingGroupName=group, ScheduledActionName="nights", DesiredCapacity=1, Recurrence="0 22 * * *"
    )


def refreshed(world: World, group: str) -> None:
    world.refreshes[group] = "InProgress"


def somebody_elses(world: World, group: str) -> None:
    world.tag(group, pennyweight__managed_by="search/h100")


@pytest.mark.parametrize(
    ("writer", "named"),
    [
        (scaled_by_a_policy, "the TargetTrackingScaling policy cpu"),
        (scaled_by_the_clock, "the scheduled action nights"),
        (refreshed, r"the instance refresh refresh-1 \(InProgress\)"),
        (somebody_elses, "search/h100, says its tag"),
    ],
)
def test_a_group_that_somebody_else_scales_is_refused_and_they_are_named(world, fleet_of, writer, named):
    fleet = fleet_of(world.group(2))
    writer(world, fleet.group)
    for desired in (3, 1):
        outcome = fleet.hand.scale(2, desired)
        assert outcome.kind is OutcomeKind.REFUSED
        assert re.search(named, outcome.detail), outcome.detail
    assert fleet.desired == 2
    assert not any("pennyweight:draining-since" in world.tags(one) for one in fleet.ids())


# --- what does not come ---------------------------------------------------------------------------------------------


def test_what_is_not_launched_is_waited_for_with_the_groups_words_and_survives_a_restart(world, fleet_of):
    fleet = fleet_of(world.group(1))
    world.stock[fleet.group] = 0
    fleet.hand.scale(1, 3)
    asked_at = fleet.hand.now
    states = [one for one in fleet.look() if one.phase is Phase.STARTING]
    assert [(one.since, one.stuck.kind) for one in states] == [(asked_at, StuckKind.CAPACITY)] * 2
    assert "sufficient p5.48xlarge capacity" in states[0].detail
    fleet.restart()
    again = [one for one in fleet.look(60) if one.phase is Phase.STARTING]
    assert [(one.replica, one.since) for one in again] == [(one.replica, one.since) for one in states]


def test_two_tries_are_two_names_and_each_has_its_own_time(world, fleet_of):
    fleet = fleet_of(world.group(0))
    world.stock[fleet.group] = 0
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


def test_giving_up_what_never_came_ends_nobody(world, fleet_of):
    fleet = fleet_of(world.group(2))
    world.stock[fleet.group] = 0
    fleet.hand.scale(2, 4)
    waiting = [one.replica for one in fleet.look() if one.phase is Phase.STARTING]
    before = fleet.ids()
    world.forget()
    fleet.hand.scale(4, 2, *waiting)
    assert fleet.desired == 2
    assert fleet.ids() == before
    assert not world.of_operation("terminate_instance_in_auto_scaling_group")
    assert fleet.phases() == ["ready", "ready"]


def test_what_came_in_the_last_moment_is_not_given_up_blindly(world, fleet_of):
    fleet = fleet_of(world.group(1))
    world.stock[fleet.group] = 0
    fleet.hand.scale(1, 2)
    waiting = [one.replica for one in fleet.look() if one.phase is Phase.STARTING]
    real = world.backend.describe_policies

    def arrives(*arguments: Any, **named: Any) -> Any:
        """While the actuator asks for other writers."""
        world.stock[fleet.group] = 1
        world.step(fleet.group)
        return real(*arguments, **named)

    world.backend.describe_policies = arrives
    try:
        with pytest.raises(ActError, match="2 of 2 instances are there by now; none is given up"):
            fleet.hand.scale(2, 1, *waiting)
    finally:
        del world.backend.describe_policies
    assert fleet.desired == 2
    assert len(fleet.ids()) == 2


def test_an_instance_that_aws_replaces_is_waited_for_from_now_on(world, fleet_of):
    fleet = fleet_of(world.group(2))
    fleet.look()
    fleet.look(3600)
    gone = fleet.ids()[0]
    world.ends(fleet.group, gone)
    world.stock[fleet.group] = 0
    states = {one.replica: one for one in fleet.look(3600)}
    assert states[gone].phase is Phase.DRAINING
    (missing,) = [one for one in states.values() if one.phase is Phase.STARTING]
    assert missing.since == fleet.hand.now


def test_an_unhealthy_instance_is_no_supply_and_its_replacement_is_counted(world, fleet_of):
    fleet = fleet_of(world.group(2))
    world.sick(fleet.group, fleet.ids()[0])
    assert fleet.phases() == ["draining", "ready", "starting"]


# --- shrinking ------------------------------------------------------------------------------------------------------


def test_a_chosen_victim_is_drained_and_then_ended_and_nobody_else(world, fleet_of):
    fleet = fleet_of(world.group(3))
    victim, *others = fleet.ids()
    world.serve(victim, running=2)
    outcome = fleet.hand.scale(3, 2, victim)
    assert outcome.detail == f"removing {victim}"
    assert victim not in world.protected(fleet.group)
    assert fleet.phases() == ["draining", "ready", "ready"]
    assert fleet.hand.targets()[victim] == "draining"
    assert fleet.desired == 3
    world.serve(victim, running=0)
    fleet.look()  # idle: its last counters are read
    fleet.look()
    assert fleet.ids() == others
    assert fleet.desired == 2
    assert not world.of_operation("set_desired_capacity")
    assert fleet.phases() == ["ready", "ready"]
    assert victim not in fleet.hand.targets()


def test_a_drain_goes_on_in_a_daemon_that_was_killed(world, fleet_of):
    fleet = fleet_of(world.group(2))
    victim = fleet.ids()[1]
    world.serve(victim, running=1)
    fleet.hand.scale(2, 1, victim)
    since = fleet.hand.now
    fleet.restart()
    (state,) = [one for one in fleet.look() if one.phase is Phase.DRAINING]
    assert (state.replica, state.since) == (victim, since)
    assert fleet.hand.scale(2, 1, victim).kind is OutcomeKind.ALREADY
    fleet.look(200)  # requests still run: the drain time-out is over
    assert fleet.ids() == [one for one in fleet.ids() if one != victim]
    assert fleet.desired == 1


def test_shrinking_below_the_groups_minimum_is_an_error_with_both_numbers(world, fleet_of):
    fleet = fleet_of(world.group(2, minimum=2))
    with pytest.raises(ActError, match="to 1 instances: its MinSize is 2"):
        fleet.hand.scale(2, 1, fleet.ids()[0])


def test_a_starting_victim_goes_at_once(world, fleet_of):
    fleet = fleet_of(world.group(1))
    ready = fleet.ids()
    fleet.hand.scale(1, 2)
    (new,) = set(fleet.ids()) - set(ready)
    fleet.look()
    fleet.hand.scale(2, 1, new)
    assert fleet.ids() == ready
    assert fleet.desired == 1


def test_an_end_without_an_answer_is_looked_at_and_not_asked_for_again(world, fleet_of):
    fleet = fleet_of(world.group(3))
    victim = fleet.ids()[0]
    fleet.hand.scale(3, 2, victim)
    fleet.look()
    world.fail("terminate_instance_in_auto_scaling_group", "InternalFailure", after=True)
    fleet.look()
    fleet.look()
    assert len(world.of_operation("terminate_instance_in_auto_scaling_group")) == 1
    assert fleet.desired == 2
    assert len(fleet.ids()) == 2


def test_an_end_that_did_not_happen_is_asked_for_again(world, fleet_of):
    fleet = fleet_of(world.group(3))
    victim = fleet.ids()[0]
    fleet.hand.scale(3, 2, victim)
    fleet.look()
    world.fail("terminate_instance_in_auto_scaling_group", "ScalingActivityInProgress")
    fleet.look()
    assert fleet.desired == 3
    fleet.look()
    assert fleet.desired == 2


def test_what_aws_ends_while_we_drain_it_is_not_replaced(world, fleet_of):
    fleet = fleet_of(world.group(3))
    victim = fleet.ids()[0]
    world.serve(victim, running=1)
    fleet.hand.scale(3, 2, victim)
    fleet.look()
    world.ends(fleet.group, victim)
    assert fleet.phases() == ["draining", "ready", "ready"]  # never a replica more
    assert fleet.desired == 2
    world.step(fleet.group)
    assert fleet.phases() == ["ready", "ready"]


def test_where_somebody_lowered_the_capacity_his_count_is_told_and_one_too_many_drains(world, fleet_of):
    """Protected instances outlive a lowered desired capacity: not counted, they are ended one by one, and no more."""
    fleet = fleet_of(world.group(3))
    fleet.look()
    world.of(fleet.group).desired_capacity = 2
    assert fleet.phases() == ["draining", "ready", "ready"]
    with pytest.raises(StaleActError, match="decided on 3 replicas, found 2"):
        fleet.hand.scale(3, 4)
    assert fleet.desired == 2
    for _ in range(4):
        fleet.look()
    assert len(fleet.ids()) == fleet.desired == 2


def test_where_somebody_lowered_the_capacity_growing_counts_from_there(world, fleet_of):
    fleet = fleet_of(world.group(3))
    fleet.look()
    world.of(fleet.group).desired_capacity = 2
    fleet.hand.scale(2, 3)
    assert fleet.desired == len(fleet.ids()) == 3


# --- hooks ----------------------------------------------------------------------------------------------------------


def test_a_launch_hook_waits_for_health_with_heartbeats_and_then_lets_it_in(world, fleet_of):
    group = world.group(0)
    world.hook(group, "LAUNCHING", "warm-up", heartbeat_s=90)
    fleet = fleet_of(group, launch_hook="warm-up")
    fleet.hand.scale(0, 1)
    (new,) = fleet.ids("Pending:Wait")
    for _ in range(6):
        assert fleet.phases(15) == ["starting"]
    assert 2 <= world.beats[new] <= 4  # every 30 s
    world.serve(new)
    assert fleet.phases() == ["ready"]
    assert fleet.ids("InService") == [new]


def test_a_start_that_takes_too_long_is_abandoned_told_once_and_not_replaced(world, fleet_of):
    group = world.group(0)
    world.hook(group, "LAUNCHING", "warm-up")
    fleet = fleet_of(group, launch_hook="warm-up", start_timeout_s=120.0)
    fleet.hand.scale(0, 1)
    assert fleet.phases() == ["starting"]
    assert fleet.phases(200) == ["failed"]
    fleet.look()
    assert fleet.desired == 0
    world.step(group)
    assert fleet.look() == ()


def test_without_a_hook_a_late_start_is_ended(world, fleet_of):
    fleet = fleet_of(world.group(1), served=False, start_timeout_s=120.0)
    assert fleet.phases(0) == ["starting"]
    assert fleet.phases(200) == ["failed"]
    assert (fleet.desired, fleet.ids()) == (0, [])


def test_at_the_groups_minimum_a_start_that_failed_is_tried_again_by_the_group(world, fleet_of):
    fleet = fleet_of(world.group(1, minimum=1), served=False, start_timeout_s=120.0)
    (late,) = fleet.ids()
    fleet.look(0)
    assert fleet.phases(200) == ["failed"]
    (new,) = fleet.ids()
    assert (fleet.desired, new != late) == (1, True)


def test_whom_an_engine_served_before_we_saw_it_is_not_known(world, fleet_of):
    group = world.group(2)
    old, new = world.ids(group)
    world.serve(old)
    fleet = fleet_of(group, served=False)
    unused = {one.replica: one.unused_until for one in fleet.look()}
    assert unused == {old: None, new: fleet.hand.now}
    world.serve(new)
    unused = {one.replica: one.unused_until for one in fleet.look()}
    assert unused == {old: None, new: fleet.hand.now}


def test_an_engine_that_only_answers_slowly_when_we_first_see_it_has_the_whole_time(world, fleet_of):
    fleet = fleet_of(world.group(1), served=False, start_timeout_s=120.0)
    fleet.hand.now += timedelta(hours=5)
    (first,) = fleet.look()
    assert first.since == fleet.hand.now
    assert fleet.phases(100) == ["starting"]
    world.serve(*fleet.ids())
    assert fleet.phases(30) == ["ready"]


def test_what_the_group_ends_is_drained_in_the_terminating_hook(world, fleet_of):
    group = world.group(2)
    world.hook(group, "TERMINATING", "drain", heartbeat_s=90)
    fleet = fleet_of(group, terminate_hook="drain")
    one, _ = fleet.ids()
    world.serve(one, running=3)
    world.set_state(group, one, "Terminating:Wait")
    world.stock[group] = 0
    assert fleet.phases() == ["draining", "ready", "starting"]
    fleet.look(45)
    assert world.beats[one] == 2
    assert one in fleet.ids()
    world.serve(one, running=0)
    fleet.look()
    assert one not in fleet.ids()
    assert fleet.desired == 2  # the group replaces what it ended itself


def test_a_hook_of_somebody_else_is_left_to_them(world, fleet_of):
    group = world.group(1)
    world.hook(group, "LAUNCHING", "theirs")
    fleet = fleet_of(group)
    world.set_state(group, fleet.ids()[0], "Pending:Wait")
    world.serve(*fleet.ids())
    fleet.look()
    assert not world.of_operation("complete_lifecycle_action")


# --- interruptions --------------------------------------------------------------------------------------------------


def test_an_instance_whose_machine_goes_is_drained_and_ended_before_it_does(world, fleet_of):
    fleet = fleet_of(world.group(3))
    going = fleet.ids()[0]
    world.serve(going, running=5)
    fleet.notices[going] = notice(going, fleet.hand.now)
    states = {one.replica: one for one in fleet.look()}
    assert states[going].phase is Phase.DRAINING
    assert states[going].notice is fleet.notices[going]
    assert fleet.desired == 3
    fleet.look(80)  # 25 s before the machine ends
    assert going not in fleet.ids()
    assert fleet.desired == 2


def test_cover_for_a_leaving_instance_is_beside_it_and_not_doubled(world, fleet_of):
    fleet = fleet_of(world.group(2))
    going = fleet.ids()[0]
    world.serve(going, running=5)
    fleet.notices[going] = notice(going, fleet.hand.now)
    fleet.look()
    fleet.hand.scale(1, 2)
    assert fleet.desired == 3  # counted and leaving
    fleet.look(80)
    world.step(fleet.group)
    assert fleet.desired == 2
    assert fleet.phases() == ["ready", "starting"]


def test_at_the_groups_minimum_a_leaving_instance_is_replaced_by_the_group(world, fleet_of):
    fleet = fleet_of(world.group(2, minimum=2))
    going = fleet.ids()[0]
    fleet.notices[going] = notice(going, fleet.hand.now)
    fleet.look()
    fleet.look()
    assert going not in fleet.ids()
    assert len(fleet.ids()) == fleet.desired == 2


def test_a_rebalance_recommendation_ends_nothing(world, fleet_of):
    fleet = fleet_of(world.group(2))
    hint = notice(fleet.ids()[0], fleet.hand.now, kind=NoticeKind.REBALANCE)
    fleet.notices[hint.node] = hint
    states = fleet.look()
    assert [one.phase for one in states] == [Phase.READY] * 2
    assert hint in [one.notice for one in states]


def test_what_the_group_launches_ahead_of_an_end_is_no_replica_more(world, fleet_of):
    fleet = fleet_of(world.group(2, CapacityRebalance=True))
    at_risk = fleet.ids()[0]
    fleet.notices[at_risk] = notice(at_risk, fleet.hand.now, kind=NoticeKind.REBALANCE)
    group = world.of(fleet.group)
    group.desired_capacity = 3
    world.step(fleet.group)
    (new,) = set(fleet.ids()) - {one.replica for one in fleet.look(0)} or {fleet.ids()[-1]}
    group.desired_capacity = 2
    world.set_state(fleet.group, new, "Pending")
    assert fleet.phases() == ["ready", "ready"]
    world.set_state(fleet.group, new, "InService")
    world.serve(new)
    states = {one.replica: one.phase for one in fleet.look()}
    assert states[new] is Phase.READY
    assert states[at_risk] is Phase.DRAINING
    assert list(states.values()).count(Phase.READY) == 2


def test_while_nothing_may_be_touched_a_drained_instance_stays(world, fleet_of):
    fleet = fleet_of(world.group(2))
    fleet.hand.scale(2, 1, fleet.ids()[0])
    fleet.hand.actuator.heed(lambda service: False)
    world.forget()
    for _ in range(4):
        fleet.look(600)
    assert (len(fleet.ids()), fleet.desired) == (2, 2)
    assert all(name.startswith("describe") for name, _ in world.asked)
    fleet.hand.actuator.heed(lambda service: True)
    for _ in range(3):
        fleet.look()
    assert fleet.desired == 1
