"""The kinds of objects that are read or changed, as the API server's paths name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from controller.kubernetes.objects import Kind

FIELD_MANAGER = "pennyweight"
"""Whose the fields are that we write, in managedFields. Sent with every write."""

PREFIX = "pennyweight.dev/"
"""Of all labels and annotations that are ours."""

PHASE_LABEL = f"{PREFIX}phase"
"""Of a pod: "draining", for routers; and since when, in an annotation that stays when somebody takes the label away."""

DRAINING_SINCE = f"{PREFIX}draining-since"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind. ``group`` is "" for the core; ``optional``: a cluster may not know it, and then there is none."""

    group: str
    version: str
    plural: str
    namespaced: bool = True
    optional: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", sub: str = "") -> str:
        """ "/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL/NAME/SUB"; every namespace where none is given."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced and namespace else ""
        rest = "".join(f"/{quote(part, safe='')}" for part in (name, sub) if part)
        return f"{root}{scope}/{self.plural}{rest}"

    def __str__(self) -> str:
        """ "deployments.apps", as kubectl and roles name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


PODS = Resource(group="", version="v1", plural="pods")
NODES = Resource(group="", version="v1", plural="nodes", namespaced=False)
CONFIG_MAPS = Resource(group="", version="v1", plural="configmaps")
DEPLOYMENTS = Resource(group="apps", version="v1", plural="deployments")
STATEFUL_SETS = Resource(group="apps", version="v1", plural="statefulsets")
LEADER_WORKER_SETS = Resource(group="leaderworkerset.x-k8s.io", version="v1", plural="leaderworkersets", optional=True)
HPAS = Resource(group="autoscaling", version="v2", plural="horizontalpodautoscalers")
SCALED_OBJECTS = Resource(group="keda.sh", version="v1alpha1", plural="scaledobjects", optional=True)
PDBS = Resource(group="policy", version="v1", plural="poddisruptionbudgets")
LEASES = Resource(group="coordination.k8s.io", version="v1", plural="leases")

TARGETS: Mapping[Kind, Resource] = {
    Kind.DEPLOYMENT: DEPLOYMENTS,
    Kind.STATEFUL_SET: STATEFUL_SETS,
    Kind.LEADER_WORKER_SET: LEADER_WORKER_SETS,
}
"""Where each kind that can be scaled is."""
