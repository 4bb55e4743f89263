"""How many replicas there are, who leaves, and by how much spec.replicas may be lowered. Pure.

spec.replicas counts every pod, those that we drain as well. What we meant stands on the target, as annotation
pennyweight.dev/replicas: {"counted": 3, …}: of 4 wanted pods 3 are to stay. So a victim that dies by itself, and is
replaced by its controller, is told from one that is wanted, by whoever looks next. A label of the same name says of
when the note is: `kubectl rollout undo` puts back the annotations of an older revision, a count of long ago among them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.act.kubernetes.course import course_of
from controller.act.kubernetes.others import Note, Override, applied_by, before_us, foreign, note_of
from controller.act.kubernetes.pods import DELETION_COST, Replica, refused_of
from controller.facts.interruptions import Stuck
from controller.facts.missing import Missing
from controller.facts.readings import Phase, ReplicaState
from controller.kubernetes.llmd import MANAGED, llmd_of
from controller.kubernetes.objects import Kind, PodPhase, Scaler, Target
from controller.kubernetes.resources import PHASE_LABEL

PENDING_FIRST = {PodPhase.PENDING: 0, PodPhase.UNKNOWN: 1, PodPhase.RUNNING: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One target and its pods, as seen at one moment."""

    target: Target
    replicas: tuple[Replica, ...]
    scalers: tuple[Scaler, ...] | Missing = ()

    @property
    def note(self) -> Note | None:
        return note_of(self.target)

    @property
    def going(self) -> tuple[Replica, ...]:
        """Whom its controller is about to delete: those over spec.replicas. A rollout may have more for a while."""
        there = tuple(one for one in self.replicas if one.counts)
        over = 0 if self.rolling else max(0, len(there) - self.target.replicas)
        return removal_order(there, ordered=self.ordered)[:over]

    @property
    def active(self) -> tuple[Replica, ...]:
        """Whom the target's controller counts and keeps."""
        going = {one.name for one in self.going}
        return tuple(one for one in self.replicas if one.counts and one.name not in going)

    @property
    def leaving(self) -> tuple[Replica, ...]:
        """Of these, who drains."""
        return tuple(one for one in self.active if one.leaves)

    @property
    def staying(self) -> tuple[Replica, ...]:
        return tuple(one for one in self.active if not one.leaves)

    @property
    def missing(self) -> int:
        """Wanted pods that are not there."""
        return max(0, self.target.replicas - len(self.active))

    @property
    def unheard(self) -> int:
        """Pods that its controller has made and that nobody has told us of yet: they may serve."""
        return max(0, self.target.created_replicas - sum(one.counts for one in self.replicas))

    @property
    def counted(self) -> int:
        """Replicas that exist or are on their way, and do not leave."""
        most = max(0, self.target.replicas - len(self.leaving))
        note = self.note
        return most if note is None or self.foreign is not None else min(note.counted, most)

    @property
    def owed(self) -> int:
        """By how much spec.replicas is too high: who left by itself was replaced."""
        return max(0, self.target.replicas - len(self.leaving) - self.counted)

    @property
    def foreign(self) -> Override | None:
        """A change of spec.replicas that is not ours and not yet noted."""
        return foreign(self.target, self.note)

    def override(self, now: datetime) -> Override | None:
        """Somebody's change that is to be left alone yet."""
        note = self.note
        found = before_us(self.target) if note is None else self.foreign or note.override
        return found if found is not None and found.holds(now) else None

    @property
    def scaler(self) -> str:
        """Which autoscaler scales the target, or that its owner does, or that nobody knows."""
        if llmd_of(self.target.labels, self.target.annotations).managed is False:
            return f"{MANAGED} of {self} is 'false': its owner scales it; whoever takes that label away hands it over"
        if isinstance(self.scalers, Missing):
            return f"nobody knows who else scales {self} ({self.scalers})"
        found = next((one for one in self.scalers if not one.paused), None)
        return f"{found} scales {self}; a target has one writer" if found is not None else ""

    @property
    def unmarkable(self) -> str:
        """Why nobody there can be told to drain; "" where anybody can."""
        by = next((str(term) for term in self.target.selector.terms if term.key == PHASE_LABEL), "")
        return by and (
            f"the selector of {self} has {by}: a pod that we mark for draining would be nobody's, and another one be "
            "made; a selector cannot be changed, so make it anew without that label, see docs/kubernetes.md "
            "(Behind a plain Service)"
        )

    @property
    def owner(self) -> str:
        """Who else owns the count, or why it cannot be ours; "" where it is ours alone."""
        manager = applied_by(self.target)
        if (closed := self.unmarkable or self.scaler) or not manager:
            return closed
        return (
            f"field manager '{manager}' applies spec.replicas of {self}; a target has one writer: leave spec.replicas "
            "out of its manifest, once it is handed over as docs/kubernetes.md says (One writer)"
        )

    @property
    def rolling(self) -> bool:
        """Whether its pods are of several versions, or are to be: a rollout of ours goes on until it is through, for
        a LeaderWorkerSet keeps the group that stands in for others until the last of them is ready."""
        versions = {one.pod.template for one in self.replicas if one.counts and one.pod.template}
        course = course_of(self.target)
        return len(versions) > 1 or (course is not None and not course.failed)

    @property
    def refused(self) -> Stuck | None:
        """Why its pods are not made."""
        return refused_of(self.target.conditions.get("ReplicaFailure"))

    @property
    def ordered(self) -> bool:
        """Whether only the highest ordinal can go."""
        return self.target.ref.kind is not Kind.DEPLOYMENT

    def __str__(self) -> str:
        return str(self.target.ref)


# --- whom a lower count would take ----------------------------------------------------------------------------------


def removal_order(replicas: Iterable[Replica], *, ordered: bool) -> tuple[Replica, ...]:
    """Whom a target's controller gives up, first to go first.

    A StatefulSet and a LeaderWorkerSet the highest ordinal; a ReplicaSet as ActivePodsWithRanks of Kubernetes'
    pkg/controller/controller_utils.go: without a node, pending, not ready, cheapest to delete. What it looks at after
    that does not matter here: among equals we take those for first who must not go.
    """
    if ordered:
        return tuple(sorted(replicas, key=lambda one: -(one.ordinal or 0)))

    def rank(one: Replica) -> tuple[bool, int, bool, int, bool]:
        pod = one.pod
        return (bool(pod.node), PENDING_FIRST.get(pod.phase, 0), pod.ready, _cost(one), one.drained)

    return tuple(sorted(replicas, key=rank))


def _cost(replica: Replica) -> int:
    text = replica.pod.annotations.get(DELETION_COST, "0")
    return int(text) if text.removeprefix("-").isdecimal() else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """By how much spec.replicas may be lowered now.

    goes      the drained replicas that go with it
    unmade    wanted pods that were never made, and replacements of who left that are not ready: nobody serves there
    extra     replacements of who left that serve already: they drain as anybody does
    waits     why not everybody who is drained goes
    """

    goes: tuple[Replica, ...] = ()
    unmade: int = 0
    extra: tuple[Replica, ...] = ()
    waits: str = ""

    @property
    def by(self) -> int:
        return len(self.goes) + self.unmade


def lowering(standing: Standing, held: Collection[str] = ()) -> Lowering:
    """What a lower count can take without taking anybody else. ``held``: names of drained ones that must stay yet."""
    drained = {one.name for one in standing.leaving if one.drained and one.name not in held}
    if standing.rolling:
        return Lowering(waits="a rollout is under way" if drained else "")
    if standing.unheard and (drained or standing.owed):
        return Lowering(waits=f"its controller counts {standing.unheard} more than we have heard of")
    unmade = min(standing.owed, standing.missing)
    owed, wanted = standing.owed - unmade, standing.missing - unmade
    if wanted:
        waits = f"{wanted} wanted {'pod is' if wanted == 1 else 'pods are'} not there yet" if drained else ""
        return Lowering(unmade=unmade, waits=waits)
    goes: list[Replica] = []
    blocker: Replica | None = None
    for one in removal_order(standing.active, ordered=standing.ordered):
        if one.name in drained:
            goes.append(one)
        elif owed and one.phase is Phase.STARTING:
            unmade, owed = unmade + 1, owed - 1
        else:
            blocker = one
            break
    waits = f"{blocker.name} would go first" if blocker is not None and len(goes) < len(drained) else ""
    extra = _youngest(standing)[: min(owed, _spare(standing))] if blocker is not None else ()
    return Lowering(goes=tuple(goes), unmade=unmade, extra=extra, waits=waits)


def _spare(standing: Standing) -> int:
    """How many serve beyond those that are to stay: who covers for an ordinal that is made anew goes after it."""
    return max(0, sum(one.phase is Phase.READY for one in standing.staying) - standing.counted)


def _youngest(standing: Standing) -> tuple[Replica, ...]:
    """Who stays, first who serves for the shortest time; of those with ordinals the highest."""
    if standing.ordered:
        return tuple(_unneeded(standing))
    return tuple(sorted(standing.staying, key=lambda one: one.since, reverse=True))


# --- who is told ------------------------------------------------------------------------------------------------------


def states(standing: Standing, variant: str, now: datetime) -> tuple[ReplicaState, ...]:
    """Every replica as the rest of the program knows it: those that start and are ready are as many as counted."""
    placeholders = max(0, min(standing.missing, standing.counted - _present(standing)))
    surplus = len(standing.staying) + placeholders - standing.counted
    over = _unneeded(standing)
    over.sort(key=lambda one: one.phase is Phase.READY)  # who stands in for others serves, who is made anew not yet
    extra = {one.name for one in (*standing.going, *over[: max(0, surplus)])}
    known = tuple(_state(one, variant, extra=one.name in extra) for one in standing.replicas)
    return (*known, *_awaited(standing, variant, placeholders, now))


def _present(standing: Standing) -> int:
    return min(len(standing.staying), standing.counted)


def _unneeded(standing: Standing) -> list[Replica]:
    """Who stays, first whom a lower count would take."""
    return [one for one in removal_order(standing.active, ordered=standing.ordered) if not one.leaves]


def _state(one: Replica, variant: str, *, extra: bool) -> ReplicaState:
    return ReplicaState(
        replica=one.name,
        variant=variant,
        phase=Phase.DRAINING if extra else one.phase,
        since=one.since,
        url=one.url,
        detail="one more than wanted" if extra else one.detail,
        unused_until=one.unused_until,
        capacity_type=one.node.capacity_type if one.node is not None else None,
        node=one.pod.node,
        instance=one.node.instance if one.node is not None else "",
        domain=one.node.domain if one.node is not None else "",
        stuck=one.stuck,
        notice=one.notice,
        role=llmd_of(one.pod.labels, one.pod.annotations).role,
    )


def _awaited(standing: Standing, variant: str, number: int, now: datetime) -> Iterator[ReplicaState]:
    """Wanted pods that are not there: starting, and stuck where their controller says why."""
    since, stuck = _wanted_since(standing, now), standing.refused
    for index in range(1, number + 1):
        yield ReplicaState(
            replica=awaited_name(standing, index, since),
            variant=variant,
            phase=Phase.STARTING,
            since=since,
            detail=stuck.detail if stuck is not None else "its pod is not made yet",
            stuck=stuck,
        )


def _wanted_since(standing: Standing, now: datetime) -> datetime:
    """When spec.replicas was last written; the start of its refusal where nobody says."""
    times = [one.at for one in standing.target.managers if one.at is not None]
    refused = standing.refused
    return max(times, default=refused.since if refused is not None else now)


def awaited_name(standing: Standing, index: int, since: datetime) -> str:
    """Of a pod that is not made: another name at every change of the count, for another try is another failure."""
    return f"{standing.target.ref.name}-awaited-{since:%H%M%S}-{index}"


# --- who goes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Victims:
    """Whom a shrink takes: replicas, and so many pods that were never made. ``said``: why not those decided on."""

    replicas: tuple[Replica, ...]
    unmade: int = 0
    said: str = ""


def victims(standing: Standing, wanted: Sequence[str], count: int) -> Victims:
    """``count`` replicas to go, those of ``wanted`` first. Only a Deployment leaves us the choice."""
    names = {one.name for one in standing.staying}
    named = [name for name in wanted if name in names]
    unnamed_pods = standing.missing - standing.owed if standing.missing > standing.owed else 0
    if standing.ordered:
        return _highest(standing, named, count)
    unmade = min(unnamed_pods, max(0, count - len(named)))
    rest = [one for one in _unneeded(standing) if one.name not in named]
    by_name = {one.name: one for one in standing.staying}
    chosen = [*(by_name[name] for name in named), *rest][: count - unmade]
    return Victims(replicas=tuple(chosen), unmade=unmade)


def _highest(standing: Standing, named: Iterable[str], count: int) -> Victims:
    """The highest ordinals, made or not, that do not leave already."""
    present = {one.ordinal: one for one in standing.active}
    ordinals = [
        number
        for number in range(max([standing.target.replicas - 1, *(one or 0 for one in present)]), -1, -1)
        if number not in present or not present[number].leaves
    ][:count]
    chosen = tuple(present[number] for number in ordinals if number in present)
    others = set(named) - {one.name for one in chosen}
    said = f"a {standing.target.ref.kind} loses its highest ordinals, not {', '.join(sorted(others))}" if others else ""
    return Victims(replicas=chosen, unmade=len(ordinals) - len(chosen), said=said)
