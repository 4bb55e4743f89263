"""The last look at what a pass decided, before any of it is written down and done.

It may make a step smaller, hold it or leave it as it is; never does a step turn round or grow. In this order:

    stop        an operator stopped the service, or everything: nothing moves, and what would have is told
    minimum     nothing shrinks below min_replicas; what grows up to it passes all that follows, and is counted there
    freeze      the fleet file froze this direction at this time
    storm       spot that a storm takes is not bought
    flapping    a service that went back and forth does not shrink for a while; starts that failed still go
    blast       what is left shares the limits of a pass, of an hour and, in a storm, of launches
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import inf

from controller.facts.decisions import Because, Decision, Outcome, OutcomeKind
from controller.facts.missing import Missing
from controller.facts.safety import Move, SafetyMemory, SafetySeen, Stop, Storm, stop_of
from controller.safety.flaps import flaps, with_damping
from controller.safety.rules import HOUR_S, Limit, SafetyRules
from controller.safety.share import Claim, Room, shared
from controller.safety.storm import Target

ASKED = "asked_replicas"
"""Among the numbers of a decision that was cut: the count that it asked for."""

ASKED_USD = "asked_usd_per_hour"
"""And what that would have cost."""

GIVES_UP = "gives_up_starts"
"""1 among the numbers of a cut decision that removes starts which failed."""

HELD = frozenset({Because.STOPPED, Because.FROZEN, Because.STORM, Because.FLAPPING, Because.BLAST_LIMIT})
"""Why a step is made smaller or held here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What else the kernel looks at.

    minimums       by service: min_replicas
    urgent         services below their SLO: the first to grow
    stops          in force, from wherever
    struck         variants whose spot a storm takes
    usd_per_hour   what so many replicas of a decision's variant cost; Missing when nobody knows
    off_spot       how many more replicas of a decision's variant can be had beside spot
    """

    at: datetime
    minimums: Mapping[str, int]
    urgent: Collection[str] = ()
    stops: tuple[Stop, ...] = ()
    struck: Mapping[Target, Storm] = field(default_factory=dict)
    usd_per_hour: Callable[[Decision, int], float | Missing]
    off_spot: Callable[[Decision], float] = lambda decision: inf


@dataclass(slots=True)
class _Step:
    """One move on its way through the rules. ``exempt``: of it, what the minimum demands."""

    decision: Decision
    allowed: int
    exempt: int = 0
    because: Because | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, decision: Decision) -> _Step:
        return cls(decision, allowed=abs(decision.desired - decision.current))

    @property
    def growing(self) -> bool:
        return self.decision.desired > self.decision.current

    @property
    def asked(self) -> int:
        return abs(self.decision.desired - self.decision.current)

    @property
    def rest(self) -> int:
        """Beyond what is exempt."""
        return self.allowed - self.exempt

    @property
    def target(self) -> Target:
        return self.decision.service, self.decision.variant

    def count(self, moved: int) -> int:
        """Replicas after ``moved`` of it."""
        return self.decision.current + (moved if self.growing else -moved)

    def cut(self, to: int, because: Because, note: str) -> None:
        """No further than ``to`` replicas. Whatever cuts most is the reason; all are told."""
        if to < self.allowed:
            self.allowed, self.because = to, because
            self.notes.append(note)


def screened(
    decisions: Sequence[Decision], rules: SafetyRules, memory: SafetyMemory, scene: Scene
) -> tuple[tuple[Decision, ...], SafetyMemory]:
    """The decisions that may be acted on, and the memory in which they count as done: ``settled`` gives back what was
    not. Screening what was screened changes nothing, and neither does the order of the services."""
    memory = _caught_up(memory, decisions, rules, scene.at)
    memory = with_damping(memory, rules.flaps, _sizes(decisions), scene.at)
    steps = {one.id: _Step.of(one) for one in decisions if one.moves}
    _minimums(steps.values(), decisions, scene)
    for step in steps.values():
        _held(step, rules, memory, scene)
    for growing in (True, False):
        _share([one for one in steps.values() if one.growing is growing], growing, decisions, rules, memory, scene)
    _make_before_break(steps.values())
    first = min((_target(one) for one in decisions if one.change and not _kept(one, rules, scene)), default=None)
    made = tuple(
        _made(steps[one.id], scene) if one.id in steps else _changed(one, first, rules, scene) for one in decisions
    )
    moves = (*memory.moves, *(_move(one, scene.at) for one in made if one.moves))
    return made, replace(memory, moves=moves, stops=tuple(one for one in scene.stops if one.source != "command"))


def settled(memory: SafetyMemory, decisions: Iterable[Decision], outcomes: Mapping[str, Outcome]) -> SafetyMemory:
    """``memory`` after acting. What was not done gives its room back; what failed may have been half done, and counts
    until the next count tells."""
    kinds = {one.id: outcomes[one.id].kind if one.id in outcomes else None for one in decisions}
    moves = []
    for move in memory.moves:
        kind = kinds.get(move.id, OutcomeKind.UNKNOWN)
        if kind in (OutcomeKind.DONE, OutcomeKind.ALREADY):
            moves.append(replace(move, before=None))
        elif kind in (OutcomeKind.FAILED, OutcomeKind.UNKNOWN):
            moves.append(move)
    return replace(memory, moves=tuple(moves))


def seen_after(
    memory: SafetyMemory, rules: SafetyRules, decisions: Iterable[Decision], stops: tuple[Stop, ...], now: datetime
) -> SafetySeen:
    """For people."""
    hour = [one for one in memory.moves if one.at > now - timedelta(seconds=HOUR_S)]
    return SafetySeen(
        stops=tuple(one for one in stops if one.holds(now)),
        storms=tuple(memory.storms.values()),
        damped={service: one for service, one in memory.damped.items() if now < one.until},
        flap_ratios=flaps(memory, rules.flaps, _sizes(decisions), now),
        moved={"grow": _moved(hour, True)[0], "shrink": _moved(hour, False)[0]},
    )


# --- what is known by now ---------------------------------------------------------------------------------------------


def _caught_up(memory: SafetyMemory, decisions: Sequence[Decision], rules: SafetyRules, now: datetime) -> SafetyMemory:
    """Without what no rule looks back on any more, and with what became of steps that nobody knew the end of."""
    oldest, mine = now - timedelta(seconds=rules.reach_s), {one.id for one in decisions}
    counts = {(one.service, one.variant): one.current for one in decisions}
    moves = []
    for move in memory.moves:
        if move.at <= oldest or move.id in mine:
            continue
        known = _reconciled(move, counts.get((move.service, move.variant)))
        if known.replicas:
            moves.append(known)
    return replace(memory, moves=tuple(moves))


def _reconciled(move: Move, count: int | None) -> Move:
    """By the count that is found now: what of it was done."""
    if move.before is None or count is None:
        return move
    found = count - move.before
    done = min(max(found, 0), move.replicas) if move.replicas > 0 else max(min(found, 0), move.replicas)
    usd = None if move.usd is None else move.usd * done / move.replicas
    return replace(move, replicas=done, usd=usd, before=None)


def _sizes(decisions: Iterable[Decision]) -> dict[str, int]:
    sizes: defaultdict[str, int] = defaultdict(int)
    for one in decisions:
        sizes[one.service] += one.current
    return dict(sizes)


# --- what holds one step ----------------------------------------------------------------------------------------------


def _minimums(steps: Iterable[_Step], decisions: Sequence[Decision], scene: Scene) -> None:
    """What of each growth the minimum demands, and no shrink beyond it."""
    spare = {service: size - scene.minimums.get(service, 0) for service, size in _sizes(decisions).items()}
    for step in sorted(steps, key=lambda one: one.target):
        service = step.decision.service
        if step.growing:
            step.exempt = min(step.asked, max(0, -spare[service]))
            spare[service] += step.exempt
        else:
            least = scene.minimums.get(service, 0)
            left = max(0, spare[service])
            step.cut(min(step.allowed, left), Because.LIMIT, f"nothing goes below min_replicas, {least}")
            spare[service] -= step.allowed


def _held(step: _Step, rules: SafetyRules, memory: SafetyMemory, scene: Scene) -> None:
    """By everything that looks at one service alone."""
    decision, now = step.decision, scene.at
    stop = stop_of(scene.stops, decision.service, now)
    if stop is not None:
        step.exempt = 0
        step.cut(0, Because.STOPPED, f"{stop}; lifted by: {stop.lift}")
    for freeze in rules.freezes:
        if freeze.holds(decision.service, step.growing, now):
            step.cut(step.exempt, Because.FROZEN, f"frozen by '{freeze.name}' in the fleet file")
    storm = scene.struck.get(step.target)
    if storm is not None and step.growing:
        least = max(step.exempt, int(min(step.allowed, scene.off_spot(decision))))
        step.cut(least, Because.STORM, f"{storm.why}; no spot of it before {storm.until:%H:%M} UTC")
    damping = memory.damped.get(decision.service)
    if damping is not None and now < damping.until and not step.growing and not _unwinds(decision):
        step.cut(0, Because.FLAPPING, f"it went back and forth; nothing goes before {damping.until:%H:%M} UTC")


def _changed(decision: Decision, first: Target | None, rules: SafetyRules, scene: Scene) -> Decision:
    """Engines are changed while no stop and no freeze holds them, and one variant of the fleet begins in a pass: what
    is wrong with a template then shows before all have it."""
    kept = _kept(decision, rules, scene) if decision.change else None
    if kept is None and (not decision.change or _target(decision) == first):
        return decision
    because, note = kept or (decision.because, "another rollout begins in this pass")
    said = f"{note}. Decided: would change to {decision.change} ({decision.because}: {decision.detail})"
    return replace(decision, change="", because=because, detail=said)


def _kept(decision: Decision, rules: SafetyRules, scene: Scene) -> tuple[Because, str] | None:
    """What keeps engines as they are. A freeze of either direction does: a rollout grows and then shrinks."""
    stop = stop_of(scene.stops, decision.service, scene.at)
    if stop is not None:
        return Because.STOPPED, f"{stop}; lifted by: {stop.lift}"
    for freeze in rules.freezes:
        if any(freeze.holds(decision.service, growing, scene.at) for growing in (True, False)):
            return Because.FROZEN, f"frozen by '{freeze.name}' in the fleet file"
    return None


def _target(decision: Decision) -> Target:
    return decision.service, decision.variant


def _unwinds(decision: Decision) -> bool:
    """Whether it removes starts that failed, which serve nobody."""
    gives_up = decision.because is Because.START_FAILED or GIVES_UP in decision.numbers
    return gives_up and decision.desired < decision.current


# --- what all share ---------------------------------------------------------------------------------------------------


def _share(
    steps: Sequence[_Step],
    growing: bool,
    decisions: Sequence[Decision],
    rules: SafetyRules,
    memory: SafetyMemory,
    scene: Scene,
) -> None:
    rooms = list(_rooms(steps, growing, sum(one.current for one in decisions), rules, memory, scene))
    claims = [
        Claim(
            key=step.target,
            urgent=step.decision.service in scene.urgent,
            replicas=step.rest,
            usd=_marginal(step, scene),
        )
        for step in steps
        if step.rest > 0
    ]
    given, why = shared(claims, rooms)
    because = Because.STORM if why == STORM_ROOM else Because.BLAST_LIMIT
    for step in steps:
        if step.rest > 0:
            step.cut(step.exempt + given[step.target], because, why)


STORM_ROOM = "a storm is on, and launches are limited"


def _rooms(
    steps: Sequence[_Step], growing: bool, fleet: int, rules: SafetyRules, memory: SafetyMemory, scene: Scene
) -> Iterator[Room]:
    """What the limits leave after this hour's moves, and after what minimums demand now."""
    blast, word = (rules.grow, "grow") if growing else (rules.shrink, "shrink")
    exempt = sum(step.exempt for step in steps)
    exempt_usd = sum(_span(step, 0, step.exempt, scene) or 0.0 for step in steps)
    hour = [one for one in memory.moves if one.at > scene.at - timedelta(seconds=HOUR_S)]
    moved, usd = _moved(hour, growing)
    before = fleet - sum(one.replicas for one in hour)
    yield _room(f"safety.{word}.per_pass", blast.per_pass, fleet, exempt, exempt_usd)
    yield _room(f"safety.{word}.per_hour", blast.per_hour, before, exempt + moved, exempt_usd + usd)
    if growing and memory.storms:
        start = scene.at - timedelta(seconds=rules.storm.launches_per_s)
        launched = sum(max(0, one.replicas) for one in hour if one.at > start)
        yield Room(name=STORM_ROOM, replicas=rules.storm.launches - launched - exempt)


def _room(key: str, limit: Limit, fleet: int, moved: int, usd: float) -> Room:
    most = limit.most(fleet)
    told = [f"{most:g} replicas"] if most < inf else []
    told += [f"${limit.usd:g} an hour"] if limit.usd is not None else []
    return Room(
        name=f"{key} allows {' and '.join(told)}",
        replicas=most - moved,
        usd=inf if limit.usd is None else limit.usd,
        spent=usd,
    )


def _moved(hour: Sequence[Move], growing: bool) -> tuple[int, float]:
    """Replicas and dollars of one direction. Starts that were given up give their room back. Of a step whose price was
    unknown the replicas count alone: it could only be one up to a minimum."""
    sign = 1 if growing else -1
    mine = [one for one in hour if (one.unwound if growing else False) or (one.replicas * sign > 0 and not one.unwound)]
    return max(0, sign * sum(one.replicas for one in mine)), max(0.0, sign * sum(one.usd or 0.0 for one in mine))


def _marginal(step: _Step, scene: Scene) -> Callable[[int], float | None]:
    return lambda had: _span(step, step.exempt + had, step.exempt + had + 1, scene)


def _span(step: _Step, start: int, end: int, scene: Scene) -> float | None:
    """Dollars an hour between having moved ``start`` and ``end`` of it."""
    prices = [scene.usd_per_hour(step.decision, step.count(moved)) for moved in (start, end)]
    known = [price for price in prices if not isinstance(price, Missing)]
    return abs(known[1] - known[0]) if len(known) == len(prices) else None


def _make_before_break(steps: Iterable[_Step]) -> None:
    """Where growth was cut, as much less of the same service goes: a swap never leaves fewer than were decided on."""
    by_service: defaultdict[str, list[_Step]] = defaultdict(list)
    for step in sorted(steps, key=lambda one: one.target):
        by_service[step.decision.service].append(step)
    for mine in by_service.values():
        cut = [one for one in mine if one.growing and one.allowed < one.asked]
        short = sum(one.asked - one.allowed for one in cut)
        short -= sum(one.asked - one.allowed for one in mine if not one.growing)
        for step in (one for one in mine if not one.growing and short > 0):
            less = min(step.allowed, short)
            because = cut[0].because or Because.BLAST_LIMIT
            step.cut(step.allowed - less, because, "what should replace it may not grow yet")
            short -= less


# --- what is left -----------------------------------------------------------------------------------------------------


def _made(step: _Step, scene: Scene) -> Decision:
    decision, desired = step.decision, step.count(step.allowed)
    if step.because is None:
        return decision
    asked_usd = decision.usd_per_hour_after
    numbers = {**decision.numbers, ASKED: float(decision.desired)}
    if not isinstance(asked_usd, Missing):
        numbers[ASKED_USD] = asked_usd
    if _unwinds(decision):
        numbers[GIVES_UP] = 1.0
    verb = "would" if desired == decision.current else f"goes to {desired}, would"
    return replace(
        decision,
        desired=desired,
        because=step.because,
        detail=f"{'; '.join(step.notes)}. Decided: {verb} {decision.verb} from {decision.current} to "
        f"{decision.desired} ({decision.because}: {decision.detail})",
        numbers=numbers,
        usd_per_hour_after=_usd(decision, desired, scene),
        victims=decision.victims[: max(0, decision.current - desired)],
    )


def _usd(decision: Decision, desired: int, scene: Scene) -> float | Missing:
    return decision.usd_per_hour_before if desired == decision.current else scene.usd_per_hour(decision, desired)


def _move(decision: Decision, now: datetime) -> Move:
    before, after = decision.usd_per_hour_before, decision.usd_per_hour_after
    return Move(
        id=decision.id,
        at=now,
        service=decision.service,
        variant=decision.variant,
        replicas=decision.desired - decision.current,
        usd=None if isinstance(before, Missing) or isinstance(after, Missing) else after - before,
        unwound=_unwinds(decision),
        before=decision.current,
    )
