"""Documents of the objects that a test world is made of, as a user would write them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.documents import Doc
from tests.cluster.kinds import DEPLOYMENTS, LEADER_WORKER_SETS, STATEFUL_SETS, KindInfo

GPU = "nvidia.com/gpu"
LWS = "leaderworkerset.sigs.k8s.io"
INFOS: Mapping[str, KindInfo] = {one.kind: one for one in (DEPLOYMENTS, STATEFUL_SETS, LEADER_WORKER_SETS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeShape:
    """A node's labels as clouds and Karpenter set them. ``capacity``: "spot", "on-demand", "reserved", or "" unlabelled."""

    gpus: int = 8
    gpu_model: str = "NVIDIA-H100-80GB-HBM3"
    instance_type: str = "p5.48xlarge"
    capacity: str = "on-demand"
    region: str = "us-east-1"
    zone: str = "us-east-1a"
    provider_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self, name: str) -> Doc:
        labels = {
            "kubernetes.io/hostname": name,
            "nvidia.com/gpu.product": self.gpu_model,
            "node.kubernetes.io/instance-type": self.instance_type,
            "topology.kubernetes.io/region": self.region,
            "topology.kubernetes.io/zone": self.zone,
            "karpenter.sh/capacity-type": self.capacity,
            **self.labels,
        }
        instance = f"i-{hashlib.sha256(name.encode()).hexdigest()[:17]}"
        return {
            "metadata": {"name": name, "labels": {key: value for key, value in labels.items() if value}},
            "spec": {"providerID": self.provider_id or f"aws:///{self.zone}/{instance}"},
            "status": {
                "capacity": {GPU: str(self.gpus), "cpu": "192", "memory": "2048Gi", "pods": "110"},
                "allocatable": {GPU: str(self.gpus), "cpu": "190", "memory": "2000Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            },
        }


def template(app: str, *, gpus: int = 1, port: int = 8000, **more: Any) -> Doc:
    """A pod template with one container "engine". ``more``: of its spec; ``labels`` and ``args`` are understood."""
    labels, args = more.pop("labels", {}), more.pop("args", ["--model", "llama"])
    limits = {GPU: str(gpus)} if gpus else {}
    engine: Doc = {
        "name": "engine",
        "image": more.pop("image", "vllm/vllm-openai:v0.11"),
        "args": list(args),
        "ports": [{"containerPort": port, "name": "http"}],
        "resources": {"limits": limits, "requests": limits},
    }
    spec = {"terminationGracePeriodSeconds": 60, "containers": [engine], **more}
    return {"metadata": {"labels": {"app": app, **labels}}, "spec": spec}


def deployment(name: str, replicas: int, pods: Doc, **spec: Any) -> Doc:
    """A Deployment whose selector is its template's app label."""
    selector = {"matchLabels": {"app": pods["metadata"]["labels"]["app"]}}
    return {"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": selector, "template": pods, **spec}}


def stateful_set(name: str, replicas: int, pods: Doc, **spec: Any) -> Doc:
    """A StatefulSet."""
    usual = {"serviceName": name, "podManagementPolicy": "Parallel"}
    return deployment(name, replicas, pods, **{**usual, **spec})


def leader_worker_set(name: str, replicas: int, pods: Doc, *, size: int = 2, **spec: Any) -> Doc:
    """A LeaderWorkerSet whose leader and workers have the same template."""
    groups = {"size": size, "workerTemplate": pods}
    return {"metadata": {"name": name}, "spec": {"replicas": replicas, "leaderWorkerTemplate": groups, **spec}}


def pdb(name: str, app: str, **spec: Any) -> Doc:
    """A PodDisruptionBudget: ``minAvailable`` or ``maxUnavailable``."""
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": app}}, **spec}}


def hpa(name: str, kind: str, target: str, **more: Any) -> Doc:
    """A HorizontalPodAutoscaler."""
    api = INFOS[kind].api_version if kind in INFOS else "v1"
    aim = {"apiVersion": api, "kind": kind, "name": target}
    return {"metadata": {"name": name}, "spec": {"scaleTargetRef": aim, "minReplicas": 1, "maxReplicas": 10, **more}}


def scaled_object(name: str, kind: str, target: str, annotations: Mapping[str, str] | None = None, **more: Any) -> Doc:
    """KEDA's ScaledObject."""
    aim = {"name": target, "kind": kind}
    meta = {"name": name, "annotations": dict(annotations or {})}
    return {"metadata": meta, "spec": {"scaleTargetRef": aim, "triggers": [{"type": "cpu"}], **more}}


def revision(pods: Doc) -> str:
    """A template's hash, in the alphabet of Kubernetes' own."""
    alphabet = "bcdfghjklmnpqrstvwxz2456789"
    digest = hashlib.sha256(json.dumps(pods, sort_keys=True).encode()).digest()
    return "".join(alphabet[byte % len(alphabet)] for byte in digest[:10])
