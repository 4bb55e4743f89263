"""A stop or a lost lead in the midst of a step, and writes that come late: nothing is written that is not asked for."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from controller.act.kubernetes.others import NOTE
from controller.act.kubernetes.pods import DRAINED, DRAINING_SINCE
from controller.errors import ActError, StaleActError
from controller.facts.actuators import EngineTemplate
from controller.facts.decisions import OutcomeKind
from controller.facts.interruptions import Notice, NoticeKind
from controller.kubernetes.objects import Kind
from tests.act.kubernetes.test_rollout import SAFE, begun
from tests.cluster.faults import Fault, FaultKind
from tests.cluster.kubelet import Behaviour
from tests.cluster.parts import NodeShape


def lead_for(stage, writes):
    """The lead is lost after so many writes from now on."""
    since = patched(stage)

    def leads(service):
        assert service == "chat"
        return patched(stage) - since < writes

    stage.actuator.heed(leads)


def patched(stage):
    """Our writes so far."""
    return sum(count for (verb, _), count in stage.cluster.api.calls.items() if verb == "patch")


def draining(stage):
    return [pod for pod in stage.pods() if DRAINING_SINCE in stage.annotations(pod)]


@pytest.mark.cluster
@pytest.mark.parametrize("writes", [1, 2, 3])
def test_a_shrink_ends_between_two_marks_when_the_lead_is_lost(stage_of, writes):
    stage = stage_of(replicas=6)
    stage.seen()
    before = patched(stage)
    lead_for(stage, writes)
    with pytest.raises(ActError, match=f"may not be touched any more.* after {writes} writes? it waits"):
        stage.scale(6, 2)
    assert (patched(stage) - before, len(draining(stage)), stage.replicas) == (writes, writes, 6)
    stage.passes(2, every_s=1)
    assert (patched(stage) - before, stage.replicas) == (writes, 6), "what had begun waits where it is"


def test_who_leads_no_longer_before_the_first_write_has_touched_nothing(stage_of):
    stage = stage_of(replicas=3)
    before = patched(stage)
    lead_for(stage, 0)
    for current, desired in ((3, 2), (3, 5)):
        outcome = stage.scale(current, desired)
        assert outcome.kind is OutcomeKind.REFUSED
        assert "did not touch chat/h100" in outcome.detail
    assert (patched(stage), stage.replicas, draining(stage)) == (before, 3, [])


def test_growth_that_was_noted_and_not_done_is_told_so(stage_of):
    stage = stage_of(replicas=3)
    lead_for(stage, 1)
    with pytest.raises(ActError, match="did not do all of it for chat/h100"):
        stage.scale(3, 5)
    assert stage.replicas == 3
    heir = stage.another()
    assert heir.current() == 3
    assert heir.scale(3, 5).kind is OutcomeKind.DONE


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_a_pass_moves_those_who_drain_on_only_as_long_as_it_leads(stage_of, writes):
    stage = stage_of(replicas=5)
    victims = stage.pods()[:3]
    for pod in victims:
        stage.busy(pod)
    stage.scale(5, 2, victims)
    for pod in victims:
        stage.busy(pod, 0)
    lead_for(stage, writes)
    stage.passes(2, every_s=1)
    done = [pod for pod in victims if DRAINED in stage.annotations(pod)]
    assert (len(done), stage.replicas) == (writes, 5)
    stage.actuator.heed(lambda service: True)
    stage.passes(3, every_s=2)
    assert (stage.replicas, stage.phases()) == (2, {"ready": 2})


def test_noticed_machines_are_marked_one_by_one_as_well(stage_of):
    stage = stage_of(replicas=3, nodes=1)
    stage.actuator.warn({"node-1": Notice(node="node-1", kind=NoticeKind.SPOT, at=stage.world.now, source="sqs")})
    lead_for(stage, 2)
    stage.seen()
    assert len(draining(stage)) == 2


def test_a_rollout_is_not_begun_by_who_leads_no_longer(stage_of):
    stage = stage_of(replicas=2, spec=SAFE, template=EngineTemplate(image="vllm/vllm-openai:v2"))
    stage.seen()
    lead_for(stage, 0)
    assert begun(stage).kind is OutcomeKind.REFUSED


def test_a_rollout_is_not_taken_back_by_who_lost_the_lead_during_the_pass(stage_of):
    """At the start of the pass it led; it asks anew at the write."""
    stage = stage_of(replicas=2, spec=SAFE, template=EngineTemplate(image="vllm/vllm-openai:none"))
    stage.world.behave("chat", Behaviour(image="manifest unknown"))
    begun(stage)
    stage.world.step(20)
    asked = []
    stage.actuator.heed(lambda service: not asked and not asked.append(service))
    before = patched(stage)
    stage.seen()
    assert (patched(stage), asked) == (before, ["chat"])


def test_nothing_is_written_where_nothing_may_be_touched(stage_of):
    stage = stage_of(replicas=2, nodes=2, shape=NodeShape(gpus=1))
    stage.actuator.heed(lambda service: False)
    node = stage.world.get("Pod", stage.pods()[0])["spec"]["nodeName"]
    stage.world.taint(node, "karpenter.sh/disrupted")
    version = stage.world.store.version
    assert stage.phases() == {"draining": 1, "ready": 1}
    assert stage.world.store.version == version


def test_what_drains_stays_where_it_is_while_it_may_not_be_touched_and_goes_on_after(stage_of):
    stage, asked = stage_of(replicas=3), []
    stage.seen()
    stage.busy(stage.pods()[0])
    stage.scale(3, 2, [stage.pods()[0]])
    stage.actuator.heed(lambda service: asked.append(service) or False)
    victim = stage.pods()[0]
    stage.busy(victim, 0)
    version = stage.world.store.version
    assert stage.phases() == {"draining": 1, "ready": 2}
    assert (stage.world.store.version, stage.replicas, set(asked)) == (version, 3, {"chat"})
    stage.actuator.heed(lambda service: True)
    stage.passes(3, every_s=2)
    assert (stage.replicas, stage.phases(), victim in stage.pods()) == (2, {"ready": 2}, False)


def test_nobody_is_asked_while_there_is_nothing_to_do(stage_of):
    stage, asked = stage_of(replicas=3), []
    stage.actuator.heed(lambda service: asked.append(service) or False)
    stage.passes(2)
    assert asked == []


# --- writes that come late ----------------------------------------------------------------------------------------------


@contextmanager
def meanwhile(stage, do):
    """``do`` happens between our last look and the write of a pod's marks."""
    calls = stage.cluster.calls
    real = calls.note_pod

    def late(pod, **what):
        calls.note_pod = real
        do(pod.name)
        return real(pod, **what)

    calls.note_pod = late
    yield
    calls.note_pod = real


def labelled(stage):
    def do(pod):
        stage.world.edit("Pod", pod, lambda doc: doc | {"metadata": doc["metadata"] | {"labels": _labels(doc)}})

    return do


def _labels(doc):
    return doc["metadata"]["labels"] | {"seen-by": "somebody"}


@pytest.mark.cluster
def test_a_pod_that_changed_since_it_was_read_is_not_marked_and_that_is_told(stage_of):
    stage = stage_of(replicas=3)
    first, second, _ = stage.pods()
    with meanwhile(stage, labelled(stage)):
        outcome = stage.scale(3, 1, [first, second])
    assert outcome.kind is OutcomeKind.FAILED
    assert f"draining {second}; 1 of 2; the others may not go now: patch pods llm/{first}" in outcome.detail
    assert DRAINING_SINCE not in stage.annotations(first)
    stage.passes(2, every_s=2)
    assert stage.scale(2, 1, [first]).kind is OutcomeKind.DONE
    stage.passes(2, every_s=2)
    assert (stage.replicas, first in stage.pods()) == (1, False)


def test_nobody_below_an_ordinal_that_changed_is_marked(stage_of):
    stage = stage_of(Kind.STATEFUL_SET, 3)
    with meanwhile(stage, labelled(stage)):
        outcome = stage.scale(3, 1)
    assert (outcome.kind, draining(stage)) == (OutcomeKind.REFUSED, [])
    assert "nobody may go now: patch pods llm/chat-2" in outcome.detail


def test_a_shrink_whose_count_could_not_be_noted_has_not_touched_nothing(stage_of):
    stage = stage_of(replicas=3)
    first = stage.pods()[0]
    stage.busy(first)
    stage.world.server.faults.add(Fault(kind=FaultKind.STATUS, verb="patch", resource="deployments.apps", code=409))
    with pytest.raises(ActError, match=f"{first} drains, but how many are to stay was not written down") as raised:
        stage.scale(3, 2, [first])
    assert not isinstance(raised.value, StaleActError), "which would say that nothing was changed"
    assert (draining(stage), stage.current()) == ([first], 2)


def test_a_late_word_that_a_pod_is_drained_changes_nothing_once_it_serves_again(stage_of):
    """The next leader gave it back while the write of the one before was on its way."""
    stage = stage_of(replicas=3)
    victim = stage.pods()[0]
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    stage.busy(victim, 0)
    heir = stage.another()

    def given_back(_):
        stage.world.scale("Deployment", "chat", 4)
        heir.seen()

    with meanwhile(stage, given_back):
        stage.seen()
    assert DRAINED not in stage.annotations(victim)
    assert json.loads(stage.world.get("Deployment", "chat")["metadata"]["annotations"][NOTE])["counted"] == 4
