"""One step on in the life of a target's replicas: who is noticed drains, who is drained goes, what is owed is dropped.

Every step is one write that changes nothing when it is done twice, and all that the next one needs stands in the
cluster: whoever looks next, this daemon or another, goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.act.actuator import Carried, as_it_is
from controller.act.kubernetes.budgets import Budgets
from controller.act.kubernetes.count import Standing, lowering
from controller.act.kubernetes.look import ClusterView, Written
from controller.act.kubernetes.others import NOTE, Note, Override, writer_of
from controller.act.kubernetes.pods import (
    DRAINED,
    DRAINED_COST,
    DRAINING_COST,
    PHASE_BEFORE,
    Replica,
    priced,
    unpriced,
)
from controller.act.probe import ask_urls, idle
from controller.errors import ClusterError, ConflictError, HeldError
from controller.facts.actuators import KubernetesOptions
from controller.facts.readings import Phase
from controller.kubernetes.calls import Notes
from controller.kubernetes.resources import DRAINING_SINCE, PHASE_LABEL

log = logging.getLogger(__name__)

Write = Callable[[Replica, datetime], Replica]

LEAVE_BEFORE_END_S = 10.0
"""Before its machine ends a replica is told to stop at the latest: engines need seconds to close. A guess."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """Writes about one target."""

    cluster: ClusterView
    written: Written
    options: KubernetesOptions
    budgets: Budgets
    carried: Carried = as_it_is

    def advance(self, standing: Standing, now: datetime) -> Standing:
        """One step on for everybody. What cannot be written now is written in the next pass."""
        if standing.unmarkable or standing.scaler or standing.target.deleting:
            return standing
        try:
            standing = self._overridden(standing, now)
            if standing.owner:
                return standing
            standing = self._with(standing, self._begun(standing, now))
            standing = self._with(standing, self._finished(standing, now))
            return self._lowered(standing, now)
        except (ClusterError, HeldError) as error:
            log.warning("%s: not all was done: %s", standing, error)
            return standing

    def each(
        self, write: Write, replicas: Iterable[Replica], now: datetime, *, unbroken: bool = False
    ) -> tuple[list[Replica], list[str]]:
        """``write`` to them, but for those that changed since they were read; and why not to those: the next look finds
        them as they are. ``unbroken``: nobody after the first of them either."""
        done: list[Replica] = []
        why: list[str] = []
        for one in replicas:
            try:
                done.append(write(one, now))
            except ConflictError as error:
                log.info("%s: %s", one.name, error)
                why.append(str(error))
                if unbroken:
                    break
        return done, why

    def mark(self, replica: Replica, now: datetime) -> Replica:
        """Take it from the routers, and make it the first that its controller would give up."""
        notes = {DRAINING_SINCE: now.isoformat(), **priced(replica.pod, DRAINING_COST)}
        before = replica.pod.labels.get(PHASE_LABEL, "draining")
        if before != "draining":  # a mark that is written twice forgets nothing
            notes[PHASE_BEFORE] = before
        marked = self._note(replica, now, "is draining", notes, {PHASE_LABEL: "draining"})
        self.budgets.marking.take(self.cluster, [replica])
        return marked

    def may_go(self, standing: Standing, wanted: Iterable[Replica]) -> tuple[list[Replica], list[str]]:
        """Whom of ``wanted`` disruption budgets allow to drain besides all who do already, and why no more."""
        self.budgets.marking.take(self.cluster, standing.leaving)
        return self.budgets.marking.allowed(self.cluster, wanted)

    def note(
        self,
        standing: Standing,
        counted: int,
        now: datetime,
        *,
        to: int | None = None,
        override: Override | None = None,
    ) -> Standing:
        """Write down how many are to stay. ``to``: what spec.replicas is about to become for it. ``override``: whose
        change that is."""
        before, target = standing.note, standing.target
        rival = override or (before.rival if before is not None else None)
        note = Note(
            counted=counted,
            at=now,
            seen=writer_of(target),
            stood=target.replicas,
            to=to,
            by=override.by if override is not None else "",
            rival=rival,
        )
        patch = {"metadata": {"annotations": {NOTE: note.text}, "labels": {NOTE: note.label}}}
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
        at = found.at or now
        return self.note(standing, counted, at, override=replace(found, at=at))

    def _begun(self, standing: Standing, now: datetime) -> list[Replica]:
        fresh = [one for one in standing.active if one.noticed and one.draining_since is None]
        return self.each(self.mark, fresh, now)[0]

    def _finished(self, standing: Standing, now: datetime) -> list[Replica]:
        """Who drains and has nothing left to do, or no more time."""
        draining = [one for one in standing.leaving if one.draining_since is not None and not one.drained]
        late = [one for one in draining if self._late(one, now) or _never_served(one)]
        asked = [one for one in draining if one not in late and one.url]
        answers = ask_urls([one.url for one in asked], lambda url: idle(url, self.options.path))
        done = [*late, *(one for one in asked if answers[one.url])]
        return self.each(self._drained, done, now)[0]

    def _late(self, one: Replica, now: datetime) -> bool:
        assert one.draining_since is not None
        ends = [self.carried(one.draining_since) + timedelta(seconds=self.options.drain_timeout_s)]
        if one.notice is not None and one.notice.ends and one.notice.deadline is not None:
            ends.append(one.notice.deadline - timedelta(seconds=LEAVE_BEFORE_END_S))
        return now >= min(ends)

    def _drained(self, one: Replica, now: datetime) -> Replica:
        notes = {DRAINED: now.isoformat(), **priced(one.pod, DRAINED_COST)}
        return self._note(one, now, "is drained", notes)

    def _unmark(self, one: Replica, now: datetime) -> Replica:
        notes = {DRAINING_SINCE: None, DRAINED: None, PHASE_BEFORE: None, **unpriced(one.pod)}
        labels = {PHASE_LABEL: one.pod.annotations.get(PHASE_BEFORE)}
        return self._note(one, now, "serves again", notes, labels)

    def _note(self, one: Replica, now: datetime, said: str, notes: Notes, labels: Notes | None = None) -> Replica:
        """Write on its pod, if that is still as it was read."""
        version = one.pod.resource_version
        pod = self.cluster.calls.note_pod(one.pod, labels=labels, annotations=notes, version=version)
        log.info("%s/%s %s", pod.namespace, pod.name, said)
        changed = replace(one, pods=(self.written.pod(pod), *one.pods[1:]))
        since = changed.draining_since
        if since is not None:
            return replace(changed, phase=Phase.DRAINING, since=since, detail="drained" if changed.drained else "")
        return replace(changed, phase=Phase.READY if changed.pod.ready else Phase.STARTING, since=now)

    def _lowered(self, standing: Standing, now: datetime) -> Standing:
        """Lower spec.replicas by exactly those who go, while a lower count takes nobody else."""
        held = self._held([one for one in standing.leaving if one.drained and not one.noticed])
        step = lowering(standing, held)
        if step.waits or held:
            why = step.waits or f"{', '.join(sorted(held))} must stay for a disruption budget"
            log.info("%s: not all that is drained goes: %s", standing, why)
        extra, _ = self.may_go(standing, step.extra)
        standing = self._with(standing, self.each(self.mark, extra, now)[0])
        if step.by:
            self.budgets.lowering.take(self.cluster, step.goes)
            # Bound to the version that this was worked out for. Pods are not part of it: one that came up or became
            # ready in between is what the next look finds, see docs/kubernetes.md.
            standing = self.scale(standing, max(0, standing.target.replicas - step.by))
        return standing

    def _held(self, drained: Sequence[Replica]) -> set[str]:
        """Who among the drained must stay yet, because a lower count is a disruption as well."""
        free, _ = self.budgets.lowering.allowed(self.cluster, drained)
        return {one.name for one in drained} - {one.name for one in free}

    def _with(self, standing: Standing, changed: Sequence[Replica]) -> Standing:
        by_name = {one.name: one for one in changed}
        return replace(standing, replicas=tuple(by_name.get(one.name, one) for one in standing.replicas))


def _never_served(one: Replica) -> bool:
    """No router ever knew it: there is nothing to wait for."""
    ready = one.pod.conditions.get("Ready")
    return not one.pod.ready and not one.pod.restarts and (ready is None or ready.status is not True)
