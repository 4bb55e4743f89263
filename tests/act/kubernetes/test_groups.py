"""Another template for the groups of a LeaderWorkerSet: a new group is there before the first old one goes."""

import copy
from dataclasses import replace

import pytest

from controller.act.kubernetes.count import Standing
from controller.act.kubernetes.look import options_of
from controller.act.kubernetes.rollout import ROLLOUT, change_of
from controller.facts.actuators import EngineTemplate
from controller.facts.changes import ChangeStage
from controller.facts.decisions import OutcomeKind
from controller.facts.readings import Phase
from controller.kubernetes.objects import Kind
from controller.kubernetes.parse import parse_target
from tests.cluster.kubelet import Behaviour

FASTER = EngineTemplate(args=("--model", "llama", "--max-num-seqs", "64"))


def rolling(**more):
    return {"rolloutStrategy": {"rollingUpdateConfiguration": {"maxUnavailable": 0, "maxSurge": 1, **more}}}


@pytest.fixture
def groups(stage_of):
    """Three groups of two pods on eight GPUs a node."""

    def made(template=FASTER, spec=None, **options):
        return stage_of(Kind.LEADER_WORKER_SET, spec=rolling() if spec is None else spec, template=template, **options)

    return made


def containers(stage):
    found = stage.world.get("LeaderWorkerSet", "chat")["spec"]["leaderWorkerTemplate"]
    return [found[key]["spec"]["containers"][0] for key in ("leaderTemplate", "workerTemplate") if key in found]


def change(stage):
    stage.seen()
    found = stage.actuator.change(stage.variant)
    return (found.stage.value, found.what, found.detail) if found is not None else None


def begun(stage):
    current = stage.current()
    return stage.actuator.apply(
        replace(stage.decision(current, current), change="other engines"), stage.variant, stage.world.now
    )


def serving(stage):
    """Groups of which every pod is ready."""
    ready = set(stage.world.ready("chat"))
    leaders = {name for name in ready if name.count("-") == 1}
    return {name for name in leaders if f"{name}-1" in ready}


def course(stage, seconds):
    """The fewest that served at any second, and the fewest that the actuator called ready."""
    fewest = told = 99
    for second in range(seconds):
        stage.world.step(1)
        fewest = min(fewest, len(serving(stage)))
        if second % 3 == 0:
            told = min(told, sum(one.phase is Phase.READY for one in stage.seen()))
    return fewest, told


def test_groups_are_replaced_one_by_one_with_one_more_beside_them(groups):
    stage = groups()
    before = {pod["metadata"]["uid"] for pod in stage.world.pods("chat")}
    assert change(stage) == ("wanted", "args", "")
    assert stage.actuator.change(stage.variant).surge == 1
    assert begun(stage).kind is OutcomeKind.DONE
    assert change(stage)[:2] == ("rolling", "args")
    assert course(stage, 60) == (3, 3)
    assert {tuple(one["args"]) for one in containers(stage)} == {FASTER.args}
    assert ROLLOUT not in stage.world.get("LeaderWorkerSet", "chat")["metadata"]["annotations"]
    assert before.isdisjoint(pod["metadata"]["uid"] for pod in stage.world.pods("chat"))
    assert (stage.phases(), stage.replicas, change(stage)) == ({"ready": 3}, 3, None)


def test_leaders_and_workers_of_their_own_templates_are_both_changed(groups):
    stage = groups(template=EngineTemplate(image="vllm/vllm-openai:v0.12"))

    def led(doc):
        inside = doc["spec"]["leaderWorkerTemplate"]
        inside["leaderTemplate"] = inside["workerTemplate"]
        return doc

    stage.world.edit("LeaderWorkerSet", "chat", led)
    stage.world.step(60)
    assert begun(stage).kind is OutcomeKind.DONE
    assert course(stage, 60)[0] == 3
    assert [one["image"] for one in containers(stage)] == ["vllm/vllm-openai:v0.12"] * 2
    assert change(stage) is None


def test_a_version_that_does_not_start_is_taken_back_and_every_old_group_stays(groups):
    stage = groups(template=EngineTemplate(image="vllm/vllm-openai:none"))
    before, old = containers(stage), serving(stage)
    stage.world.behave("chat", Behaviour(image="manifest unknown"))
    begun(stage)
    assert course(stage, 30)[0] == 3
    assert containers(stage) == before
    stage.world.behave("chat", Behaviour())
    stage.passes(4)
    assert (serving(stage), stage.pods()) == (old, [f"chat-{one}{end}" for one in range(3) for end in ("", "-1")])
    assert change(stage)[:2] == ("taken_back", "image vllm/vllm-openai:none")
    assert begun(stage).kind is OutcomeKind.REFUSED


def test_whoever_looks_next_sees_it_through(groups):
    stage = groups()
    begun(stage)
    stage.world.step(8)
    assert course(stage.another(), 60)[0] == 3
    assert change(stage.another()) is None


@pytest.mark.parametrize(
    ("more", "said"), [({"partition": 1}, "its partition 1"), ({"maxSurge": 0}, "its maxSurge is 0")]
)
def test_what_would_leave_old_groups_or_end_one_too_early_is_refused(groups, more, said):
    stage = groups(spec=rolling(**more))
    assert change(stage)[0] == "blocked"
    assert said in change(stage)[2]
    assert begun(stage).kind is OutcomeKind.REFUSED


def test_a_controller_that_ends_groups_first_whatever_it_is_told_is_refused(groups):
    stage = groups()
    doc = copy.deepcopy(stage.world.get("LeaderWorkerSet", "chat"))
    doc.get("status", {}).pop("observedGeneration", None)
    standing = Standing(target=parse_target(Kind.LEADER_WORKER_SET, doc), replicas=())
    found = change_of(standing, options_of(stage.variant), stage.world.now)
    assert found.stage is ChangeStage.BLOCKED
    assert "older than LeaderWorkerSet v0.9" in found.detail


def test_nothing_is_removed_while_groups_are_replaced_and_growing_goes_on(groups):
    stage = groups(nodes=8)
    begun(stage)
    stage.world.step(3)
    assert "a rollout is under way" in stage.scale(3, 2).detail
    assert stage.scale(3, 4).kind is OutcomeKind.DONE
    assert course(stage, 90)[0] == 3
    assert (stage.phases(), change(stage)) == ({"ready": 4}, None)
