"""Disruption budgets: their status, and the evictions that they allow."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from tests.cluster.controllers import MANAGER, is_active, is_ready
from tests.cluster.documents import Doc, at
from tests.cluster.kinds import PDBS, PODS
from tests.cluster.selecting import matches_block
from tests.cluster.status import ApiStatus
from tests.cluster.store import Store

RETRY_AFTER_S = 10
"""What the API server says while a budget's status is older than its spec."""


def run_budgets(store: Store) -> bool:
    """The disruption controller: every budget's status as of now."""
    before = store.version
    for doc in store.all(PDBS):
        pods = [pod for pod in covered(store, doc) if is_active(pod)]
        healthy, expected = sum(map(is_ready, pods)), len(pods)
        desired = _desired(doc["spec"], expected)
        status = {
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            "disruptionsAllowed": max(0, healthy - desired) if expected else 0,
            "observedGeneration": at(doc, "metadata.generation"),
        }
        store.put(PDBS, {**doc, "status": status}, doc, MANAGER, sub="status")
    return store.version != before


def covered(store: Store, doc: Doc) -> list[Doc]:
    """The pods that a budget counts."""
    block = at(doc, "spec.selector")
    pods = store.all(PODS, at(doc, "metadata.namespace"))
    return [pod for pod in pods if matches_block(block, at(pod, "metadata.labels") or {})]


def _desired(spec: Mapping[str, Any], expected: int) -> int:
    """Shares are rounded up, both of what must stay and of what may go."""
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None:
        return least if isinstance(least, int) else ceil(int(least.removesuffix("%")) * expected / 100)
    if most is None:
        return expected
    spare: int = most if isinstance(most, int) else ceil(int(most.removesuffix("%")) * expected / 100)
    return max(0, expected - spare)


def evict(store: Store, namespace: str, name: str, options: Mapping[str, Any]) -> Doc:
    """Take a pod away as its budgets allow: 429 when they do not, 500 when it has two."""
    with store.lock:
        pod = store.read(PODS, namespace, name)
        over = [
            doc
            for doc in store.all(PDBS, namespace)
            if matches_block(at(doc, "spec.selector"), at(pod, "metadata.labels") or {})
        ]
        ended = at(pod, "status.phase") in {"Succeeded", "Failed", "Pending"} or at(pod, "metadata.deletionTimestamp")
        if not ended:
            _allow(store, over)
        grace = options.get("gracePeriodSeconds")
        uid = at(options, "preconditions.uid", "")
        store.delete(PODS, namespace, name, uid=uid, grace_s=None if grace is None else int(grace))
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _allow(store: Store, over: list[Doc]) -> None:
    if len(over) > 1:
        said = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise ApiStatus(500, "InternalError", said)
    for doc in over:
        status = doc.get("status") or {}
        name = at(doc, "metadata.name")
        refused = "Cannot evict pod as it would violate the pod's disruption budget."
        if status.get("observedGeneration", 0) < at(doc, "metadata.generation"):
            why = f"The disruption budget {name} is still being processed by the server."
            raise ApiStatus(429, "TooManyRequests", refused, retry_after_s=RETRY_AFTER_S, budget=why)
        if status["disruptionsAllowed"] <= 0:
            needs, has = status["desiredHealthy"], status["currentHealthy"]
            why = f"The disruption budget {name} needs {needs} healthy pods and has {has} currently"
            raise ApiStatus(429, "TooManyRequests", refused, budget=why)
        told = {**status, "disruptionsAllowed": status["disruptionsAllowed"] - 1}
        store.put(PDBS, {**doc, "status": told}, doc, MANAGER, sub="status")
