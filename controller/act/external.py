"""The actuator for a count that somebody else carries out: KEDA, an HPA, or whoever asks us how many there shall be.

What was answered last is what we left. Until it is followed, what is missing counts as starting and what is too much as
on its way out, so that nothing is asked for twice; when it is not followed in time, what is found is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.errors import ActError, StaleActError
from controller.facts.actuators import ExternalOptions
from controller.facts.decisions import Decision, Outcome, OutcomeKind
from controller.facts.fleet import Variant
from controller.facts.missing import Missing
from controller.facts.readings import Phase, ReplicaState, Target

TOLD_AFTER_S = 120.0
"""So long an answer may go unfollowed before people hear of it. A guess: KEDA asks every 30 s and the HPA every 15 s,
and a pod is seen a pass after it was made."""

PHASES = {phase.value: phase for phase in Phase}
ALIVE = (Phase.STARTING, Phase.READY)

Key = tuple[str, str]
"""(service, variant)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfollowed:
    """An answer of ours and what became of it. ``since``: when it began, or last came nearer."""

    service: str
    variant: str
    asked: int
    found: int
    since: datetime
    options: ExternalOptions

    def __str__(self) -> str:
        return f"{self.service}/{self.variant}: {self.options.through} was told {self.asked}, {self.found} are there"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """What we left of one variant, and how far it has come.

    count     how many we said last
    found     how many there were last
    since     since when the two differ, or differ as much as now
    victims   whom the decision named; whoever carries it out may take others
    waits     ``count`` is an answer that was not followed yet
    ignored   the answer before, which was never followed; None when it was
    doubt     why the targets tell no count now; "" when they do
    """

    count: int
    found: int
    since: datetime
    victims: tuple[str, ...] = ()
    waits: bool = False
    ignored: int | None = None
    doubt: str = ""


class ExternalActuator:
    """Says how many there shall be, and looks whether there are. Touches nothing."""

    name = "external"

    def __init__(self, acts: Callable[[], bool] = lambda: True) -> None:
        """``acts``: whether what we say is carried out at all. Where it is not, nothing is expected: whoever follows
        advice by hand takes his own time."""
        self._acts = acts
        self._courses: dict[Key, _Course] = {}
        self._first: dict[Key, dict[tuple[str, Phase], datetime]] = {}

    def resume(self, left: Mapping[Key, int], now: datetime) -> None:
        """Go on from what an earlier process said last, as the ledger has it: it has ``followed_within`` once more."""
        self._courses = {key: _Course(count=count, found=count, since=now, waits=True) for key, count in left.items()}
        self._first = {}

    def replicas(self, variant: Variant, now: datetime) -> Missing:
        """Nothing of its own exists: ``counted`` tells, after discovery."""
        del variant, now
        return Missing("replicas", "somebody else starts and stops them: the targets are the count")

    def counted(
        self, variant: Variant, targets: Sequence[Target], problems: Sequence[Missing], now: datetime
    ) -> tuple[ReplicaState, ...] | Missing:
        """The targets as replicas, with those that are still expected. Missing when fewer are found than there were
        while discovery could not see everything: a list that cannot be read is not an empty fleet."""
        key = (variant.service, variant.name)
        states = self._states(key, targets, now)
        alive = tuple(state for state in states if state.phase in ALIVE)
        course = self._courses.get(key) if self._acts() else None
        trouble = "; ".join(problem.why for problem in problems)
        if trouble and len(alive) < (1 if course is None else min(course.found, course.count)):
            if course is not None:
                self._courses[key] = replace(course, doubt=trouble)
            return Missing("replicas", trouble)
        course = _looked(course, len(alive), now)
        late = now - course.since > timedelta(seconds=_options(variant).followed_within_s)
        self._courses[key] = _given_up(course) if late and course.found != course.count else course
        return (*_leaving(states, course, late=late), *_awaited(variant, course, late=late))

    def apply(self, decision: Decision, variant: Variant, now: datetime) -> Outcome:
        """Answer ``decision.desired`` from now on. Done is that it was said: see ``counted`` for what becomes of it."""
        options, where = _options(variant), f"{variant.service}/{variant.name}"
        key = (variant.service, variant.name)
        course = self._courses.get(key)
        if course is None or course.doubt:
            why = "they were not counted yet" if course is None else course.doubt
            raise ActError(f"did not scale {where}: nobody knows how many there are ({why}); the next pass tries again")
        if decision.desired == course.count:
            return Outcome.of(decision, OutcomeKind.ALREADY, f"{options.through} was told before", now)
        if decision.current != course.count:
            raise StaleActError(where=where, expected=decision.current, found=course.count)
        if decision.desired < course.count < course.found:
            detail = f"{options.through} has not followed down to {course.count} yet, {course.found} are there"
            return Outcome.of(decision, OutcomeKind.REFUSED, f"{detail}; one shrink after the other", now)
        self._courses[key] = replace(
            course, count=decision.desired, since=now, victims=decision.victims, waits=decision.desired != course.found
        )
        detail = f"{options.through} is told {decision.desired}, {course.found} are there"
        return Outcome.of(decision, OutcomeKind.DONE, f"{detail}; within {options.followed_within_s:g} s", now)

    def unfollowed(self, variants: Sequence[Variant], now: datetime) -> tuple[Unfollowed, ...]:
        """The answers that people should hear of: not followed for long, or given up."""
        return tuple(
            Unfollowed(
                service=variant.service,
                variant=variant.name,
                asked=course.count if course.waits or course.ignored is None else course.ignored,
                found=course.found,
                since=course.since,
                options=options,
            )
            for variant in variants
            if isinstance(options := variant.actuator_options, ExternalOptions)
            and (course := self._courses.get((variant.service, variant.name))) is not None
            and (course.ignored is not None or _waited_s(course, now) > min(TOLD_AFTER_S, options.followed_within_s))
        )

    def close(self) -> None:
        """Nothing was opened."""

    def _states(self, key: Key, targets: Sequence[Target], now: datetime) -> tuple[ReplicaState, ...]:
        """Every target, in its phase since we first saw it there."""
        before, first = self._first.get(key, {}), {}
        states = []
        for target in targets:
            phase = PHASES.get(target.labels.get("phase", ""), Phase.READY)
            since = first[target.url, phase] = before.get((target.url, phase), now)
            states.append(
                ReplicaState(
                    replica=target.replica,
                    variant=target.variant,
                    phase=phase,
                    since=since,
                    url=target.url,
                    capacity_type=target.capacity_type,
                    node=target.labels.get("node", ""),
                    instance=target.labels.get("instance_id", ""),
                )
            )
        self._first[key] = first
        return tuple(states)


def _options(variant: Variant) -> ExternalOptions:
    if not isinstance(variant.actuator_options, ExternalOptions):
        raise ActError(f"{variant.service}/{variant.name} has no options of the external actuator")
    return variant.actuator_options


def _looked(course: _Course | None, found: int, now: datetime) -> _Course:
    """``course`` after ``found`` were seen. Whoever comes nearer has the whole time again."""
    if course is None:
        return _Course(count=found, found=found, since=now)
    if found == course.count:
        ignored = None if course.waits else course.ignored
        since = now if ignored is None else course.since
        return replace(course, found=found, since=since, victims=(), waits=False, ignored=ignored, doubt="")
    nearer = abs(found - course.count) < abs(course.found - course.count)
    began = course.found == course.count and not course.waits
    return replace(course, found=found, since=now if nearer or began else course.since, doubt="")


def _given_up(course: _Course) -> _Course:
    """Nobody follows: what is there is what there is. ``ignored`` only where we had asked for something else."""
    ignored = course.count if course.waits else course.ignored
    return replace(
        course, count=course.found, victims=(), waits=False, ignored=ignored if ignored != course.found else None
    )


def _waited_s(course: _Course, now: datetime) -> float:
    return (now - course.since).total_seconds() if course.waits else 0.0


def _leaving(states: Sequence[ReplicaState], course: _Course, *, late: bool) -> tuple[ReplicaState, ...]:
    """``states``, those too many as draining: the decision's victims first, then what has not begun to serve."""
    surplus = max(0, course.found - course.count)
    if not surplus or late:
        return tuple(states)
    alive = [state for state in states if state.phase in ALIVE]
    order = sorted(alive, key=lambda one: (one.replica not in course.victims, one.phase is Phase.READY, one.replica))
    going = {state.replica for state in order[:surplus]}
    return tuple(
        replace(state, phase=Phase.DRAINING, since=course.since, detail="somebody else removes it")
        if state.replica in going
        else state
        for state in states
    )


def _awaited(variant: Variant, course: _Course, *, late: bool) -> tuple[ReplicaState, ...]:
    """What was asked for and is not there: starting, and failed once when nobody made it in time."""
    through = _options(variant).through
    return tuple(
        ReplicaState(
            replica=f"{variant.name}-awaited-{course.since:%H%M%S}-{number}",
            variant=variant.name,
            phase=Phase.FAILED if late else Phase.STARTING,
            since=course.since,
            detail=f"{through} has not made it" if late else f"{through} is to make it",
        )
        for number in range(1, course.count - course.found + 1)
    )
