"""The test cluster is as strict as a real one: what other tests stand on, tried with kubectl and our own client."""

from __future__ import annotations

import subprocess
import urllib.request
from pathlib import Path

import pytest

from controller.kubernetes.objects import Kind
from tests.cluster.checks import DELETION_COST
from tests.cluster.documents import at
from tests.cluster.engines import engines_of
from tests.cluster.kubelet import Behaviour
from tests.cluster.parts import NodeShape, deployment, leader_worker_set, pdb, stateful_set, template
from tests.cluster.world import Provisioner, World

PODS = "/api/v1/namespaces/llm/pods"
CHAT = "/apis/apps/v1/namespaces/llm/deployments/chat"


def ask(world: World, method: str, path: str, body: object = None, kind: str = "application/json") -> tuple[int, dict]:
    """The code and the document of one call."""
    return world.server.ask(method, path, body, kind)


def patch(world: World, path: str, body: object, kind: str = "merge-patch") -> tuple[int, dict]:
    return ask(world, "PATCH", path, body, f"application/{kind}+json")


@pytest.fixture
def chat(world: World) -> World:
    """Three ready pods on one node of eight GPUs."""
    world.add_nodes(1)
    world.add(deployment("chat", 3, template("chat")))
    world.step(10)
    return world


@pytest.mark.cluster
def test_a_deployment_becomes_ready_pods_on_nodes_with_room(chat: World) -> None:
    assert len(chat.ready("chat")) == 3
    assert chat.get("Deployment", "chat")["status"]["readyReplicas"] == 3
    assert chat.free_gpus() == {"node-1": 5}


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("path", "body", "kind", "code"),
    [
        (CHAT, {"spec": {"replicas": 4}}, "json", 415),
        (CHAT, {"spec": {"replicas": -1}}, "merge-patch", 422),
        (CHAT, {"spec": {"replicas": "4"}}, "merge-patch", 422),
        (CHAT, {"spec": {"selector": {"matchLabels": {"app": "other"}}}}, "merge-patch", 422),
        (CHAT, {"metadata": {"labels": {"a b": "c"}}}, "merge-patch", 422),
        (CHAT, {"metadata": {"annotations": {"a": 1}}}, "merge-patch", 422),
        (CHAT, {"metadata": {"resourceVersion": "1"}}, "merge-patch", 409),
        (CHAT, {"metadata": {"uid": "another"}}, "merge-patch", 422),
        (f"{CHAT}/scale", {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 4}}, "merge-patch", 409),
        (f"{CHAT}/scale", {"spec": {"replicas": -1}}, "merge-patch", 422),
        (f"{CHAT}/scales", {"spec": {"replicas": 4}}, "merge-patch", 404),
        (CHAT.replace("chat", "none"), {"spec": {"replicas": 4}}, "merge-patch", 404),
    ],
)
def test_a_wrong_patch_is_refused_and_changes_nothing(
    chat: World, path: str, body: object, kind: str, code: int
) -> None:
    before = chat.get("Deployment", "chat")
    assert patch(chat, path, body, kind)[0] == code
    assert chat.get("Deployment", "chat") == before


@pytest.mark.cluster
def test_a_deletion_cost_is_a_whole_number(chat: World) -> None:
    path = f"{PODS}/{chat.ready('chat')[0]}"
    assert patch(chat, path, {"metadata": {"annotations": {DELETION_COST: "-10"}}})[0] == 200
    assert patch(chat, path, {"metadata": {"annotations": {DELETION_COST: "low"}}})[0] == 422


@pytest.mark.cluster
def test_a_pods_spec_does_not_change(chat: World) -> None:
    path = f"{PODS}/{chat.ready('chat')[0]}"
    assert patch(chat, path, {"spec": {"nodeName": "node-9"}})[0] == 422


@pytest.mark.cluster
def test_the_scale_of_zero_is_left_out_as_go_does_it(chat: World) -> None:
    code, scale = patch(chat, f"{CHAT}/scale", {"spec": {"replicas": 0}})
    assert (code, scale["spec"], scale["status"]["selector"]) == (200, {}, "app=chat")


@pytest.mark.cluster
def test_whoever_writes_the_replicas_owns_the_field(chat: World) -> None:
    chat.scale("Deployment", "chat", 4, manager="kube-controller-manager")
    assert owners(chat) == [("kube-controller-manager", "scale", False)]


def owners(chat: World) -> list[tuple[str, str, bool]]:
    """Of spec.replicas: the manager, by which subresource, and whether it is told when."""
    return [
        (one["manager"], one.get("subresource", ""), "time" in one)
        for one in chat.get("Deployment", "chat")["metadata"]["managedFields"]
        if "f:replicas" in one["fieldsV1"].get("f:spec", {})
    ]


@pytest.mark.cluster
def test_writing_what_is_there_already_is_no_new_version(chat: World) -> None:
    chat.scale("Deployment", "chat", 4)
    chat.step(10)
    before = chat.get("Deployment", "chat")["metadata"]["resourceVersion"]
    assert patch(chat, f"{CHAT}/scale", {"spec": {"replicas": 4}})[1]["metadata"]["resourceVersion"] == before
    assert patch(chat, CHAT, {"spec": {"replicas": 4}})[1]["metadata"]["resourceVersion"] == before


@pytest.mark.cluster
def test_a_deployments_generation_counts_changes_of_its_annotations_too(world: World) -> None:
    world.add(deployment("chat", 1, template("chat")))
    world.add(stateful_set("set", 1, template("set")))
    for path, rises in ((CHAT, True), (CHAT.replace("deployments/chat", "statefulsets/set"), False)):
        before = ask(world, "GET", path)[1]["metadata"]["generation"]
        after = patch(world, path, {"metadata": {"annotations": {"a": "b"}}})[1]["metadata"]["generation"]
        labelled = patch(world, path, {"metadata": {"labels": {"a": "b"}}})[1]["metadata"]["generation"]
        assert (after > before, labelled) == (rises, after), path


@pytest.mark.cluster
def test_the_same_count_by_the_scale_subresource_takes_first_the_time_and_then_the_name_of_who_made_the_object(
    chat: World,
) -> None:
    chat.step(5)
    ((made_by, *told),) = owners(chat)
    assert told == ["", True]
    found = []
    for count in (3, 3, 4):
        assert patch(chat, f"{CHAT}/scale", {"spec": {"replicas": count}})[0] == 200
        found.append(owners(chat))
    assert found == [[(made_by, "", False)], [], []], "where nobody holds the field, nobody does after"


def test_a_list_comes_in_pages_until_it_is_compacted_away(chat: World) -> None:
    code, first = ask(chat, "GET", f"{PODS}?limit=2")
    assert (code, len(first["items"]), first["metadata"]["remainingItemCount"]) == (200, 2, 1)
    following = f"{PODS}?limit=2&continue={first['metadata']['continue']}"
    code, second = ask(chat, "GET", following)
    assert (len(second["items"]), second["metadata"].get("continue")) == (1, None)
    first = ask(chat, "GET", f"{PODS}?limit=2")[1]
    chat.store.compact()
    assert ask(chat, "GET", f"{PODS}?limit=2&continue={first['metadata']['continue']}")[0] == 410


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("labelSelector=app%3Dchat", 3),
        ("labelSelector=app!%3Dchat", 0),
        ("labelSelector=app+in+(chat,other)", 3),
        ("labelSelector=!app", 0),
        ("fieldSelector=spec.nodeName%3Dnode-1", 3),
        ("fieldSelector=status.phase%3DPending", 0),
    ],
)
def test_selectors_select(chat: World, query: str, found: int) -> None:
    assert len(ask(chat, "GET", f"{PODS}?{query}")[1]["items"]) == found


@pytest.mark.cluster
@pytest.mark.parametrize("query", ["labelSelector=a==b==c", "fieldSelector=spec.color%3Dred"])
def test_a_selector_that_cannot_be_read_is_refused(chat: World, query: str) -> None:
    assert ask(chat, "GET", f"{PODS}?{query}")[0] == 400


@pytest.mark.cluster
def test_a_lease_needs_its_version_for_a_change(world: World) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/llm/leases"
    made = ask(world, "POST", path, {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "a"}})[1]
    without = {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "b"}}
    assert ask(world, "PUT", f"{path}/leader", without)[0] == 422
    made["spec"]["holderIdentity"] = "b"
    assert ask(world, "PUT", f"{path}/leader", made)[0] == 200
    assert ask(world, "PUT", f"{path}/leader", made)[0] == 409
    assert ask(world, "POST", path, {"metadata": {"name": "leader"}})[0] == 409


def evict(world: World, name: str) -> int:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    return ask(world, "POST", f"{PODS}/{name}/eviction", body)[0]


def test_a_budget_that_is_not_worked_out_yet_lets_nobody_go(chat: World) -> None:
    chat.add(pdb("chat", "chat", minAvailable=2))
    assert evict(chat, chat.ready("chat")[0]) == 429


@pytest.mark.cluster
def test_an_eviction_asks_the_budget(chat: World) -> None:
    chat.add(pdb("chat", "chat", minAvailable=2))
    one, other = chat.ready("chat")[:2]

    chat.step(0)
    assert (evict(chat, one), evict(chat, other)) == (201, 429)
    chat.step(90)
    assert one not in chat.ready("chat")
    assert len(chat.ready("chat")) == 3, "another was made in its place"


@pytest.mark.cluster
def test_who_goes_first_is_who_costs_least_among_the_ready(chat: World) -> None:
    dear, cheap, _ = chat.ready("chat")
    for name, cost in ((dear, "100"), (cheap, "-100")):
        patch(chat, f"{PODS}/{name}", {"metadata": {"annotations": {DELETION_COST: cost}}})
    chat.scale("Deployment", "chat", 2)
    chat.step(90)
    assert cheap not in chat.ready("chat")
    assert dear in chat.ready("chat")


@pytest.mark.cluster
def test_who_is_not_ready_goes_before_whoever_costs_least(chat: World) -> None:
    chat.behave("chat", Behaviour(start_s=500))
    ready = chat.ready("chat")
    patch(chat, f"{PODS}/{ready[0]}", {"metadata": {"annotations": {DELETION_COST: "-1000"}}})
    chat.scale("Deployment", "chat", 4)
    chat.step(5)
    chat.scale("Deployment", "chat", 3)
    chat.step(90)
    assert chat.ready("chat") == ready


def test_a_pod_without_room_says_so_until_a_node_comes(world: World) -> None:
    world.provisioner = Provisioner(shape=NodeShape(gpus=1, capacity="spot"), delay_s=30, stock=1)
    world.add(deployment("chat", 2, template("chat")))
    world.step(40)
    assert len(world.ready("chat")) == 1
    waiting = next(pod for pod in world.pods("chat") if not at(pod, "spec.nodeName"))
    condition = at(waiting, "status.conditions")[0]
    assert (condition["reason"], condition["message"]) == (
        "Unschedulable",
        "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
    )


def test_an_image_that_is_not_there_and_an_engine_that_crashes(world: World) -> None:
    world.add_nodes(1)
    world.behave("lost", Behaviour(image="manifest unknown"))
    world.behave("weak", Behaviour(crash_s=2, exit_code=137))
    world.add(deployment("lost", 1, template("lost")))
    world.add(deployment("weak", 1, template("weak")))
    world.step(30)
    lost, weak = (at(world.pods(name)[0], "status.containerStatuses")[0] for name in ("lost", "weak"))
    assert lost["state"]["waiting"]["reason"] in {"ErrImagePull", "ImagePullBackOff"}
    assert weak["restartCount"] == 2
    assert weak["lastState"]["terminated"]["reason"] == "OOMKilled"


@pytest.mark.cluster
def test_a_stateful_set_gives_up_its_highest_ordinal(world: World) -> None:
    world.add_nodes(1)
    world.add(stateful_set("chat", 3, template("chat")))
    world.step(10)
    world.scale("StatefulSet", "chat", 2)
    world.step(90)
    assert world.ready("chat") == ["chat-0", "chat-1"]


def test_a_leader_worker_set_counts_groups(world: World) -> None:
    world.add_nodes(1)
    world.add(leader_worker_set("big", 2, template("big"), size=2))
    world.step(10)
    assert world.ready("big") == ["big-0", "big-0-1", "big-1", "big-1-1"]
    assert world.get("LeaderWorkerSet", "big")["status"]["readyReplicas"] == 2
    assert ask(world, "GET", "/apis/leaderworkerset.x-k8s.io/v1/namespaces/llm/leaderworkersets/big/scale")[1][
        "status"
    ] == {"replicas": 2, "selector": "leaderworkerset.sigs.k8s.io/name=big,leaderworkerset.sigs.k8s.io/worker-index=0"}


@pytest.mark.cluster
def test_a_new_template_is_rolled_out_before_the_old_one_goes(chat: World) -> None:
    def newer(doc: dict) -> dict:
        doc["spec"]["template"]["spec"]["containers"][0]["image"] = "vllm/vllm-openai:v0.12"
        return doc

    chat.edit("Deployment", "chat", newer)
    fewest = 3
    for _ in range(60):
        chat.step(1)
        fewest = min(fewest, len(chat.ready("chat")))
    images = {at(pod, "spec.containers")[0]["image"] for pod in chat.pods("chat")}
    assert (images, len(chat.ready("chat")), fewest) == ({"vllm/vllm-openai:v0.12"}, 3, 3)


def test_a_lost_node_takes_its_pods_readiness_and_then_its_pods(chat: World) -> None:
    chat.lose("node-1")
    assert chat.ready("chat") == []
    chat.add_nodes(1)
    chat.remove_node("node-1")
    chat.step(10)
    assert len(chat.ready("chat")) == 3
    assert {at(pod, "spec.nodeName") for pod in chat.pods("chat")} == {"node-2"}


@pytest.mark.cluster
def test_kubectl_gets_along_with_it(chat: World, kubeconfig: Path) -> None:
    def kubectl(*words: str) -> str:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(kubeconfig), *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert kubectl("scale", "deployment/chat", "--replicas=4") == "deployment.apps/chat scaled\n"
    chat.step(10)
    assert kubectl("get", "pods", "-l", "app=chat", "-o", "name").count("pod/chat-") == 4
    assert "f:replicas" in kubectl("get", "deployment", "chat", "--show-managed-fields", "-o", "json")


def test_what_is_scaled_is_what_our_code_knows() -> None:
    assert set(Kind) == {"Deployment", "StatefulSet", "LeaderWorkerSet"}


def test_the_engine_of_a_pod_answers_at_its_address_while_it_runs(world: World) -> None:
    with engines_of(world) as engines:
        world.add_nodes(1)
        world.behave("chat", Behaviour(pull_s=5))
        world.add(deployment("chat", 1, template("chat", port=engines.port)))
        world.step(20)
        (pod,) = world.pods("chat")
        engines.running[at(pod, "metadata.name")] = 3
        with urllib.request.urlopen(f"http://{at(pod, 'status.podIP')}:{engines.port}/metrics", timeout=5) as answer:
            assert 'vllm:num_requests_running{engine="0",model_name="llama"} 3' in answer.read().decode()
        assert engines.page("127.1.0.250") is None
