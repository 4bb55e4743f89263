"""The kubelets: what becomes of a pod once it has a node, as its ``Behaviour`` says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.cluster.documents import Doc, at
from tests.cluster.kinds import NODES, PODS
from tests.cluster.store import Store, Writer

KUBELET = Writer("kubelet")
BACK_OFF_S = (10.0, 20.0, 40.0, 80.0, 160.0, 300.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What happens to the pods of one target. Seconds of the world's clock.

    pull_s        from the node to the image being there
    image         "", or why it cannot be pulled: ErrImagePull and ImagePullBackOff in turn
    start_s       from running to ready
    crash_s       it ends so long after it began to run, each time; None: never
    exit_code     of a crash
    crashes       how often, and then no more; None: for ever
    stop_s        from its deletion to its end; longer than its grace period: it is killed by then
    """

    pull_s: float = 0.0
    image: str = ""
    start_s: float = 5.0
    crash_s: float | None = None
    exit_code: int = 1
    crashes: int | None = None
    stop_s: float = 0.0


class Kubelets:
    """All nodes' kubelets. ``behaviour`` of a pod's document; ``address`` gives a pod its IP."""

    def __init__(self, store: Store, behaviour: Callable[[Doc], Behaviour], address: Callable[[], str]) -> None:
        self._store, self._behaviour, self._address = store, behaviour, address

    def run(self) -> bool:
        """One step on for every pod that has a node."""
        before = self._store.version
        alive = {at(node, "metadata.name") for node in self._store.all(NODES) if _is_alive(node)}
        for pod in self._store.all(PODS):
            if at(pod, "spec.nodeName") in alive:
                self._step(pod, self._behaviour(pod))
        return self._store.version != before

    def _step(self, pod: Doc, behaviour: Behaviour) -> None:
        if at(pod, "metadata.deletionTimestamp"):
            self._end(pod, behaviour)
        elif at(pod, "status.phase") in {"Succeeded", "Failed"}:
            return
        elif at(pod, "status.startTime") is None:
            self._tell(pod, phase="Pending", startTime=self._store.time, state=_waiting("ContainerCreating"))
        elif at(pod, "status.phase") == "Pending":
            self._pull(pod, behaviour)
        else:
            self._run(pod, behaviour)

    def _pull(self, pod: Doc, behaviour: Behaviour) -> None:
        if behaviour.image:
            tried = int(self._since_s(at(pod, "status.startTime")) // 10)
            reason = "ImagePullBackOff" if tried % 2 else "ErrImagePull"
            self._tell(pod, state=_waiting(reason, behaviour.image))
        elif self._since_s(at(pod, "status.startTime")) >= behaviour.pull_s:
            running = {"running": {"startedAt": self._store.time}}
            self._tell(pod, phase="Running", podIP=self._address(), state=running)

    def _run(self, pod: Doc, behaviour: Behaviour) -> None:
        container = at(pod, "status.containerStatuses")[0]
        state, restarts = container["state"], container["restartCount"]
        if "waiting" in state:
            ended = at(container, "lastState.terminated.finishedAt")
            if self._since_s(ended) >= BACK_OFF_S[min(restarts - 1, len(BACK_OFF_S) - 1)]:
                self._tell(pod, state={"running": {"startedAt": self._store.time}})
            return
        ran_s = self._since_s(at(state, "running.startedAt"))
        may_crash = behaviour.crash_s is not None and (behaviour.crashes is None or restarts < behaviour.crashes)
        if may_crash and behaviour.crash_s is not None and ran_s >= behaviour.crash_s:
            self._crash(pod, behaviour, state, restarts)
        elif ran_s >= behaviour.start_s and not container["ready"]:
            self._tell(pod, ready=True)

    def _crash(self, pod: Doc, behaviour: Behaviour, state: Doc, restarts: int) -> None:
        ended = {
            "exitCode": behaviour.exit_code,
            "reason": "OOMKilled" if behaviour.exit_code == 137 else "Error",
            "startedAt": state["running"]["startedAt"],
            "finishedAt": self._store.time,
        }
        words = "back-off restarting failed container engine"
        self._tell(
            pod,
            state=_waiting("CrashLoopBackOff", words),
            last={"terminated": ended},
            restarts=restarts + 1,
            ready=False,
        )

    def _end(self, pod: Doc, behaviour: Behaviour) -> None:
        ends = datetime.fromisoformat(at(pod, "metadata.deletionTimestamp"))
        asked = ends - timedelta(seconds=at(pod, "metadata.deletionGracePeriodSeconds", 0))
        if self._store.now >= min(ends, asked + timedelta(seconds=behaviour.stop_s)):
            if at(pod, "metadata.finalizers"):
                self._tell(pod, phase="Succeeded", ready=False)
            else:
                self._store.remove(PODS, at(pod, "metadata.namespace"), at(pod, "metadata.name"))

    def _since_s(self, told: str | None) -> float:
        return (self._store.now - datetime.fromisoformat(told)).total_seconds() if told else 0.0

    def _tell(
        self,
        pod: Doc,
        *,
        state: Doc | None = None,
        last: Doc | None = None,
        restarts: int | None = None,
        ready: bool | None = None,
        **status: Any,
    ) -> None:
        before = at(pod, "status") or {}
        old = (before.get("containerStatuses") or [{"lastState": {}, "restartCount": 0, "ready": False, "state": {}}])[
            0
        ]
        container = {
            "name": at(pod, "spec.containers")[0]["name"],
            "image": at(pod, "spec.containers")[0]["image"],
            "ready": old["ready"] if ready is None else ready,
            "restartCount": old["restartCount"] if restarts is None else restarts,
            "state": old["state"] if state is None else state,
            "lastState": old["lastState"] if last is None else last,
        }
        if container == old:
            container = old
        told = {**before, **status, "containerStatuses": [container]}
        told["conditions"] = ready_conditions(before.get("conditions") or [], container["ready"], self._store.time)
        self._store.put(PODS, {**pod, "status": told}, pod, KUBELET, sub="status")


def ready_conditions(before: list[Doc], ready: bool, now: str) -> list[Doc]:
    """Ready and ContainersReady as told, since when they have been; the others as they were."""
    others = [one for one in before if one["type"] not in {"Ready", "ContainersReady"}]
    old = {one["type"]: one for one in before}
    status = "True" if ready else "False"
    more = {} if ready else {"reason": "ContainersNotReady", "message": "containers with unready status: [engine]"}
    for kind in ("ContainersReady", "Ready"):
        same = old.get(kind, {}).get("status") == status
        since = old[kind]["lastTransitionTime"] if same else now
        others.append({"type": kind, "status": status, "lastTransitionTime": since, **more})
    return others


def _waiting(reason: str, message: str = "") -> Doc:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def _is_alive(node: Doc) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in at(node, "status.conditions") or ())
