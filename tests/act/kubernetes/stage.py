"""A stage for the Kubernetes actuator: a test cluster, engines that answer at every pod's address, and no lag of watches.

The actuator talks to the API server over HTTP; what it would have from watches is read anew for every question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from controller.act.kubernetes.actuator import KubernetesActuator
from controller.facts.actuators import KubernetesOptions
from controller.facts.decisions import Because, Decision, Outcome
from controller.facts.fleet import EngineKind, Gpu, Variant
from controller.facts.missing import Missing
from controller.facts.readings import Phase, ReplicaState
from controller.kubernetes.api import Api, config_of
from controller.kubernetes.calls import Calls
from controller.kubernetes.nodes import parse_node
from controller.kubernetes.objects import Kind, Node, Pdb, Pod, Scaler, Target, TargetRef
from controller.kubernetes.parse import parse_hpa, parse_pdb, parse_pod, parse_scaled_object, parse_target
from controller.kubernetes.resources import HPAS, NODES, PDBS, PODS, SCALED_OBJECTS, TARGETS
from tests.cluster.parts import NodeShape, deployment, leader_worker_set, stateful_set, template
from tests.cluster.world import NAMESPACE, World

GPU = Gpu(
    name="H100-SXM", memory_bytes=80e9, bandwidth_bytes_per_s=3.35e12, peak_flop_per_s={"bf16": 989e12}, tdp_w=700
)
MADE = {Kind.DEPLOYMENT: deployment, Kind.STATEFUL_SET: stateful_set, Kind.LEADER_WORKER_SET: leader_worker_set}


class FreshCluster:
    """What ``Cluster`` answers from watches, read anew each time."""

    def __init__(self, api: Api) -> None:
        self.api, self.calls = api, Calls(api)
        self.stale: Missing | None = None

    def pods_of(self, target: Target) -> tuple[Pod, ...] | Missing:
        pods = map(parse_pod, self.api.list(PODS, target.ref.namespace, str(target.selector))[0])
        return self.stale or tuple(pod for pod in pods if pod.target == target.ref)

    def nodes(self) -> Mapping[str, Node] | Missing:
        return {node.name: node for node in map(parse_node, self.api.list(NODES)[0])}

    def target(self, ref: TargetRef) -> Target | Missing | None:
        found = self.targets(ref.kind, ref.namespace)
        return found if isinstance(found, Missing) else next((one for one in found if one.ref == ref), None)

    def targets(self, kind: Kind, namespace: str) -> tuple[Target, ...] | Missing:
        return self.stale or tuple(parse_target(kind, one) for one in self.api.list(TARGETS[kind], namespace)[0])

    def scalers_of(self, ref: TargetRef) -> tuple[Scaler, ...] | Missing:
        hpas = map(parse_hpa, self.api.list(HPAS, ref.namespace)[0])
        scaled = map(parse_scaled_object, self.api.list(SCALED_OBJECTS, ref.namespace)[0])
        return tuple(one for one in (*hpas, *scaled) if one.target == ref)

    def pdbs_over(self, pod: Pod) -> tuple[Pdb, ...] | Missing:
        found = map(parse_pdb, self.api.list(PDBS, pod.namespace)[0])
        return tuple(one for one in found if one.selector.matches(pod.labels))


class PodEngines:
    """One server that answers for every pod: which one is meant, its own address tells."""

    def __init__(self) -> None:
        self.running: dict[str, float] = {}
        engines = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ip = self.connection.getsockname()[0]
                page = f"vllm:num_requests_running {engines.running.get(ip, 0)}\nvllm:num_requests_waiting 0\n".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *arguments: object) -> None:
                del arguments

        self._server = ThreadingHTTPServer(("0.0.0.0", 0), Page)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @contextmanager
    def up(self) -> Iterator[PodEngines]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@dataclass
class Stage:
    """One target of the service chat, and the actuator that scales it."""

    world: World
    engines: PodEngines
    cluster: FreshCluster
    variant: Variant
    actuator: KubernetesActuator
    made: int = field(default=0)

    @property
    def kind(self) -> str:
        return str(self.variant.actuator_options.kind)  # type: ignore[attr-defined]

    @property
    def name(self) -> str:
        return str(self.variant.actuator_options.name)  # type: ignore[attr-defined]

    def another(self, **options: Any) -> Stage:
        """The same with an actuator that remembers nothing, as after a kill -9; ``options`` changed."""
        fresh = replace(self.variant, actuator_options=replace(self.variant.actuator_options, **options))  # type: ignore[type-var]
        return replace(self, variant=fresh, actuator=KubernetesActuator(lambda _: self.cluster))

    def seen(self) -> tuple[ReplicaState, ...]:
        found = self.actuator.replicas(self.variant, self.world.now)
        assert not isinstance(found, Missing), found
        return found

    def phases(self) -> dict[str, int]:
        phases = [state.phase.value for state in self.seen()]
        return {phase: phases.count(phase) for phase in sorted(set(phases))}

    def current(self) -> int:
        return sum(state.phase in (Phase.STARTING, Phase.READY) for state in self.seen())

    def scale(self, current: int, desired: int, victims: Sequence[str] = ()) -> Outcome:
        return self.actuator.apply(self.decision(current, desired, victims), self.variant, self.world.now)

    def decision(self, current: int, desired: int, victims: Sequence[str] = ()) -> Decision:
        self.made += 1
        return Decision(
            id=f"chat/{self.variant.name}@{self.made}",
            at=self.world.now,
            service="chat",
            variant=self.variant.name,
            current=current,
            ready=current,
            desired=desired,
            wanted=desired,
            because=Because.DEMAND,
            detail="",
            usd_per_hour_before=1.0,
            usd_per_hour_after=1.0,
            victims=tuple(victims),
        )

    def passes(self, number: int, every_s: float = 15.0) -> None:
        """So many looks, with the cluster's time between them."""
        for _ in range(number):
            self.seen()
            self.world.step(every_s)

    @property
    def replicas(self) -> int:
        """spec.replicas."""
        return int(self.world.get(self.kind, self.name)["spec"]["replicas"])

    def pods(self) -> list[str]:
        """Those that are there and stay."""
        return [
            pod["metadata"]["name"]
            for pod in self.world.pods(self.name)
            if not pod["metadata"].get("deletionTimestamp")
        ]

    def annotations(self, pod: str) -> dict[str, str]:
        return dict(self.world.get("Pod", pod)["metadata"].get("annotations") or {})

    def busy(self, pod: str, requests: float = 1) -> None:
        self.engines.running[self.world.get("Pod", pod)["status"]["podIP"]] = requests


def staged(
    world: World, engines: PodEngines, folder: Path, kind: Kind = Kind.DEPLOYMENT, replicas: int = 3, **options: Any
) -> Stage:
    """A target with ``replicas`` ready pods on four nodes of eight GPUs. ``options``: of the actuator; ``spec`` of the target and
    ``pods`` of its template are understood."""
    spec, nodes, name = options.pop("spec", {}), options.pop("nodes", 4), options.pop("name", "chat")
    shape, pods = options.pop("shape", NodeShape()), options.pop("pods", {})
    world.add_nodes(nodes, shape)
    world.add(MADE[kind](name, replicas, template(name, port=engines.port, **pods), **spec), kind=kind.value)
    world.step(8)
    world.server.kubeconfig(folder / "kubeconfig")
    cluster = FreshCluster(Api(config_of(kubeconfig=str(folder / "kubeconfig"))))
    variant = Variant(
        service="chat",
        name="h100" if name == "chat" else name,
        gpu=GPU,
        gpus_per_replica=1,
        quantization="bf16",
        kv_cache_dtype="auto",
        engine=EngineKind.VLLM,
        capacity=(),
        actuator="kubernetes",
        actuator_options=KubernetesOptions(kind=kind.value, namespace=NAMESPACE, name=name, **options),
    )
    return Stage(world, engines, cluster, variant, KubernetesActuator(lambda _: cluster))
