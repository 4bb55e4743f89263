"""What becomes of pods on machines that go, where their set can only lose its highest ordinal."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controller.facts.interruptions import Notice, NoticeKind
from controller.kubernetes.objects import Kind
from tests.cluster.kubelet import Behaviour
from tests.cluster.parts import NodeShape


def noticed(stage, pod):
    """A message from the cloud about the pod's machine, which nobody has cordoned."""
    node = stage.world.get("Pod", pod)["spec"]["nodeName"]
    now = stage.world.now
    notice = Notice(node=node, kind=NoticeKind.SPOT, at=now, deadline=now + timedelta(seconds=120), source="sqs")
    stage.actuator.warn({node: notice})
    return node


@pytest.mark.parametrize("kind", [Kind.STATEFUL_SET, Kind.LEADER_WORKER_SET])
def test_cover_serves_until_the_ordinal_that_went_serves_again(stage_of, kind):
    stage = stage_of(kind, 3, nodes=5 if kind is Kind.STATEFUL_SET else 10, shape=NodeShape(gpus=1, capacity="spot"))
    stage.world.behave("chat", Behaviour(start_s=60))
    node = noticed(stage, "chat-0")
    assert stage.phases() == {"draining": 1, "ready": 2}
    stage.scale(2, 3)
    stage.passes(6)
    assert (stage.phases(), "chat-0" in stage.pods()) == ({"draining": 1, "ready": 3}, True), "it waits for its end"
    stage.world.remove_node(node)
    for _ in range(16):
        stage.world.step(15)
        assert stage.phases()["ready"] == 3
    assert (stage.replicas, stage.phases()) == (3, {"ready": 3})
    assert {"chat-0", "chat-1", "chat-2"} <= set(stage.pods())
    assert "chat-3" not in stage.pods()


def test_of_a_deployment_the_pod_that_is_drained_goes_and_its_cover_stays(stage_of):
    stage = stage_of(Kind.DEPLOYMENT, 3, nodes=5, shape=NodeShape(gpus=1, capacity="spot"))
    pod = stage.pods()[0]
    stage.busy(pod)
    noticed(stage, pod)
    assert stage.phases() == {"draining": 1, "ready": 2}
    stage.scale(2, 3)
    stage.passes(2, every_s=5)
    stage.busy(pod, 0)
    stage.passes(2, every_s=5)
    assert (stage.replicas, stage.phases(), pod in stage.pods()) == (3, {"ready": 3}, False)
