"""Another template for the engines: new pods before old ones go, or nothing; and back when it does not come through."""

import json
from dataclasses import replace

import pytest

from controller.act.kubernetes.rollout import ROLLOUT, breaks_first, surge_of
from controller.act.kubernetes.template import changed
from controller.facts.actuators import EngineTemplate
from controller.facts.decisions import OutcomeKind
from controller.kubernetes.objects import Kind
from tests.cluster.kubelet import Behaviour

SAFE = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}
FASTER = EngineTemplate(args=("--model", "llama", "--max-num-seqs", "64"), env={"VLLM_USE_V1": "1"})


def engine(stage):
    return stage.world.get(stage.kind, "chat")["spec"]["template"]["spec"]["containers"][0]


def change(stage):
    """What the actuator tells of it."""
    stage.seen()
    found = stage.actuator.change(stage.variant)
    return (found.stage.value, found.what, found.detail) if found is not None else None


def begun(stage):
    """What becomes of a decision to change it."""
    current = stage.current()
    decision = replace(stage.decision(current, current), change="other engines")
    return stage.actuator.apply(decision, stage.variant, stage.world.now)


def least_ready(stage, seconds):
    """The fewest that were ready at any second."""
    fewest = 99
    for second in range(seconds):
        stage.world.step(1)
        fewest = min(fewest, len(stage.world.ready("chat")))
        if second % 10 == 0:
            stage.seen()
    return fewest


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        (Kind.DEPLOYMENT, {"strategy": {"type": "Recreate"}}, "ends every pod"),
        (Kind.DEPLOYMENT, {}, "maxUnavailable 25% lets 1 of 4 end"),
        (Kind.DEPLOYMENT, {"strategy": {"rollingUpdate": {"maxUnavailable": "10%"}}}, ""),
        (Kind.DEPLOYMENT, {"strategy": {"rollingUpdate": {"maxUnavailable": 2, "maxSurge": 1}}}, "lets 2 of 4 end"),
        (Kind.DEPLOYMENT, {"strategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}, "maxSurge is 0"),
        (Kind.DEPLOYMENT, SAFE, ""),
        (Kind.STATEFUL_SET, {}, "use another variant"),
        (Kind.LEADER_WORKER_SET, {}, "maxSurge is 0"),
        (
            Kind.LEADER_WORKER_SET,
            {"rolloutStrategy": {"rollingUpdateConfiguration": {"maxUnavailable": 0, "maxSurge": 1}}},
            "",
        ),
    ],
)
def test_a_strategy_that_breaks_before_it_makes_is_refused(kind, spec, said):
    told = breaks_first(kind, spec, 4)
    assert said in told
    assert bool(told) is bool(said)


@pytest.mark.parametrize(
    ("template", "fields"),
    [
        (EngineTemplate(image="vllm:2"), {"image": "vllm:2"}),
        (EngineTemplate(args=("--x",)), {"args": ["--x"]}),
        (EngineTemplate(env={"B": "2"}), {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}),
        (EngineTemplate(env={"A": "3"}), {"env": [{"name": "A", "value": "3"}]}),
        (EngineTemplate(image="vllm:1", args=("--a",), env={"A": "1"}), {}),
    ],
)
def test_only_what_the_template_names_changes(template, fields):
    before = {"name": "engine", "image": "vllm:1", "args": ["--a"], "env": [{"name": "A", "value": "1"}], "ports": []}
    assert changed(before, template) == before | fields
    assert (changed(before, template) is before) is not bool(fields)


def test_new_pods_are_there_before_old_ones_go(stage_of):
    stage = stage_of(replicas=3, spec=SAFE, template=FASTER)
    assert change(stage) == ("wanted", "args; env VLLM_USE_V1", "")
    assert stage.actuator.change(stage.variant).surge == 1
    outcome = begun(stage)
    assert (outcome.kind, "a rollout to another template begins" in outcome.detail) == (OutcomeKind.DONE, True)
    assert begun(stage).kind is OutcomeKind.ALREADY
    assert change(stage)[:2] == ("rolling", "args; env VLLM_USE_V1")
    assert "0 of 3 replicas are new" in change(stage)[2]
    assert least_ready(stage, 40) == 3
    assert engine(stage)["args"] == list(FASTER.args)
    assert {"name": "VLLM_USE_V1", "value": "1"} in engine(stage)["env"]
    assert ROLLOUT not in stage.world.get("Deployment", "chat")["metadata"]["annotations"]
    assert (stage.phases(), change(stage)) == ({"ready": 3}, None)
    assert begun(stage).kind is OutcomeKind.ALREADY


def test_a_version_whose_pods_get_no_further_is_taken_back_and_not_tried_again(stage_of):
    stage = stage_of(replicas=2, spec=SAFE, template=EngineTemplate(image="vllm/vllm-openai:none"))
    before = engine(stage)
    old = set(stage.pods())
    stage.world.behave("chat", Behaviour(image="manifest unknown"))
    begun(stage)
    assert least_ready(stage, 30) == 2
    assert (engine(stage), set(stage.pods())) == (before, old)
    assert change(stage)[:2] == ("taken_back", "image vllm/vllm-openai:none")
    assert "manifest unknown" in change(stage)[2]
    assert begun(stage).kind is OutcomeKind.REFUSED
    stage = stage.another(template=FASTER)
    stage.world.behave("chat", Behaviour())
    assert begun(stage).kind is OutcomeKind.DONE


def test_a_version_that_never_becomes_ready_is_taken_back_by_whoever_looks(stage_of):
    stage = stage_of(replicas=2, spec=SAFE, template=FASTER, start_timeout_s=60)
    before = engine(stage)
    stage.world.behave("chat", Behaviour(start_s=3600))
    begun(stage)
    heir = stage.another()
    assert least_ready(heir, 80) == 2
    assert engine(heir) == before
    told = json.loads(heir.world.get("Deployment", "chat")["metadata"]["annotations"][ROLLOUT])
    assert told["failed"] == "no new pod became ready within 60 s"


def test_nothing_is_removed_while_a_rollout_is_under_way(stage_of):
    stage = stage_of(replicas=3, spec=SAFE, template=FASTER)
    begun(stage)
    stage.world.step(2)
    refused = stage.scale(3, 2)
    assert (refused.kind, "a rollout is under way" in refused.detail) == (OutcomeKind.REFUSED, True)
    assert stage.scale(3, 4).kind is OutcomeKind.DONE
    stage.passes(4)
    assert (stage.phases(), stage.replicas) == ({"ready": 4}, 4)


def test_a_deployment_that_would_break_first_is_not_touched(stage_of):
    stage = stage_of(replicas=4, template=FASTER)
    before = engine(stage)
    assert change(stage)[0] == "blocked"
    assert "lets 1 of 4 end before new ones are ready; make it 0" in change(stage)[2]
    assert begun(stage).kind is OutcomeKind.REFUSED
    assert engine(stage) == before


def test_a_rollout_is_not_taken_back_while_nothing_may_be_touched(stage_of):
    stage = stage_of(replicas=2, spec=SAFE, template=EngineTemplate(image="vllm/vllm-openai:none"))
    before = engine(stage)
    stage.world.behave("chat", Behaviour(image="manifest unknown"))
    begun(stage)
    stage.actuator.heed(lambda service: False)
    assert least_ready(stage, 30) == 2
    assert (engine(stage)["image"], change(stage)[0]) == ("vllm/vllm-openai:none", "rolling")
    stage.actuator.heed(lambda service: True)
    assert least_ready(stage, 30) == 2
    assert (engine(stage), change(stage)[0]) == (before, "taken_back")


@pytest.mark.parametrize(
    ("kind", "spec", "replicas", "surge"),
    [
        (Kind.DEPLOYMENT, {}, 5, 2),
        (Kind.DEPLOYMENT, SAFE, 5, 1),
        (Kind.DEPLOYMENT, {"strategy": {"rollingUpdate": {"maxSurge": "100%"}}}, 5, 5),
        (Kind.DEPLOYMENT, {"strategy": {"rollingUpdate": {"maxSurge": 9}}}, 5, 5),
        (Kind.LEADER_WORKER_SET, {"rolloutStrategy": {"rollingUpdateConfiguration": {"maxSurge": 2}}}, 5, 2),
    ],
)
def test_as_many_stand_beside_the_others_as_max_surge_says(kind, spec, replicas, surge):
    assert surge_of(kind, spec, replicas) == surge


def test_without_a_template_nothing_is_asked_for(stage_of):
    assert change(stage_of()) is None
