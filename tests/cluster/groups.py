"""The controller of LeaderWorkerSets: groups by index, and rolling updates with groups beside those that are wanted.

As sigs.k8s.io/lws does it from v0.9.0 on (pkg/controllers/leaderworkerset_controller.go): a StatefulSet of the leaders
has as many replicas as there shall be groups now, and a partition below which groups keep the version of before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from tests.cluster.controllers import is_active, is_ready, make_pod, owned_by, part_of, reference, write_status
from tests.cluster.documents import Doc, at
from tests.cluster.kinds import LEADER_WORKER_SETS, PODS, STATEFUL_SETS
from tests.cluster.parts import LWS, revision
from tests.cluster.store import Store, Writer

MANAGER = Writer("lws-controller-manager")
REVISION = f"{LWS}/template-revision-hash"
NOW, BEFORE, WANTED = f"{LWS}/now", f"{LWS}/before", f"{LWS}/replicas"
"""Annotations of the leaders' StatefulSet. The first two stand for the real one's ControllerRevisions."""


@dataclass(frozen=True, slots=True)
class Group:
    """One replica, as the controller counts it."""

    ready: bool = False
    updated: bool = False

    @property
    def done(self) -> bool:
        return self.ready and self.updated


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """How many groups there shall be now, and below which index they keep their version."""

    replicas: int
    partition: int


def run_leader_worker_set(store: Store, doc: Doc) -> bool:
    """Groups by index: leader NAME-0, workers NAME-0-1 …; a group whose pod ended is made anew as a whole."""
    before, groups = store.version, doc["spec"]["leaderWorkerTemplate"]
    own = _by_index(owned_by(store, doc))
    leaders, step = _rolled(store, doc, own)
    for index, pods in own.items():
        old = any(_version(pod) != revision(groups) for pod in pods) and index >= step.partition
        if index >= step.replicas or old or not all(map(is_active, pods)) or _broken(pods, groups):
            _end(store, pods)
    for index in range(step.replicas):
        if index not in own:
            kept = at(leaders, "metadata.annotations").get(BEFORE) if index < step.partition else None
            _make(store, doc, json.loads(kept) if kept else groups, index)
    _tell(store, doc)
    return store.version != before


# --- how far an update is -----------------------------------------------------------------------------------------------


def _rolled(store: Store, doc: Doc, own: Mapping[int, Sequence[Doc]]) -> tuple[Doc, Rolling]:
    """The leaders' StatefulSet, brought one step on."""
    groups, wanted = doc["spec"]["leaderWorkerTemplate"], doc["spec"]["replicas"]
    leaders, now = _leaders(store, doc), json.dumps(groups, sort_keys=True)
    notes, there = at(leaders, "metadata.annotations"), at(leaders, "spec.replicas")
    before = Rolling(replicas=there, partition=at(leaders, "spec.updateStrategy.rollingUpdate.partition"))
    states = [_group(own.get(index, ()), groups) for index in range(max(there, wanted))]
    rolling = at(doc, "spec.rolloutStrategy.rollingUpdateConfiguration") or {}
    surge = min(wanted, part_of(rolling.get("maxSurge", 0), wanted, up=True))
    spare = part_of(rolling.get("maxUnavailable", 1), wanted, up=False)
    step = _step(before, states, wanted, surge, spare, new=notes[NOW] != now, resized=notes[WANTED] != str(wanted))
    step = Rolling(replicas=step.replicas, partition=max(step.partition, rolling.get("partition", 0)))
    noted = {WANTED: str(wanted), NOW: now, **({BEFORE: notes[NOW]} if notes[NOW] != now else {})}
    return _written(store, leaders, step, noted), step


def _step(
    before: Rolling, states: Sequence[Group], wanted: int, surge: int, spare: int, *, new: bool, resized: bool
) -> Rolling:
    """rollingUpdateParameters."""
    if new:
        grown = wanted if before.replicas < wanted else wanted + surge
        return Rolling(replicas=grown, partition=min(wanted, before.replicas))
    if before.partition == 0 and before.replicas == wanted:
        return before
    if before.replicas < wanted:
        return Rolling(replicas=wanted, partition=before.partition)
    unready = sum(not one.done for one in states[:wanted])
    replicas = wanted + (max(0, unready - spare) if unready <= surge else surge)
    if resized:
        return Rolling(replicas=replicas, partition=min(before.partition, wanted + surge))
    at_once = spare + before.replicas - wanted
    return Rolling(replicas=replicas, partition=min(before.partition, _partition(states[: before.replicas], at_once)))


def _partition(states: Sequence[Group], at_once: int) -> int:
    """rollingUpdatePartition: the highest first, so many at once; who is not ready anyway costs nothing."""
    done = len(list(takewhile(lambda one: one.done, reversed(states))))
    least = max(0, len(states) - done - at_once)
    partition = least + sum(not one.ready for one in states[:least])
    for index in range(min(partition, len(states) - 1), least - 1, -1):
        if states[index].ready and not states[index].updated:
            break
        partition = index
    return partition


def _group(pods: Sequence[Doc], groups: Doc) -> Group:
    if len(pods) < groups.get("size", 1) or not all(map(is_active, pods)):
        return Group()
    return Group(all(map(is_ready, pods)), all(_version(pod) == revision(groups) for pod in pods))


# --- what is written ----------------------------------------------------------------------------------------------------


def _leaders(store: Store, doc: Doc) -> Doc:
    """The StatefulSet of the leaders. Their pods are made here, not by the controller of StatefulSets."""
    meta, groups = doc["metadata"], doc["spec"]["leaderWorkerTemplate"]
    found = store.find(STATEFUL_SETS, meta["namespace"], meta["name"])
    if found is not None:
        return found
    notes = {WANTED: str(doc["spec"]["replicas"]), NOW: json.dumps(groups, sort_keys=True)}
    made = {
        "metadata": {"name": meta["name"], "annotations": notes, "ownerReferences": [reference(doc)]},
        "spec": {
            "replicas": doc["spec"]["replicas"],
            "serviceName": meta["name"],
            "selector": {"matchLabels": {f"{LWS}/name": meta["name"], f"{LWS}/worker-index": "0"}},
            "template": groups.get("leaderTemplate") or groups["workerTemplate"],
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        },
    }
    return store.create(STATEFUL_SETS, meta["namespace"], made, MANAGER)


def _written(store: Store, leaders: Doc, step: Rolling, notes: Mapping[str, str]) -> Doc:
    def changed(found: Doc) -> Doc:
        found["spec"]["replicas"] = step.replicas
        found["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = step.partition
        found["metadata"]["annotations"] |= notes
        return found

    return store.write(STATEFUL_SETS, at(leaders, "metadata.namespace"), at(leaders, "metadata.name"), changed, MANAGER)


def _by_index(pods: Sequence[Doc]) -> dict[int, list[Doc]]:
    found: dict[int, list[Doc]] = {}
    for pod in pods:
        found.setdefault(int(at(pod, "metadata.labels")[f"{LWS}/group-index"]), []).append(pod)
    return found


def _broken(pods: Sequence[Doc], groups: Doc) -> bool:
    """Whether a pod of it was deleted: workers belong to their leader, and RecreateGroupOnPodRestart is the default."""
    version = revision(groups)
    lacking = len(pods) < groups.get("size", 1) and all(_version(pod) == version for pod in pods)
    return lacking or all(at(pod, "metadata.labels")[f"{LWS}/worker-index"] != "0" for pod in pods)


def _version(pod: Doc) -> str:
    return str(at(pod, "metadata.labels")[REVISION])


def _end(store: Store, pods: Sequence[Doc]) -> None:
    for pod in pods:
        if at(pod, "metadata.deletionTimestamp") is None:
            store.delete(PODS, at(pod, "metadata.namespace"), at(pod, "metadata.name"))


def _make(store: Store, doc: Doc, groups: Doc, index: int) -> None:
    name = at(doc, "metadata.name")
    for worker in range(groups.get("size", 1)):
        labels = {
            f"{LWS}/name": name,
            f"{LWS}/group-index": str(index),
            f"{LWS}/worker-index": str(worker),
            REVISION: revision(groups),
        }
        pods = groups["workerTemplate"] if worker else groups.get("leaderTemplate") or groups["workerTemplate"]
        member = f"{name}-{index}" + (f"-{worker}" if worker else "")
        store.create(PODS, at(doc, "metadata.namespace"), make_pod(member, pods, doc, labels), MANAGER)


def _tell(store: Store, doc: Doc) -> None:
    groups = doc["spec"]["leaderWorkerTemplate"]
    active = [pod for pod in owned_by(store, doc) if is_active(pod)]
    whole = [pods for pods in _by_index(active).values() if len(pods) == groups.get("size", 1)]
    states = [_group(pods, groups) for pods in whole]
    counts = {
        "replicas": len(whole),
        "readyReplicas": sum(one.ready for one in states),
        "updatedReplicas": sum(one.updated for one in states),
    }
    selector = f"{LWS}/name={at(doc, 'metadata.name')},{LWS}/worker-index=0"
    write_status(store, LEADER_WORKER_SETS, doc, MANAGER, **counts, hpaPodSelector=selector)
