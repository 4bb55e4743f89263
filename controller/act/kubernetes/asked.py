"""Every single write is asked for when it is made: a stop, or a lost lead, ends a step between two of its writes."""

from __future__ import annotations

from collections.abc import Mapping

from controller.act.actuator import Acts
from controller.act.kubernetes.look import ClusterCalls, ClusterView
from controller.errors import HeldError
from controller.facts.missing import Missing
from controller.kubernetes.api import Json
from controller.kubernetes.calls import Notes
from controller.kubernetes.objects import Kind, Node, Pdb, Pod, Scale, Scaler, Target, TargetRef


class AskedCalls:
    """Calls about one service, for one step."""

    def __init__(self, calls: ClusterCalls, service: str, acts: Acts) -> None:
        self._calls, self._service, self._acts = calls, service, acts
        self._sent = 0

    def target(self, ref: TargetRef) -> Target:
        return self._calls.target(ref)

    def set_scale(self, ref: TargetRef, replicas: int, *, version: str) -> Scale:
        self._ask(f"the count of {ref}")
        return self._calls.set_scale(ref, replicas, version=version)

    def patch_target(self, ref: TargetRef, patch: Json, *, version: str) -> Target:
        self._ask(f"{ref}")
        return self._calls.patch_target(ref, patch, version=version)

    def note_pod(
        self, pod: Pod, *, labels: Notes | None = None, annotations: Notes | None = None, version: str = ""
    ) -> Pod:
        self._ask(f"pod {pod.namespace}/{pod.name}")
        return self._calls.note_pod(pod, labels=labels, annotations=annotations, version=version)

    def _ask(self, what: str) -> None:
        if not self._acts(self._service):
            raise HeldError(what, after=self._sent)
        self._sent += 1


class Asked:
    """A cluster as it is watched, and written to only while ``acts`` allows it."""

    def __init__(self, cluster: ClusterView, service: str, acts: Acts) -> None:
        self._cluster = cluster
        self.calls = AskedCalls(cluster.calls, service, acts)

    def pods_of(self, target: Target) -> tuple[Pod, ...] | Missing:
        return self._cluster.pods_of(target)

    def nodes(self) -> Mapping[str, Node] | Missing:
        return self._cluster.nodes()

    def target(self, ref: TargetRef) -> Target | Missing | None:
        return self._cluster.target(ref)

    def targets(self, kind: Kind, namespace: str) -> tuple[Target, ...] | Missing:
        return self._cluster.targets(kind, namespace)

    def scalers_of(self, ref: TargetRef) -> tuple[Scaler, ...] | Missing:
        return self._cluster.scalers_of(ref)

    def pdbs_over(self, pod: Pod) -> tuple[Pdb, ...] | Missing:
        return self._cluster.pdbs_over(pod)
