"""A small cluster whose time passes only when a test says so.

    with world_of() as world:
        world.add_nodes(2)
        world.add(deployment("chat", 3, template("chat")))
        world.step(10)
        world.server.kubeconfig(tmp_path / "kubeconfig")

Behind ``world.server`` is an API server for any client; ``world.step(seconds)`` lets controllers, scheduler and
kubelets work, second by second. Nothing is random that a seed does not decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random

from tests.cluster import controllers, disruption
from tests.cluster.documents import Doc, at
from tests.cluster.groups import run_leader_worker_set
from tests.cluster.kinds import (
    BY_KIND,
    DEPLOYMENTS,
    HPAS,
    LEADER_WORKER_SETS,
    NAMESPACES,
    NODES,
    PDBS,
    PODS,
    REPLICA_SETS,
    SCALED_OBJECTS,
    STATEFUL_SETS,
    KindInfo,
)
from tests.cluster.kubelet import Behaviour, Kubelets, ready_conditions
from tests.cluster.parts import INFOS, NodeShape
from tests.cluster.scheduler import free_gpus, run_scheduler
from tests.cluster.server import ApiServer
from tests.cluster.store import Store, Writer, controller_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NAMESPACE = "llm"
KUBECTL = Writer("kubectl-client-side-apply")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioner:
    """A node autoscaler such as Karpenter: a node for every pod that has none.

    delay_s   from the pod's being unschedulable to the node
    stock     how many nodes the cloud still has
    """

    shape: NodeShape
    delay_s: float = 60.0
    stock: int = 1_000_000


class World:
    """The objects, their clock, and everything that moves them. ``groups``: LeaderWorkerSets have a controller."""

    groups = True

    def __init__(self, *, absent: Iterable[str] = (), seed: int = 1, now: datetime = NOON) -> None:
        store = Store(now)
        self._begin(store, ApiServer(store, lambda *asked: disruption.evict(store, *asked), absent=absent), seed)

    def _begin(self, store: Store, server: ApiServer, seed: int) -> None:
        self.store, self.server = store, server
        self.provisioner: Provisioner | None = None
        self._random = Random(seed)
        self._behaviours: dict[str, Behaviour] = {}
        self._addresses = count(1)
        self._nodes = count(1)
        self._kubelets = Kubelets(self.store, self._behaviour, self._address)
        self.add_namespace(NAMESPACE)

    @property
    def now(self) -> datetime:
        return self.store.now

    # what there is

    def add_namespace(self, name: str) -> None:
        self.store.create(NAMESPACES, "", {"metadata": {"name": name}, "status": {"phase": "Active"}})

    def add(self, doc: Doc, *, kind: str = "", namespace: str = NAMESPACE, writer: Writer = KUBECTL) -> Doc:
        """Create an object. ``kind``: where ``doc`` does not say it itself, and ``parts.py``'s shape does not show it."""
        info = BY_KIND[kind or doc.get("kind") or _kind_of(doc)]
        made = {**doc}
        if info.scale and info not in {REPLICA_SETS}:
            made = {**made, "status": {"replicas": 0}}
        return self.store.create(info, namespace if info.namespaced else "", made, writer)

    def add_nodes(self, number: int = 1, shape: NodeShape | None = None) -> list[str]:
        """So many nodes, and their names."""
        names = [f"node-{next(self._nodes)}" for _ in range(number)]
        for name in names:
            self.add((shape or NodeShape()).document(name), kind="Node")
        return names

    def behave(self, target: str, behaviour: Behaviour) -> None:
        """From now on the pods whose names begin with ``target`` do so; the longest such beginning counts."""
        self._behaviours[target] = behaviour

    def pods(self, app: str = "", namespace: str = NAMESPACE) -> list[Doc]:
        """Those with the label app, by name; all of them without one."""
        return [
            one
            for one in self.store.all(PODS, namespace)
            if not app or (at(one, "metadata.labels") or {}).get("app") == app
        ]

    def ready(self, app: str = "") -> list[str]:
        """The names of pods that are ready and stay."""
        return [
            at(pod, "metadata.name")
            for pod in self.pods(app)
            if controllers.is_ready(pod) and controllers.is_active(pod)
        ]

    def get(self, kind: str, name: str, namespace: str = NAMESPACE) -> Doc:
        info = BY_KIND[kind]
        return self.store.read(info, namespace if info.namespaced else "", name)

    # what happens to it

    def step(self, seconds: float = 1.0) -> None:
        """Let so much time pass, a second at a time; 0: only let everything react to what is."""
        with self.store.lock:
            self._settle()
        while seconds > 0:
            with self.store.lock:
                self.store.now += timedelta(seconds=min(1.0, seconds))
                self._settle()
            seconds -= 1.0

    def _settle(self) -> None:
        """One round of everything, and again until nobody has anything to do: at most a few, as each does all it can."""
        for _ in range(8):
            if not sum(run() for run in self._runners()):  # every one of them runs
                return

    def _runners(self) -> Iterator[Callable[[], bool]]:
        yield self._collect
        yield self._control
        yield self._provision
        yield lambda: run_scheduler(self.store)
        yield self._kubelets.run
        yield lambda: disruption.run_budgets(self.store)

    def _control(self) -> bool:
        before = self.store.version
        for doc in self.store.all(DEPLOYMENTS):
            controllers.run_deployment(self.store, doc, self._random)
        for doc in self.store.all(STATEFUL_SETS):
            if not controller_of(doc):  # else it is that of a LeaderWorkerSet's leaders
                controllers.run_stateful_set(self.store, doc)
        for doc in self.store.all(LEADER_WORKER_SETS):
            run_leader_worker_set(self.store, doc)
        return self.store.version != before

    def _collect(self) -> bool:
        """Take away what belongs to nobody any more, and pods of nodes that are gone."""
        before = self.store.version
        alive = {at(doc, "metadata.uid") for info in BY_KIND.values() for doc in self.store.all(info)}
        nodes = {at(node, "metadata.name") for node in self.store.all(NODES)}
        for info in (REPLICA_SETS, STATEFUL_SETS, PODS):
            for doc in self.store.all(info):
                owners = at(doc, "metadata.ownerReferences") or ()
                lost = info is PODS and at(doc, "spec.nodeName") not in {None, *nodes}
                if lost or (owners and not any(one["uid"] in alive for one in owners)):
                    self.store.remove(info, at(doc, "metadata.namespace"), at(doc, "metadata.name"))
        return self.store.version != before

    def _provision(self) -> bool:
        one = self.provisioner
        if one is None or one.stock <= 0:
            return False
        made = 0
        for pod in self.store.all(PODS):
            told = next((c for c in at(pod, "status.conditions") or () if c.get("reason") == "Unschedulable"), None)
            due = told and self.now >= datetime.fromisoformat(told["lastTransitionTime"]) + timedelta(
                seconds=one.delay_s
            )
            if due and not at(pod, "spec.nodeName") and made < min(one.stock, 1):
                self.add_nodes(1, one.shape)
                made += 1
        if made:
            self.provisioner = Provisioner(shape=one.shape, delay_s=one.delay_s, stock=one.stock - made)
        return bool(made)

    def _behaviour(self, pod: Doc) -> Behaviour:
        name = at(pod, "metadata.name")
        meant = [begin for begin in self._behaviours if name.startswith(begin)]
        return self._behaviours[max(meant, key=len)] if meant else Behaviour()

    def _address(self) -> str:
        """Each pod has one of 127.0.0.0/8, so that a fake engine may listen there."""
        number = next(self._addresses)
        return f"127.{1 + number // 65_025}.{number // 255 % 255}.{1 + number % 255}"

    # other people, and the platform

    def scale(
        self, kind: str, name: str, replicas: int, *, manager: str = "kubectl", namespace: str = NAMESPACE
    ) -> None:
        """Somebody sets spec.replicas through the scale subresource, as kubectl and HPAs do."""

        def scaled(doc: Doc) -> Doc:
            return {**doc, "spec": {"replicas": replicas}}

        self.store.write_scale(INFOS[kind], namespace, name, scaled, Writer(manager))

    def edit(self, kind: str, name: str, change: Callable[[Doc], Doc], *, manager: str = "kubectl-edit") -> None:
        """Somebody changes an object."""
        info = BY_KIND[kind]
        self.store.write(info, NAMESPACE if info.namespaced else "", name, change, Writer(manager))

    def taint(self, node: str, key: str, value: str = "", effect: str = "NoSchedule") -> None:
        """As interruption handlers do before a node ends."""

        def tainted(doc: Doc) -> Doc:
            taint = {"key": key, "value": value, "effect": effect, "timeAdded": self.store.time}
            doc["spec"]["taints"] = [*(at(doc, "spec.taints") or ()), taint]
            return doc

        self.edit("Node", node, tainted, manager="karpenter")

    def cordon(self, node: str) -> None:
        """kubectl cordon."""

        def cordoned(doc: Doc) -> Doc:
            doc["spec"]["unschedulable"] = True
            return doc

        self.edit("Node", node, cordoned, manager="kubectl-cordon")

    def lose(self, node: str) -> None:
        """Its machine stops: the node is not ready, nor are its pods; nothing else happens to them."""
        doc = self.get("Node", node)
        conditions = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
        status = {**doc["status"], "conditions": conditions}
        self.store.put(NODES, {**doc, "status": status}, doc, controllers.MANAGER, sub="status")
        for pod in self.store.all(PODS):
            if at(pod, "spec.nodeName") == node:
                told = {**pod["status"]}
                told["conditions"] = ready_conditions(told.get("conditions") or [], False, self.store.time)
                self.store.put(PODS, {**pod, "status": told}, pod, controllers.MANAGER, sub="status")

    def remove_node(self, node: str) -> None:
        """The node object goes, and at the next step its pods with it."""
        self.store.remove(NODES, "", node)

    def remove(self, kind: str, name: str, namespace: str = NAMESPACE) -> None:
        """Somebody deletes an object, as kubectl delete does."""
        info = BY_KIND[kind]
        self.store.delete(info, namespace if info.namespaced else "", name)

    def free_gpus(self) -> dict[str, int]:
        """By node."""
        return free_gpus(self.store)


def _kind_of(doc: Doc) -> str:
    """Of what ``parts.py`` makes."""
    spec = doc.get("spec") or {}
    shapes: tuple[tuple[str, KindInfo], ...] = (
        ("leaderWorkerTemplate", LEADER_WORKER_SETS),
        ("serviceName", STATEFUL_SETS),
        ("template", DEPLOYMENTS),
        ("triggers", SCALED_OBJECTS),
        ("scaleTargetRef", HPAS),
        ("selector", PDBS),
    )
    found = next((info.kind for key, info in shapes if key in spec), None)
    assert found is not None, "say the kind"
    return found


@contextmanager
def world_of(*, absent: Iterable[str] = (), seed: int = 1) -> Iterator[World]:
    """A world whose API server answers."""
    world = World(absent=absent, seed=seed)
    with world.server:
        yield world
