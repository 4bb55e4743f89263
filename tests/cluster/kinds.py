"""The kinds that the test cluster's API server knows, and what is special about each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KindInfo:
    """One kind.

    scale               spec.replicas and a scale subresource
    status              a status subresource: a plain update leaves .status as it was
    custom              by a CustomResourceDefinition: no strategic merge patch, no update without resourceVersion
    unconditional       an update without resourceVersion is taken
    fields              field selectors besides metadata.name and metadata.namespace, as paths
    """

    group: str
    version: str
    plural: str
    kind: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    scale: bool = False
    status: bool = True
    custom: bool = False
    unconditional: bool = True
    fields: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """ "deployments.apps", as roles and messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _core(plural: str, kind: str, short: tuple[str, ...] = (), **more: object) -> KindInfo:
    return KindInfo(group="", version="v1", plural=plural, kind=kind, short=short, **more)  # type: ignore[arg-type]


def _apps(plural: str, kind: str, short: tuple[str, ...] = (), **more: object) -> KindInfo:
    return KindInfo(group="apps", version="v1", plural=plural, kind=kind, short=short, **more)  # type: ignore[arg-type]


PODS = _core("pods", "Pod", ("po",), fields=("spec.nodeName", "status.phase"))
NODES = _core("nodes", "Node", ("no",), namespaced=False, fields=("spec.unschedulable",))
NAMESPACES = _core("namespaces", "Namespace", ("ns",), namespaced=False)
CONFIG_MAPS = _core("configmaps", "ConfigMap", ("cm",), status=False)
EVENTS = _core("events", "Event", ("ev",), status=False, fields=("involvedObject.name", "reason"))
DEPLOYMENTS = _apps("deployments", "Deployment", ("deploy",), scale=True)
REPLICA_SETS = _apps("replicasets", "ReplicaSet", ("rs",), scale=True)
STATEFUL_SETS = _apps("statefulsets", "StatefulSet", ("sts",), scale=True)
LEADER_WORKER_SETS = KindInfo(
    group="leaderworkerset.x-k8s.io",
    version="v1",
    plural="leaderworkersets",
    kind="LeaderWorkerSet",
    short=("lws",),
    scale=True,
    custom=True,
    unconditional=False,
)
HPAS = KindInfo(
    group="autoscaling", version="v2", plural="horizontalpodautoscalers", kind="HorizontalPodAutoscaler", short=("hpa",)
)
SCALED_OBJECTS = KindInfo(
    group="keda.sh",
    version="v1alpha1",
    plural="scaledobjects",
    kind="ScaledObject",
    short=("so",),
    custom=True,
    unconditional=False,
)
PDBS = KindInfo(
    group="policy",
    version="v1",
    plural="poddisruptionbudgets",
    kind="PodDisruptionBudget",
    short=("pdb",),
)
LEASES = KindInfo(
    group="coordination.k8s.io", version="v1", plural="leases", kind="Lease", status=False, unconditional=False
)

KINDS: tuple[KindInfo, ...] = (
    PODS,
    NODES,
    NAMESPACES,
    CONFIG_MAPS,
    EVENTS,
    DEPLOYMENTS,
    REPLICA_SETS,
    STATEFUL_SETS,
    LEADER_WORKER_SETS,
    HPAS,
    SCALED_OBJECTS,
    PDBS,
    LEASES,
)
BY_KIND = {one.kind: one for one in KINDS}
