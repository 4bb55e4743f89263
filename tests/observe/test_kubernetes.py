"""Pods as targets: who is read and who is not, on which machine, and what is told when something is odd."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.catalog.load import find_gpu
from controller.facts.fleet import CapacityType, EngineKind, KubernetesPods, Variant
from controller.facts.missing import Missing
from controller.facts.readings import GpuReading, Target
from controller.kubernetes.cluster import Clusters
from controller.kubernetes.resources import DRAINING_SINCE
from controller.kubernetes.watched import Pace
from controller.observe.discovery import Discoverer
from controller.observe.fleet_observer import own_gpus
from controller.observe.kubernetes import PodDiscovery
from tests.cluster.fixtures import PACE, QUICK
from tests.cluster.kubelet import Behaviour
from tests.cluster.parts import NodeShape, deployment, leader_worker_set, template
from tests.cluster.world import World, world_of
from tests.small_fleet import until

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
CHAT = KubernetesPods(namespace="llm", selector="app=chat", model="llama-3.1-70b")


@pytest.fixture
def world() -> Iterator[World]:
    with world_of() as made:
        yield made


@pytest.fixture
def discoverer(world: World, tmp_path: Path) -> Iterator[Discoverer]:
    path = world.server.kubeconfig(tmp_path / "kubeconfig", namespace="llm")
    clusters = Clusters(kubeconfig=str(path), pace=PACE, timeouts=QUICK)
    yield Discoverer(pods=PodDiscovery(clusters))
    clusters.close()


def variant_of(source: KubernetesPods = CHAT, exporters: tuple[KubernetesPods, ...] = ()) -> Variant:
    gpu = find_gpu("H100-SXM")
    assert gpu is not None
    return Variant(
        service="chat",
        name="h100",
        gpu=gpu,
        gpus_per_replica=1,
        quantization="fp8",
        kv_cache_dtype="auto",
        engine=EngineKind.VLLM,
        capacity=(),
        discovery=(source,),
        gpu_discovery=exporters,
    )


def found(discoverer: Discoverer, source: KubernetesPods = CHAT) -> dict[str, Target]:
    targets, problems = discoverer.targets(variant_of(source), NOON)
    assert problems == ()
    return {target.replica: target for target in targets}


def test_a_ready_pod_is_a_target_with_all_that_its_node_says(world: World, discoverer: Discoverer) -> None:
    world.add_nodes(1, NodeShape(capacity="spot", zone="us-east-1b"))
    labels = {"llm-d.ai/role": "decode", "llm-d.ai/variant": "fast"}
    world.add(deployment("chat", 1, template("chat", labels=labels)))
    world.step(10)
    (name,) = world.ready("chat")
    target = found(discoverer)[name]
    assert target.url == "http://127.1.0.2:8000"
    assert target.capacity_type is CapacityType.SPOT
    assert target.labels == {
        "replica": name,
        "pod": name,
        "namespace": "llm",
        "node": "node-1",
        "capacity_type": "spot",
        "zone": "us-east-1b",
        "region": "us-east-1",
        "instance_type": "p5.48xlarge",
        "offer": "aws/us-east-1/p5.48xlarge",
        "gpu": "NVIDIA-H100-80GB-HBM3",
        "instance_id": world.get("Node", "node-1")["spec"]["providerID"].rpartition("/")[2],
        "role": "decode",
        "llmd_variant": "fast",
    }
    assert target.machine is not None
    assert target.machine.is_sold_as("aws/us-east-1/p5.48xlarge")
    assert not target.machine.is_sold_as("aws/us-east-1/p5en.48xlarge")


def test_a_machine_of_an_unknown_type_is_told_as_such(world: World, discoverer: Discoverer) -> None:
    world.add_nodes(1, NodeShape(capacity="", instance_type=""))
    world.add(deployment("chat", 1, template("chat")))
    world.step(10)
    (target,) = found(discoverer).values()
    assert target.capacity_type is None
    assert target.machine is not None
    assert not target.machine.is_sold_as("aws/us-east-1/p5.48xlarge")


def test_a_pod_that_starts_is_no_target_and_one_that_lost_readiness_is(world: World, discoverer: Discoverer) -> None:
    world.add_nodes(1)
    world.behave("chat", Behaviour(start_s=20))
    world.add(deployment("chat", 1, template("chat")))
    world.step(10)
    assert found(discoverer) == {}
    world.step(15)
    (name,) = world.ready("chat")
    until(lambda: set(found(discoverer)) == {name}, "the ready pod")
    world.lose("node-1")
    until(lambda: not is_ready_now(discoverer), "the loss to be seen")
    assert set(found(discoverer)) == {name}


def is_ready_now(discoverer: Discoverer) -> bool:
    pods = discoverer._pods
    assert isinstance(pods, PodDiscovery)
    looked = pods._looked(CHAT)
    assert isinstance(looked, tuple)
    return any(pod.ready for pod in looked[0])


def test_a_pod_that_is_deleted_is_still_read_as_draining(world: World, discoverer: Discoverer) -> None:
    world.add_nodes(1)
    world.behave("chat", Behaviour(stop_s=30))
    world.add(deployment("chat", 2, template("chat")))
    world.step(10)
    leaving, staying = world.ready("chat")
    world.remove("Pod", leaving)
    until(lambda: found(discoverer)[leaving].labels.get("phase") == "draining", "its draining")
    assert "phase" not in found(discoverer)[staying].labels
    world.step(40)
    until(lambda: leaving not in found(discoverer), "its end")


def test_a_pod_that_an_actuator_has_sent_away_is_draining(world: World, discoverer: Discoverer) -> None:
    world.add_nodes(1)
    world.add(deployment("chat", 2, template("chat")))
    world.step(10)
    leaving, staying = world.ready("chat")

    def marked(pod: dict) -> dict:
        pod["metadata"]["annotations"] = {DRAINING_SINCE: NOON.isoformat()}
        return pod

    world.edit("Pod", leaving, marked)
    until(lambda: found(discoverer)[leaving].labels.get("phase") == "draining", "its draining")
    assert "phase" not in found(discoverer)[staying].labels


def test_a_pod_on_a_node_that_is_taken_back_is_draining(world: World, discoverer: Discoverer) -> None:
    (spot, calm) = world.add_nodes(2, NodeShape(gpus=1, capacity="spot"))
    world.add(deployment("chat", 2, template("chat")))
    world.step(10)
    found(discoverer)
    world.taint(spot, "aws-node-termination-handler/spot-itn", "event-1")
    world.taint(calm, "aws-node-termination-handler/rebalance-recommendation", "event-2")

    def phases() -> dict[str, str]:
        return {one.labels["node"]: one.labels.get("phase", "") for one in found(discoverer).values()}

    until(lambda: phases() == {spot: "draining", calm: ""}, "the notice, and that a hint ends nothing")


def test_of_a_group_the_leader_is_read_and_all_are_named(world: World, discoverer: Discoverer) -> None:
    world.add_nodes(1)
    world.add(leader_worker_set("big", 2, template("big"), size=2))
    world.step(10)
    targets = found(discoverer, KubernetesPods(namespace="llm", kind="LeaderWorkerSet", name="big"))
    assert {name: one.labels["pods"] for name, one in targets.items()} == {
        "big-0": "big-0,big-0-1",
        "big-1": "big-1,big-1-1",
    }


def labelled(document: dict, **labels: str) -> dict:
    document["metadata"]["labels"] = labels
    return document


def test_the_pods_are_those_of_the_target_that_alone_has_the_labels(world: World, discoverer: Discoverer) -> None:
    world.add_nodes(1)
    world.add(labelled(deployment("chat", 2, template("chat")), app="vllm", model="llama"))
    world.add(labelled(deployment("mail", 1, template("mail")), app="vllm"))
    world.step(10)
    source = KubernetesPods(namespace="llm", kind="Deployment", target="app=vllm,model=llama")
    assert set(found(discoverer, source)) == set(world.ready("chat"))


def test_an_unseen_cluster_keeps_its_targets_and_says_so(world: World, tmp_path: Path) -> None:
    world.add_nodes(1)
    world.add(deployment("chat", 2, template("chat")))
    world.step(10)
    path = world.server.kubeconfig(tmp_path / "kubeconfig", namespace="llm")
    impatient = Pace(stale_after_s=3.0, first_wait_s=10.0, retry_s=(0.01, 0.05))
    clusters = Clusters(kubeconfig=str(path), pace=impatient, timeouts=QUICK)
    discoverer = Discoverer(pods=PodDiscovery(clusters))
    assert len(found(discoverer)) == 2
    world.server.away()
    until(lambda: discoverer.targets(variant_of(), NOON)[1], "the problem")
    targets, problems = discoverer.targets(variant_of(), NOON)
    assert len(targets) == 2
    assert "the 2 targets seen last stay in use" in problems[0].why
    assert "last heard" in problems[0].why
    clusters.close()


def test_a_cluster_that_was_never_seen_names_nobody_and_says_so(tmp_path: Path) -> None:
    clusters = Clusters(kubeconfig=str(tmp_path / "none"))
    targets, problems = Discoverer(pods=PodDiscovery(clusters)).targets(variant_of(), NOON)
    assert targets == ()
    assert "kubeconfig" in problems[0].why


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            KubernetesPods(namespace="llm", selector="app=chat", port_name="metrics"),
            "no port named metrics; it has http",
        ),
        (KubernetesPods(namespace="llm", kind="Deployment", name="chatt"), "there is no Deployment llm/chatt"),
        (
            KubernetesPods(namespace="llm", kind="Deployment", target="app=vllm"),
            "there is no Deployment app=vllm in llm",
        ),
        (KubernetesPods(namespace="llm", selector="app=chat", model="qwen3-8b"), "2 pods say llm-d.ai/model-id"),
    ],
)
def test_what_does_not_fit_is_told(world: World, discoverer: Discoverer, source: KubernetesPods, said: str) -> None:
    world.add_nodes(1)
    labels = {"llm-d.ai/model-id": "meta-llama--Llama-3.1-70B-Instruct"}
    world.add(deployment("chat", 2, template("chat", labels=labels)))
    world.step(10)
    until(lambda: discoverer.targets(variant_of(source), NOON)[1], "the problem")
    assert said in discoverer.targets(variant_of(source), NOON)[1][0].why
    assert len(found(discoverer)) == 2, "the right model goes by another spelling"


def test_a_service_at_zero_is_no_problem(world: World, discoverer: Discoverer) -> None:
    world.add(deployment("chat", 0, template("chat")))
    world.step(1)
    assert found(discoverer, KubernetesPods(namespace="llm", kind="Deployment", name="chat")) == {}


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ({"port": 9000}, "http://127.1.0.2:9000"),
        ({"port_name": "http"}, "http://127.1.0.2:8000"),
        ({"path": "/v2/metrics", "scheme": "https"}, "https://127.1.0.2:8000/v2/metrics"),
    ],
)
def test_where_the_metrics_are_is_said_in_three_ways(
    world: World, discoverer: Discoverer, more: dict[str, object], url: str
) -> None:
    world.add_nodes(1)
    world.add(deployment("chat", 1, template("chat")))
    world.step(10)
    (target,) = found(discoverer, KubernetesPods(namespace="llm", selector="app=chat", **more)).values()  # type: ignore[arg-type]
    assert target.url == url


def test_only_exporters_beside_the_engines_are_read(world: World, discoverer: Discoverer) -> None:
    world.add_namespace("gpu-operator")
    for node in world.add_nodes(2, NodeShape(gpus=2)):
        pinned = template("nvidia-dcgm-exporter", port=9400, nodeSelector={"kubernetes.io/hostname": node})
        world.add(deployment(f"dcgm-{node}", 1, pinned), namespace="gpu-operator")
    world.add(deployment("chat", 1, template("chat")))
    world.step(10)
    exporters = KubernetesPods(namespace="gpu-operator", selector="app=nvidia-dcgm-exporter", port=9400)
    variant = variant_of(exporters=(exporters,))
    (engine,) = discoverer.targets(variant, NOON)[0]
    gpus, problems = discoverer.gpu_targets(variant, NOON)
    assert problems == ()
    assert [one.labels["node"] for one in gpus] == [engine.labels["node"]]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("NVIDIA-A100-SXM4-80GB", True),
        ("NVIDIA-H100-80GB-HBM3", False),
        ("nvidia-h100-80gb", False),
        ("", False),
        ("Some-Accelerator-9000", False),
    ],
)
def test_nodes_with_another_gpu_than_the_fleet_file_says_are_told(
    world: World, discoverer: Discoverer, model: str, told: bool
) -> None:
    world.add_nodes(2, NodeShape(gpus=2, gpu_model=model))
    world.add(deployment("chat", 3, template("chat")))
    world.step(10)
    targets, problems = discoverer.targets(variant_of(), NOON)
    assert len(targets) == 3, "they are read all the same"
    said = (
        "node-1, node-2 have NVIDIA-A100-SXM4-80GB, and the fleet file says H100-SXM: dollars, MFU and capacity of the "
        "replicas there are reckoned for the wrong GPU; correct `gpu`, or where the pods may go"
    )
    assert problems == ((Missing("GPUs of chat/h100", said),) if told else ())


def test_of_many_nodes_with_another_gpu_three_are_named(world: World, discoverer: Discoverer) -> None:
    world.add_nodes(4, NodeShape(gpus=1))
    world.add_nodes(5, NodeShape(gpus=1, gpu_model="NVIDIA-L4"))
    world.add(deployment("chat", 9, template("chat")))
    world.step(10)
    (problem,) = discoverer.targets(variant_of(), NOON)[1]
    assert problem.why.startswith(
        "node-5, node-6, node-7 and 2 others have NVIDIA-L4, and the fleet file says H100-SXM"
    )


def gpu(pod: str, namespace: str) -> GpuReading:
    unknown = Missing("gpu", "not read")
    return GpuReading(
        gpu_id=f"{namespace}/{pod}",
        model_name="H100",
        host="node-1",
        at=NOON,
        window_s=0.0,
        source="scrape",
        pod=pod,
        namespace=namespace,
        utilization_ratio=unknown,
        tensor_active_ratio=unknown,
        dram_active_ratio=unknown,
        memory_used_bytes=unknown,
        memory_free_bytes=unknown,
        power_w=unknown,
        energy_j=unknown,
    )


def target(**labels: str) -> Target:
    return Target(service="chat", variant="h100", replica=labels["pod"], url=f"http://{labels['pod']}", labels=labels)


def test_a_pod_of_the_same_name_elsewhere_has_gpus_of_its_own() -> None:
    gpus = (gpu("chat-0", "llm"), gpu("chat-0", "other"), gpu("chat-1", "llm"))
    own = own_gpus(gpus, [target(pod="chat-0", namespace="llm")])
    assert own == gpus[:1]
    assert own_gpus(gpus, [target(pod="chat-0")]) == gpus[:2], "nobody says where it is"


def test_the_gpus_of_a_whole_group_are_its_leaders() -> None:
    gpus = (gpu("big-0", "llm"), gpu("big-0-1", "llm"), gpu("big-1", "llm"))
    assert own_gpus(gpus, [target(pod="big-0", namespace="llm", pods="big-0,big-0-1")]) == gpus[:2]
