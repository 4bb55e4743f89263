"""The controllers that make pods of what is wanted: Deployments by ReplicaSets, and StatefulSets; ``groups.py`` has a third.

Each looks at the store, does what the real one would do next, and says whether it did anything.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from datetime import datetime
from math import ceil, floor, log2
from random import Random
from typing import Any

from tests.cluster.checks import DELETION_COST
from tests.cluster.documents import Doc, at
from tests.cluster.kinds import (
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    KindInfo,
)
from tests.cluster.parts import revision
from tests.cluster.store import Store, Writer, controller_of

MANAGER = Writer("kube-controller-manager")
LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def is_ready(pod: Doc) -> bool:
    """Condition Ready."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in at(pod, "status.conditions") or ())


def is_active(pod: Doc) -> bool:
    """Neither ended nor on its way out."""
    return at(pod, "status.phase") not in {"Succeeded", "Failed"} and at(pod, "metadata.deletionTimestamp") is None


def owned_by(store: Store, owner: Doc, info: KindInfo = PODS) -> list[Doc]:
    """Whose controller it is."""
    return store.owned(info, at(owner, "metadata.uid"))


def reference(owner: Doc) -> Doc:
    meta = owner["metadata"]
    told = {key: owner[key] for key in ("apiVersion", "kind")}
    return {**told, "name": meta["name"], "uid": meta["uid"], "controller": True, "blockOwnerDeletion": True}


def make_pod(name: str, pods: Doc, owner: Doc, labels: dict[str, str]) -> Doc:
    doc = copy.deepcopy(pods)
    meta = doc.setdefault("metadata", {})
    meta |= {"name": name, "labels": {**meta.get("labels", {}), **labels}, "ownerReferences": [reference(owner)]}
    doc["status"] = {"phase": "Pending", "qosClass": "Guaranteed"}
    return doc


def write_status(store: Store, info: KindInfo, doc: Doc, writer: Writer = MANAGER, **status: Any) -> None:
    meta = doc["metadata"]
    whole = {**(doc.get("status") or {}), **status, "observedGeneration": meta["generation"]}
    if whole == doc.get("status"):
        return

    def told(found: Doc) -> Doc:
        return {**found, "status": whole}

    store.write(info, meta["namespace"], meta["name"], told, writer, sub="status")


def _counts(pods: Iterable[Doc]) -> dict[str, int]:
    listed = list(pods)
    ready = sum(map(is_ready, listed))
    return {"replicas": len(listed), "readyReplicas": ready, "availableReplicas": ready}


# --- ReplicaSets -----------------------------------------------------------------------------------------------------


def deletion_order(pods: list[Doc], now: datetime) -> list[Doc]:
    """Which pods a ReplicaSet gives up first, as pkg/controller/controller_utils.go ranks them (ActivePodsWithRanks)."""
    together: dict[str, int] = {}
    for pod in pods:
        node = at(pod, "spec.nodeName", "")
        together[node] = together.get(node, 0) + 1

    def rank(pod: Doc) -> tuple[Any, ...]:
        node = at(pod, "spec.nodeName", "")
        restarts = sum(one.get("restartCount", 0) for one in at(pod, "status.containerStatuses") or ())
        return (
            bool(node),
            {"Pending": 0, "Unknown": 1, "Running": 2}.get(at(pod, "status.phase"), 0),
            is_ready(pod),
            int((at(pod, "metadata.annotations") or {}).get(DELETION_COST, "0")),
            -together[node],
            _age_bucket(_ready_since(pod), now),
            -restarts,
            _age_bucket(at(pod, "metadata.creationTimestamp"), now),
            at(pod, "metadata.uid"),
        )

    return sorted(pods, key=rank)


def _ready_since(pod: Doc) -> str | None:
    found = (one for one in at(pod, "status.conditions") or () if one["type"] == "Ready" and one["status"] == "True")
    return next((one.get("lastTransitionTime") for one in found), None)


def _age_bucket(since: str | None, now: datetime) -> int:
    """Ages are told apart by powers of two only (LogarithmicScaleDown)."""
    seconds = (now - datetime.fromisoformat(since)).total_seconds() if since else 0.0
    return floor(log2(seconds)) if seconds >= 1 else -1


def run_replica_set(store: Store, replica_set: Doc, random: Random) -> bool:
    """Make or give up pods until there are as many as wanted."""
    pods = [pod for pod in owned_by(store, replica_set) if is_active(pod)]
    wanted, meta = at(replica_set, "spec.replicas", 1), replica_set["metadata"]
    for _ in range(wanted - len(pods)):
        name = f"{meta['name']}-{''.join(random.choices(LETTERS, k=5))}"
        store.create(
            PODS, meta["namespace"], make_pod(name, at(replica_set, "spec.template"), replica_set, {}), MANAGER
        )
    for pod in deletion_order(pods, store.now)[: max(0, len(pods) - wanted)]:
        store.delete(PODS, meta["namespace"], at(pod, "metadata.name"))
    counted = [pod for pod in owned_by(store, replica_set) if is_active(pod)]
    write_status(store, REPLICA_SETS, replica_set, **_counts(counted))
    return wanted != len(pods)


# --- Deployments -----------------------------------------------------------------------------------------------------


def run_deployment(store: Store, doc: Doc, random: Random) -> bool:
    """One step of a rolling update; where there is but one version, its ReplicaSet gets the Deployment's count."""
    newest = _replica_set_of(store, doc)
    sets = owned_by(store, doc, REPLICA_SETS)
    old = [one for one in sets if at(one, "metadata.uid") != at(newest, "metadata.uid")]
    before = store.version
    if not at(doc, "spec.paused"):
        _roll(store, doc, newest, old)
    for one in owned_by(store, doc, REPLICA_SETS):
        run_replica_set(store, one, random)
    pods = [pod for one in owned_by(store, doc, REPLICA_SETS) for pod in owned_by(store, one) if is_active(pod)]
    updated = [pod for pod in pods if controller_of(pod) == at(newest, "metadata.uid")]
    counts = {**_counts(pods), "updatedReplicas": len(updated)}
    counts["unavailableReplicas"] = max(0, at(doc, "spec.replicas") - counts["availableReplicas"])
    write_status(store, DEPLOYMENTS, doc, **counts)
    return store.version != before


def _replica_set_of(store: Store, doc: Doc) -> Doc:
    meta, pods = doc["metadata"], at(doc, "spec.template")
    digest = revision(pods)
    name = f"{meta['name']}-{digest}"
    found = store.find(REPLICA_SETS, meta["namespace"], name)
    if found is not None:
        return found
    labelled = copy.deepcopy(pods)
    labelled["metadata"].setdefault("labels", {})["pod-template-hash"] = digest
    labels = {**(at(doc, "spec.selector.matchLabels") or {}), "pod-template-hash": digest}
    made = {
        "metadata": {"name": name, "labels": labels, "ownerReferences": [reference(doc)]},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": labelled},
    }
    return store.create(REPLICA_SETS, meta["namespace"], made, MANAGER)


def _roll(store: Store, doc: Doc, newest: Doc, old: list[Doc]) -> None:
    wanted = at(doc, "spec.replicas")
    older = sum(at(one, "spec.replicas") for one in old)
    if at(doc, "spec.strategy.type") == "Recreate" and older:
        for one in old:
            _set_replicas(store, one, 0)
        return
    surge = part_of(at(doc, "spec.strategy.rollingUpdate.maxSurge", "25%"), wanted, up=True)
    spare = part_of(at(doc, "spec.strategy.rollingUpdate.maxUnavailable", "25%"), wanted, up=False)
    spare = max(spare, 0 if surge else 1)
    room = wanted + surge - older
    most = wanted if not older else max(at(newest, "spec.replicas"), min(wanted, room))
    _set_replicas(store, newest, most)
    ready = sum(is_ready(pod) for one in (*old, newest) for pod in owned_by(store, one) if is_active(pod))
    may_go = max(0, ready - (wanted - spare))
    for one in old:
        unready = sum(not is_ready(pod) for pod in owned_by(store, one) if is_active(pod))
        going = min(at(one, "spec.replicas"), may_go + unready)
        may_go = max(0, may_go - going)
        _set_replicas(store, one, at(one, "spec.replicas") - going)


def _set_replicas(store: Store, replica_set: Doc, replicas: int) -> None:
    meta = replica_set["metadata"]
    if at(replica_set, "spec.replicas") == replicas:
        return

    def scaled(doc: Doc) -> Doc:
        doc["spec"]["replicas"] = replicas
        return doc

    store.write(REPLICA_SETS, meta["namespace"], meta["name"], scaled, MANAGER)


def part_of(value: Any, whole: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.removesuffix("%")) * whole / 100
    return ceil(share) if up else floor(share)


# --- StatefulSets -------------------------------------------------------------------------------


def run_stateful_set(store: Store, doc: Doc) -> bool:
    """Pods by ordinal: the lowest missing is made, the highest goes first, and so do old versions."""
    meta, wanted, before = doc["metadata"], at(doc, "spec.replicas"), store.version
    digest = f"{meta['name']}-{revision(at(doc, 'spec.template'))}"
    pods = {_ordinal(pod): pod for pod in owned_by(store, doc)}
    ordered = at(doc, "spec.podManagementPolicy", "OrderedReady") == "OrderedReady"
    _give_up(
        store, meta["namespace"], [pods[number] for number in sorted(pods, reverse=True) if number >= wanted], ordered
    )
    for number in range(wanted):
        if number not in pods:
            labels = {"controller-revision-hash": digest, "apps.kubernetes.io/pod-index": str(number)}
            labels["statefulset.kubernetes.io/pod-name"] = name = f"{meta['name']}-{number}"
            store.create(PODS, meta["namespace"], make_pod(name, at(doc, "spec.template"), doc, labels), MANAGER)
        if ordered and (number not in pods or not is_ready(pods[number])):
            break
    _update_one(
        store, meta["namespace"], [pods[number] for number in sorted(pods, reverse=True) if number < wanted], digest
    )
    left = [pod for pod in owned_by(store, doc) if is_active(pod)]
    updated = sum(at(pod, "metadata.labels").get("controller-revision-hash") == digest for pod in left)
    write_status(store, STATEFUL_SETS, doc, **_counts(left), updatedReplicas=updated, currentReplicas=len(left))
    return store.version != before


def _ordinal(pod: Doc) -> int:
    return int(at(pod, "metadata.name").rpartition("-")[2])


def _give_up(store: Store, namespace: str, pods: list[Doc], ordered: bool) -> None:
    for pod in pods[:1] if ordered else pods:
        if at(pod, "metadata.deletionTimestamp") is None:
            store.delete(PODS, namespace, at(pod, "metadata.name"))


def _update_one(store: Store, namespace: str, pods: list[Doc], digest: str) -> None:
    """RollingUpdate: one old pod at a time, the highest first, once all others are ready."""
    old = [pod for pod in pods if at(pod, "metadata.labels").get("controller-revision-hash") != digest]
    if old and all(is_ready(pod) and is_active(pod) for pod in pods if pod is not old[0]) and is_active(old[0]):
        store.delete(PODS, namespace, at(old[0], "metadata.name"))
