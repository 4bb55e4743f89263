"""Shrinking an Auto Scaling group by a chosen instance; lifecycle hooks and interruptions: the actuator against moto's server."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controller.errors import StaleActError
from controller.facts.decisions import OutcomeKind
from controller.facts.interruptions import NoticeKind
from controller.facts.readings import Phase
from tests.act.aws_asg.stage import notice

# --- shrinking -------------------------------------------------------------------------------------------------------


def test_a_chosen_victim_is_drained_and_then_ended_and_nobody_else(cloud, fleet_of):
    fleet = fleet_of(cloud.group(3))
    victim, *others = fleet.ids()
    cloud.serve(victim, running=2)
    outcome = fleet.hand.scale(3, 2, victim)
    assert outcome.detail == f"removing {victim}"
    assert victim not in cloud.protected(fleet.group)
    assert fleet.phases() == ["draining", "ready", "ready"]
    assert fleet.hand.targets()[victim] == "draining"
    assert fleet.desired == 3
    cloud.serve(victim, running=0)
    fleet.look()  # idle: its last counters are read
    fleet.look()
    assert fleet.ids() == others
    assert fleet.desired == 2
    assert not cloud.of_operation("set_desired_capacity")
    assert fleet.phases() == ["ready", "ready"]
    assert victim not in fleet.hand.targets()


def test_a_drain_goes_on_in_a_daemon_that_was_killed(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2))
    victim = fleet.ids()[1]
    cloud.serve(victim, running=1)
    fleet.hand.scale(2, 1, victim)
    since = fleet.hand.now
    fleet.restart()
    (state,) = [one for one in fleet.look() if one.phase is Phase.DRAINING]
    assert (state.replica, state.since) == (victim, since)
    assert fleet.hand.scale(2, 1, victim).kind is OutcomeKind.ALREADY
    fleet.look(200)  # requests still run: the drain time-out is over
    assert fleet.ids() == [one for one in fleet.ids() if one != victim]
    assert fleet.desired == 1


def test_shrinking_below_the_groups_minimum_is_refused_with_both_numbers(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2, minimum=2))
    outcome = fleet.hand.scale(2, 1, fleet.ids()[0])
    assert outcome.kind is OutcomeKind.REFUSED
    assert "does not shrink to 1 instances: its MinSize is 2; nothing was changed" in outcome.detail
    assert "pennyweight:draining-since" not in cloud.tags(fleet.ids()[0])


def test_a_starting_victim_goes_at_once(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1))
    ready = fleet.ids()
    fleet.hand.scale(1, 2)
    (new,) = set(fleet.ids()) - set(ready)
    fleet.look()
    fleet.hand.scale(2, 1, new)
    assert fleet.ids() == ready
    assert fleet.desired == 1


def test_an_end_without_an_answer_is_looked_at_and_not_asked_for_again(cloud, fleet_of):
    fleet = fleet_of(cloud.group(3))
    victim = fleet.ids()[0]
    fleet.hand.scale(3, 2, victim)
    fleet.look()
    cloud.fail("terminate_instance_in_auto_scaling_group", "InternalFailure", after=True)
    fleet.look()
    fleet.look()
    assert len(cloud.of_operation("terminate_instance_in_auto_scaling_group")) == 1
    assert fleet.desired == 2
    assert len(fleet.ids()) == 2


@pytest.mark.parametrize("code", ["ScalingActivityInProgress", "ValidationError", "Throttling"])
def test_an_end_that_did_not_happen_is_asked_for_again(cloud, fleet_of, code):
    fleet = fleet_of(cloud.group(3))
    victim = fleet.ids()[0]
    fleet.hand.scale(3, 2, victim)
    fleet.look()
    cloud.fail("terminate_instance_in_auto_scaling_group", code)
    fleet.look()
    assert fleet.desired == len(fleet.ids()) == 3
    fleet.look()
    assert fleet.desired == 2


def test_what_aws_ends_while_we_drain_it_is_not_replaced(cloud, fleet_of):
    fleet = fleet_of(cloud.group(3))
    victim = fleet.ids()[0]
    cloud.serve(victim, running=1)
    fleet.hand.scale(3, 2, victim)
    fleet.look()
    cloud.ends(fleet.group, victim)
    assert fleet.phases() == ["draining", "ready", "ready"]  # never a replica more
    assert fleet.desired == 2
    cloud.step(fleet.group)
    assert fleet.phases() == ["ready", "ready"]


def test_where_somebody_lowered_the_capacity_his_count_is_told_and_one_too_many_drains(cloud, fleet_of):
    """Protected instances outlive a lowered desired capacity: not counted, they are ended one by one, and no more."""
    fleet = fleet_of(cloud.group(3))
    fleet.look()
    cloud.of(fleet.group).desired_capacity = 2
    assert fleet.phases() == ["draining", "ready", "ready"]
    with pytest.raises(StaleActError, match="decided on 3 replicas, found 2"):
        fleet.hand.scale(3, 4)
    assert fleet.desired == 2
    for _ in range(4):
        fleet.look()
    assert len(fleet.ids()) == fleet.desired == 2


def test_where_somebody_lowered_the_capacity_growing_counts_from_there(cloud, fleet_of):
    fleet = fleet_of(cloud.group(3))
    fleet.look()
    cloud.of(fleet.group).desired_capacity = 2
    fleet.hand.scale(2, 3)
    assert fleet.desired == len(fleet.ids()) == 3


# --- hooks -----------------------------------------------------------------------------------------------------------


def test_a_launch_hook_waits_for_health_with_heartbeats_and_then_lets_it_in(cloud, fleet_of):
    group = cloud.group(0)
    cloud.hook(group, "LAUNCHING", "warm-up", heartbeat_s=90)
    fleet = fleet_of(group, launch_hook="warm-up")
    fleet.hand.scale(0, 1)
    (new,) = fleet.ids("Pending:Wait")
    for _ in range(6):
        assert fleet.phases(15) == ["starting"]
    assert 2 <= cloud.beats[new] <= 4  # every 30 s
    cloud.serve(new)
    assert fleet.phases() == ["ready"]
    assert fleet.ids("InService") == [new]


def test_a_start_that_takes_too_long_is_abandoned_told_once_and_not_replaced(cloud, fleet_of):
    group = cloud.group(0)
    cloud.hook(group, "LAUNCHING", "warm-up")
    fleet = fleet_of(group, launch_hook="warm-up", start_timeout_s=120.0)
    fleet.hand.scale(0, 1)
    assert fleet.phases() == ["starting"]
    assert fleet.phases(200) == ["failed"]
    fleet.look()
    assert fleet.desired == 0
    cloud.step(group)
    assert fleet.look() == ()


def test_without_a_hook_a_late_start_is_ended(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1), served=False, start_timeout_s=120.0)
    assert fleet.phases(0) == ["starting"]
    assert fleet.phases(200) == ["failed"]
    assert (fleet.desired, fleet.ids()) == (0, [])


def test_at_the_groups_minimum_a_start_that_failed_is_tried_again_by_the_group(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1, minimum=1), served=False, start_timeout_s=120.0)
    (late,) = fleet.ids()
    fleet.look(0)
    assert fleet.phases(200) == ["failed"]
    (new,) = fleet.ids()
    assert (fleet.desired, new != late) == (1, True)


def test_whom_an_engine_served_before_we_saw_it_is_not_known(cloud, fleet_of):
    group = cloud.group(2)
    old, new = cloud.ids(group)
    cloud.serve(old)
    fleet = fleet_of(group, served=False)
    unused = {one.replica: one.unused_until for one in fleet.look()}
    assert unused == {old: None, new: fleet.hand.now}
    cloud.serve(new)
    unused = {one.replica: one.unused_until for one in fleet.look()}
    assert unused == {old: None, new: fleet.hand.now}


def test_an_engine_that_only_answers_slowly_when_we_first_see_it_has_the_whole_time(cloud, fleet_of):
    fleet = fleet_of(cloud.group(1), served=False, start_timeout_s=120.0)
    fleet.hand.now += timedelta(hours=5)
    (first,) = fleet.look()
    assert first.since == fleet.hand.now
    assert fleet.phases(100) == ["starting"]
    cloud.serve(*fleet.ids())
    assert fleet.phases(30) == ["ready"]


def test_what_the_group_ends_is_drained_in_the_terminating_hook(cloud, fleet_of):
    group = cloud.group(2)
    cloud.hook(group, "TERMINATING", "drain", heartbeat_s=90)
    fleet = fleet_of(group, terminate_hook="drain")
    one, _ = fleet.ids()
    cloud.serve(one, running=3)
    cloud.set_state(group, one, "Terminating:Wait")
    cloud.stock[group] = 0
    assert fleet.phases() == ["draining", "ready", "starting"]
    fleet.look(45)
    assert cloud.beats[one] == 2
    assert one in fleet.ids()
    cloud.serve(one, running=0)
    fleet.look()
    assert one not in fleet.ids()
    assert fleet.desired == 2  # the group replaces what it ended itself


def test_a_hook_of_somebody_else_is_left_to_them(cloud, fleet_of):
    group = cloud.group(1)
    cloud.hook(group, "LAUNCHING", "theirs")
    fleet = fleet_of(group)
    cloud.set_state(group, fleet.ids()[0], "Pending:Wait")
    cloud.serve(*fleet.ids())
    fleet.look()
    assert not cloud.of_operation("complete_lifecycle_action")


# --- interruptions ---------------------------------------------------------------------------------------------------


def test_an_instance_whose_machine_goes_is_drained_and_ended_before_it_does(cloud, fleet_of):
    fleet = fleet_of(cloud.group(3))
    going = fleet.ids()[0]
    cloud.serve(going, running=5)
    fleet.notices[going] = notice(going, fleet.hand.now)
    states = {one.replica: one for one in fleet.look()}
    assert states[going].phase is Phase.DRAINING
    assert states[going].notice is fleet.notices[going]
    assert fleet.desired == 3
    fleet.look(80)  # 25 s before the machine ends
    assert going not in fleet.ids()
    assert fleet.desired == 2


def test_cover_for_a_leaving_instance_is_beside_it_and_not_doubled(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2))
    going = fleet.ids()[0]
    cloud.serve(going, running=5)
    fleet.notices[going] = notice(going, fleet.hand.now)
    fleet.look()
    fleet.hand.scale(1, 2)
    assert fleet.desired == 3  # counted and leaving
    fleet.look(80)
    cloud.step(fleet.group)
    assert fleet.desired == 2
    assert fleet.phases() == ["ready", "starting"]


def test_at_the_groups_minimum_a_leaving_instance_is_replaced_by_the_group(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2, minimum=2))
    going = fleet.ids()[0]
    fleet.notices[going] = notice(going, fleet.hand.now)
    fleet.look()
    fleet.look()
    assert going not in fleet.ids()
    assert len(fleet.ids()) == fleet.desired == 2


def test_a_rebalance_recommendation_ends_nothing(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2))
    hint = notice(fleet.ids()[0], fleet.hand.now, kind=NoticeKind.REBALANCE)
    fleet.notices[hint.node] = hint
    states = fleet.look()
    assert [one.phase for one in states] == [Phase.READY] * 2
    assert hint in [one.notice for one in states]


def test_what_the_group_launches_ahead_of_an_end_is_no_replica_more(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2, CapacityRebalance=True))
    at_risk = fleet.ids()[0]
    fleet.notices[at_risk] = notice(at_risk, fleet.hand.now, kind=NoticeKind.REBALANCE)
    group = cloud.of(fleet.group)
    group.desired_capacity = 3
    cloud.step(fleet.group)
    (new,) = set(fleet.ids()) - {one.replica for one in fleet.look(0)} or {fleet.ids()[-1]}
    group.desired_capacity = 2
    cloud.set_state(fleet.group, new, "Pending")
    assert fleet.phases() == ["ready", "ready"]
    cloud.set_state(fleet.group, new, "InService")
    cloud.serve(new)
    states = {one.replica: one.phase for one in fleet.look()}
    assert states[new] is Phase.READY
    assert states[at_risk] is Phase.DRAINING
    assert list(states.values()).count(Phase.READY) == 2


def test_while_nothing_may_be_touched_a_drained_instance_stays(cloud, fleet_of):
    fleet = fleet_of(cloud.group(2))
    fleet.hand.scale(2, 1, fleet.ids()[0])
    fleet.hand.actuator.heed(lambda service: False)
    cloud.forget()
    for _ in range(4):
        fleet.look(600)
    assert (len(fleet.ids()), fleet.desired) == (2, 2)
    assert all(name.startswith("describe") for name, _ in cloud.asked)
    fleet.hand.actuator.heed(lambda service: True)
    for _ in range(3):
        fleet.look()
    assert fleet.desired == 1
