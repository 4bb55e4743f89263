"""An operator changes the count again and again, on an API server that seldom says when who wrote what.

A write of the scale subresource leaves no time in managedFields; after a count of 0 it leaves no name either.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from controller.act.kubernetes.pods import DELETION_COST, DRAINED_COST, DRAINING_COST, KEPT_COST
from controller.errors import StaleActError
from controller.facts.decisions import OutcomeKind
from controller.kubernetes.objects import Kind
from tests.cluster.kubelet import Behaviour

ELEVEN_MINUTES_S = timedelta(minutes=11).total_seconds()


def obeyed(stage, count):
    """The operator scales, and so it stays."""
    stage.world.scale("Deployment", "chat", count)
    stage.world.step(2)
    stage.passes(4, every_s=5)
    return (stage.replicas, stage.current()) == (count, count)


@pytest.mark.cluster
def test_who_scales_twice_is_obeyed_twice(stage_of):
    stage = stage_of(Kind.DEPLOYMENT, 2)
    stage.scale(2, 3)
    stage.passes(2, every_s=5)
    assert obeyed(stage, 4)
    assert obeyed(stage, 6)
    assert obeyed(stage, 5)


def test_who_scales_after_we_did_is_obeyed_whoever_had_scaled_before_us(stage_of):
    stage = stage_of(Kind.DEPLOYMENT, 2)
    stage.scale(2, 3)
    stage.passes(2, every_s=5)
    assert obeyed(stage, 5)
    stage.world.step(ELEVEN_MINUTES_S)
    stage.scale(5, 2)
    stage.passes(4, every_s=5)
    assert stage.replicas == 2
    assert obeyed(stage, 4)


@pytest.mark.cluster
def test_who_scales_after_the_count_was_zero_is_obeyed(stage_of):
    stage = stage_of(Kind.DEPLOYMENT, 1)
    stage.scale(1, 0)
    stage.passes(4, every_s=5)
    assert stage.replicas == 0
    stage.scale(0, 2)
    stage.passes(4, every_s=5)
    assert (stage.replicas, stage.current()) == (2, 2)
    assert obeyed(stage, 4)


@pytest.mark.cluster
def test_growing_to_the_count_that_stands_there_is_no_change_of_somebody_else(stage_of):
    """A victim that died by itself was replaced; then it is wanted after all."""
    stage = stage_of(Kind.DEPLOYMENT, 3)
    victim = stage.pods()[0]
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    stage.world.remove("Pod", victim)
    stage.world.step(2)
    assert stage.scale(2, 3).kind.value == "done"
    stage.world.step(2)
    stage.passes(2, every_s=5)
    assert (stage.replicas, stage.current()) == (3, 3)
    assert stage.scale(3, 4).kind.value == "done", "nobody else has scaled it"


@pytest.fixture
def overridden(stage_of):
    """We scaled to 4, and then somebody to 6."""
    stage = stage_of()
    stage.scale(3, 4)
    stage.world.step(8)
    stage.world.scale("Deployment", "chat", 6, manager="kubectl")
    stage.world.step(8)
    assert stage.phases() == {"ready": 6}
    return stage


def test_an_operators_count_is_taken_as_it_is_and_left_alone_for_a_while(overridden):
    with pytest.raises(StaleActError, match=r"'kubectl' changed spec.replicas at 2026-11-21 12:00:24 UTC"):
        overridden.scale(6, 5)
    overridden.world.store.now += timedelta(seconds=700)
    assert overridden.scale(6, 5).kind is OutcomeKind.DONE


def test_an_operators_count_does_not_hold_for_longer_because_our_clock_was_set_back(overridden):
    """By our clock it was changed in an hour; the policy's own hold goes by our clock, and holds meanwhile."""
    overridden.world.store.now -= timedelta(hours=1)
    assert overridden.scale(6, 5).kind is OutcomeKind.DONE


# --- their own costs of deletion ----------------------------------------------------------------------------------------


def priced(stage, pod, cost):
    def change(doc):
        notes = (doc["metadata"].get("annotations") or {}) | {DELETION_COST: cost}
        return doc | {"metadata": doc["metadata"] | {"annotations": notes}}

    stage.world.edit("Pod", pod, change)


def costs(stage, pod):
    return {key: value for key, value in stage.annotations(pod).items() if key in (DELETION_COST, KEPT_COST)}


def drained_and_overridden(stage, victim, *, meanwhile=lambda: None):
    """Our victim, until an operator scales up and it serves again."""
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    meanwhile()
    stage.world.scale("Deployment", "chat", 4)
    stage.world.step(8)
    stage.passes(2, every_s=5)
    assert stage.phases() == {"ready": 4}


@pytest.mark.cluster
def test_an_operators_cost_of_deletion_is_put_back_when_its_pod_serves_again(stage_of):
    stage = stage_of()
    victim = stage.pods()[0]
    priced(stage, victim, "250")
    drained_and_overridden(stage, victim)
    assert costs(stage, victim) == {DELETION_COST: "250"}


def test_it_is_kept_aside_while_the_pod_drains_and_when_it_is_drained(stage_of):
    stage = stage_of()
    victim = stage.pods()[0]
    priced(stage, victim, "-7")
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    assert costs(stage, victim) == {DELETION_COST: DRAINING_COST, KEPT_COST: "-7"}
    stage.world.behave("chat", Behaviour(start_s=3600))
    stage.scale(2, 3)
    stage.world.step(5)
    stage.busy(victim, 0)
    stage.passes(1, every_s=5)
    assert costs(stage, victim) == {DELETION_COST: DRAINED_COST, KEPT_COST: "-7"}


def test_a_cost_that_was_set_while_the_pod_drained_stays(stage_of):
    stage = stage_of()
    victim = stage.pods()[0]
    priced(stage, victim, "250")
    drained_and_overridden(stage, victim, meanwhile=lambda: priced(stage, victim, "900"))
    assert costs(stage, victim) == {DELETION_COST: "900"}


def test_a_pod_without_a_cost_has_none_after(stage_of):
    stage = stage_of()
    victim = stage.pods()[0]
    drained_and_overridden(stage, victim)
    assert costs(stage, victim) == {}
