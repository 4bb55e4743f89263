"""Pods read as replicas: how far each is in its life, what keeps it from going on, and what we wrote on it.

Everything we must remember about a replica stands on its pod, so that a kill -9 forgets nothing:
  label       pennyweight.dev/phase: draining        for routers, which send it nothing new
  annotation  pennyweight.dev/draining-since         when that began
  annotation  pennyweight.dev/drained                when it had nothing left to do, or no more time
  annotation  controller.kubernetes.io/pod-deletion-cost   below everybody else's: a ReplicaSet takes it first
  annotation  pennyweight.dev/pod-deletion-cost     what an operator had set there, until the pod serves again
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.facts.actuators import KubernetesOptions
from controller.facts.interruptions import Notice, Stuck, StuckKind
from controller.facts.readings import Phase
from controller.kubernetes.objects import Condition, Container, Kind, Node, Pod, PodPhase, Target
from controller.kubernetes.resources import DRAINING_SINCE, PREFIX

DRAINED = f"{PREFIX}drained"
PHASE_BEFORE = f"{PREFIX}phase-before"
"""What the label had been that says "draining" now. A Service may select by it: docs/kubernetes.md."""

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

KEPT_COST = f"{PREFIX}pod-deletion-cost"

DRAINING_COST = "-1000000"
DRAINED_COST = "-2000000"
"""Far below what anybody sets by hand; who is drained goes before who still drains. An int32."""

OUR_COSTS = frozenset({None, DRAINING_COST, DRAINED_COST})
"""What stands there when nobody else has set anything."""

CRASHES = 3
"""So many restarts before a crash loop is taken for one. A guess: with Kubernetes' back-off of 10, 20, 40 s the third
comes after a minute or more, and what waits for another service at its start has often found it by then."""

FLICKER = timedelta(seconds=60)
"""A pod whose Ready condition is as old as the pod itself, or nearly, was never ready. A guess."""

NO_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
NOT_AS_WRITTEN = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
CRASHING = "CrashLoopBackOff"
"""Reasons of the kubelet, pkg/kubelet/images/types.go and pkg/kubelet/container/sync_result.go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica: a pod, or the pods of a LeaderWorkerSet's group. ``pods`` begins with the one that is asked and
    marked: the leader.

    ordinal   its place in a StatefulSet or LeaderWorkerSet; None in a Deployment
    node      where the first pod lies; None: nowhere yet, or not known
    notice    what was announced about a machine of it
    """

    pods: tuple[Pod, ...]
    phase: Phase
    since: datetime
    ordinal: int | None = None
    url: str = ""
    node: Node | None = None
    notice: Notice | None = None
    stuck: Stuck | None = None
    detail: str = ""
    unused_until: datetime | None = None

    @property
    def pod(self) -> Pod:
        return self.pods[0]

    @property
    def name(self) -> str:
        return self.pod.name

    @property
    def draining_since(self) -> datetime | None:
        return _time(self.pod.annotations.get(DRAINING_SINCE))

    @property
    def drained(self) -> bool:
        return DRAINED in self.pod.annotations

    @property
    def noticed(self) -> bool:
        """Its machine goes for sure."""
        return self.notice is not None and self.notice.ends

    @property
    def counts(self) -> bool:
        """Whether its controller counts it: not ended, and not being deleted. A group of which one pod is goes as a
        whole, and another one takes its place."""
        return not any(pod.ended or pod.deleting for pod in self.pods)

    @property
    def leaves(self) -> bool:
        """Whether it is counted by its controller, but not by us any more."""
        return self.counts and (self.draining_since is not None or self.noticed)


def priced(pod: Pod, cost: str) -> dict[str, str | None]:
    """Annotations that give it our cost of deletion, and keep aside what somebody else had set."""
    theirs = pod.annotations.get(DELETION_COST)
    return {DELETION_COST: cost, **({KEPT_COST: theirs} if theirs not in OUR_COSTS else {})}


def unpriced(pod: Pod) -> dict[str, str | None]:
    """Annotations that take our cost away, and put back what was kept aside; what was set since stays."""
    kept = {DELETION_COST: pod.annotations.get(KEPT_COST)} if pod.annotations.get(DELETION_COST) in OUR_COSTS else {}
    return {KEPT_COST: None, **kept}


def replicas_of(
    target: Target,
    pods: Iterable[Pod],
    nodes: Mapping[str, Node],
    notices: Mapping[str, Notice],
    options: KubernetesOptions,
    now: datetime,
) -> tuple[Replica, ...]:
    """Every pod of ``target`` as a replica, or every group of them; by name."""
    groups: dict[str, list[Pod]] = {}
    for pod in pods:
        key = str(pod.group) if target.ref.kind is Kind.LEADER_WORKER_SET else pod.name
        groups.setdefault(key, []).append(pod)
    ordered = (tuple(sorted(some, key=lambda one: (one.worker or 0, one.name))) for some in groups.values())
    found = [_replica(target, some, nodes, notices, options, now) for some in ordered]
    return tuple(sorted(found, key=lambda one: (one.ordinal or 0, one.name)))


def _replica(
    target: Target,
    pods: tuple[Pod, ...],
    nodes: Mapping[str, Node],
    notices: Mapping[str, Notice],
    options: KubernetesOptions,
    now: datetime,
) -> Replica:
    first = pods[0]
    notice = _worst(_notice(nodes.get(pod.node), pod.node, notices) for pod in pods if pod.node)
    stuck = next((found for pod in pods if (found := stuck_of(pod)) is not None), None)
    ready = len(pods) >= target.size and all(pod.ready for pod in pods)
    phase, since, detail = _life(pods, ready, notice, now)
    started = phase is Phase.STARTING
    return Replica(
        pods=pods,
        phase=phase,
        since=since,
        ordinal=_ordinal(target.ref.kind, first),
        url=url_of(first, options),
        node=nodes.get(first.node),
        notice=notice,
        stuck=stuck if started else None,
        detail=detail or (stuck.detail if stuck is not None and started else ""),
        unused_until=now if started and not first.restarts else since if ready and not first.restarts else None,
    )


def _life(pods: Sequence[Pod], ready: bool, notice: Notice | None, now: datetime) -> tuple[Phase, datetime, str]:
    """Its phase, since when, and why."""
    first = pods[0]
    ended = next((pod for pod in pods if pod.phase is PodPhase.FAILED and not pod.deleting), None)
    if ended is not None:
        return Phase.FAILED, _ended_at(ended, now), " ".join(part for part in (ended.reason, ended.message) if part)
    if first.phase is PodPhase.SUCCEEDED or any(pod.deleting for pod in pods):
        return Phase.DRAINING, first.deletion_at or _ended_at(first, now), "its pod is ending"
    marked = _time(first.annotations.get(DRAINING_SINCE))
    if marked is not None:
        return Phase.DRAINING, marked, "drained" if DRAINED in first.annotations else ""
    if notice is not None and notice.ends:
        return Phase.DRAINING, notice.at, f"its machine goes: {notice.kind}"
    conditions = [pod.conditions.get("Ready") for pod in pods]
    if ready:
        times = [one.since for one in conditions if one is not None and one.since is not None]
        return Phase.READY, max(times, default=first.created or now), ""
    return Phase.STARTING, max(_starting_since(pod, now) for pod in pods), ""


def _starting_since(pod: Pod, now: datetime) -> datetime:
    """Since its order; or, when it was ready and is no longer, since then: a long life is no late start."""
    ordered = pod.created or now
    ready = pod.conditions.get("Ready")
    if ready is None or ready.since is None or ready.status is True:
        return ordered
    return ready.since if ready.since - (pod.started or ordered) > FLICKER else ordered


def _ended_at(pod: Pod, now: datetime) -> datetime:
    times = [one.since for one in pod.conditions.values() if one.since is not None]
    return max(times, default=pod.created or now)


def stuck_of(pod: Pod) -> Stuck | None:
    """Why its start gets no further; None when it does, or has ended."""
    if pod.ready or pod.ended or pod.deleting:
        return None
    scheduled = pod.conditions.get("PodScheduled")
    if scheduled is not None and scheduled.status is False and scheduled.reason == "Unschedulable":
        return _stuck(StuckKind.UNSCHEDULABLE, scheduled.since or pod.created, scheduled.message)
    for container in pod.containers:
        kind = _waits_for(container)
        if kind is not None:
            words = ": ".join(part for part in (container.waiting, container.message) if part)
            return _stuck(kind, pod.started or pod.created, f"{container.name} {words}{_crashed(container, kind)}")
    return None


def _waits_for(container: Container) -> StuckKind | None:
    if container.waiting in NO_IMAGE:
        return StuckKind.IMAGE
    if container.waiting in NOT_AS_WRITTEN:
        return StuckKind.REFUSED
    return StuckKind.CRASH if container.waiting == CRASHING and container.restarts >= CRASHES else None


def _crashed(container: Container, kind: StuckKind) -> str:
    if kind is not StuckKind.CRASH:
        return ""
    code = f", exit code {container.exit_code}" if container.exit_code is not None else ""
    return (
        f" ({container.restarts} restarts{code}{', ' if container.last_terminated else ''}{container.last_terminated})"
    )


def refused_of(condition: Condition | None) -> Stuck | None:
    """Why no pod is made at all, from a Deployment's condition ReplicaFailure."""
    if condition is None or condition.status is not True:
        return None
    kind = StuckKind.QUOTA if "exceeded quota" in condition.message else StuckKind.REFUSED
    return _stuck(kind, condition.since, condition.message or condition.reason)


def _stuck(kind: StuckKind, since: datetime | None, detail: str) -> Stuck | None:
    return Stuck(kind=kind, since=since, detail=detail) if since is not None else None


def url_of(pod: Pod, options: KubernetesOptions) -> str:
    """Where its engine answers; "" while it has no address, or no port is known."""
    named = [port.number for port in pod.ports if options.port_name and port.name == options.port_name]
    every = [port.number for port in pod.ports] if not options.port_name else []
    port = options.port or next(iter([*named, *every]), None)
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    return f"http://{host}:{port}" if pod.ip and port else ""


def _ordinal(kind: Kind, pod: Pod) -> int | None:
    if kind is Kind.LEADER_WORKER_SET:
        return pod.group
    number = pod.name.rpartition("-")[2]
    return int(number) if kind is Kind.STATEFUL_SET and number.isdecimal() else None


def _notice(node: Node | None, name: str, notices: Mapping[str, Notice]) -> Notice | None:
    """Of the node's taints, and of whoever else announces, by the node's name or its provider's id of it."""
    instance = node.instance if node is not None else ""
    return _worst((node.notice if node is not None else None, notices.get(name), notices.get(instance)))


def _worst(notices: Iterable[Notice | None]) -> Notice | None:
    """The one that ends it soonest; else any."""
    found = [one for one in notices if one is not None]
    ending = [one for one in found if one.ends]
    return min(ending, key=lambda one: one.deadline or one.at + timedelta(days=1), default=None) or next(
        iter(found), None
    )


def _time(text: str | None) -> datetime | None:
    """An annotation that somebody wrote over is as none."""
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
