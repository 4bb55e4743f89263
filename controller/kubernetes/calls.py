"""What is done to a cluster: small calls that say what they expect to find. Errors as in ``controller/errors.py``."""

from __future__ import annotations

from collections.abc import Mapping

from controller.kubernetes.api import Api, Json
from controller.kubernetes.objects import Pod, Scale, Target, TargetRef
from controller.kubernetes.parse import parse_pod, parse_scale, parse_target
from controller.kubernetes.resources import PODS, TARGETS

Notes = Mapping[str, str | None]
"""Labels or annotations to set; None takes one away."""


class Calls:
    """Fresh reads and all writes. A write with a version raises ConflictError when the object changed since."""

    def __init__(self, api: Api) -> None:
        self._api = api

    # targets

    def scale(self, ref: TargetRef) -> Scale:
        """Its scale subresource, as it is now."""
        return parse_scale(ref, self._api.get(TARGETS[ref.kind], ref.namespace, ref.name, sub="scale"))

    def set_scale(self, ref: TargetRef, replicas: int, *, version: str) -> Scale:
        """Set spec.replicas, if the object is still the one of ``version``."""
        body: Json = {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}
        return parse_scale(ref, self._api.patch(TARGETS[ref.kind], ref.namespace, ref.name, body, sub="scale"))

    def target(self, ref: TargetRef) -> Target:
        """The object itself, as it is now."""
        return parse_target(ref.kind, self._api.get(TARGETS[ref.kind], ref.namespace, ref.name))

    def patch_target(self, ref: TargetRef, patch: Json, *, version: str) -> Target:
        """Merge ``patch`` into it, if it is still the one of ``version``: its metadata, or its pod template."""
        meta = {**patch.get("metadata", {}), "resourceVersion": version}
        found = self._api.patch(TARGETS[ref.kind], ref.namespace, ref.name, {**patch, "metadata": meta})
        return parse_target(ref.kind, found)

    # pods

    def pod(self, namespace: str, name: str) -> Pod:
        """One pod, as it is now."""
        return parse_pod(self._api.get(PODS, namespace, name))

    def note_pod(
        self, pod: Pod, *, labels: Notes | None = None, annotations: Notes | None = None, version: str = ""
    ) -> Pod:
        """Set labels and annotations of this very pod. ``version``: only if it is still the one of it."""
        meta: Json = {"uid": pod.uid}  # another pod of the name is a conflict, as StatefulSets make them
        if version:
            meta["resourceVersion"] = version
        if labels:
            meta["labels"] = dict(labels)
        if annotations:
            meta["annotations"] = dict(annotations)
        return parse_pod(self._api.patch(PODS, pod.namespace, pod.name, {"metadata": meta}))
