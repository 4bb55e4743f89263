"""A fleet on Kubernetes from end to end: `pennyweight run` in mode act beside a cluster, and what becomes of its services.

One daemon works for all of them at once, as it would; each test looks at a service of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controller.facts.decisions import Because, OutcomeKind
from tests.acceptance.cluster_stage import Stage, staged
from tests.cluster.kubelet import Behaviour
from tests.cluster.parts import NodeShape, deployment, hpa, template

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.cluster

SAFE = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}
QUICK = Behaviour(start_s=1.0)
SLOW = Behaviour(start_s=3600.0)


def deployed(stage: Stage, name: str, replicas: int, pool: str = "any", **more: object) -> None:
    pods = template(name, port=stage.port, nodeSelector={"pool": pool})
    pods["metadata"]["labels"]["app"] = name
    stage.world.add(deployment(name, replicas, pods, **more))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, real_cluster: ControlPlane | None) -> Iterator[Stage]:
    """Five services at rest, and the daemon."""
    folder: Path = tmp_path_factory.mktemp("acceptance")
    with staged(folder, real_cluster) as made:
        made.world.behave("", QUICK)
        made.world.add_nodes(3, NodeShape(labels={"pool": "any"}))
        made.world.add_nodes(2, NodeShape(gpus=1, capacity="spot", labels={"pool": "spot"}))
        made.world.add_nodes(1, NodeShape(gpus=1, labels={"pool": "small"}))
        deployed(made, "chat-h100", 1, **SAFE)
        made.service("chat", {"h100": ", drain_timeout: 20s"}, scaling="min_replicas: 1, max_replicas: 4")
        deployed(made, "batch-cheap", 1, pool="small")
        deployed(made, "batch-dear", 0)
        made.service("batch", {"cheap": "", "dear": ""}, scaling="max_replicas: 4, stuck_deadline: 2s")
        deployed(made, "owned-h100", 1)
        made.world.add(hpa("somebodys", "Deployment", "owned-h100"))
        made.service("owned", {"h100": ""}, scaling="max_replicas: 4")
        deployed(made, "broken-h100", 1)
        made.service("broken", {"h100": ""}, scaling="max_replicas: 4")
        deployed(made, "spot-h100", 1, pool="spot")
        made.service("spot", {"h100": ""}, scaling="max_replicas: 4")
        names = ("chat-h100", "batch-cheap", "owned-h100", "broken-h100", "spot-h100")
        made.start()
        made.wait(lambda: all(len(made.world.ready(name)) == 1 for name in names), "one pod of each")
        made.wait(lambda: made.daemon.get("/readyz")[0] == 200, "the first pass", 180)
        yield made


def test_it_grows_under_load_and_shrinks_after_it_and_survives_a_kill_in_the_middle_of_both(stage: Stage) -> None:
    stage.router.load["chat-h100"] = 28.0
    stage.wait(lambda: stage.wanted("chat-h100") > 1, "growth")
    stage.daemon.kill()
    stage.start()
    stage.wait(lambda: len(stage.world.ready("chat-h100")) == 3, "three that are ready")
    grown = stage.world.ready("chat-h100")
    stage.router.load["chat-h100"] = 3.0  # what one carries; who is sent away still has something to finish
    stage.wait(lambda: stage.router.drained & set(grown), "the first to drain")
    stage.daemon.kill()
    stage.start()
    stage.wait(lambda: len(stage.world.ready("chat-h100")) == 1 == stage.wanted("chat-h100"), "one again")
    gone = set(grown) - set(stage.world.ready("chat-h100"))
    assert gone <= stage.router.drained, "who went was marked before"
    assert stage.router.cut == set(), "nobody went while it still worked"


def test_pods_that_find_no_room_are_given_up_and_the_second_variant_serves(stage: Stage) -> None:
    stage.router.load["batch-cheap"] = 18.0
    stage.wait(lambda: len(stage.world.ready("batch-dear")) == 1, "the second choice")
    stage.wait(lambda: stage.wanted("batch-cheap") == 1, "the first to be given up")
    told = [one for one in stage.decided("batch") if "unschedulable" in one.decision.detail]
    assert told
    steps = [one.decision for one in stage.decided("batch") if one.decision.variant == "cheap"]
    assert max(one.desired for one in steps) == 2, "one step is out, and no more is put beside it"
    assert len(stage.world.ready("batch-cheap")) == 1, "who serves stays"


def test_what_an_hpa_owns_is_left_alone_and_it_is_said(stage: Stage) -> None:
    stage.router.load["owned-h100"] = 30.0
    stage.wait(lambda: any(one.outcome is not None for one in stage.decided("owned")), "a decision to grow")
    tried = [one for one in stage.decided("owned") if one.outcome is not None]
    assert {one.outcome.kind for one in tried} == {OutcomeKind.REFUSED}
    assert "HorizontalPodAutoscaler" in tried[0].outcome.detail
    assert "a target has one writer" in tried[0].outcome.detail
    assert stage.wanted("owned-h100") == 1
    assert "HorizontalPodAutoscaler" in stage.command("explain", "owned")


def test_an_image_that_cannot_be_pulled_is_given_up_at_once(stage: Stage) -> None:
    stage.world.behave("broken-h100", Behaviour(image="manifest unknown"))
    stage.router.load["broken-h100"] = 18.0
    stage.wait(lambda: stage.wanted("broken-h100") == 2, "growth")
    stage.wait(lambda: stage.wanted("broken-h100") == 1, "its end")
    given_up = [one.decision for one in stage.decided("broken") if one.decision.because is Because.START_FAILED]
    assert any("manifest unknown" in one.detail for one in given_up)
    assert len(stage.world.ready("broken-h100")) == 1, "who serves stays"


def test_a_node_that_is_taken_back_is_covered_before_it_ends(stage: Stage) -> None:
    stage.router.load["spot-h100"], stage.router.busy_s["spot-h100"] = 5.0, 6.0
    (pod,) = stage.world.ready("spot-h100")
    stage.wait(lambda: stage.router.working(pod), "its work")
    node = stage.world.get("Pod", pod)["spec"]["nodeName"]
    stage.world.taint(node, "aws-node-termination-handler/spot-itn")
    stage.wait(lambda: len(stage.world.ready("spot-h100")) == 2, "cover beside it")
    stage.wait(lambda: pod in stage.router.drained, "its drain")
    stage.wait(lambda: pod not in stage.world.ready("spot-h100"), "its end")
    assert len(stage.world.ready("spot-h100")) == 1
    assert stage.wanted("spot-h100") == 1
    assert pod not in stage.router.cut


def test_a_stop_holds_everything_until_it_is_lifted(stage: Stage) -> None:
    stop = stage.folder / "stop" / "reason"
    stop.write_text("wrong image, ask ann\n", encoding="utf-8")
    stage.wait(lambda: "ask ann" in stage.daemon.get("/readyz")[1], "the stop to be seen")
    stage.router.load["chat-h100"] = 18.0
    held = Because.STOPPED
    stage.wait(lambda: any(one.decision.because is held for one in stage.decided("chat")), "a decision that is held")
    assert stage.wanted("chat-h100") == 1
    stop.unlink()
    stage.wait(lambda: len(stage.world.ready("chat-h100")) == 2, "what was held")


def test_other_arguments_in_the_fleet_file_are_rolled_out_one_by_one_and_nobody_is_missed(stage: Stage) -> None:
    stage.wait(lambda: len(stage.world.ready("chat-h100")) == 2, "two that serve")
    old = set(stage.world.ready("chat-h100"))
    stage.world.behave("chat-h100", SLOW)  # the new ones wait until a pass has told of them
    stage.write(lambda text: text.replace("drain_timeout: 20s", "template: {args: [--max-num-seqs, '64']}"))
    stage.daemon.process.send_signal(signal.SIGHUP)

    def told() -> bool:
        held = [one.decision.detail for one in stage.decided("chat") if one.decision.because is Because.ROLLOUT]
        return any("a rollout (args) is under way" in detail for detail in held)

    stage.wait(told, "a pass that finds it under way")
    assert old <= set(stage.world.ready("chat-h100"))
    stage.world.behave("chat-h100", QUICK)
    fewest = [2]

    def through() -> bool:
        ready = stage.world.ready("chat-h100")
        fewest[0] = min(fewest[0], len(ready))
        return len(ready) == 2 and not old & set(ready)

    stage.wait(through, "two new ones")
    assert fewest == [2]
    begun = [one for one in stage.decided("chat") if one.decision.change]
    assert [(one.decision.change, one.outcome.kind) for one in begun if one.outcome] == [("args", OutcomeKind.DONE)]
    assert begun[0].decision.numbers["surge_usd_per_hour"] > 0
