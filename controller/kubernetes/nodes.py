"""Nodes: what their labels tell of the machine and how it is bought, and what their taints announce.

Labels as of Karpenter 1, EKS, GKE and AKS in 2026; the first of a table's that is there counts. A capacity type that no
label tells is not known: nobody's default says how a machine is paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from controller.facts.fleet import CapacityType
from controller.facts.interruptions import Notice, NoticeKind
from controller.kubernetes.api import Json
from controller.kubernetes.objects import Node, Taint
from controller.kubernetes.parse import conditions_of, gpus_in, strictly, time_of

SPOT, ON_DEMAND, RESERVED = CapacityType.SPOT, CapacityType.ON_DEMAND, CapacityType.RESERVED

CAPACITY: Mapping[str, Mapping[str, CapacityType]] = {
    "karpenter.sh/capacity-type": {"spot": SPOT, "on-demand": ON_DEMAND, "reserved": RESERVED},
    "eks.amazonaws.com/capacityType": {"SPOT": SPOT, "ON_DEMAND": ON_DEMAND, "CAPACITY_BLOCK": RESERVED},
    "cloud.google.com/gke-spot": {"true": SPOT},
    "cloud.google.com/gke-preemptible": {"true": SPOT},
    "cloud.google.com/reservation-name": {},
    "cloud.google.com/gke-provisioning": {"spot": SPOT, "preemptible": SPOT, "standard": ON_DEMAND},
    "kubernetes.azure.com/scalesetpriority": {"spot": SPOT, "regular": ON_DEMAND},
    "node.kubernetes.io/lifecycle": {"spot": SPOT, "normal": ON_DEMAND},
}
"""Label and value. A node with the name of a reservation is reserved, whatever the name."""

GPU_MODEL = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "eks.amazonaws.com/instance-gpu-name",
    "k8s.amazonaws.com/accelerator",
)
INSTANCE_TYPE = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
REGION = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
ZONE = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")

PROVIDERS: Mapping[str, str] = {"aws": "aws", "gce": "gcp", "azure": "azure"}
"""From the scheme of a node's provider id to what offers call the provider; others go by the scheme itself."""

TAINTS: Mapping[str, NoticeKind] = {
    "aws-node-termination-handler/spot-itn": NoticeKind.SPOT,
    "aws-node-termination-handler/scheduled-maintenance": NoticeKind.MAINTENANCE,
    "aws-node-termination-handler/asg-lifecycle-termination": NoticeKind.MAINTENANCE,
    "aws-node-termination-handler/rebalance-recommendation": NoticeKind.REBALANCE,
    "karpenter.sh/disrupted": NoticeKind.MAINTENANCE,
    "karpenter.sh/disruption": NoticeKind.MAINTENANCE,
    "cloud.google.com/impending-node-termination": NoticeKind.MAINTENANCE,
    "ToBeDeletedByClusterAutoscaler": NoticeKind.MAINTENANCE,
    "node.cloudprovider.kubernetes.io/shutdown": NoticeKind.STOPPED,
    "node.kubernetes.io/out-of-service": NoticeKind.STOPPED,
}
"""Taints that announce something, by key. One that ends the machine counts before a hint. A spot machine's end is the
spot market's doing, whoever drains it."""

NOTICE_S: Mapping[str, float] = {"aws": 120.0, "gcp": 30.0, "azure": 30.0}
"""What a provider gives a spot machine from the notice to its end, by its own documentation."""


@strictly
def parse_node(found: Json) -> Node:
    """A Node of v1."""
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    labels, conditions = dict(meta.get("labels") or {}), conditions_of(status)
    provider, instance = machine_of(spec.get("providerID") or "")
    taints, capacity = tuple(map(_taint, spec.get("taints") or ())), capacity_type_of(labels)
    return Node(
        name=meta["name"],
        uid=meta.get("uid", ""),
        provider=provider,
        instance=instance,
        gpu_model=_first(labels, GPU_MODEL),
        gpus=gpus_in(status.get("allocatable") or {}),
        capacity_type=capacity,
        instance_type=_first(labels, INSTANCE_TYPE),
        region=_first(labels, REGION),
        zone=_first(labels, ZONE),
        ready="Ready" in conditions and conditions["Ready"].status is True,
        unschedulable=bool(spec.get("unschedulable")),
        taints=taints,
        notice=_notice(meta, taints, provider, capacity),
        labels=labels,
        created=time_of(meta.get("creationTimestamp")),
    )


def machine_of(provider_id: str) -> tuple[str, str]:
    """Provider and instance of "aws:///us-east-1a/i-0abc" or "gce://project/zone/name"."""
    scheme, _, rest = provider_id.partition("://")
    return PROVIDERS.get(scheme, scheme), rest.rpartition("/")[2]


def capacity_type_of(labels: Mapping[str, str]) -> CapacityType | None:
    """As the first label says that is there; None where none is, or its value is not known."""
    for label, values in CAPACITY.items():
        if label in labels:
            return values.get(labels[label]) if values else RESERVED
    return None


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def _taint(found: Json) -> Taint:
    return Taint(
        key=found["key"],
        value=found.get("value") or "",
        effect=found.get("effect") or "",
        since=time_of(found.get("timeAdded")),
    )


def _notice(meta: Json, taints: tuple[Taint, ...], provider: str, capacity: CapacityType | None) -> Notice | None:
    told = [(TAINTS[taint.key], taint) for taint in taints if taint.key in TAINTS]
    if not told:
        return None
    kind, taint = min(told, key=lambda one: one[0] is NoticeKind.REBALANCE)
    if (
        kind is NoticeKind.MAINTENANCE
        and taint.key == "cloud.google.com/impending-node-termination"
        and capacity is SPOT
    ):
        kind = NoticeKind.SPOT
    at = taint.since or _tainted_at(meta)
    wait_s = NOTICE_S.get(provider) if kind is NoticeKind.SPOT else None
    deadline = at + timedelta(seconds=wait_s) if at is not None and wait_s is not None else None
    made = at or time_of(meta.get("creationTimestamp"))
    if made is None:
        return None
    return Notice(node=meta["name"], kind=kind, at=made, deadline=deadline, source="kubernetes")


def _tainted_at(meta: Json) -> datetime | None:
    """When its taints were last written, by whoever manages the field: most taints do not tell since when they are."""
    times = [
        time_of(one.get("time"))
        for one in meta.get("managedFields") or ()
        if "f:taints" in ((one.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    return max((time for time in times if time is not None), default=None)
