"""Calls of an API server: as our client counts them, and as the server does. They must agree."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controller.act.kubernetes.actuator import KubernetesActuator
from controller.catalog.gpus import find_gpu
from controller.facts.actuators import KubernetesOptions
from controller.facts.decisions import Because, Decision
from controller.facts.fleet import EngineKind, KubernetesPods, Variant
from controller.facts.missing import Missing
from controller.kubernetes.cluster import Clusters
from controller.observe.kubernetes import PodDiscovery
from tests.cluster.engines import Engines, engines_of
from tests.cluster.parts import deployment, template
from tests.cluster.world import NAMESPACE, World, world_of

REPLICAS = 2
WAIT_S = 30.0

Calls = Mapping[tuple[str, str], int]
"""By verb and resource, as roles name them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Calls of ``variants`` variants.

    start     until everything was seen once
    watches   that stay open
    steady    of all passes together in which nothing happened
    grown     of a decision to grow one variant, and of the passes until its pod was ready
    shrunk    of a decision to shrink it again, and of the passes until its pod was gone
    """

    variants: int
    start: Calls
    watches: int
    steady: Calls
    grown: Calls
    shrunk: Calls


class Passes:
    """What a pass asks of a cluster: every variant's replicas, and every variant's addresses."""

    def __init__(self, world: World, engines: Engines, clusters: Clusters, number: int) -> None:
        self.world, self.clusters = world, clusters
        self.actuator, self.discovery = KubernetesActuator(clusters.of), PodDiscovery(clusters)
        self.variants = [_variant(f"chat-{index}") for index in range(number)]
        world.add_nodes(1 + number * REPLICAS // 8)
        for one in self.variants:
            world.add(deployment(one.service, REPLICAS, template(one.service, port=engines.port)))
        world.step(10)

    def one(self) -> int:
        """How many replicas were seen, or -1 where a variant's are not known."""
        seen = [self.actuator.replicas(one, self.world.now) for one in self.variants]
        for one in self.variants:
            for source in one.discovery:
                self.discovery.engines(source, one)  # type: ignore[arg-type]
        return sum(-1 if isinstance(some, Missing) else len(some) for some in seen)

    def until(self, done: Callable[[], bool], step_s: float = 0.0) -> None:
        """Passes until it is so; the cluster's time goes on by ``step_s`` after each."""
        ends = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < ends, "waited in vain"
            self.one()
            self.world.step(step_s)
            time.sleep(0.01)

    def scale(self, current: int, desired: int) -> None:
        one = self.variants[0]
        decision = Decision(
            id=f"{one.service}@{desired}",
            at=self.world.now,
            service=one.service,
            variant=one.name,
            current=current,
            ready=current,
            desired=desired,
            wanted=desired,
            because=Because.DEMAND,
            detail="",
            usd_per_hour_before=0.0,
            usd_per_hour_after=0.0,
        )
        self.actuator.apply(decision, one, self.world.now)

    def ready(self) -> int:
        return len(self.world.ready(self.variants[0].service))

    @contextmanager
    def counting(self, into: Counter[tuple[str, str]]) -> Iterator[None]:
        """Both sides' calls of the block."""
        self.world.server.forget_calls()
        before = self._ours()
        yield
        ours, theirs = self._ours() - before, self.world.server.counts()
        assert ours == theirs, f"we counted {dict(ours)}, the API server {dict(theirs)}"
        into.update(theirs)

    def _ours(self) -> Counter[tuple[str, str]]:
        counts: Counter[tuple[str, str]] = Counter()
        for cluster in self.clusters.open:
            counts.update(cluster.api.calls)
        return counts


def _variant(name: str) -> Variant:
    gpu = find_gpu("H100-SXM")
    assert gpu is not None
    return Variant(
        service=name,
        name="h100",
        gpu=gpu,
        gpus_per_replica=1,
        quantization="bf16",
        kv_cache_dtype="auto",
        engine=EngineKind.VLLM,
        capacity=(),
        discovery=(KubernetesPods(namespace=NAMESPACE, kind="Deployment", name=name),),
        actuator="kubernetes",
        actuator_options=KubernetesOptions(kind="Deployment", namespace=NAMESPACE, name=name),
    )


def counted(variants: int, passes: int = 5) -> Counted:
    """One cluster with so many variants, each a Deployment of two pods."""
    start, steady, grown, shrunk = (Counter[tuple[str, str]]() for _ in range(4))
    with tempfile.TemporaryDirectory() as folder, world_of() as world, engines_of(world) as engines:
        clusters = Clusters(kubeconfig=str(world.server.kubeconfig(Path(folder) / "kubeconfig", namespace=NAMESPACE)))
        try:
            made = Passes(world, engines, clusters, variants)
            with made.counting(start):
                made.until(lambda: made.one() == variants * REPLICAS)
                time.sleep(0.5)  # watches that were begun last have been counted by then on both sides
            with made.counting(steady):
                for _ in range(passes):
                    made.one()
            with made.counting(grown):
                made.scale(REPLICAS, REPLICAS + 1)
                made.until(lambda: made.ready() == REPLICAS + 1, 1.0)
            made.until(lambda: made.one() == variants * REPLICAS + 1)
            with made.counting(shrunk):
                made.scale(REPLICAS + 1, REPLICAS)
                made.until(lambda: made.ready() == REPLICAS, 1.0)
            watches = world.server.watching
        finally:
            clusters.close()
    return Counted(variants=variants, start=start, watches=watches, steady=steady, grown=grown, shrunk=shrunk)
