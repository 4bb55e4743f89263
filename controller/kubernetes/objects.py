"""What the cluster holds, as small frozen values: only what discovery and the actuator look at.

Times are UTC-aware. ``None`` means that the API server does not say. Fields follow the Kubernetes API 1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controller.facts.fleet import CapacityType
from controller.facts.interruptions import Notice
from controller.kubernetes.selectors import Selector


class Kind(StrEnum):
    """What can be scaled, by its kind."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    LEADER_WORKER_SET = "LeaderWorkerSet"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TargetRef:
    """Which object is scaled."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One of an object's conditions. ``status``: None is Kubernetes' "Unknown"."""

    type: str
    status: bool | None
    reason: str = ""
    message: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container's state, sidecars and init containers as well.

    waiting, terminated   the reason, "" where it is in neither state
    message               in the platform's words
    last_terminated       why it ended the time before
    exit_code             of the newest end that is known
    """

    name: str
    init: bool = False
    ready: bool = False
    restarts: int = 0
    running_since: datetime | None = None
    waiting: str = ""
    terminated: str = ""
    message: str = ""
    last_terminated: str = ""
    exit_code: int | None = None


class PodPhase(StrEnum):
    """Kubernetes' own phases."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One entry of ownerReferences."""

    kind: str
    name: str
    uid: str
    controller: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port that a container says it has."""

    number: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod.

    target          what its replicas are counted by: its owners' owner. None: it stands alone, or that is not known
    template        which version of the pod template made it (pod-template-hash, controller-revision-hash), "" unknown
    group, worker   of a LeaderWorkerSet: which group, and its place in it; the leader is 0. None elsewhere
    ready           condition Ready is true
    deletion_at     when it is killed at the latest, once its deletion was asked for; ``deleting`` tells only whether
    """

    namespace: str
    name: str
    uid: str
    resource_version: str = ""
    owners: tuple[Owner, ...] = ()
    target: TargetRef | None = None
    template: str = ""
    group: int | None = None
    worker: int | None = None
    phase: PodPhase = PodPhase.UNKNOWN
    reason: str = ""
    message: str = ""
    ready: bool = False
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    containers: tuple[Container, ...] = ()
    node: str = ""
    ip: str = ""
    ports: tuple[Port, ...] = ()
    gpus: int = 0
    grace_s: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    started: datetime | None = None
    deletion_at: datetime | None = None

    @property
    def deleting(self) -> bool:
        return self.deletion_at is not None

    @property
    def ended(self) -> bool:
        """Its containers have ended for good."""
        return self.phase in {PodPhase.SUCCEEDED, PodPhase.FAILED}

    @property
    def restarts(self) -> int:
        return sum(container.restarts for container in self.containers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """What keeps pods off a node."""

    key: str
    value: str = ""
    effect: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine.

    instance        the provider's id of it, e.g. "i-0abc…"; "" unknown
    provider        "aws", "gce", "azure"…, from its provider id; "" unknown
    gpu_model       as its labels say, e.g. "NVIDIA-H100-80GB-HBM3" or "nvidia-h100-80gb"; "" unknown
    gpus            allocatable; 0 where there are none
    notice          what its taints announce
    """

    name: str
    uid: str = ""
    provider: str = ""
    instance: str = ""
    gpu_model: str = ""
    gpus: int = 0
    capacity_type: CapacityType | None = None
    instance_type: str = ""
    region: str = ""
    zone: str = ""
    ready: bool = False
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()
    notice: Notice | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None

    @property
    def offer(self) -> str:
        """ "provider/region/instance_type", as price sources name it; "" while one of them is not known."""
        parts = (self.provider, self.region, self.instance_type)
        return "/".join(parts) if all(parts) else ""

    @property
    def domain(self) -> str:
        """What may fail at once with others."""
        return "/".join(part for part in (self.zone, self.instance_type) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicasManager:
    """Who wrote spec.replicas, by the object's managedFields.

    operation     "Apply" or "Update"
    subresource   "scale", or "" for the object itself
    """

    manager: str
    operation: str
    subresource: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateManager:
    """Who wrote containers of the pod template, by the object's managedFields.

    fields   of containers, whichever: "image", "args", "env"; "containers" where they are one field
    """

    manager: str
    fields: frozenset[str]
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A Deployment, StatefulSet or LeaderWorkerSet.

    replicas        spec.replicas: desired
    created_replicas, ready_replicas, updated_replicas   of its status; a LeaderWorkerSet counts groups
    size            pods a replica: 1, but for a LeaderWorkerSet
    managers        who wrote spec.replicas; the newest last
    template_managers   who wrote containers of its pod template; the newest last
    template        its pod template, as JSON text in a stable order: two are equal when the templates are
    strategy        what of its spec says how another template is rolled out, as JSON text
    """

    ref: TargetRef
    uid: str
    resource_version: str
    replicas: int
    created_replicas: int = 0
    ready_replicas: int = 0
    updated_replicas: int = 0
    size: int = 1
    generation: int = 0
    observed_generation: int = 0
    managers: tuple[ReplicasManager, ...] = ()
    template_managers: tuple[TemplateManager, ...] = ()
    selector: Selector = field(default_factory=Selector)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    template: str = ""
    strategy: str = ""
    created: datetime | None = None
    paused: bool = False
    deleting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The scale subresource. ``replicas`` is desired, ``current`` what the controller has counted."""

    ref: TargetRef
    resource_version: str
    replicas: int
    current: int
    selector: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaler:
    """A HorizontalPodAutoscaler or a ScaledObject: somebody else who scales a target.

    kind     "HorizontalPodAutoscaler" or "ScaledObject"
    owners   a ScaledObject's own HorizontalPodAutoscaler names it here
    paused   it is told to leave the target alone
    """

    kind: str
    namespace: str
    name: str
    target: TargetRef | None
    least: int | None = None
    most: int | None = None
    paused: bool = False
    owners: tuple[Owner, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Whom to pause or remove: an autoscaler that KEDA made comes back when it is deleted."""
        made_by = next((one.name for one in self.owners if one.kind == "ScaledObject"), "")
        if made_by:
            return f"ScaledObject {self.namespace}/{made_by} (by {self.kind} {self.name})"
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdb:
    """A PodDisruptionBudget. ``allowed``: disruptions now; None while its status is older than its spec."""

    namespace: str
    name: str
    selector: Selector
    allowed: int | None
    healthy: int = 0
    desired_healthy: int = 0
    expected: int = 0
