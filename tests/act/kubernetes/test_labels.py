"""A target that is named by its labels: exactly one has them, or nothing is touched and the reason names them all."""

from dataclasses import replace

import pytest

from controller.facts.decisions import OutcomeKind
from controller.facts.missing import Missing
from controller.kubernetes.objects import Kind
from tests.cluster.parts import deployment, template

LABELS = {"app": "vllm", "model": "llama"}


def label(stage, kind="Deployment", name="chat", **labels):
    """As `kubectl label` does."""

    def labelled(doc):
        doc["metadata"]["labels"] = {**(doc["metadata"].get("labels") or {}), **labels}
        return doc

    stage.world.edit(kind, name, labelled, manager="kubectl-label")


def told(stage):
    found = stage.actuator.replicas(stage.variant, stage.world.now)
    return found.why if isinstance(found, Missing) else ""


@pytest.fixture
def by_labels(stage_of):
    stage = stage_of(replicas=3)
    label(stage, **LABELS)
    return stage.another(name="", selector="app=vllm,model in (llama,qwen)")


@pytest.mark.cluster
@pytest.mark.parametrize("kind", [Kind.DEPLOYMENT, Kind.STATEFUL_SET, Kind.LEADER_WORKER_SET])
def test_the_one_that_has_the_labels_is_scaled(stage_of, kind):
    named = stage_of(kind, 2)
    label(named, kind.value, **LABELS)
    stage = named.another(name="", selector="app=vllm")
    assert stage.scale(2, 3).kind is OutcomeKind.DONE
    stage.passes(3)
    assert (named.replicas, stage.phases()) == (3, {"ready": 3})
    assert stage.scale(3, 2).kind is OutcomeKind.DONE
    stage.passes(3)
    assert (named.replicas, stage.phases()) == (2, {"ready": 2})


def test_labels_that_none_has_are_told_and_nothing_is_touched(by_labels):
    stage = by_labels.another(selector="app=mail")
    assert told(stage) == "there is no Deployment app=mail in llm"
    outcome = stage.scale(3, 2)
    assert (outcome.kind, "there is no Deployment app=mail in llm" in outcome.detail) == (OutcomeKind.REFUSED, True)


def test_labels_that_several_have_are_told_with_their_names(by_labels):
    other = deployment("chat-canary", 1, template("canary"))
    other["metadata"]["labels"] = LABELS
    by_labels.world.add(other)
    said = (
        "2 Deployments in llm have app=vllm,model in (llama,qwen) (chat, chat-canary); "
        "name one of them with `deployment`"
    )
    assert told(by_labels) == said
    assert by_labels.scale(3, 2).kind is OutcomeKind.REFUSED
    by_labels.world.remove("Deployment", "chat-canary")
    assert by_labels.phases() == {"ready": 3}


def test_two_variants_that_find_the_same_target_do_not_both_scale_it(by_labels):
    named = by_labels.another(name="chat", selector="")
    mail = replace(by_labels, actuator=named.actuator, variant=replace(by_labels.variant, service="mail"))
    assert named.phases() == {"ready": 3}
    assert told(mail) == "Deployment llm/chat is the target of chat/h100 as well; one variant a target"
    mail.world.step(15)
    assert mail.phases() == {"ready": 3}, "the other one is gone from the fleet file"


def test_what_llm_d_calls_the_role_of_a_pod_is_told(stage_of):
    stage = stage_of(replicas=1, pods={"labels": {"llm-d.ai/role": "prefill"}})
    assert [one.role for one in stage.seen()] == ["prefill"]
