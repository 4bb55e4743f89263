"""`pennyweight run` in mode act against an AWS that is a process of its own, moto's server as it comes: nothing is put
into it, and nothing of it is looked at but by AWS's calls. It cannot answer everything that AWS does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.act.aws_asg.roll import DRAINING, LEFT, READY
from controller.facts.decisions import Because, OutcomeKind
from tests.aws_stage import Stage, Wire
from tests.group_engines import Engines
from tests.moto_process import moto_process
from tests.plain_groups import PlainWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PlainWorld]:
    engines = Engines()
    with moto_process(tmp_path / "moto.log") as url:
        made = PlainWorld(url, engines)
        yield made
        made.close()
    engines.shutdown()
    engines.server_close()


@pytest.fixture
def stage(world: PlainWorld, tmp_path: Path) -> Iterator[Stage]:
    wire = Wire(world.options["endpoint_url"])
    made = Stage(world, wire, tmp_path)
    yield made
    made.close()
    wire.close()


def test_a_mixed_group_found_by_its_tag_grows_is_protected_shrinks_by_its_victim_and_hears_of_its_machines(stage):
    world, group = stage.world, stage.first
    stage.want(1)
    stage.start(by_tag=True)
    stage.until(lambda: stage.ready("first") == 1, "the first one serves")

    stage.want(3)
    stage.until(lambda: world.desired(group) == 3, "it grows")
    stage.serve_new()
    stage.until(lambda: stage.ready("first") == 3, "all serve")
    everybody = world.ids(group)
    stage.until(lambda: world.protected(group) == set(everybody), "who serves is protected")
    assert all(READY in world.tags(one) for one in everybody)

    world.serve(*everybody, running=1)  # nobody is idle
    stage.want(2)
    stage.until(lambda: any(DRAINING in world.tags(one) for one in everybody), "one drains")
    (victim,) = [one for one in everybody if DRAINING in world.tags(one)]
    stage.passes()
    assert (world.ids(group), world.desired(group)) == (everybody, 3)
    assert victim not in world.protected(group)
    world.serve(victim, running=0)
    stage.until(lambda: victim not in world.ids(group), "it is ended")
    assert (set(world.ids(group)), world.desired(group)) == (set(everybody) - {victim}, 2)
    assert LEFT in world.tags(victim)
    assert stage.metric("pennyweight_aws_calls_total", operation="autoscaling:SetDesiredCapacity") == 1
    ended = "autoscaling:TerminateInstanceInAutoScalingGroup"
    assert stage.metric("pennyweight_aws_calls_total", operation=ended) == 1

    going, hinted = world.ids(group)
    stage.send("no JSON")
    stage.announce("EC2 Instance Rebalance Recommendation", hinted)
    stage.until(lambda: stage.metric("pennyweight_replicas_noticed", kind="rebalance") == 1, "the hint is known")
    world.serve(going, running=1)
    stage.announce("EC2 Spot Instance Interruption Warning", going, instance_action="terminate")
    stage.until(lambda: DRAINING in world.tags(going), "whose machine goes drains")
    stage.until(lambda: world.desired(group) == 3, "it is covered")
    stage.serve_new()
    world.serve(going, running=0)
    stage.until(lambda: going not in world.ids(group), "it is ended before its machine is")
    stage.until(lambda: stage.ready("first") == 2, "two serve")
    assert hinted in world.ids(group)

    world.raw("autoscaling").update_auto_scaling_group(AutoScalingGroupName=group, MinSize=2)
    stage.want(1)
    kept = "has MinSize 2 and MaxSize 10"
    stage.until(lambda: any(one.because is Because.LIMIT and kept in one.detail for one in stage.decisions()), "held")
    stage.passes()
    assert world.desired(group) == 2
    assert stage.left() == 0, "also what was no JSON is deleted"
    assert stage.metric("pennyweight_aws_calls_total", operation=ended) == 2
    assert stage.said().count("DescribeInstanceRefreshes is not to be had") == 1, "told once, and nothing held up"
    assert stage.said().count("gives spot for 100 % of all above 1, and `capacity` names none") == 2, "once a group"
    for kind in (OutcomeKind.FAILED, OutcomeKind.REFUSED):
        assert stage.metric("pennyweight_actions_total", outcome=str(kind)) == 0
