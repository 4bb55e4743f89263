"""What is looked at: a target and its pods from the watch, and what we wrote that the watch does not show yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from controller.act.kubernetes.count import Standing
from controller.act.kubernetes.pods import replicas_of
from controller.errors import AbsentError, ActError, ClusterError
from controller.facts.actuators import KubernetesOptions
from controller.facts.fleet import Variant
from controller.facts.interruptions import Notice
from controller.facts.missing import Missing
from controller.kubernetes.api import Json
from controller.kubernetes.calls import Notes
from controller.kubernetes.objects import Kind, Node, Pdb, Pod, Scale, Scaler, Target, TargetRef
from controller.kubernetes.targets import Wanted, the_one


class ClusterCalls(Protocol):
    """What is asked of a cluster and written to it: controller/kubernetes/calls.py."""

    def target(self, ref: TargetRef) -> Target: ...

    def set_scale(self, ref: TargetRef, replicas: int, *, version: str) -> Scale: ...

    def patch_target(self, ref: TargetRef, patch: Json, *, version: str) -> Target: ...

    def note_pod(
        self, pod: Pod, *, labels: Notes | None = None, annotations: Notes | None = None, version: str = ""
    ) -> Pod: ...


class ClusterView(Protocol):
    """A cluster as it is watched: controller/kubernetes/cluster.py."""

    @property
    def calls(self) -> ClusterCalls: ...

    def pods_of(self, target: Target) -> tuple[Pod, ...] | Missing: ...

    def nodes(self) -> Mapping[str, Node] | Missing: ...

    def target(self, ref: TargetRef) -> Target | Missing | None: ...

    def targets(self, kind: Kind, namespace: str) -> tuple[Target, ...] | Missing: ...

    def scalers_of(self, ref: TargetRef) -> tuple[Scaler, ...] | Missing: ...

    def pdbs_over(self, pod: Pod) -> tuple[Pdb, ...] | Missing: ...


def options_of(variant: Variant) -> KubernetesOptions:
    """Its options, or an ActError."""
    if not isinstance(variant.actuator_options, KubernetesOptions):
        raise ActError(f"{variant.service}/{variant.name} has no kubernetes options")
    return variant.actuator_options


def wanted_of(options: KubernetesOptions) -> Wanted:
    return Wanted(kind=Kind(options.kind), namespace=options.namespace, name=options.name, selector=options.selector)


class Written:
    """What the API server answered to our writes, until the watch shows it. Losing it loses nothing."""

    def __init__(self) -> None:
        self._pods: dict[str, Pod] = {}
        self._targets: dict[TargetRef, str] = {}

    def pod(self, pod: Pod) -> Pod:
        self._pods[pod.uid] = pod
        return pod

    def target(self, ref: TargetRef, version: str) -> None:
        self._targets[ref] = version

    def newest(self, pod: Pod) -> Pod:
        """The pod as we left it, while the watch is behind; else as it is seen."""
        written = self._pods.get(pod.uid)
        if written is not None and _older(pod.resource_version, written.resource_version):
            return written
        self._pods.pop(pod.uid, None)
        return pod

    def behind(self, target: Target) -> bool:
        """Whether the watch shows a target as it was before our last write."""
        return _older(target.resource_version, self._targets.get(target.ref, ""))


def _older(seen: str, written: str) -> bool:
    """Versions of one object are compared as numbers, as Kubernetes promises since 1.35."""
    return seen.isdecimal() and written.isdecimal() and int(seen) < int(written)


def look(
    cluster: ClusterView,
    written: Written,
    notices: Mapping[str, Notice],
    options: KubernetesOptions,
    now: datetime,
    *,
    fresh: bool = False,
) -> Standing | Missing:
    """What there is. ``fresh``: the target itself is read now, for a write must name its newest version."""
    target = the_one(cluster, wanted_of(options), "replicas")
    if not isinstance(target, Missing) and (fresh or written.behind(target)):
        target = _read(cluster, target.ref)
    if isinstance(target, Missing):
        return target
    pods, nodes = cluster.pods_of(target), cluster.nodes()
    if isinstance(pods, Missing):
        return pods
    return Standing(
        target=target,
        replicas=replicas_of(
            target,
            map(written.newest, pods),
            {} if isinstance(nodes, Missing) else nodes,
            notices,
            options,
            now,
        ),
        scalers=cluster.scalers_of(target.ref),
    )


def _read(cluster: ClusterView, ref: TargetRef) -> Target | Missing:
    try:
        return cluster.calls.target(ref)
    except AbsentError:
        return Missing("replicas", f"there is no {ref}")
    except ClusterError as error:
        return Missing("replicas", str(error))
