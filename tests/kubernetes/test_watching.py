"""What is seen of a cluster, whatever happens to the connection; and when it does not count any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket
from threading import Event
from time import monotonic

import pytest
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import Cluster as KubeCluster
from lightkube.config.models import Context

from controller.facts.missing import Missing, known
from controller.kubernetes.api import Api, Timeouts, config_of
from controller.kubernetes.cluster import MOST_SELECTORS, Cluster
from controller.kubernetes.nodes import parse_node
from controller.kubernetes.objects import Kind, Node, Pod, TargetRef
from controller.kubernetes.parse import parse_pod
from controller.kubernetes.resources import LEADER_WORKER_SETS, NODES, PODS
from controller.kubernetes.selectors import parse_selector
from controller.kubernetes.watched import Pace, Patience, Watched
from tests.cluster.faults import Fault, FaultKind
from tests.cluster.fixtures import PACE
from tests.cluster.parts import NodeShape, deployment, hpa, leader_worker_set, pdb, scaled_object, template
from tests.cluster.world import World, world_of
from tests.small_fleet import until

CHAT = TargetRef(kind=Kind.DEPLOYMENT, namespace="llm", name="chat")
APP = parse_selector("app=chat")


def names(found: tuple[Pod, ...] | Missing) -> list[str]:
    assert not isinstance(found, Missing), found
    return [one.name for one in found]


def sees(cluster: Cluster, world: World) -> bool:
    """Whether the cluster's pods are the world's."""
    found = cluster.pods("llm", APP)
    return not isinstance(found, Missing) and names(found) == [pod["metadata"]["name"] for pod in world.pods("chat")]


@pytest.fixture
def chat(world: World) -> World:
    world.add_nodes(1)
    world.add(deployment("chat", 3, template("chat")))
    world.step(10)
    return world


@pytest.fixture
def pods(api: Api) -> Iterator[Watched[Pod]]:
    watched = Watched(api, PODS, parse_pod, namespace="llm", pace=PACE)
    yield watched
    watched.stop()
    watched.join()


def has(watched: Watched[Pod], number: int) -> Callable[[], bool]:
    def seen() -> bool:
        found = watched.snapshot()
        return not isinstance(found, Missing) and len(found.items) == number

    return seen


def test_what_is_there_is_known_at_the_first_question_and_what_comes_without_another_call(
    chat: World, cluster: Cluster
) -> None:
    assert sees(cluster, chat)
    listed = chat.server.counts()["list", "pods"]
    chat.scale("Deployment", "chat", 5)
    chat.step(10)
    until(lambda: sees(cluster, chat), "the two new pods")
    until(
        lambda: all(pod.ready and pod.target == CHAT for pod in known([cluster.pods("llm", APP)])[0]), "their readiness"
    )
    chat.scale("Deployment", "chat", 1)
    chat.step(90)
    until(lambda: sees(cluster, chat), "the end of four pods")
    assert chat.server.counts()["list", "pods"] == listed == 1


def test_a_pod_that_no_longer_matches_is_gone(chat: World, cluster: Cluster) -> None:
    assert sees(cluster, chat)
    name = chat.ready("chat")[0]

    def relabelled(doc: dict) -> dict:
        doc["metadata"]["labels"]["app"] = "other"
        return doc

    chat.edit("Pod", name, relabelled)
    until(lambda: name not in names(cluster.pods("llm", APP)), "its going")


@pytest.mark.parametrize("kind", [FaultKind.STATUS, FaultKind.DROPPED, FaultKind.GARBAGE, FaultKind.EMPTY])
def test_a_list_or_a_watch_that_fails_is_begun_anew(chat: World, cluster: Cluster, kind: FaultKind) -> None:
    for verb in ("list", "watch"):
        chat.server.faults.add(Fault(kind=kind, verb=verb, resource="pods", times=3))
    until(lambda: sees(cluster, chat), "the pods")
    until(lambda: chat.server.faults.waiting == 0, "all failures")
    chat.scale("Deployment", "chat", 4)
    chat.step(10)
    until(lambda: sees(cluster, chat), "the fourth pod")
    until(lambda: cluster.problems() == (), "no more complaints")


def test_a_connection_that_breaks_goes_on_from_where_it_was(chat: World, cluster: Cluster) -> None:
    assert sees(cluster, chat)
    until(lambda: chat.server.watching >= 1, "the watch")
    chat.server.away()
    chat.scale("Deployment", "chat", 5)
    chat.step(10)
    assert len(names(cluster.pods("llm", APP))) == 3, "what was seen last is still known"
    chat.server.back()
    until(lambda: sees(cluster, chat), "what happened meanwhile")
    assert chat.server.counts()["list", "pods"] == 1


def test_a_version_that_is_forgotten_has_everything_listed_anew(chat: World, cluster: Cluster) -> None:
    assert sees(cluster, chat)
    chat.server.away()
    chat.scale("Deployment", "chat", 1)
    chat.step(90)
    chat.store.compact()
    chat.server.back()
    until(lambda: sees(cluster, chat), "the one pod that is left")
    assert chat.server.counts()["list", "pods"] == 2


def test_a_bookmark_moves_the_version_on_so_that_compaction_loses_nothing(chat: World, pods: Watched[Pod]) -> None:
    until(has(pods, 3), "the pods")
    until(lambda: chat.server.watching >= 1, "the watch")
    chat.add_namespace("elsewhere")  # other kinds move the version on, and this watch hears nothing of them
    chat.server.bookmark()
    version = str(chat.store.version)
    until(lambda: pods._version == version, "the bookmark")
    chat.server.drop()
    until(lambda: any(one.query.get("resourceVersion") == version for one in chat.server.calls), "a watch from there")


def test_after_too_long_a_silence_nothing_is_known(chat: World, api: Api) -> None:
    clock = [0.0]
    watched = Watched(api, PODS, parse_pod, namespace="llm", pace=PACE, clock=lambda: clock[0])
    until(has(watched, 3), "the pods")
    until(lambda: chat.server.watching >= 1, "the watch")
    chat.server.away()
    clock[0] += PACE.stale_after_s - 1
    assert not isinstance(watched.snapshot(), Missing)
    clock[0] += 2
    found = watched.snapshot()
    assert isinstance(found, Missing)
    assert "last heard 61 s ago" in found.why
    chat.server.back()
    until(has(watched, 3), "the pods again")
    watched.stop()
    watched.join()


def test_an_api_server_that_never_answers_is_told_at_once(chat: World, api: Api) -> None:
    chat.server.away()
    with_none = Cluster(api, pace=Pace(first_wait_s=10.0, retry_s=(0.01, 0.05)))
    found = with_none.pods("llm", APP)
    assert isinstance(found, Missing)
    assert "cannot be reached" in found.why
    assert with_none.heard_s() is None
    assert with_none.problems()[0].what == "pods of llm"
    with_none.close()


@pytest.fixture
def deaf() -> Iterator[Api]:
    """Of an API server that takes connections and never says anything: a black hole."""
    with socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(200)
        config = SingleConfig(
            context_name="hole",
            context=Context(cluster="hole", user="hole"),
            cluster=KubeCluster(server=f"http://127.0.0.1:{hole.getsockname()[1]}"),
        )
        made = Api(config, timeouts=Timeouts(connect_s=1.0, read_s=1.0))
        yield made
        made.close()


def chat_of(namespace: str) -> TargetRef:
    return TargetRef(kind=Kind.DEPLOYMENT, namespace=namespace, name="chat")


def test_first_questions_to_an_api_server_that_is_silent_wait_as_long_together_as_one_of_them(deaf: Api) -> None:
    cluster = Cluster(deaf, pace=Pace(first_wait_s=0.4, retry_s=(0.01, 0.05)))
    began = monotonic()
    for index in range(20):
        ref = chat_of(f"llm-{index}")
        assert isinstance(cluster.target(ref), Missing)
        assert isinstance(cluster.scalers_of(ref), Missing)
    assert 0.4 <= monotonic() - began < 6, "each for itself, they would wait 8 s and more"
    assert len(cluster.problems()) <= len(cluster._all()) == 60, "all of them have begun"
    cluster.close()


def test_who_is_first_asked_for_much_later_is_waited_for_again() -> None:
    now = [0.0]
    patience = Patience(Pace(first_wait_s=5.0, stale_after_s=60.0), clock=lambda: now[0])
    never = Event()
    waited = []

    def wait(timeout: float) -> bool:
        waited.append(timeout)
        now[0] += timeout
        return False

    never.wait = wait  # type: ignore[method-assign, assignment]
    patience.wait(never, 5.0)
    patience.wait(never, 5.0)
    now[0] += 12.0
    patience.wait(never, 5.0)
    now[0] += 600.0
    patience.wait(never, 5.0)
    assert waited == pytest.approx([5.0, 0.0, 1.0, 5.0])


def test_who_may_not_look_is_told_which_right_he_lacks(chat: World, cluster: Cluster) -> None:
    chat.server.rules = ()
    found = cluster.nodes()
    assert isinstance(found, Missing)
    assert "the role needs verb 'list' on resource 'nodes'" in found.why


def test_an_event_that_makes_no_sense_has_everything_listed_anew(chat: World, pods: Watched[Pod]) -> None:
    until(has(pods, 3), "the pods")
    until(lambda: chat.server.watching >= 1, "the watch")
    chat.server.faults.add(Fault(kind=FaultKind.GARBAGE, verb="watch", resource="pods"))
    chat.server.drop()
    until(lambda: chat.server.counts()["list", "pods"] >= 1 and chat.server.faults.waiting == 0, "the nonsense")
    chat.scale("Deployment", "chat", 4)
    chat.step(10)
    until(has(pods, 4), "the fourth pod")


def test_a_kind_that_the_cluster_does_not_know_is_none_and_no_problem(tmp_path: Path) -> None:
    with world_of(absent=("keda.sh", "leaderworkerset.x-k8s.io")) as world:
        cluster = Cluster(brisk(world, tmp_path, watch_s=0.05), pace=PACE)
        world.add(hpa("chat", "Deployment", "chat"))
        found = cluster.scalers_of(CHAT)
        assert not isinstance(found, Missing)
        assert [one.kind for one in found] == ["HorizontalPodAutoscaler"]
        assert cluster.target(TargetRef(kind=Kind.LEADER_WORKER_SET, namespace="llm", name="big")) is None
        assert cluster.problems() == ()
        cluster.close()


def brisk(world: World, folder: Path, *, watch_s: float) -> Api:
    path = world.server.kubeconfig(folder / "kubeconfig", namespace="llm")
    return Api(config_of(kubeconfig=str(path)), timeouts=Timeouts(watch_s=watch_s))


def test_lists_come_in_pages(world: World, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.kubernetes.api.PAGE_ITEMS", 2)
    world.add_nodes(5)
    found, _ = api.list(NODES)
    assert len(found) == 5
    assert api.calls["list", "nodes"] == world.server.counts()["list", "nodes"] == 3


def test_everything_is_listed_anew_now_and_then(chat: World, tmp_path: Path) -> None:
    api = brisk(chat, tmp_path, watch_s=1.0)
    watched = Watched(api, PODS, parse_pod, namespace="llm", pace=Pace(resync_s=0.01, retry_s=(0.01, 0.05)))
    until(lambda: chat.server.counts()["list", "pods"] >= 2, "a second list")
    watched.stop()
    watched.join()
    api.close()


def test_many_selectors_in_one_namespace_become_one_watch(world: World, cluster: Cluster) -> None:
    world.add_nodes(2)
    for index in range(MOST_SELECTORS + 2):
        world.add(deployment(f"chat{index}", 1, template(f"chat{index}")))
    world.step(10)
    for index in range(MOST_SELECTORS + 2):
        found = cluster.pods("llm", parse_selector(f"app=chat{index}"))
        assert len(names(found)) == 1
    selectors = [one.query.get("labelSelector", "") for one in world.server.calls if one.verb == "list"]
    assert selectors == [*(f"app=chat{index}" for index in range(MOST_SELECTORS)), ""]


def test_a_target_its_pods_its_scalers_and_its_budgets_are_found(chat: World, cluster: Cluster) -> None:
    chat.add(hpa("chat", "Deployment", "chat"))
    chat.add(scaled_object("chat", "Deployment", "chat", annotations={"autoscaling.keda.sh/paused": "true"}))
    chat.add(hpa("other", "Deployment", "other"))
    chat.add(pdb("chat", "chat", minAvailable=2))
    chat.add(pdb("other", "other", minAvailable=1))
    chat.step(1)
    target = cluster.target(CHAT)
    assert target is not None
    assert not isinstance(target, Missing)
    assert (target.replicas, target.ready_replicas, target.size) == (3, 3, 1)
    pods = cluster.pods_of(target)
    assert not isinstance(pods, Missing)
    assert len(pods) == 3
    scalers = cluster.scalers_of(CHAT)
    assert not isinstance(scalers, Missing)
    assert {(one.kind, one.paused) for one in scalers} == {("HorizontalPodAutoscaler", False), ("ScaledObject", True)}
    pdbs = cluster.pdbs_over(pods[0])
    assert not isinstance(pdbs, Missing)
    assert [(one.name, one.allowed) for one in pdbs] == [("chat", 1)]
    assert cluster.target(TargetRef(kind=Kind.STATEFUL_SET, namespace="llm", name="chat")) is None


def test_a_budget_counts_only_while_its_watch_goes_on(chat: World, cluster: Cluster) -> None:
    chat.add(pdb("chat", "chat", minAvailable=2))
    chat.step(1)
    pod = known([cluster.pods("llm", APP)])[0][0]

    def allowed() -> list[int | None] | Missing:
        found = cluster.pdbs_over(pod)
        return found if isinstance(found, Missing) else [one.allowed for one in found]

    assert allowed() == [1]
    until(lambda: chat.server.watching >= 2, "the watch")
    chat.server.away()
    until(lambda: isinstance(allowed(), Missing), "its doubt")
    assert "what it allowed before may be used up" in str(allowed())
    assert len(names(cluster.pods("llm", APP))) == 3, "pods were seen last a moment ago"
    chat.server.back()
    until(lambda: allowed() == [1], "the budget again")


def test_the_pods_of_a_group_are_all_its_targets(world: World, cluster: Cluster) -> None:
    world.add_nodes(1)
    world.add(leader_worker_set("big", 2, template("big"), size=2))
    world.step(10)
    target = cluster.target(TargetRef(kind=Kind.LEADER_WORKER_SET, namespace="llm", name="big"))
    assert target is not None
    assert not isinstance(target, Missing)
    assert (target.replicas, target.created_replicas, target.size) == (2, 2, 2)
    pods = cluster.pods_of(target)
    assert not isinstance(pods, Missing)
    assert [(one.group, one.worker) for one in pods] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert LEADER_WORKER_SETS.optional


def test_nodes_tell_how_they_are_bought(world: World, cluster: Cluster) -> None:
    world.add_nodes(1, NodeShape(capacity="spot"))
    nodes = cluster.nodes()
    assert not isinstance(nodes, Missing)
    node = nodes["node-1"]
    assert (node.offer, node.capacity_type, node.gpus, node.domain) == (
        "aws/us-east-1/p5.48xlarge",
        "spot",
        8,
        "us-east-1a/p5.48xlarge",
    )
    assert node.instance.startswith("i-")
    assert cluster.node("node-9") is None


def test_asking_costs_no_call_however_often(chat: World, cluster: Cluster) -> None:
    assert sees(cluster, chat)
    until(lambda: chat.server.watching >= 1, "the watch")
    before = chat.server.counts()
    for _ in range(100):
        cluster.pods("llm", APP)
    assert chat.server.counts() == before


def test_closing_ends_every_thread_at_once(chat: World, api: Api) -> None:
    cluster = Cluster(api, pace=PACE)
    cluster.pods("llm", APP)
    cluster.nodes()
    cluster.scalers_of(CHAT)
    threads = [one._thread for one in cluster._all()]
    until(lambda: chat.server.watching >= 3, "the watches")
    cluster.close()
    assert not any(thread.is_alive() for thread in threads)


def test_a_node_is_read_from_its_document() -> None:
    node = parse_node(NodeShape(capacity="").document("n") | {"kind": "Node"})
    assert isinstance(node, Node)
    assert node.capacity_type is None
