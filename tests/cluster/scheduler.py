"""The scheduler: pods with GPUs onto nodes that have room, or the condition that says why not."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.cluster.documents import Doc, at, count_of
from tests.cluster.kinds import NODES, PODS
from tests.cluster.parts import GPU
from tests.cluster.store import Store, Writer

SCHEDULER = Writer("kube-scheduler")


def run_scheduler(store: Store) -> bool:
    """Bind what fits, oldest pod first, fullest node first; tell the others why not."""
    waiting = [
        pod for pod in store.all(PODS) if not at(pod, "spec.nodeName") and not at(pod, "metadata.deletionTimestamp")
    ]
    if not waiting:
        return False
    before = store.version
    room = free_gpus(store)
    nodes = store.all(NODES)
    for pod in sorted(waiting, key=lambda one: (at(one, "metadata.creationTimestamp"), at(one, "metadata.uid"))):
        refusals = Counter[str]()
        fitting = [node for node in nodes if not (why := _refused(pod, node, room)) or refusals.update([why])]
        if fitting:
            chosen = min(fitting, key=lambda node: (room[at(node, "metadata.name")], at(node, "metadata.name")))
            room[at(chosen, "metadata.name")] -= gpus_of(pod)
            _bind(store, pod, at(chosen, "metadata.name"))
        else:
            _tell(store, pod, f"0/{len(nodes)} nodes are available: {_listed(refusals)}.")
    return store.version != before


def gpus_of(pod: Doc) -> int:
    """What it asks for."""
    limits = (at(one, "resources.limits") or {} for one in at(pod, "spec.containers") or ())
    return sum(count_of(one.get(GPU, 0)) for one in limits)


def free_gpus(store: Store) -> dict[str, int]:
    """By node: allocatable less what its pods hold."""
    room = {
        at(node, "metadata.name"): count_of((at(node, "status.allocatable") or {}).get(GPU, 0))
        for node in store.all(NODES)
    }
    for pod in store.all(PODS):
        name = at(pod, "spec.nodeName")
        if name in room and at(pod, "status.phase") not in {"Succeeded", "Failed"}:
            room[name] -= gpus_of(pod)
    return room


def _refused(pod: Doc, node: Doc, room: dict[str, int]) -> str:
    """Why the pod may not go there, in the scheduler's words; "" when it may."""
    if at(node, "spec.unschedulable"):
        return "node(s) were unschedulable"
    for taint in at(node, "spec.taints") or ():
        if taint.get("effect") in {"NoSchedule", "NoExecute"} and not _tolerated(pod, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    labels = at(node, "metadata.labels") or {}
    if any(labels.get(key) != value for key, value in (at(pod, "spec.nodeSelector") or {}).items()):
        return "node(s) didn't match Pod's node affinity/selector"
    return f"Insufficient {GPU}" if gpus_of(pod) > room[at(node, "metadata.name")] else ""


def _tolerated(pod: Doc, taint: dict[str, Any]) -> bool:
    return any(
        one.get("key") in {None, taint["key"]}
        and (one.get("operator") == "Exists" or one.get("value", "") == taint.get("value", ""))
        and one.get("effect") in {None, taint.get("effect")}
        for one in at(pod, "spec.tolerations") or ()
    )


def _listed(refusals: Counter[str]) -> str:
    return ", ".join(f"{count} {why}" for why, count in sorted(refusals.items())) or "no nodes"


def _bind(store: Store, pod: Doc, node: str) -> None:
    new = {**pod, "spec": {**pod["spec"], "nodeName": node}}
    _put(store, new, pod, [_condition(store, "PodScheduled", "True")])


def _tell(store: Store, pod: Doc, message: str) -> None:
    told = next((one for one in at(pod, "status.conditions") or () if one["type"] == "PodScheduled"), {})
    if told.get("message") == message:
        return
    since = told.get("lastTransitionTime")
    condition = _condition(store, "PodScheduled", "False", reason="Unschedulable", message=message)
    _put(store, pod, pod, [{**condition, "lastTransitionTime": since or condition["lastTransitionTime"]}])


def _condition(store: Store, kind: str, status: str, **more: str) -> Doc:
    return {"type": kind, "status": status, "lastTransitionTime": store.time, **more}


def _put(store: Store, new: Doc, old: Doc, conditions: list[Doc]) -> None:
    """A binding and its condition in one: no client sees a pod between the two."""
    status = {**(new.get("status") or {}), "conditions": conditions}
    store.put(PODS, {**new, "status": status}, old, SCHEDULER, sub="status")
