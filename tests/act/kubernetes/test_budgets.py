"""One disruption budget over the pods of two targets: what one takes in a pass the other has not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.act.kubernetes.pods import DRAINED
from controller.facts.decisions import OutcomeKind
from tests.cluster.kubelet import Behaviour

SHARED = {"labels": {"svc": "llm"}}


@pytest.fixture
def two(stage_of):
    """Two Deployments that one actuator scales."""

    def made(**spec):
        chat = stage_of(replicas=2, pods=SHARED)
        other = stage_of(replicas=2, pods=SHARED, name="other", nodes=0)
        if spec:
            budget(chat, **spec)
        return chat, replace(other, actuator=chat.actuator, cluster=chat.cluster)

    return made


def budget(stage, **spec):
    selector = {"matchLabels": SHARED["labels"]}
    stage.world.add({"metadata": {"name": "llm"}, "spec": {"selector": selector, **spec}}, kind="PodDisruptionBudget")
    stage.world.step(2)


def looked(*stages):
    """What a pass begins with."""
    for one in stages:
        one.seen()


def gone(*stages):
    """How many are to end, of two each."""
    return sum(2 - one.replicas for one in stages)


@pytest.mark.cluster
def test_one_pass_takes_no_more_than_the_budget_allows_over_all_targets(two):
    chat, other = two(maxUnavailable=1)
    looked(chat, other)
    now = chat.world.now
    first, second = at(chat, now).scale(2, 1), at(other, now).scale(2, 1)
    assert (first.kind, second.kind) == (OutcomeKind.DONE, OutcomeKind.REFUSED)
    assert "nobody may go now: PodDisruptionBudget llm allows 1, and 1 goes already" in second.detail
    for _ in range(3):  # real controllers write on the target as well, and then its count is lowered by a later look
        chat.world.step(2)
        looked(chat, other)
    assert gone(chat, other) == 1


class _Then:
    """A world whose clock stands: all of one pass has one time."""

    def __init__(self, world, now):
        self._world, self.now = world, now

    def __getattr__(self, name):
        return getattr(self._world, name)


def at(stage, now):
    return replace(stage, world=_Then(stage.world, now))


def test_what_waits_for_the_budget_goes_in_a_later_pass(two):
    chat, other = two(maxUnavailable=1)
    looked(chat, other)
    chat.scale(2, 1)
    other.scale(2, 1)
    for _ in range(4):
        chat.world.step(15)
        looked(chat, other)
    assert other.scale(2, 1).kind is OutcomeKind.DONE
    for _ in range(3):
        looked(chat, other)
        chat.world.step(15)
    assert (chat.replicas, other.replicas) == (1, 1)


def test_who_drains_of_another_target_has_taken_from_the_budget(two):
    chat, other = two(maxUnavailable=1)
    looked(chat, other)
    chat.busy(chat.pods()[0])
    chat.scale(2, 1, [chat.pods()[0]])
    for _ in range(2):
        chat.world.step(15)
        looked(chat, other)
        assert other.scale(2, 1).kind is OutcomeKind.REFUSED


def test_counts_of_several_targets_are_not_lowered_beyond_the_budget_in_one_pass(two):
    """Both drained before anybody made the budget."""
    chat, other = two()
    for one in (chat, other):
        one.busy(one.pods()[0])
        one.scale(2, 1, [one.pods()[0]])
    budget(chat, maxUnavailable=1)
    for pod in (*chat.pods(), *other.pods()):
        chat.busy(pod, 0)
    looked(chat, other)
    assert gone(chat, other) == 1
    looked(chat, other)
    assert gone(chat, other) == 1, "the pass is the same"
    for _ in range(4):
        chat.world.step(15)
        looked(chat, other)
    assert gone(chat, other) == 2


def test_who_is_drained_and_cannot_go_yet_does_not_hold_the_others(two):
    """A pod that starts would go first; it is not taken, so the budget is not either."""
    chat, other = two()
    for one in (chat, other):
        one.busy(one.pods()[0])
        one.scale(2, 1, [one.pods()[0]])
    chat.world.behave("chat", Behaviour(start_s=3600))
    chat.scale(1, 2)
    chat.world.step(5)
    budget(chat, maxUnavailable=2)
    for pod in (*chat.pods(), *other.pods()):
        if chat.world.get("Pod", pod)["status"].get("podIP"):
            chat.busy(pod, 0)
    looked(chat, other)
    assert (chat.replicas, other.replicas) == (3, 1)
    assert sum(DRAINED in chat.annotations(pod) for pod in chat.pods()) == 1
