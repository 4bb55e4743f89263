"""What is done to a cluster, and what an answer that is none is turned into."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.errors import (
    AbsentError,
    AwayError,
    BlockedError,
    ClusterError,
    ConflictError,
    ForbiddenError,
    NonsenseError,
)
from controller.kubernetes.api import Api, Timeouts, config_of
from controller.kubernetes.calls import Calls
from controller.kubernetes.objects import Kind, Pod, TargetRef
from controller.kubernetes.resources import FIELD_MANAGER, LEASES
from tests.cluster.faults import Fault, FaultKind
from tests.cluster.parts import deployment, leader_worker_set, stateful_set, template
from tests.cluster.world import World
from tests.small_fleet import until

CHAT = TargetRef(kind=Kind.DEPLOYMENT, namespace="llm", name="chat")


@pytest.fixture
def chat(world: World) -> World:
    world.add_nodes(1)
    world.add(deployment("chat", 3, template("chat")))
    world.step(10)
    return world


@pytest.fixture
def calls(api: Api) -> Calls:
    return Calls(api)


def one_of(world: World, calls: Calls) -> Pod:
    return calls.pod("llm", world.ready("chat")[0])


@pytest.mark.cluster
@pytest.mark.parametrize("kind", list(Kind))
def test_a_count_is_set_on_the_scale_and_is_ours_from_then_on(world: World, calls: Calls, kind: Kind) -> None:
    made = {
        Kind.DEPLOYMENT: deployment("one", 2, template("one")),
        Kind.STATEFUL_SET: stateful_set("one", 2, template("one")),
        Kind.LEADER_WORKER_SET: leader_worker_set("one", 2, template("one")),
    }
    world.add(made[kind])
    world.step(5)
    ref = TargetRef(kind=kind, namespace="llm", name="one")
    before = calls.scale(ref)
    after = calls.set_scale(ref, 3, version=before.resource_version)
    assert (before.replicas, after.replicas) == (2, 3)
    target = calls.target(ref)
    assert target.replicas == 3
    assert (target.managers[-1].manager, target.managers[-1].subresource) == (FIELD_MANAGER, "scale")
    world.step(5)
    none = calls.set_scale(ref, 0, version=calls.scale(ref).resource_version)
    target = calls.target(ref)
    assert (none.replicas, target.replicas, target.managers) == (0, 0, ()), "a count of 0 is nobody's field"


@pytest.mark.cluster
def test_a_count_that_somebody_else_changed_meanwhile_is_a_conflict(chat: World, calls: Calls) -> None:
    before = calls.scale(CHAT)
    chat.scale("Deployment", "chat", 5)
    with pytest.raises(ConflictError, match="409"):
        calls.set_scale(CHAT, 4, version=before.resource_version)
    assert calls.scale(CHAT).replicas == 5
    assert calls.target(CHAT).managers[-1].manager == "kubectl"


@pytest.mark.cluster
def test_a_note_is_set_and_taken_away(chat: World, calls: Calls) -> None:
    pod = calls.note_pod(one_of(chat, calls), annotations={"pennyweight.dev/a": "1"}, labels={"b": "2"})
    assert (pod.annotations["pennyweight.dev/a"], pod.labels["b"]) == ("1", "2")
    pod = calls.note_pod(pod, annotations={"pennyweight.dev/a": None}, version=pod.resource_version)
    assert "pennyweight.dev/a" not in pod.annotations
    with pytest.raises(ConflictError):
        calls.note_pod(pod, labels={"b": "3"}, version="1")


@pytest.mark.cluster
def test_another_pod_of_the_name_is_not_the_one_that_was_meant(world: World, calls: Calls) -> None:
    world.add_nodes(1)
    world.add(stateful_set("chat", 1, template("chat")))
    world.step(10)
    before = calls.pod("llm", "chat-0")
    world.remove("Pod", "chat-0")
    world.step(10)
    assert calls.pod("llm", "chat-0").uid != before.uid
    with pytest.raises(ConflictError):
        calls.note_pod(before, labels={"a": "b"})
    assert "a" not in calls.pod("llm", "chat-0").labels


@pytest.mark.cluster
def test_a_template_is_changed_if_nobody_else_changed_it(chat: World, calls: Calls) -> None:
    before = calls.target(CHAT)
    patch = {"metadata": {"annotations": {"pennyweight.dev/rollout": "7"}}, "spec": {"paused": True}}
    after = calls.patch_target(CHAT, patch, version=before.resource_version)
    assert (after.paused, after.annotations["pennyweight.dev/rollout"]) == (True, "7")
    with pytest.raises(ConflictError):
        calls.patch_target(CHAT, patch | {"spec": {"paused": False}}, version=before.resource_version)


@pytest.mark.cluster
def test_of_a_long_refusal_the_end_is_told_as_well(chat: World, calls: Calls) -> None:
    version = calls.target(CHAT).resource_version
    with pytest.raises(ClusterError, match=r"cannot unmarshal .*nothing was done") as refused:
        calls.patch_target(CHAT, {"spec": {"replicas": "4"}}, version=version)
    assert len(str(refused.value)) < 450


@pytest.mark.cluster
def test_what_is_not_there_is_absent(world: World, calls: Calls) -> None:
    for call in (lambda: calls.scale(CHAT), lambda: calls.target(CHAT)):
        with pytest.raises(AbsentError, match="nothing was done"):
            call()


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        (Fault(kind=FaultKind.STATUS, code=500), AwayError, "HTTP 500: injected by the test; whether it worked"),
        (Fault(kind=FaultKind.STATUS_AFTER, code=504), AwayError, "whether it worked is not known"),
        (Fault(kind=FaultKind.LOST), AwayError, "broke off .* whether it worked is not known"),
        (Fault(kind=FaultKind.DROPPED), AwayError, "broke off .* whether it worked is not known"),
        (Fault(kind=FaultKind.GARBAGE), NonsenseError, "no JSON but '<html>"),
        (Fault(kind=FaultKind.TRUNCATED), NonsenseError, "no JSON"),
        (Fault(kind=FaultKind.EMPTY), NonsenseError, "scale that cannot be read"),
        (Fault(kind=FaultKind.STATUS, code=429, retry_after_s=7), BlockedError, r"Retry-After: 7\); nothing was done"),
        (Fault(kind=FaultKind.STATUS, code=409), ConflictError, "nothing was changed"),
        (Fault(kind=FaultKind.STATUS, code=422), ClusterError, "nothing was done"),
    ],
)
def test_a_call_that_fails_says_what_is_known_of_it(
    chat: World, calls: Calls, fault: Fault, error: type[ClusterError], said: str
) -> None:
    before = calls.scale(CHAT)
    chat.server.faults.add(fault)
    with pytest.raises(error, match=said):
        calls.set_scale(CHAT, 4, version=before.resource_version)
    worked = fault.kind in {FaultKind.LOST, FaultKind.STATUS_AFTER, FaultKind.TRUNCATED}
    assert calls.scale(CHAT).replicas == (4 if worked else 3)
    assert chat.server.counts()["patch", "deployments.apps/scale"] <= 1, "nothing is tried twice"


def test_no_answer_in_time_is_no_answer(chat: World, calls: Calls, kubeconfig: Path) -> None:
    hasty = Api(config_of(kubeconfig=str(kubeconfig)), timeouts=Timeouts(connect_s=1.0, read_s=0.2))
    before = calls.scale(CHAT)
    chat.server.faults.add(Fault(kind=FaultKind.HANG, verb="patch"))
    with pytest.raises(AwayError, match=r"no answer .* within 0.2 s; whether it worked is not known"):
        Calls(hasty).set_scale(CHAT, 4, version=before.resource_version)
    until(lambda: calls.scale(CHAT).replicas == 4, "the change that was made and not answered")
    hasty.close()


def test_a_server_that_is_not_there_did_nothing(chat: World, calls: Calls) -> None:
    chat.server.away()
    with pytest.raises(AwayError, match=r"cannot be reached .* nothing was done"):
        calls.scale(CHAT)


def test_an_unknown_caller_and_a_forbidden_call_name_what_is_missing(chat: World, calls: Calls) -> None:
    chat.server.rules = ()
    with pytest.raises(ForbiddenError) as refused:
        calls.set_scale(CHAT, 4, version="1")
    assert "the role needs verb 'patch' on resource 'deployments.apps/scale' in namespace llm" in str(refused.value)
    chat.server.token = "another"
    with pytest.raises(ForbiddenError, match="does not know us"):
        calls.scale(CHAT)


def test_calls_are_counted_by_verb_and_resource(chat: World, api: Api, calls: Calls) -> None:
    calls.set_scale(CHAT, 4, version=calls.scale(CHAT).resource_version)
    calls.note_pod(one_of(chat, calls), labels={"a": "b"})
    assert api.calls == chat.server.counts()
    assert api.calls["patch", "deployments.apps/scale"] == 1
    assert api.calls["patch", "pods"] == 1


@pytest.mark.cluster
def test_a_lease_is_made_and_replaced_by_its_version(world: World, api: Api) -> None:
    made = api.create(LEASES, "llm", {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "a"}})
    newer = {**made, "spec": {"holderIdentity": "b"}}
    assert api.replace(LEASES, "llm", "leader", newer)["spec"]["holderIdentity"] == "b"
    with pytest.raises(ConflictError):
        api.replace(LEASES, "llm", "leader", newer)
    with pytest.raises(ConflictError):
        api.create(LEASES, "llm", {"metadata": {"name": "leader"}, "spec": {}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clusters: [", "no way to the API server: while parsing"),
        ("{}", "no way to the API server: what was read is no whole kubeconfig"),
        ("", "no way to the API server: what was read is no whole kubeconfig"),
        ("[]", "no way to the API server: what was read is no whole kubeconfig"),
        (None, "not found"),
    ],
)
def test_a_kubeconfig_that_leads_nowhere_says_so(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ClusterError, match=said):
        config_of(kubeconfig=str(path))


def test_a_context_that_is_not_there_is_named(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    assert config_of("test").cluster.server.startswith("http://127.0.0.1")
    with pytest.raises(ClusterError, match="context 'west'"):
        config_of("west")
