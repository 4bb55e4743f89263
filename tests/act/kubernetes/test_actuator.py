"""The Kubernetes actuator against an API server with real semantics: growing, draining, going, and who else is there."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from controller.act.kubernetes.actuator import KubernetesActuator
from controller.act.kubernetes.others import NOTE
from controller.act.kubernetes.pods import DRAINED, DRAINING_SINCE
from controller.errors import ActError, ClusterError, StaleActError
from controller.facts.decisions import OutcomeKind
from controller.facts.interruptions import StuckKind
from controller.facts.missing import Missing
from controller.facts.readings import Phase
from controller.kubernetes.objects import Kind
from controller.kubernetes.parse import parse_hpa
from tests.cluster.faults import Fault, FaultKind
from tests.cluster.kubelet import Behaviour
from tests.cluster.parts import NodeShape, hpa, pdb, scaled_object

KINDS = list(Kind)


@pytest.mark.cluster
@pytest.mark.parametrize("kind", KINDS)
def test_growing_adds_pods_that_start_and_become_ready(stage_of, kind):
    stage = stage_of(kind, 2)
    assert stage.phases() == {"ready": 2}
    outcome = stage.scale(2, 4)
    assert (outcome.kind, stage.replicas) == (OutcomeKind.DONE, 4)
    assert stage.phases() == {"ready": 2, "starting": 2}
    stage.world.step(8)
    assert stage.phases() == {"ready": 4}


@pytest.mark.cluster
def test_a_replica_tells_its_machine_and_how_it_is_bought(stage_of):
    stage = stage_of(replicas=1, shape=NodeShape(capacity="spot"))
    (state,) = stage.seen()
    assert (state.capacity_type, state.domain) == ("spot", "us-east-1a/p5.48xlarge")
    assert (state.node[:5], state.instance[:2]) == ("node-", "i-")  # which of them is the scheduler's to choose
    assert state.url.endswith(f":{stage.engines.port}")


@pytest.mark.cluster
def test_acting_twice_is_acting_once(stage_of):
    stage = stage_of(replicas=2)
    assert stage.scale(2, 3).kind is OutcomeKind.DONE
    assert stage.scale(2, 3).kind is OutcomeKind.ALREADY
    stage.world.step(8)  # a pod that is just being made changes while it is looked at
    assert stage.scale(3, 2).kind is OutcomeKind.DONE
    assert stage.scale(3, 2).kind is OutcomeKind.ALREADY
    assert stage.current() == 2


@pytest.mark.cluster
def test_a_count_of_none_is_our_own_though_the_api_server_forgets_whose_it_is(stage_of):
    stage = stage_of(replicas=1)
    stage.scale(1, 0)
    stage.passes(2, every_s=5)
    assert (stage.replicas, stage.phases()) == (0, {})
    assert stage.scale(0, 1).kind is OutcomeKind.DONE
    stage.world.step(8)
    assert stage.phases() == {"ready": 1}


@pytest.mark.cluster
def test_somebody_elses_count_of_none_is_an_override(stage_of):
    stage = stage_of(replicas=2)
    stage.scale(2, 3)
    stage.world.scale("Deployment", "chat", 0, manager="kubectl")
    stage.world.step(70)
    assert stage.phases() == {}
    with pytest.raises(StaleActError, match=r"'somebody' changed spec\.replicas at"):
        stage.scale(0, 3)


@pytest.mark.cluster
def test_a_busy_victim_drains_and_only_it_goes(stage_of):
    stage = stage_of()
    victim = stage.pods()[1]
    stage.busy(victim)
    outcome = stage.scale(3, 2, [victim])
    assert (outcome.kind, victim in outcome.detail) == (OutcomeKind.DONE, True)
    assert stage.phases() == {"draining": 1, "ready": 2}
    stage.passes(2, every_s=5)
    assert (stage.replicas, victim in stage.pods()) == (3, True)
    stage.busy(victim, 0)
    stage.passes(2, every_s=5)
    assert (stage.replicas, victim in stage.pods(), len(stage.pods())) == (2, False, 2)
    assert stage.phases() == {"ready": 2}


def test_who_still_has_requests_goes_at_the_drain_deadline(stage_of):
    stage = stage_of(drain_timeout_s=60)
    victim = stage.pods()[0]
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    stage.passes(4)
    assert stage.replicas == 3
    stage.passes(2, every_s=5)
    assert (stage.replicas, victim in stage.pods()) == (2, False)


def test_who_drains_has_its_whole_time_where_the_clock_is_set_ahead(stage_of):
    stage = stage_of(drain_timeout_s=60)
    victim = stage.pods()[0]
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    stage.actuator.carry(lambda at: at + timedelta(hours=1))
    stage.world.store.now += timedelta(hours=1)
    stage.passes(3)
    assert (stage.replicas, victim in stage.pods()) == (3, True)
    stage.passes(3)
    assert (stage.replicas, victim in stage.pods()) == (2, False)


@pytest.mark.cluster
@pytest.mark.parametrize("kind", [Kind.STATEFUL_SET, Kind.LEADER_WORKER_SET])
def test_only_the_highest_ordinals_can_go_and_that_is_said(stage_of, kind):
    stage = stage_of(kind, 3)
    outcome = stage.scale(3, 1, ["chat-0", "chat-1"])
    assert "loses its highest ordinals, not chat-0" in outcome.detail
    stage.passes(3, every_s=5)
    assert (stage.replicas, stage.phases()) == (1, {"ready": 1})
    assert "chat-0" in stage.pods()


@pytest.mark.cluster
def test_the_highest_ordinal_that_is_busy_keeps_those_below_it(stage_of):
    stage = stage_of(Kind.STATEFUL_SET, 3)
    stage.busy("chat-2")
    stage.scale(3, 1)
    stage.passes(2, every_s=5)
    assert stage.replicas == 3
    stage.busy("chat-2", 0)
    stage.passes(2, every_s=5)
    assert (stage.replicas, stage.pods()) == (1, ["chat-0"])


def test_a_victim_that_dies_by_itself_is_not_replaced(stage_of):
    stage = stage_of()
    victim = stage.pods()[0]
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    stage.world.remove("Pod", victim)
    stage.world.step(1)
    for _ in range(4):
        assert stage.current() == 2
        stage.world.step(15)
    assert (stage.replicas, stage.phases()) == (2, {"ready": 2})


@pytest.mark.cluster
def test_growing_while_others_leave_counts_them_on_top(stage_of):
    stage = stage_of()
    victim = stage.pods()[0]
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    outcome = stage.scale(2, 4)
    assert "5 replicas, 1 of them leaving" in outcome.detail
    assert stage.phases() == {"draining": 1, "ready": 2, "starting": 2}
    stage.busy(victim, 0)
    stage.passes(4)
    assert (stage.replicas, victim in stage.pods(), stage.phases()) == (4, False, {"ready": 4})


def test_a_drained_pod_waits_while_a_lower_count_would_take_one_that_starts(stage_of):
    stage = stage_of()
    stage.world.behave("chat", Behaviour(start_s=60))
    victim = stage.pods()[0]
    stage.scale(3, 4)
    stage.world.step(5)
    stage.busy(victim)
    stage.scale(4, 3, [victim])
    stage.busy(victim, 0)
    stage.passes(2, every_s=5)
    assert DRAINED in stage.annotations(victim)
    assert (stage.replicas, stage.phases()) == (4, {"draining": 1, "ready": 2, "starting": 1})
    stage.passes(5)
    assert (stage.replicas, stage.phases()) == (3, {"ready": 3})


@pytest.mark.cluster
def test_a_start_that_is_given_up_goes_at_once_and_nobody_else(stage_of):
    stage = stage_of(replicas=2, nodes=1, shape=NodeShape(gpus=2))
    stage.scale(2, 3)
    stage.world.step(5)
    (pending,) = [state for state in stage.seen() if state.phase is Phase.STARTING]
    assert pending.stuck.kind is StuckKind.UNSCHEDULABLE
    assert "Insufficient nvidia.com/gpu" in pending.stuck.detail
    stage.scale(3, 2, [pending.replica])
    stage.seen()  # on a real API server another's write may come between, and the next pass lowers the count
    assert stage.replicas == 2
    stage.world.step(1)
    assert stage.phases() == {"ready": 2}


@pytest.mark.parametrize(
    ("behaviour", "kind", "said"),
    [
        pytest.param(
            Behaviour(image="pull access denied"), StuckKind.IMAGE, "pull access denied", marks=pytest.mark.cluster
        ),
        (Behaviour(crash_s=1), StuckKind.CRASH, "3 restarts, exit code 1"),
    ],
)
def test_why_a_start_gets_no_further_is_told(stage_of, behaviour, kind, said):
    stage = stage_of(replicas=1)
    stage.world.behave("chat", behaviour)
    stage.scale(1, 2)
    found = []
    for _ in range(12):
        stage.world.step(5)
        found += [state.stuck for state in stage.seen() if state.stuck is not None]
    assert found[0].kind is kind
    assert said in found[0].detail


@pytest.mark.cluster
def test_disruption_budgets_bound_a_shrink_and_the_rest_is_told(stage_of):
    stage = stage_of(replicas=4)
    stage.world.add(pdb("chat", "chat", minAvailable=3))
    stage.world.step(1)
    outcome = stage.scale(4, 2)
    assert outcome.kind is OutcomeKind.FAILED
    assert "1 of 2; the others may not go now: PodDisruptionBudget chat allows 1" in outcome.detail
    stage.passes(3, every_s=5)
    assert (stage.replicas, stage.phases()) == (3, {"ready": 3})
    blocked = stage.scale(3, 2)
    assert (blocked.kind, stage.phases()) == (OutcomeKind.REFUSED, {"ready": 3})
    assert "PodDisruptionBudget chat allows 0" in blocked.detail


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("scaler", "said"),
    [
        (hpa("mine", "Deployment", "chat"), "HorizontalPodAutoscaler"),
        (scaled_object("mine", "Deployment", "chat"), "ScaledObject"),
    ],
)
def test_a_target_that_an_autoscaler_owns_is_left_alone(stage_of, scaler, said):
    stage = stage_of()
    stage.world.add(scaler)
    with pytest.raises(StaleActError, match=f"{said} llm/mine scales Deployment llm/chat; a target has one writer"):
        stage.scale(3, 4)
    assert (stage.replicas, stage.phases()) == (3, {"ready": 3})


def test_an_autoscaler_that_keda_made_is_told_by_the_scaled_object_that_one_can_pause():
    """Whoever deletes KEDA's autoscaler has it back in a moment."""
    made = hpa("keda-hpa-mine", "Deployment", "chat")
    made["metadata"] |= {"namespace": "llm", "ownerReferences": [{"kind": "ScaledObject", "name": "mine"}]}
    assert str(parse_hpa(made)) == "ScaledObject llm/mine (by HorizontalPodAutoscaler keda-hpa-mine)"


@pytest.mark.cluster
def test_whoever_scales_up_meanwhile_gets_the_draining_ones_back(stage_of):
    stage = stage_of()
    victim = stage.pods()[0]
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    stage.world.step(2)
    stage.world.scale("Deployment", "chat", 5)
    stage.passes(3, every_s=5)
    assert (stage.replicas, stage.phases()) == (5, {"ready": 5})
    assert DRAINING_SINCE not in stage.annotations(victim)


@pytest.mark.cluster
def test_another_count_than_decided_on_is_stale(stage_of):
    stage = stage_of()
    with pytest.raises(StaleActError, match="decided on 2 replicas, found 3"):
        stage.scale(2, 4)


def test_a_race_is_never_retried_blindly(stage_of):
    stage = stage_of()
    stage.world.server.faults.add(
        Fault(kind=FaultKind.STATUS, verb="patch", resource="deployments.apps/scale", code=409)
    )
    with pytest.raises(StaleActError, match="somebody was faster"):
        stage.scale(3, 4)
    assert (stage.replicas, stage.current()) == (3, 3)
    assert stage.scale(3, 4).kind is OutcomeKind.DONE


@pytest.mark.parametrize("kind", [FaultKind.STATUS, FaultKind.LOST, FaultKind.DROPPED, FaultKind.GARBAGE_AFTER])
@pytest.mark.parametrize("nth", [1, 2])
def test_after_a_failed_call_the_count_is_told_as_it_is_and_the_next_decision_works(stage_of, kind, nth):
    stage = stage_of()
    stage.world.server.faults.add(Fault(kind=kind, verb="patch", nth=nth))
    with pytest.raises(ActError):
        stage.scale(3, 4)
    stage.world.step(8)
    current = stage.another().current()
    assert current == stage.replicas
    assert stage.scale(current, 5).kind is OutcomeKind.DONE
    stage.world.step(8)
    assert stage.phases() == {"ready": 5}


EVERY_WRITE = [(Kind.DEPLOYMENT, nth, ends) for nth in range(1, 7) for ends in (FaultKind.DROPPED, FaultKind.LOST)]
OF_OTHERS = [(kind, nth, FaultKind.LOST) for kind in KINDS[1:] for nth in (2, 3, 5)]


@pytest.mark.parametrize(("kind", "nth", "ends"), EVERY_WRITE + OF_OTHERS)
def test_whoever_dies_while_shrinking_another_goes_on(stage_of, kind, nth, ends):
    """Killed at each write: before it was done, and after it was without the answer being seen."""
    stage = stage_of(kind, 4)
    stage.world.server.faults.add(Fault(kind=ends, verb="patch", nth=nth, times=50))
    with suppress(ActError):
        stage.scale(4, 2)
    stage.world.server.faults.clear()
    assert stage.world.server.faults.struck > 0
    heir = stage.another()
    for _ in range(2):
        current = heir.current()
        if current > 2:
            heir.scale(current, 2)
        heir.passes(2, every_s=2)
    assert (heir.replicas, heir.phases()) == (2, {"ready": 2})


def test_a_replica_on_a_noticed_node_drains_and_its_place_is_not_filled_twice(stage_of):
    stage = stage_of(replicas=3, nodes=3, shape=NodeShape(gpus=1, capacity="spot"))
    stage.world.add_nodes(2)
    stage.world.behave("chat", Behaviour(start_s=40))
    victim = stage.pods()[0]
    node = stage.world.get("Pod", victim)["spec"]["nodeName"]
    stage.busy(victim)
    stage.world.taint(node, "aws-node-termination-handler/spot-itn")
    states = {state.replica: state for state in stage.seen()}
    assert states[victim].phase is Phase.DRAINING
    assert states[victim].notice.ends
    assert stage.current() == 2
    stage.scale(2, 3)
    stage.world.step(10)
    stage.world.remove_node(node)
    stage.world.step(2)
    for _ in range(6):
        assert stage.current() == 3
        stage.world.step(15)
    assert (stage.replicas, stage.phases()) == (3, {"ready": 3})


def test_a_stale_watch_is_no_count_and_nothing_is_done_by_it(stage_of):
    stage = stage_of()
    stage.cluster.stale = Missing("deployments.apps", "not heard for 61 s")
    assert stage.actuator.replicas(stage.variant, stage.world.now) == stage.cluster.stale
    refused = stage.scale(3, 4)
    assert (refused.kind, refused.detail) == (
        OutcomeKind.REFUSED,
        "did not touch chat/h100: deployments.apps missing: not heard for 61 s",
    )


@pytest.mark.cluster
def test_a_target_that_is_not_there_is_told(stage_of):
    stage = stage_of()
    stage.world.remove("Deployment", "chat")
    assert "there is no Deployment llm/chat" in str(stage.actuator.replicas(stage.variant, stage.world.now))


@pytest.mark.cluster
def test_what_we_meant_stands_on_the_target(stage_of):
    stage = stage_of()
    stage.scale(3, 4)
    assert NOTE in stage.world.get("Deployment", "chat")["metadata"]["annotations"]


def test_a_cluster_that_nobody_finds_a_way_to_is_told_so(stage_of):
    def no_way(context):
        raise ClusterError("no way to the API server: the kubeconfig names no current context")

    lost = replace(stage_of(), actuator=KubernetesActuator(no_way))
    assert "no way to the API server" in str(lost.actuator.replicas(lost.variant, lost.world.now))
    with pytest.raises(ActError, match="no way to the API server"):
        lost.scale(3, 4)
