"""The real Kubernetes actuator over HTTP against the test cluster. What it would have from watches is as it was when the
pass began, or, ``behind``, as it was a pass before; what it asks and writes is numbered. ``KubernetesWatched`` has the
real watches as well, and their lists and watches are numbered, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

from lightkube.config import client_adapter

import controller.act.kubernetes.keep as keep
import controller.act.kubernetes.others as others
from controller.act.actuator import Actuator
from controller.act.kubernetes.actuator import KubernetesActuator
from controller.act.kubernetes.pods import DRAINING_SINCE
from controller.facts.actuators import KubernetesOptions
from controller.facts.fleet import Variant
from controller.facts.interruptions import Notice
from controller.facts.missing import Missing
from controller.kubernetes import watched
from controller.kubernetes.api import Api, Timeouts, Watch, config_of
from controller.kubernetes.calls import Calls
from controller.kubernetes.cluster import Cluster
from controller.kubernetes.nodes import parse_node
from controller.kubernetes.objects import Kind, Node, Pdb, Pod, Scaler, Target, TargetRef
from controller.kubernetes.parse import parse_hpa, parse_pdb, parse_pod, parse_target
from controller.kubernetes.refusals import WRITES, Call
from controller.kubernetes.resources import Resource
from tests.chaos.history import Census, Member
from tests.chaos.platforms.base import DRAIN_TIMEOUT_S, START_TIMEOUT_S, Provider, variant_of
from tests.chaos.story import FOREIGN_HOLD_S
from tests.chaos.tape import Fault, Sort, Tape
from tests.cluster import faults
from tests.cluster.documents import at
from tests.cluster.kinds import DEPLOYMENTS, HPAS, NODES, PDBS, PODS, STATEFUL_SETS
from tests.cluster.kubelet import Behaviour
from tests.cluster.parts import NodeShape, deployment, hpa, pdb, stateful_set, template
from tests.cluster.world import NAMESPACE, World

QUICK = Timeouts(connect_s=5.0, read_s=20.0, watch_s=0.0)
"""A watch tells all that there is to tell, and ends."""

NEVER_READY_S = 1e6
PARTS = {"Deployment": deployment, "StatefulSet": stateful_set}
STARTS_S = 5.0

FAULTS: Mapping[Fault, faults.Fault] = {
    Fault.REFUSED: faults.Fault(kind=faults.FaultKind.STATUS, code=503),
    Fault.LOST: faults.Fault(kind=faults.FaultKind.LOST),
    Fault.TIMEOUT: faults.Fault(kind=faults.FaultKind.DROPPED),
    Fault.THROTTLED: faults.Fault(kind=faults.FaultKind.STATUS, code=429, retry_after_s=1),
    Fault.NONSENSE: faults.Fault(kind=faults.FaultKind.GARBAGE),
    Fault.MANGLED: faults.Fault(kind=faults.FaultKind.TRUNCATED),
    Fault.GONE: faults.Fault(kind=faults.FaultKind.STATUS, code=410),
    Fault.UNKNOWN: faults.Fault(kind=faults.FaultKind.STATUS, code=401),
    Fault.FORBIDDEN: faults.Fault(kind=faults.FaultKind.STATUS, code=403),
}


class NumberedApi(Api):
    """The real client. ``deaf_to``: of that kind nothing is listed or watched."""

    tape: Tape
    world: World
    deaf_to = ""

    def watch(self, resource: Resource, namespace: str = "", selector: str = "", *, version: str) -> Watch:
        call = Call("watch", resource, namespace)
        return self._numbered(Sort.WATCH, call, lambda: Api.watch(self, resource, namespace, selector, version=version))

    def _ask(self, method: str, call: Call, **how: Any) -> Any:
        sort = Sort.WATCH if call.verb == "list" else Sort.WRITE if call.verb in WRITES else Sort.READ
        return self._numbered(sort, call, lambda: Api._ask(self, method, call, **how))

    def _numbered(self, sort: Sort, call: Call, do: Callable[[], Any]) -> Any:
        def broken(fault: Fault, do: Callable[[], Any]) -> Any:
            if fault is Fault.GONE:
                self.world.store.compact()
            self.world.server.faults.add(replace(FAULTS[fault], verb=call.verb))
            return do()

        if sort is Sort.WATCH and self.deaf_to == call.resource.plural:
            return broken(Fault.REFUSED, do)
        return self.tape.call(sort, f"{call.verb} {call.where}", do, broken)


class Watched:
    """What ``Cluster`` answers from its watches: the same until the next ``refresh``."""

    def __init__(self, api: Api) -> None:
        self.api, self.calls = api, Calls(api)
        self.stale: Missing | None = None
        self._pods: tuple[Pod, ...] = ()
        self._nodes: dict[str, Node] = {}
        self._targets: tuple[Target, ...] = ()
        self._scalers: tuple[Scaler, ...] = ()
        self._pdbs: tuple[Pdb, ...] = ()

    def refresh(self, world: World) -> None:
        store = world.store
        self._pods = tuple(map(parse_pod, store.all(PODS, NAMESPACE)))
        self._nodes = {node.name: node for node in map(parse_node, store.all(NODES))}
        kinds = ((Kind.DEPLOYMENT, DEPLOYMENTS), (Kind.STATEFUL_SET, STATEFUL_SETS))
        self._targets = tuple(parse_target(kind, one) for kind, info in kinds for one in store.all(info, NAMESPACE))
        self._scalers = tuple(map(parse_hpa, store.all(HPAS, NAMESPACE)))
        self._pdbs = tuple(map(parse_pdb, store.all(PDBS, NAMESPACE)))

    def pods_of(self, target: Target) -> tuple[Pod, ...] | Missing:
        return self.stale or tuple(one for one in self._pods if one.target == target.ref)

    def nodes(self) -> Mapping[str, Node] | Missing:
        return self.stale or self._nodes

    def target(self, ref: TargetRef) -> Target | Missing | None:
        return self.stale or next((one for one in self._targets if one.ref == ref), None)

    def scalers_of(self, ref: TargetRef) -> tuple[Scaler, ...] | Missing:
        return self.stale or tuple(one for one in self._scalers if one.target == ref)

    def pdbs_over(self, pod: Pod) -> tuple[Pdb, ...] | Missing:
        return self.stale or tuple(one for one in self._pdbs if one.selector.matches(pod.labels))


class Kubernetes(Provider):
    """A Deployment on nodes of one GPU each."""

    name = "kubernetes"
    behind = False
    kind: ClassVar = "Deployment"
    faults: ClassVar = {
        Sort.WRITE: (
            Fault.REFUSED,
            Fault.LOST,
            Fault.TIMEOUT,
            Fault.THROTTLED,
            Fault.NONSENSE,
            Fault.MANGLED,
            Fault.KILLED_BEFORE,
            Fault.KILLED_AFTER,
        ),
        Sort.READ: (Fault.REFUSED, Fault.TIMEOUT, Fault.THROTTLED, Fault.NONSENSE, Fault.MANGLED, Fault.KILLED_BEFORE),
        Sort.PROBE: (Fault.TIMEOUT, Fault.KILLED_BEFORE),
    }

    def begin(self, replicas: int) -> Variant:
        self.world = World(now=self.now)
        self.world.server.__enter__()
        self.world.add_nodes(8, NodeShape(gpus=1))
        self.world.behave("chat", Behaviour(start_s=STARTS_S))
        self.world.add(PARTS[self.kind]("chat", replicas, template("chat")), kind=self.kind)
        self.world.step(8)
        # It speaks plain HTTP: to read the certificates of the world for each cell takes longer than its calls.
        self.patch.setattr(client_adapter, "verify_cluster", lambda *_, **__: False)
        config = self.world.server.kubeconfig(self.folder / "kubeconfig")
        self.api = NumberedApi(config_of(kubeconfig=str(config)), timeouts=QUICK)
        self.api.tape, self.api.world = self.tape, self.world
        self.watched = Watched(self.api)
        self.look()
        self.patch.setattr(keep, "ask_urls", self._asked)
        self.patch.setattr(others, "OVERRIDE_HOLD", timedelta(seconds=FOREIGN_HOLD_S))
        self.patch.setattr(Calls, "set_scale", self._scaling(Calls.set_scale))
        options = KubernetesOptions(
            kind=self.kind,
            namespace=NAMESPACE,
            name="chat",
            start_timeout_s=START_TIMEOUT_S,
            drain_timeout_s=DRAIN_TIMEOUT_S,
        )
        self.now = self.world.now
        return variant_of("kubernetes", options)

    def actuator(self) -> Actuator:
        return KubernetesActuator(lambda _: self.watched)

    def look(self) -> None:
        """What watches tell is told."""
        if not self.watched.stale:
            self.watched.refresh(self.world)

    def step(self, seconds: float) -> None:
        if self.behind:
            self.look()
        self.world.behave("chat", Behaviour(start_s=STARTS_S if self.comes_up else NEVER_READY_S))
        for _ in range(round(seconds / STARTS_S)):  # nothing in a story takes less
            self.world.store.now += timedelta(seconds=STARTS_S)
            self.world.step(0)
        self.now = self.world.now
        if not self.behind:
            self.look()

    def census(self) -> Census:
        self.world.step(0)  # controllers see at once what was written
        ready = set(self.world.ready("chat"))
        tainted = {at(one, "metadata.name") for one in self.world.store.all(NODES) if at(one, "spec.taints")}
        members = {}
        for pod in self.world.pods("chat"):
            name, notes = at(pod, "metadata.name"), at(pod, "metadata.annotations") or {}
            members[name] = Member(
                name=name,
                ready=name in ready,
                leaving=DRAINING_SINCE in notes or bool(at(pod, "metadata.deletionTimestamp")),
                busy=_url(pod) in self.busy,
                noticed=at(pod, "spec.nodeName") in tainted,
            )
        wanted = int(self.world.get(self.kind, "chat")["spec"]["replicas"])
        going = sum(bool(at(pod, "metadata.deletionTimestamp")) for pod in self.world.pods("chat"))
        return Census(members=members, wanted=wanted + going)

    def targets(self) -> dict[str, str]:
        ready = set(self.world.ready("chat"))
        return {
            at(pod, "metadata.name"): _url(pod) for pod in self.world.pods("chat") if at(pod, "metadata.name") in ready
        }

    def lose(self) -> str:
        name = self.world.ready("chat")[0]
        self.world.store.remove(PODS, NAMESPACE, name)
        return str(name)

    def announce(self, deadline_s: float, *, hint: bool = False) -> Iterable[Notice]:
        pod = self.world.get("Pod", self.world.ready("chat")[0])
        self.world.taint(pod["spec"]["nodeName"], "aws-node-termination-handler/spot-itn")
        return ()

    def set_by_operator(self, count: int) -> None:
        self.world.scale(self.kind, "chat", count)

    def keep(self, count: int) -> None:
        if count:
            self.world.add(pdb("chat", "chat", minAvailable=count))
        else:
            self.world.remove("PodDisruptionBudget", "chat")

    def own_by_other(self, owned: bool) -> None:
        if owned:
            self.world.add(hpa("theirs", self.kind, "chat"))
        else:
            self.world.remove("HorizontalPodAutoscaler", "theirs")

    def away(self, away: bool) -> None:
        if away:
            self.world.server.away()
            self.watched.stale = Missing("pods", "the API server was not heard for 60 s")
        else:
            self.world.server.back()
            self.watched.stale = None

    def close(self) -> None:
        self.api.close()
        self.world.server.__exit__()

    # what is numbered

    def _asked(self, urls: Iterable[str], question: object) -> dict[str, bool]:
        asked = sorted(set(urls))
        if not asked:
            return {}

        def silent(fault: Fault, do: object) -> dict[str, bool]:
            return dict.fromkeys(asked, False)

        return self.tape.call(Sort.PROBE, "idle", lambda: {url: url not in self.busy for url in asked}, silent)

    def _scaling(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Tells what became of spec.replicas, whatever the caller is told."""
        platform = self

        def scaled(calls: Calls, ref: TargetRef, replicas: int, *, version: str) -> Any:
            before = platform._replicas()
            try:
                return real(calls, ref, replicas, version=version)
            finally:
                after = platform._replicas()
                if after != before:
                    platform.told("scale", after - before)

        return scaled

    def _replicas(self) -> int:
        return int(self.world.get(self.kind, "chat")["spec"]["replicas"])


class StatefulSet(Kubernetes):
    """Whose pods have names that come again, and of which the last ends first."""

    name = "statefulset"
    kind = "StatefulSet"


class KubernetesBehind(Kubernetes):
    """The watch is a pass late."""

    name = "kubernetes behind"
    behind = True


class KubernetesWatched(Kubernetes):
    """With the real watches: of each a round before every pass, and no thread."""

    name = "kubernetes watched"
    sorts: ClassVar = (Sort.WATCH,)
    deaf_to: ClassVar = ("pods", "deployments", "nodes", "horizontalpodautoscalers", "poddisruptionbudgets")
    faults: ClassVar = {
        Sort.WATCH: (
            Fault.REFUSED,
            Fault.TIMEOUT,
            Fault.NONSENSE,
            Fault.GONE,
            Fault.UNKNOWN,
            Fault.FORBIDDEN,
        )
    }

    def begin(self, replicas: int) -> Variant:
        self.patch.setattr(watched, "Thread", Still)
        self.cluster: Cluster | None = None
        return super().begin(replicas)

    def actuator(self) -> Actuator:
        self.cluster = cluster = Cluster(self.api, clock=lambda: self.now.timestamp())
        return KubernetesActuator(lambda _: cluster)

    def look(self) -> None:
        for one in self.cluster._all() if self.cluster is not None else ():
            one.round(0)

    def deaf(self, to: str) -> None:
        self.api.deaf_to = to

    def away(self, away: bool) -> None:
        if away:
            self.world.server.away()
        else:
            self.world.server.back()


class Still:
    """In the place of a watch's thread: its first round is over when it has begun."""

    def __init__(self, *, target: Callable[[], None], **_: object) -> None:
        self._watched: watched.Watched[Any] = target.__self__  # type: ignore[attr-defined]

    def start(self) -> None:
        self._watched.round(0)


def _url(pod: Mapping[str, Any]) -> str:
    return f"http://{at(pod, 'status.podIP')}:8000"
