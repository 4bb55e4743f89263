"""How many replicas one service needs: by forecast where there is one, never fewer than the reactive rules ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from controller.decide.changes import with_changes
from controller.decide.forecast_numbers import SIGNAL as FORECAST
from controller.decide.memory import (
    against_idleness,
    benched_until,
    lived,
    noticed,
    overdue,
    proven_idle,
    recommended,
    still_trying,
)
from controller.decide.placement import most_ever
from controller.decide.plan import Verdict, placed
from controller.decide.predictive import Wished, all_wishes
from controller.decide.rules import ServicePolicy
from controller.decide.shrink import safe_count
from controller.decide.signals import Wish, decisive
from controller.decide.situation import ReplicaView, Situation
from controller.decide.spot import (
    beside_hinted,
    in_place_of_dearer,
    spare_beside,
    starting_on_spot,
    watched,
    weighed,
)
from controller.decide.windows import spare_until, stabilized, step_limited
from controller.facts.decisions import Because, Decision, ServiceMemory
from controller.facts.fleet import Mode
from controller.facts.missing import Missing
from controller.facts.readings import Phase


def decide_replicas(
    situation: Situation, policy: ServicePolicy, memory: ServiceMemory
) -> tuple[tuple[Decision, ...], ServiceMemory]:
    """One decision a variant, and the memory to decide with next time. Deciding twice on the same inputs is equal.

    First match wins:
      paused, observing     an operator or the mode says so
      foreign_change        somebody else changed the count: stand down
      infeasible            its replicas are not of one kind; or the allowed capacity cannot hold min_replicas
      limit                 outside min..max: back inside, without waiting (below, and more is wanted: on to that)
      blind                 no live signal; or fewer are wanted and not every signal of every replica has been live for
                            the whole scale-down window
      start_failed          replicas past their start deadline are removed; a variant whose starts fail is benched
      steady, starting      as many as wanted are there, or on their way
      stabilizing           not wanted for the whole window yet
      headroom              one fewer would not hold the load
      not_proven_idle       zero is wanted but idleness is not proven
      step_limit            at_most allows no more in this period
      budget                a budget refuses all growth beyond min_replicas, or all that capacity is left for
      spot                  spot comes beside what may be taken back, as a spare, or in the place of dearer capacity
      forecast, demand,     otherwise: the forecast decided, or a live signal did
      idle
      rollout               nothing else goes on, and the fleet file starts the engines otherwise: see changes.py
    """
    spot = watched(situation, memory) if policy.spot_allowed else memory.spot
    memory = replace(noticed(situation, policy, memory), spot=spot)
    situation = weighed(situation, policy, memory)
    wished = all_wishes(situation, policy)
    memory = lived(situation, wished.lost, memory)
    verdict = _verdict(situation, policy, memory, wished)
    if verdict.wishes:
        memory = recommended(memory, _limited(verdict.wanted, policy), policy.replicas, situation.at)
    return with_changes(situation, policy, placed(situation, policy, memory, verdict)), memory


def _verdict(situation: Situation, policy: ServicePolicy, memory: ServiceMemory, wished: Wished) -> Verdict:
    standing = _standing_down(situation, policy, memory) or _outside_limits(situation, policy)
    if standing is None:
        return _judged_verdict(situation, policy, memory, wished)
    if standing.desired <= situation.current:
        return standing
    more = _judged_verdict(situation, policy, memory, wished)  # what was lost is not brought back to the minimum alone
    return more if more.desired > standing.desired else standing


def _judged_verdict(situation: Situation, policy: ServicePolicy, memory: ServiceMemory, wished: Wished) -> Verdict:
    current, rule = situation.current, policy.replicas
    found, lost = wished
    if not found:
        why = "; ".join(str(missing) for missing in lost) or "the policy names no target that can be read"
        return Verdict(desired=current, wanted=current, because=Because.BLIND, detail=why)
    wanted = max(wish.wanted for wish in found)
    beside = beside_hinted(situation, policy, _limited(wanted, policy))
    if beside and _limited(wanted, policy) <= current < _limited(wanted + beside, policy):
        return _replaced_before(situation, policy, found, wanted, beside)
    resting = _resting(situation, policy, memory)
    spare = max(0, spare_beside(situation, policy, memory, _limited(wanted, policy), resting) - beside)
    enough = _limited(wanted, policy) <= current
    wanted += beside + spare
    judged = _Judged(situation, policy, memory, found, lost, wanted, _limited(wanted, policy))
    given_up = [one for each in situation.variants.values() for one in overdue(each.replicas, rule, situation.at)]
    late, doubtful = len(given_up), _doubtful(situation, given_up)
    if enough and not late and not doubtful and judged.limited > current:
        return _spared(judged, spare)
    if judged.limited > current - late - doubtful:
        growing = _growing(judged, min(judged.limited + late + doubtful, rule.max_replicas))
        if not late or growing.desired > current or current <= rule.min_replicas:
            return growing
    if late and current > rule.min_replicas:
        desired = max(rule.min_replicas, current - late)
        return judged.verdict(desired, Because.START_FAILED, _why_given_up(given_up, judged))
    if judged.limited < current and not doubtful:
        coming = starting_on_spot(situation, policy)
        if coming:
            return judged.hold(Because.STARTING, f"{judged.decisive}; {coming} starting on spot, then dearer ones go")
        return _shrinking(judged)
    more = in_place_of_dearer(situation, policy, memory, judged.limited, resting)
    if more:
        why = f"{judged.decisive}; {more} on spot, in whose place dearer ones go once they serve"
        return judged.verdict(current + more, Because.SPOT, why)
    return judged.steady()


def _replaced_before(
    situation: Situation, policy: ServicePolicy, found: tuple[Wish, ...], wanted: int, beside: int
) -> Verdict:
    """What may be taken back gets a replacement first."""
    desired = _limited(max(wanted, situation.current) + beside, policy)
    detail = f"{beside} may be taken back soon: replaced before, as capacity_mix.spot.prelaunch says"
    return Verdict(desired=desired, wanted=wanted + beside, because=Because.SPOT, detail=detail, wishes=found)


def _spared(judged: _Judged, spare: int) -> Verdict:
    """As many as are wanted are there: what comes beside them is for the loss of a domain."""
    growing = _growing(judged, judged.limited)
    if growing.desired <= judged.situation.current:
        return growing
    why = f"{spare} more than that on spot, so that losing one of its failure domains leaves enough"
    return replace(growing, because=Because.SPOT, detail=f"{growing.detail}; {why}")


def _resting(situation: Situation, policy: ServicePolicy, memory: ServiceMemory) -> tuple[str, ...]:
    """Variants whose starts fail."""
    rule, now = policy.replicas, situation.at
    benched = {name: benched_until(name, memory, rule) for name in situation.variants}
    return tuple(
        name
        for name, one in situation.variants.items()
        if ((until := benched[name]) is not None and until > now) or still_trying(one)
    )


def _doubtful(situation: Situation, given_up: Sequence[ReplicaView]) -> int:
    """Starting replicas that a spot storm may take: cover is counted without them, and none of it goes before they are
    ready or given up."""
    starting = (one for each in situation.variants.values() for one in each.in_phase(Phase.STARTING))
    return sum(one.doubtful for one in starting if one not in given_up)


@dataclass(frozen=True, slots=True)
class _Judged:
    """The wishes and what limits leave of them."""

    situation: Situation
    policy: ServicePolicy
    memory: ServiceMemory
    found: tuple[Wish, ...]
    lost: tuple[Missing, ...]
    wanted: int
    limited: int

    @property
    def now(self) -> datetime:
        return self.situation.at

    @property
    def decisive(self) -> Wish:
        """The wish that wants most: the one that decided."""
        return decisive(self.found)

    @property
    def moved_by(self) -> Because:
        """What decides a move."""
        return Because.FORECAST if self.decisive.signal == FORECAST else Because.DEMAND

    def verdict(self, desired: int, because: Because, detail: str) -> Verdict:
        return Verdict(desired=desired, wanted=self.wanted, because=because, detail=detail, wishes=self.found)

    def hold(self, because: Because, detail: str) -> Verdict:
        return self.verdict(self.situation.current, because, detail)

    def steady(self) -> Verdict:
        current, ready, rule = self.situation.current, self.situation.ready, self.policy.replicas
        if self.limited < self.wanted:
            return self.hold(Because.LIMIT, f"{self.decisive}; max_replicas is {rule.max_replicas}")
        if self.limited > self.wanted:
            return self.hold(Because.LIMIT, f"{self.decisive}; min_replicas is {rule.min_replicas}")
        if self.wanted > ready:
            return self.hold(Because.STARTING, f"{self.decisive}; {current - ready} already starting")
        return self.hold(Because.STEADY, str(self.decisive))


def _standing_down(situation: Situation, policy: ServicePolicy, memory: ServiceMemory) -> Verdict | None:
    current = situation.current
    if situation.paused:
        return Verdict(desired=current, wanted=current, because=Because.PAUSED, detail=situation.paused)
    if situation.mode is Mode.OBSERVE:
        return Verdict(desired=current, wanted=current, because=Because.OBSERVING, detail="mode is observe")
    if memory.foreign_until is not None:
        detail = f"somebody else changed the replicas; hands off until {memory.foreign_until:%H:%M:%S} UTC"
        return Verdict(desired=current, wanted=current, because=Because.FOREIGN_CHANGE, detail=detail)
    if situation.unlike:
        return Verdict(desired=current, wanted=current, because=Because.INFEASIBLE, detail=situation.unlike)
    return None


def _outside_limits(situation: Situation, policy: ServicePolicy) -> Verdict | None:
    rule, current = policy.replicas, situation.current
    room = sum(most_ever(variant, policy) for variant in situation.variants.values())
    if room < rule.min_replicas:
        said = "".join(f"; {one.bounds.said}" for one in situation.variants.values() if one.bounds is not None)
        detail = f"min_replicas is {rule.min_replicas}, but the allowed capacity holds {room:g}{said}"
        return Verdict(desired=current, wanted=rule.min_replicas, because=Because.INFEASIBLE, detail=detail)
    if current < rule.min_replicas:
        detail = f"min_replicas is {rule.min_replicas}"
        return Verdict(desired=rule.min_replicas, wanted=rule.min_replicas, because=Because.LIMIT, detail=detail)
    if current > rule.max_replicas:
        if situation.signals.read_replicas < situation.ready:
            detail = (
                f"{current} is over max_replicas {rule.max_replicas}, but nothing shrinks blind: {_unread(situation)}"
            )
            return Verdict(desired=current, wanted=rule.max_replicas, because=Because.BLIND, detail=detail)
        detail = f"max_replicas is {rule.max_replicas}"
        return Verdict(desired=rule.max_replicas, wanted=rule.max_replicas, because=Because.LIMIT, detail=detail)
    return None


def _growing(judged: _Judged, target: int) -> Verdict:
    situation, rule, memory = judged.situation, judged.policy.replicas, judged.memory
    current = situation.current
    if target <= current:
        return judged.hold(Because.LIMIT, f"{judged.decisive}; max_replicas is {rule.max_replicas}")
    stable = stabilized(target, current, memory.recommendations, rule.scale_up, rule.scale_down, judged.now)
    if stable == current:
        return judged.hold(Because.STABILIZING, f"{judged.decisive}; not yet for {rule.scale_up.stabilization_s:g} s")
    desired = step_limited(stable, current, memory.scale_events, rule.scale_up, judged.now)
    if desired == current:
        return judged.hold(Because.STEP_LIMIT, f"{judged.decisive}; {_step(judged)}")
    cut = f"; {stable} for all of the last {rule.scale_up.stabilization_s:g} s" if stable < target else ""
    cut += f"; cut to {desired} by scale_up.at_most" if desired < stable else ""
    cut += f"; max_replicas is {rule.max_replicas}" if judged.limited < judged.wanted else ""
    return judged.verdict(desired, judged.moved_by, f"{judged.decisive}{cut}")


def _shrinking(judged: _Judged) -> Verdict:
    situation, rule, memory = judged.situation, judged.policy.replicas, judged.memory
    current = situation.current
    blind = _blind_to_shrink(judged)
    if blind:
        return judged.hold(Because.BLIND, blind)
    stable = stabilized(judged.limited, current, memory.recommendations, rule.scale_up, rule.scale_down, judged.now)
    if stable == current:
        return judged.hold(Because.STABILIZING, f"{judged.decisive}; {_not_yet(judged)}")
    idle = proven_idle(situation)
    if stable == 0 and not _idle_long_enough(judged):
        stable = 1
        if current == 1:
            return judged.hold(Because.NOT_PROVEN_IDLE, _not_idle(judged))
    safe, obstacle = safe_count(current, stable, situation.ready, judged.found, rule.targets)
    if safe == current:
        return judged.hold(Because.HEADROOM, obstacle)
    desired = step_limited(safe, current, memory.scale_events, rule.scale_down, judged.now)
    if desired == current:
        return judged.hold(Because.STEP_LIMIT, f"{judged.decisive}; {_step(judged)}")
    cut = f"; no further: {obstacle}" if obstacle and desired == safe else ""
    because, detail = (Because.IDLE, "no request") if idle else (judged.moved_by, str(judged.decisive))
    return judged.verdict(desired, because, f"{detail}{cut}")


def _blind_to_shrink(judged: _Judged) -> str:
    """Why shrinking would be blind; "" when it is not."""
    situation, window_s = judged.situation, judged.policy.replicas.scale_down.stabilization_s
    if judged.lost:
        return "; ".join(str(missing) for missing in judged.lost)
    uncounted = [f"{one.name}: {one.uncounted}" for one in situation.variants.values() if one.uncounted]
    if uncounted:
        return f"nobody knows how many there are: {'; '.join(uncounted)}"
    if situation.signals.read_replicas < situation.ready:
        return _unread(situation)
    live_since = judged.memory.live_since or judged.now
    live_s = (judged.now - live_since).total_seconds()
    if live_s < window_s:
        return f"every signal has been live for {live_s:g} s, shrinking needs {window_s:g} s"
    return ""


def _not_yet(judged: _Judged) -> str:
    down, current = judged.policy.replicas.scale_down, judged.situation.current
    if down.keeps_spare and judged.limited == current - 1:
        until = spare_until(current, judged.memory.recommendations, down, judged.now)
        return f"the last one beyond what is wanted stays until {until:%H:%M} UTC"
    return f"not yet for {down.stabilization_s:g} s"


def _not_idle(judged: _Judged) -> str:
    needs = f"zero needs {judged.policy.replicas.scale_down.stabilization_s:g} s without a request"
    since = judged.memory.idle_since
    if since is not None:
        return f"{needs}, so far there are {(judged.now - since).total_seconds():g}"
    return f"{needs}: {'; '.join(against_idleness(judged.situation))}"


def _idle_long_enough(judged: _Judged) -> bool:
    since, window_s = judged.memory.idle_since, judged.policy.replicas.scale_down.stabilization_s
    return since is not None and (judged.now - since).total_seconds() >= window_s


def _unread(situation: Situation) -> str:
    return f"only {situation.signals.read_replicas} of {situation.ready} ready replicas could be read"


def _why_given_up(given_up: Sequence[ReplicaView], judged: _Judged) -> str:
    """Of those that are stuck, what keeps the first; else that they were too slow."""
    told = next((one.stuck for one in given_up if one.stuck is not None), None)
    if told is None:
        return f"{len(given_up)} not ready after {judged.policy.replicas.start_deadline_s / 60:g} min: given up"
    detail = f" ({told.detail})" if told.detail else ""
    return f"{len(given_up)} cannot start: {told.kind} since {told.since:%H:%M:%S} UTC{detail}; given up"


def _step(judged: _Judged) -> str:
    up = judged.limited > judged.situation.current
    rule = judged.policy.replicas.scale_up if up else judged.policy.replicas.scale_down
    if rule.at_most is None:
        return "no step is allowed"
    most_ = f"{rule.at_most.replicas}" if rule.at_most.replicas is not None else f"{rule.at_most.ratio:.0%}"
    return f"scale_{'up' if up else 'down'} allows {most_} in {rule.at_most.per_s:g} s"


def _limited(wanted: int, policy: ServicePolicy) -> int:
    return min(max(wanted, policy.replicas.min_replicas), policy.replicas.max_replicas)
