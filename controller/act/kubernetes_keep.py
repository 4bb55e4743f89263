"""One step on in the life of a target's replicas: who is noticed drains, who is drained goes, what is owed is dropped.

Every step is one write that changes nothing when it is done twice, and all that the next one needs stands in the
cluster: whoever looks next, this daemon or another, goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.act.actuator import Carried, as_it_is
from controller.act.kubernetes_count import NOTE, Note, Standing, lowering, writer_of
from controller.act.kubernetes_look import ClusterView, Written
from controller.act.kubernetes_pods import (
    DELETION_COST,
    DRAINED,
    DRAINED_COST,
    DRAINING_COST,
    PHASE_BEFORE,
    Replica,
)
from controller.act.probe import ask_urls, idle
from controller.errors import ClusterError
from controller.facts.actuators import KubernetesOptions
from controller.facts.missing import Missing
from controller.facts.readings import Phase
from controller.kubernetes.objects import Pod
from controller.kubernetes.resources import DRAINING_SINCE, PHASE_LABEL

log = logging.getLogger(__name__)

LEAVE_BEFORE_END_S = 10.0
"""Before its machine ends a replica is told to stop at the latest: engines need seconds to close. A guess."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """Writes about one target."""

    cluster: ClusterView
    written: Written
    options: KubernetesOptions
    carried: Carried = as_it_is

    def advance(self, standing: Standing, now: datetime) -> Standing:
        """One step on for everybody. What cannot be written now is written in the next pass."""
        if standing.owner or standing.target.deleting:
            return standing
        try:
            standing = self._overridden(standing, now)
            standing = self._with(standing, self._begun(standing, now))
            standing = self._with(standing, self._finished(standing, now))
            return self._lowered(standing, now)
        except ClusterError as error:
            log.warning("%s: not all was done: %s", standing, error)
            return standing

    def mark(self, replica: Replica, now: datetime) -> Replica:
        """Take it from the routers, and make it the first that its controller would give up."""
        notes = {DRAINING_SINCE: now.isoformat(), DELETION_COST: DRAINING_COST}
        before = replica.pod.labels.get(PHASE_LABEL, "draining")
        if before != "draining":  # a mark that is written twice forgets nothing
            notes[PHASE_BEFORE] = before
        pod = self.cluster.calls.note_pod(replica.pod, labels={PHASE_LABEL: "draining"}, annotations=notes)
        log.info("%s/%s is draining", pod.namespace, pod.name)
        return _noted(replica, self.written.pod(pod), now)

    def note(self, standing: Standing, counted: int, now: datetime, *, to: int | None = None, by: str = "") -> Standing:
        """Write down how many are to stay. ``to``: what spec.replicas is about to become for it."""
        seen, stood = writer_of(standing.target), standing.target.replicas
        text = Note(counted=counted, at=now, seen=seen, stood=stood, to=to, by=by).text
        patch = {"metadata": {"annotations": {NOTE: text}}}
        target = self.cluster.calls.patch_target(standing.target.ref, patch, version=standing.target.resource_version)
        self.written.target(target.ref, target.resource_version)
        return replace(standing, target=target)

    def scale(self, standing: Standing, replicas: int) -> Standing:
        """Set spec.replicas, if nobody touched the target since it was read. What stands there is not written again:
        whoever wrote it would lose its time, and then look like another writer."""
        if replicas == standing.target.replicas:
            return standing
        ref, version = standing.target.ref, standing.target.resource_version
        scale = self.cluster.calls.set_scale(ref, replicas, version=version)
        self.written.target(ref, scale.resource_version)
        log.info("%s: spec.replicas %d -> %d", ref, standing.target.replicas, replicas)
        # Who wrote it is read anew with the next look; until then nothing compares it.
        target = replace(standing.target, replicas=scale.replicas, resource_version=scale.resource_version)
        return replace(standing, target=target)

    # the steps

    def _overridden(self, standing: Standing, now: datetime) -> Standing:
        """Somebody changed spec.replicas: that is the count now, and nobody is drained for an older one."""
        found = standing.foreign
        if found is None:
            return standing
        log.warning("%s: %s; taking the count as it is", standing, found)
        kept = [one for one in standing.leaving if not one.noticed]
        standing = self._with(standing, [self._unmark(one, now) for one in kept])
        counted = max(0, standing.target.replicas - len(standing.leaving))
        return self.note(standing, counted, found.at or now, by=found.by)

    def _begun(self, standing: Standing, now: datetime) -> list[Replica]:
        fresh = [one for one in standing.active if one.noticed and one.draining_since is None]
        return [self.mark(one, now) for one in fresh]

    def _finished(self, standing: Standing, now: datetime) -> list[Replica]:
        """Who drains and has nothing left to do, or no more time."""
        draining = [one for one in standing.leaving if one.draining_since is not None and not one.drained]
        late = [one for one in draining if self._late(one, now) or _never_served(one)]
        asked = [one for one in draining if one not in late and one.url]
        answers = ask_urls([one.url for one in asked], lambda url: idle(url, self.options.path))
        done = [*late, *(one for one in asked if answers[one.url])]
        return [self._drained(one, now) for one in done]

    def _late(self, one: Replica, now: datetime) -> bool:
        assert one.draining_since is not None
        ends = [self.carried(one.draining_since) + timedelta(seconds=self.options.drain_timeout_s)]
        if one.notice is not None and one.notice.ends and one.notice.deadline is not None:
            ends.append(one.notice.deadline - timedelta(seconds=LEAVE_BEFORE_END_S))
        return now >= min(ends)

    def _drained(self, one: Replica, now: datetime) -> Replica:
        notes = {DRAINED: now.isoformat(), DELETION_COST: DRAINED_COST}
        pod = self.cluster.calls.note_pod(one.pod, annotations=notes)
        log.info("%s/%s is drained", pod.namespace, pod.name)
        return _noted(one, self.written.pod(pod), now)

    def _unmark(self, one: Replica, now: datetime) -> Replica:
        notes = dict.fromkeys((DRAINING_SINCE, DRAINED, DELETION_COST, PHASE_BEFORE))
        before = one.pod.annotations.get(PHASE_BEFORE)
        pod = self.cluster.calls.note_pod(one.pod, labels={PHASE_LABEL: before}, annotations=notes)
        log.info("%s/%s serves again", pod.namespace, pod.name)
        return _noted(one, self.written.pod(pod), now)

    def _lowered(self, standing: Standing, now: datetime) -> Standing:
        """Lower spec.replicas by exactly those who go, while a lower count takes nobody else."""
        held = _held(self.cluster, [one for one in standing.leaving if one.drained and not one.noticed])
        step = lowering(standing, held)
        if step.waits or held:
            why = step.waits or f"{', '.join(sorted(held))} must stay for a disruption budget"
            log.info("%s: not all that is drained goes: %s", standing, why)
        extra, _ = permitted(self.cluster, step.extra, standing.leaving)
        standing = self._with(standing, [self.mark(one, now) for one in extra])
        if step.by:
            # Bound to the version that this was worked out for. Pods are not part of it: one that came up or became
            # ready in between is what the next look finds, see docs/kubernetes.md.
            standing = self.scale(standing, max(0, standing.target.replicas - step.by))
        return standing

    def _with(self, standing: Standing, changed: Sequence[Replica]) -> Standing:
        by_name = {one.name: one for one in changed}
        return replace(standing, replicas=tuple(by_name.get(one.name, one) for one in standing.replicas))


def _noted(replica: Replica, pod: Pod, now: datetime) -> Replica:
    """``replica`` with its pod as it was just written."""
    changed = replace(replica, pods=(pod, *replica.pods[1:]))
    since = changed.draining_since
    if since is not None:
        return replace(changed, phase=Phase.DRAINING, since=since, detail="drained" if changed.drained else "")
    return replace(changed, phase=Phase.READY if changed.pod.ready else Phase.STARTING, since=now)


def _never_served(one: Replica) -> bool:
    """No router ever knew it: there is nothing to wait for."""
    ready = one.pod.conditions.get("Ready")
    return not one.pod.ready and not one.pod.restarts and (ready is None or ready.status is not True)


# --- disruption budgets -----------------------------------------------------------------------------------------------


def _held(cluster: ClusterView, drained: Sequence[Replica]) -> set[str]:
    """Who among the drained must stay yet, because a lower count is a disruption as well."""
    taken, _ = permitted(cluster, drained, ())
    return {one.name for one in drained} - {one.name for one in taken}


def permitted(
    cluster: ClusterView, wanted: Iterable[Replica], draining: Iterable[Replica]
) -> tuple[list[Replica], Collection[str]]:
    """Whom of ``wanted``, in that order, disruption budgets allow to go besides who drains already, and why no more.

    The API server asks budgets only about evictions: lowering a count goes round them, so they are asked here. Who is
    not ready takes nothing from them.
    """
    left: dict[tuple[str, str], int] = {}
    why: dict[str, None] = {}
    for one in draining:
        _take(cluster, one, left, why)
    return [one for one in wanted if _take(cluster, one, left, why)], why.keys()


def _take(cluster: ClusterView, one: Replica, left: dict[tuple[str, str], int], why: dict[str, None]) -> bool:
    if not all(pod.ready for pod in one.pods):
        return True
    over = cluster.pdbs_over(one.pod)
    if isinstance(over, Missing):
        why[f"{one.name}: {over}"] = None
        return False
    for pdb in over:
        left.setdefault((pdb.namespace, pdb.name), pdb.allowed or 0)
    blocking = [pdb for pdb in over if left[pdb.namespace, pdb.name] <= 0]
    for pdb in blocking:
        known = f"allows {pdb.allowed}" if pdb.allowed is not None else "does not say yet how many it allows"
        why[f"PodDisruptionBudget {pdb.name} {known}"] = None
    for pdb in over:
        left[pdb.namespace, pdb.name] -= not blocking
    return not blocking
