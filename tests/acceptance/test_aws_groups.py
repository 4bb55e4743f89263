"""`pennyweight run` in mode act on Auto Scaling groups, with the policy of deploy/aws and nothing else allowed: what it
does, and that it does nothing twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.act.aws_asg.roll import DRAINING
from tests.auto_scaling import World, auto_scaling
from tests.aws.iam_guard import Guard, guarded
from tests.aws_stage import Stage, Wire

POLICY = Path(__file__).parents[2] / "deploy" / "aws" / "policy.json"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with auto_scaling() as made:
        yield made


@pytest.fixture(scope="module")
def guard(world: World) -> Iterator[Guard]:
    with guarded(world) as made:
        yield made


@pytest.fixture
def stage(world: World, guard: Guard, tmp_path: Path) -> Iterator[Stage]:
    guard.may(json.loads(POLICY.read_text(encoding="utf-8")))
    wire = Wire(world.options["endpoint_url"])
    world.forget()
    made = Stage(world, wire, tmp_path)
    made.keys = guard.keys
    yield made
    made.close()
    wire.close()
    world.engines.running.clear()
    world.clear()


WRITES = {
    *("autoscaling:CreateOrUpdateTags", "autoscaling:SetDesiredCapacity", "autoscaling:SetInstanceProtection"),
    *("autoscaling:TerminateInstanceInAutoScalingGroup", "ec2:CreateTags"),
}
"""What the first story does, with leave to do it."""


def test_a_service_grows_shrinks_by_its_chosen_instance_and_takes_the_second_variant_where_there_is_no_capacity(
    stage, guard
):
    stage.want(1)
    stage.start()
    stage.until(lambda: stage.ready("first") == 1, "the first one serves")

    stage.want(3)
    stage.until(lambda: len(stage.world.ids(stage.first)) == 3, "it grows")
    stage.serve_new()
    stage.until(lambda: stage.ready("first") == 3, "all serve")
    assert stage.world.desired(stage.first) == 3
    assert stage.world.ids(stage.second) == []

    everybody = stage.world.ids(stage.first)
    stage.world.serve(*everybody, running=1)  # nobody is idle
    stage.want(2)
    stage.until(lambda: stage.metric("pennyweight_replicas_current", variant="first") == 2, "one drains")
    (victim,) = [one for one in everybody if DRAINING in stage.world.tags(one)]
    stage.passes()
    assert stage.ended() == []
    assert stage.world.ids(stage.first) == everybody
    stage.world.serve(victim, running=0)
    stage.until(lambda: victim not in stage.world.ids(stage.first), "it is ended")
    assert stage.ended() == [victim]
    assert stage.world.desired(stage.first) == 2
    lowered = [int(one["DesiredCapacity"]) for one in stage.world.of_operation("set_desired_capacity")]
    assert lowered == [3], "never by a lower number"

    stage.world.stock[stage.first] = 0
    stage.want(3)
    stage.until(lambda: stage.world.ids(stage.second), "the second variant is taken")
    stage.until(lambda: stage.world.desired(stage.first) == 2, "what never came is given up")
    stage.serve_new()
    stage.until(lambda: stage.ready("second") == 1, "it serves")
    assert len(stage.ended()) == 1
    stuck = [one for one in stage.decisions() if "cannot start: capacity" in one.detail]
    assert "sufficient p5.48xlarge capacity" in stuck[0].detail
    calls = stage.metric("pennyweight_aws_calls_total", operation="autoscaling:TerminateInstanceInAutoScalingGroup")
    assert calls == 1
    assert guard.denied == []
    assert {one.action for one in guard.asked} >= WRITES
    assert "credentials" not in stage.said()


def test_what_a_group_s_owner_does_not_let_it_launch_goes_to_the_second_variant_until_he_does_again(stage, guard):
    world = stage.world
    stage.want(1)
    stage.start()
    stage.until(lambda: stage.ready("first") == 1, "the first one serves")

    world.suspend(stage.first, "Launch")
    stage.passes(1)
    stage.want(2)
    stage.until(lambda: world.ids(stage.second), "the second variant is taken")
    stage.serve_new()
    stage.until(lambda: stage.ready("second") == 1, "it serves")
    assert world.desired(stage.first) == 1
    (grown,) = [one for one in stage.decisions() if one.variant == "second" and one.desired > one.current]
    assert f"the process Launch of {stage.first} is suspended (" in grown.detail

    world.resume(stage.first)
    stage.passes(1)
    stage.want(3)
    stage.until(lambda: len(world.ids(stage.first)) == 2, "the first one grows again")
    assert (len(world.ids(stage.second)), guard.denied) == (1, [])
    assert stage.metric("pennyweight_actions_total", outcome="refused") == 0


def test_notices_drain_and_are_covered_and_neither_a_kill_nor_a_silence_of_aws_ends_anything_twice(stage, guard):
    world = stage.world
    for instance in world.ids(stage.first):
        world.backend.ec2_backend.get_instance(instance).lifecycle = "spot"
    stage.want(1)
    stage.start(bought="spot")
    stage.until(lambda: stage.ready("first") == 1, "the first one serves")
    stage.want(3)
    stage.until(lambda: len(world.ids(stage.first)) == 3, "it grows")
    stage.serve_new()
    stage.until(lambda: stage.ready("first") == 3, "all serve")
    going, hinted, _ = world.ids(stage.first)

    stage.send("no JSON")
    stage.announce("EC2 Instance Rebalance Recommendation", hinted)
    stage.until(lambda: stage.left() == 0, "both are heard and deleted")
    stage.until(lambda: stage.metric("pennyweight_replicas_noticed", kind="rebalance") == 1, "the hint is known")
    stage.passes()
    assert stage.ready("first") == 3
    assert len(world.ids(stage.first)) == 3

    world.serve(going, running=1)
    stage.announce("EC2 Spot Instance Interruption Warning", going, instance_action="terminate")
    stage.until(lambda: stage.metric("pennyweight_replicas_noticed", kind="spot") == 1, "the notice is known")
    stage.until(lambda: DRAINING in world.tags(going), "it drains")
    stage.until(lambda: stage.left() == 0, "it is written down and deleted")
    since = [one for one in stage.decisions() if one.variant == "first"]
    first = next(one for one in since if one.at >= since[0].at and one.current == 2 and one.ready == 2)
    assert first.desired == 3, "covered in the pass that knew"

    stage.kill()  # in the midst of the drain
    stage.start_again()
    stage.serve_new()
    stage.passes()
    assert stage.metric("pennyweight_replicas_noticed", kind="spot") == 1, "though the queue has told it already"
    assert stage.ended() == []
    world.serve(going, running=0)
    stage.until(lambda: stage.ended() == [going], "the idle one is ended, long before its machine is")
    stage.passes()
    assert stage.ended() == [going]
    assert len(world.ids(stage.first)) == world.desired(stage.first) == 3

    stage.wire.cut()
    stage.want(1)
    blind = "nobody knows how many there are"
    stage.until(lambda: any(blind in one.detail for one in stage.decisions()[-2:]), "told, and held")
    stage.passes(4)
    stage.wire.mend()
    assert stage.ended() == [going]
    assert len(world.ids(stage.first)) == 3
    stage.until(lambda: len(world.ids(stage.first)) == 1, "once AWS is there again it shrinks")
    assert len(set(stage.ended())) == len(stage.ended()) == 3
    assert guard.denied == []
    assert {"sqs:GetQueueUrl", "sqs:ReceiveMessage", "sqs:DeleteMessage"} <= {one.action for one in guard.asked}
