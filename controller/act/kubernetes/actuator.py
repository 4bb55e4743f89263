"""Engines as the pods of a Deployment, a StatefulSet or a LeaderWorkerSet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Lock

from controller.act.actuator import Acts, Carried, always, as_it_is
from controller.act.kubernetes.asked import Asked
from controller.act.kubernetes.budgets import Budgets
from controller.act.kubernetes.count import Standing, Victims, states, victims
from controller.act.kubernetes.keep import Keeper
from controller.act.kubernetes.look import ClusterView, Written, look, options_of
from controller.act.kubernetes.pods import Replica
from controller.act.kubernetes.rollout import Rollout, change_of
from controller.errors import ActError, ClusterError, ConflictError, HeldError, StaleActError
from controller.facts.actuators import KubernetesOptions
from controller.facts.changes import Change, ChangeStage
from controller.facts.decisions import Decision, Outcome, OutcomeKind
from controller.facts.fleet import Variant
from controller.facts.interruptions import Notice
from controller.facts.missing import Missing
from controller.facts.readings import Phase, ReplicaState
from controller.kubernetes.cluster import Clusters
from controller.kubernetes.objects import TargetRef

SAME_CLOCK = timedelta(seconds=60)
"""What is told to have begun later than so long after we saw it is dated by another clock than ours. A guess."""


class KubernetesActuator:
    """Reads from the watch, and writes on the scale subresource with the version that it read.

    clusters   a cluster by the kubeconfig's context, "" being the usual one; without it its own, closed with it
    """

    name = "kubernetes"

    def __init__(self, clusters: Callable[[str], ClusterView] | None = None) -> None:
        self._own = Clusters() if clusters is None else None
        self._clusters = clusters or self._own_cluster
        self._acts: Acts = always
        self._carried: Carried = as_it_is
        self._notices: Mapping[str, Notice] = {}
        self._written: dict[str, Written] = {}
        self._budgets: dict[str, Budgets] = {}
        self._told: set[str] = set()
        self._found: dict[tuple[str, TargetRef], tuple[datetime, str]] = {}
        self._starting: dict[TargetRef, dict[str, datetime | None]] = {}
        self._changes: dict[tuple[str, str], Change | None] = {}
        self._lock = Lock()

    def warn(self, notices: Mapping[str, Notice]) -> None:
        """What is announced about machines, by node or by the provider's id of it, besides the nodes' own taints."""
        self._notices = notices

    def heed(self, acts: Acts) -> None:
        """Ask before every single write, of ``replicas`` as of ``apply``."""
        self._acts = acts

    def carry(self, carried: Carried) -> None:
        """Who drains or starts has its whole time also where the clock is set ahead."""
        self._carried = carried

    def replicas(self, variant: Variant, now: datetime) -> tuple[ReplicaState, ...] | Missing:
        """What exists, each moved one step on. A failed replica is told once."""
        with self._lock:
            options = options_of(variant)
            self._changes[variant.service, variant.name] = None
            try:
                standing = self._look(options, now)
            except ClusterError as error:
                return Missing("replicas", str(error))
            if isinstance(standing, Missing):
                return standing
            if other := self._other(standing, variant, now):
                return Missing("replicas", f"{standing} is the target of {other} as well; one variant a target")
            if standing.leaving:  # other targets ask what it has taken, whether or not it may be touched
                self._budgets_at(options, now).marking.take(self._clusters(options.context), standing.leaving)
            cluster = self._asked(variant)
            rollout = self._rollout(cluster, options)
            if (unfinished(standing) or rollout.due(standing)) and self._acts(variant.service):
                standing = self._keeper(cluster, options, now).advance(standing, now)
                rollout.watch(standing, now)
            self._changes[variant.service, variant.name] = change_of(standing, options, now)
            return self._once(standing, self._by_our_clock(standing, states(standing, variant.name, now), now))

    def apply(self, decision: Decision, variant: Variant, now: datetime) -> Outcome:
        """Raise spec.replicas, or begin to drain who goes."""
        with self._lock:
            options = options_of(variant)
            where = f"{variant.service}/{variant.name}"
            try:
                cluster = self._asked(variant)
                standing = self._look(options, now, fresh=True)
                if isinstance(standing, Missing):
                    return Outcome.of(decision, OutcomeKind.REFUSED, f"did not touch {where}: {standing}", now)
                if decision.change:
                    return self._change(standing, self._rollout(cluster, options), decision, now)
                if standing.counted == decision.desired:
                    return Outcome.of(decision, OutcomeKind.ALREADY, f"there are {standing.counted} already", now)
                _ours_to_scale(standing, decision, where, now)
                keeper = self._keeper(cluster, options, now)
                if decision.desired > decision.current:
                    return self._grow(standing, keeper, decision, now)
                return self._shrink(standing, keeper, decision, now)
            except HeldError as error:
                if not error.after:
                    return Outcome.of(decision, OutcomeKind.REFUSED, f"did not touch {where}: {error}", now)
                many = f"after {error.after} {'write' if error.after == 1 else 'writes'} it waits where it is"
                raise ActError(f"did not do all of it for {where}: {error}; {many}") from error
            except ConflictError as error:
                found, why = decision.current, f"somebody was faster: {error}"
                raise StaleActError(where=where, expected=decision.current, found=found, why=why) from error
            except ClusterError as error:
                raise ActError(f"did not do it for {where}, or not all of it: {error}") from error

    def change(self, variant: Variant) -> Change | None:
        """Where the fleet file's ``template`` is not what the pods are made from, or is being brought to them."""
        return self._changes.get((variant.service, variant.name))

    def close(self) -> None:
        """End the watches that are its own; engines keep running. The next call begins them anew."""
        if self._own is not None:
            self._own.close()
            self._own = Clusters()

    def _own_cluster(self, context: str) -> ClusterView:
        assert self._own is not None
        return self._own.of(context)

    def _look(self, options: KubernetesOptions, now: datetime, *, fresh: bool = False) -> Standing | Missing:
        cluster = self._clusters(options.context)
        return look(cluster, self._memory(options), self._notices, options, now, fresh=fresh)

    def _asked(self, variant: Variant) -> Asked:
        return Asked(self._clusters(options_of(variant).context), variant.service, self._acts)

    def _keeper(self, cluster: ClusterView, options: KubernetesOptions, now: datetime) -> Keeper:
        return Keeper(cluster, self._memory(options), options, self._budgets_at(options, now), self._carried)

    def _budgets_at(self, options: KubernetesOptions, now: datetime) -> Budgets:
        """Every pass begins with none taken; its time is its name."""
        known = self._budgets.get(options.context)
        if known is None or known.at != now:
            known = self._budgets[options.context] = Budgets(at=now)
        return known

    def _rollout(self, cluster: ClusterView, options: KubernetesOptions) -> Rollout:
        return Rollout(cluster, self._memory(options), options)

    def _memory(self, options: KubernetesOptions) -> Written:
        return self._written.setdefault(options.context, Written())

    def _other(self, standing: Standing, variant: Variant, now: datetime) -> str:
        """Which other variant has found the same target in this pass, by whatever it names it; "" none."""
        where = (options_of(variant).context, standing.target.ref)
        mine = f"{variant.service}/{variant.name}"
        at, found = self._found.get(where, (now, mine))
        if at == now and found != mine:
            return found
        self._found[where] = (now, mine)
        return ""

    def _by_our_clock(
        self, standing: Standing, found: tuple[ReplicaState, ...], now: datetime
    ) -> tuple[ReplicaState, ...]:
        """``found``, starts that began under our eyes dated by when we first saw them: deadlines are measured on our
        clock, and the API server's may be minutes from it. What was there at the first look is as it says."""
        ref = standing.target.ref
        before = self._starting.get(ref)
        starting = {one.replica for one in found if one.phase is Phase.STARTING}
        first = {name: self._first(before, name, now) for name in starting}
        self._starting[ref] = first
        return tuple(_seen_since(one, at) if (at := first.get(one.replica)) is not None else one for one in found)

    def _first(self, before: Mapping[str, datetime | None] | None, name: str, now: datetime) -> datetime | None:
        at = before.get(name, now) if before is not None else None
        return self._carried(at) if at is not None else None

    def _once(self, standing: Standing, found: tuple[ReplicaState, ...]) -> tuple[ReplicaState, ...]:
        """``found`` without who was told as failed before. After a restart it is told again, and counts once all the
        same: what decides remembers who failed."""
        failed = {one.name: one.pod.uid for one in standing.replicas if one.phase is Phase.FAILED}
        told = {name for name, uid in failed.items() if uid in self._told}
        self._told |= set(failed.values())
        return tuple(one for one in found if one.replica not in told)

    def _change(self, standing: Standing, rollout: Rollout, decision: Decision, now: datetime) -> Outcome:
        """Begin to bring the fleet file's ``template`` to the pods; ``replicas`` sees it through, or takes it back."""
        found = change_of(standing, rollout.options, now)
        if found is None or found.stage is ChangeStage.ROLLING:
            detail = found.detail if found is not None else f"{standing}: its template is as it is to be"
            return Outcome.of(decision, OutcomeKind.ALREADY, detail, now)
        if found.stage is not ChangeStage.WANTED:
            return Outcome.of(decision, OutcomeKind.REFUSED, f"{standing}: {found.detail}", now)
        return Outcome.of(decision, OutcomeKind.DONE, rollout.begin(standing, now), now)

    def _grow(self, standing: Standing, keeper: Keeper, decision: Decision, now: datetime) -> Outcome:
        """As many more pods; who leaves is counted by the target as well, until it is gone."""
        ending = [one.name for one in standing.going if one.drained]
        if ending:  # raised now, the count would keep them: their controller has not acted on the lower one yet
            are = "is" if len(ending) == 1 else "are"
            detail = f"{standing}: {', '.join(ending)} {are} being removed; the next pass adds"
            return Outcome.of(decision, OutcomeKind.REFUSED, detail, now)
        leaving = len(standing.leaving)
        to = decision.desired + leaving
        standing = keeper.scale(keeper.note(standing, decision.desired, now, to=to), to)
        besides = f", {leaving} of them leaving" if leaving else ""
        return Outcome.of(decision, OutcomeKind.DONE, f"{standing}: {standing.target.replicas} replicas{besides}", now)

    def _shrink(self, standing: Standing, keeper: Keeper, decision: Decision, now: datetime) -> Outcome:
        """Mark who goes; ``replicas`` does the rest. First the marks, then the count: who is interrupted in between has
        drained fewer, and removed nobody."""
        if standing.rolling:
            detail = f"{standing}: a rollout is under way; nothing is removed while it is"
            return Outcome.of(decision, OutcomeKind.REFUSED, detail, now)
        chosen = victims(standing, decision.victims, decision.current - decision.desired)
        if chosen.unmade and standing.unheard:
            detail = f"{standing}: its controller counts {standing.unheard} more than we have heard of"
            return Outcome.of(decision, OutcomeKind.REFUSED, detail, now)
        going, why = keeper.may_go(standing, chosen.replicas)
        if standing.ordered:  # nobody goes before who stands above it
            going = _unbroken(chosen, going)
        if not going and not chosen.unmade:
            return Outcome.of(decision, OutcomeKind.REFUSED, _nobody(standing, why), now)
        done, changed = keeper.each(keeper.mark, going, now, unbroken=standing.ordered)
        why, marked = [*why, *changed], {one.name: one for one in done}
        if not marked and not chosen.unmade:
            return Outcome.of(decision, OutcomeKind.REFUSED, _nobody(standing, why), now)
        standing = _with(standing, marked)
        try:
            standing = keeper.note(standing, decision.current - len(marked) - chosen.unmade, now)
        except ConflictError as error:
            if not marked:
                raise
            drain = f"{', '.join(marked)} {'drains' if len(marked) == 1 else 'drain'}"
            raise ActError(f"{standing}: {drain}, but how many are to stay was not written down: {error}") from error
        standing = keeper.advance(standing, now)
        return _told(decision, standing, chosen, tuple(marked), why, now)


def unfinished(standing: Standing) -> bool:
    """Whether something is on its way that ``replicas`` sees through: else nobody need be asked whether it may."""
    return bool(standing.leaving or standing.owed or standing.foreign)


def _seen_since(state: ReplicaState, at: datetime) -> ReplicaState:
    stuck = state.stuck
    if stuck is not None:
        stuck = replace(stuck, since=max(stuck.since, at) if stuck.since <= at + SAME_CLOCK else at)
    return replace(state, since=at, stuck=stuck)


def _ours_to_scale(standing: Standing, decision: Decision, where: str, now: datetime) -> None:
    """StaleActError where somebody else scales the target, or it has another count than was decided on."""
    override = standing.override(now)
    why = standing.owner or (str(override) if override is not None else "")
    if why or standing.counted != decision.current:
        raise StaleActError(where=where, expected=decision.current, found=standing.counted, why=why)


def _unbroken(chosen: Victims, going: list[Replica]) -> list[Replica]:
    """Those who may go, down to the first who may not."""
    names = {one.name for one in going}
    for index, one in enumerate(chosen.replicas):
        if one.name not in names:
            return list(chosen.replicas[:index])
    return list(going)


def _with(standing: Standing, marked: Mapping[str, Replica]) -> Standing:
    return replace(standing, replicas=tuple(marked.get(one.name, one) for one in standing.replicas))


def _nobody(standing: Standing, why: Iterable[str]) -> str:
    return f"{standing}: nobody may go now: {'; '.join(why)}"


def _told(
    decision: Decision,
    standing: Standing,
    chosen: Victims,
    marked: Collection[str],
    why: Collection[str],
    now: datetime,
) -> Outcome:
    """Failed where only some could go: what is left is not to be expected."""
    wanted, done = decision.current - decision.desired, len(marked) + chosen.unmade
    parts = [f"{standing}: draining {', '.join(marked)}"] if marked else [f"{standing}"]
    parts += [f"{chosen.unmade} that {'was' if chosen.unmade == 1 else 'were'} never made"] if chosen.unmade else []
    parts += [chosen.said] if chosen.said else []
    if done == wanted:
        return Outcome.of(decision, OutcomeKind.DONE, "; ".join(parts), now)
    rest = f"{done} of {wanted}; the others may not go now: {'; '.join(why)}; the next pass decides again"
    return Outcome.of(decision, OutcomeKind.FAILED, "; ".join([*parts, rest]), now)
