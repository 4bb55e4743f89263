"""The shell of the real daemon: does for a pass what the rooms with I/O can do, and decides nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from math import isnan
from typing import Self

import numpy as np

from controller.act.actuator import Actuator, Bounded, Changing, CountsTargets, Heeding, Waiting, Warned
from controller.act.gate import Gate, Stops
from controller.clock import ClockWatch
from controller.errors import ActError, LedgerError
from controller.estimate.demand.history import state_from_history
from controller.estimate.demand.state import MINUTE_S, DemandState, empty_state
from controller.estimate.outlook import Lookout
from controller.estimate.remembered import fitting, lookout_of
from controller.facts.budgets import Guard
from controller.facts.changes import Change
from controller.facts.decisions import Alert, Decision, Memory, Outcome, OutcomeKind, Pause
from controller.facts.fleet import Fleet, Variant
from controller.facts.interruptions import Notice
from controller.facts.missing import Missing
from controller.facts.money import EPOCH
from controller.facts.passes import PassRecord, PassResult, Restored
from controller.facts.prices import Prices
from controller.facts.readings import Bounds, CounterMark, Observation, ReplicaState, Target
from controller.facts.safety import Stop
from controller.leader.leadership import Tenure
from controller.ledger.write import Ledger
from controller.loop import Running
from controller.notify.dispatch import Dispatcher
from controller.observe.fleet_observer import FleetObserver, Seen
from controller.observe.interruptions import Interruptions, joined
from controller.prices.pricing import Pricing

log = logging.getLogger("pennyweight")

HISTORY = timedelta(days=28)
"""Of minutes that a forecaster is made from: as many weeks as its shape of the week remembers well. A guess."""

RELIVE_S = 1.0
"""So long a start may take to make forecasters from minutes: one service with 28 days, or two without any. A guess:
whoever takes over is to begin with its first pass, and a Lease leaves 3 s of the 20 s in which that should be made."""

MOST_OWED = 10_000
"""Outcomes that wait for a ledger that can be written; what is beyond is settled as unknown at the next start. A guess:
nothing is acted on meanwhile, so the outcomes of one pass are the usual case."""

NOT_LEADING = "this daemon does not lead any more"

History = Callable[[str, datetime, datetime], Sequence[float]]
"""(service, start, end): requests/s that arrived, minute by minute from ``start`` on; nan where nobody knows."""


class LiveShell:
    """Observes with real sources, acts with real actuators, records in a real ledger."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        observer: FleetObserver,
        pricing: Pricing,
        actuators: Mapping[str, Actuator],
        ledger: Ledger,
        dispatcher: Dispatcher,
        tenure: Tenure,
        guards: Callable[[], Mapping[str, tuple[Guard, ...]]] = dict,
    ) -> None:
        """Lives as long as one term of leading, which ``tenure`` tells: what comes after begins with a new one.

        ``guards``: what budgets hold back now, by service; none when nobody keeps budgets. Ledger and dispatcher are
        others' too, and are not closed with it.
        """
        self._interruptions = Interruptions()
        self._tenure = tenure
        self._guards = guards
        self._fleet = fleet
        self._observer = observer
        self._pricing = pricing
        self._actuators = actuators
        self._ledger = ledger
        self._gate = Gate(ledger=ledger.stops, lead=tenure.lead)
        self._dispatcher = dispatcher
        self._pauses: Mapping[str, Pause] = {}
        self._pauses_unread = False
        self._said: set[str] = set()
        self._owed: tuple[Outcome, ...] = ()
        self._unlived: list[str] = []
        self._history: History = lambda *_: ()
        self._acting: Callable[[], bool] = lambda: True
        self._at = EPOCH
        self._watch: ClockWatch | None = None
        for actuator in actuators.values():
            if isinstance(actuator, Heeding):
                actuator.heed(self._may_touch)

    def heeding(self, interruptions: Interruptions) -> Self:
        """With what is announced about machines, from ``restore`` on; else nobody is listened to. Closed with it."""
        self._interruptions = interruptions
        return self

    def acting_while(self, acting: Callable[[], bool]) -> Self:
        """The actuators' own steps are taken only while ``acting`` says that the mode is act; else in every mode."""
        self._acting = acting
        return self

    def watching(self, clock: ClockWatch) -> Self:
        """What drains or starts has its whole time also where the wall clock is set; else nobody looks."""
        self._watch = clock
        for actuator in self._actuators.values():
            if isinstance(actuator, Waiting):
                actuator.carry(clock.carried)
        return self

    def stopped_by(self, *places: Stops) -> Self:
        """Also by what stands outside the ledger, such as a file."""
        self._gate = Gate(ledger=self._ledger.stops, others=places, lead=self._tenure.lead)
        return self

    def restore(self, now: datetime, history: History) -> Running:
        """Go on where the process before stopped. ``history``: what arrived, by minute, where no forecaster was kept.

        Counters continue. What was begun and not finished is unknown, and its count is taken as it is found. That is
        recorded together with what the first pass finds: a process that dies before then leaves it to the next.
        Every signal must be live for its whole window, and idleness be proven, anew before anything shrinks.
        """
        restored, self._history = self._ledger.restore(), history
        self._interruptions.begin(restored.notices, partial(self._ledger.keep_notices, epoch=self._tenure.epoch))
        self._observer.restore(restored.marks, restored.last_pass_at)
        died = "the daemon died between the intent and its outcome"
        self._owed = tuple(Outcome.of(decision, OutcomeKind.UNKNOWN, died, now) for decision in restored.unfinished)
        begun = {(decision.service, decision.variant) for decision in restored.unfinished}
        services = {
            name: replace(
                one,
                live_since=None,
                idle_since=None,
                expected={key: count for key, count in one.expected.items() if (name, key) not in begun},
            )
            for name, one in restored.memory.services.items()
        }
        for decision in restored.unfinished:
            log.warning("the daemon died while acting on %s: taking the replicas as they are now", decision.id)
        self._resume({(name, key): count for name, one in services.items() for key, count in one.expected.items()}, now)
        return Running(
            memory=replace(restored.memory, services=services),
            last_pass_at=restored.last_pass_at,
            lookouts=self._lookouts(restored, now),
            resumed=restored.last_pass_at is not None,
        )

    def catch_up(self, running: Running, now: datetime, for_s: float) -> Running:
        """``running`` with some of the forecasters that ``restore`` had no time to make. Until then those services
        follow their targets, as new ones do."""
        lookouts, began_s = dict(running.lookouts), self.elapsed_s()
        while self._unlived and self.elapsed_s() - began_s < for_s:
            name = self._unlived.pop(0)
            if name in lookouts and running.last_pass_at is not None:
                demand = _relived(name, self._history, running.last_pass_at, now)
                if not isnan(demand.recent.at_s):
                    lookouts[name] = replace(lookouts[name], demand=demand)
        return replace(running, lookouts=lookouts)

    def reload(self, fleet: Fleet, pricing: Pricing) -> None:
        """Look at and act on ``fleet`` from the next pass on."""
        self._fleet, self._pricing = fleet, pricing
        self._observer.reload(fleet)

    def close(self) -> None:
        """Let go of everything but the engines, which keep running."""
        for actuator in self._actuators.values():
            actuator.close()
        self._interruptions.close()
        self._observer.close()

    # what a pass asks for

    def observe(self, now: datetime) -> Observation:
        self._at = now
        set_ahead = self._watch.look(now) if self._watch is not None else timedelta(0)
        notices = self._warned(now)
        replicas = {(variant.service, variant.name): self._replicas(variant, now) for variant in self._fleet.variants()}
        states = (state for some in replicas.values() if not isinstance(some, Missing) for state in some)
        unused_until = {state.url: state.unused_until for state in states if state.unused_until is not None}
        seen = self._observer.observe(now, unused_until)
        problems = (*seen.problems, *self._interruptions.problems(now))
        self._tell((*problems, *_unread(seen)))
        replicas |= self._counted(seen, now)
        return Observation(
            at=now,
            targets=seen.targets,
            engines=seen.engines,
            gpus=seen.gpus,
            replicas={key: joined(states, notices) for key, states in replicas.items()},
            discovery_problems=problems,
            gateway=seen.gateway,
            heard_ago_s={one.name: one.age_s for one in self._interruptions.seen(now)},
            changes=dict(self._changes()),
            bounds=dict(self._bounds()),
            set_ahead=set_ahead,
        )

    def _changes(self) -> Iterator[tuple[tuple[str, str], Change]]:
        """What engines are to be started with instead, where the actuators see that."""
        for variant in self._fleet.variants():
            actuator = self._actuators[variant.actuator]
            change = actuator.change(variant) if isinstance(actuator, Changing) else None
            if change is not None:
                yield (variant.service, variant.name), change

    def _bounds(self) -> Iterator[tuple[tuple[str, str], Bounds]]:
        """What the owners of platforms allow, where the actuators see that."""
        for variant in self._fleet.variants():
            actuator = self._actuators[variant.actuator]
            bounds = actuator.bounds(variant) if isinstance(actuator, Bounded) else None
            if bounds is not None:
                yield (variant.service, variant.name), bounds

    def _may_touch(self, service: str) -> bool:
        """Whether actuators may take steps of their own now: what holds a decision back at the gate holds these."""
        return self._acting() and not self._gate.held(service, self._at)

    def _warned(self, now: datetime) -> Mapping[str, Notice]:
        """What is announced, by node, told to every actuator that drains by itself."""
        notices = self._interruptions.notices(now)
        for actuator in self._actuators.values():
            if isinstance(actuator, Warned):
                actuator.warn(notices)
        return notices

    def _resume(self, left: Mapping[tuple[str, str], int], now: datetime) -> None:
        for name, actuator in self._actuators.items():
            if isinstance(actuator, CountsTargets):
                own = {(one.service, one.name) for one in self._fleet.variants() if one.actuator == name}
                actuator.resume({key: count for key, count in left.items() if key in own}, now)

    def _counted(self, seen: Seen, now: datetime) -> dict[tuple[str, str], tuple[ReplicaState, ...] | Missing]:
        """The replicas of those actuators that count what discovery finds."""
        counted: dict[tuple[str, str], tuple[ReplicaState, ...] | Missing] = {}
        targets = _by_owner(seen.targets)
        for variant in self._fleet.variants():
            actuator, key = self._actuators[variant.actuator], (variant.service, variant.name)
            if isinstance(actuator, CountsTargets):
                subject = f"targets of {variant.service}/{variant.name}"
                problems = [problem for problem in seen.problems if problem.what == subject]
                counted[key] = actuator.counted(variant, targets.get(key, ()), problems, now)
        return counted

    def _tell(self, problems: Iterable[Missing]) -> None:
        """Log what could not be found or read when it begins: in a pass after the other it would hide all else."""
        said = set(map(str, problems))
        for problem in sorted(said - self._said):
            log.warning("%s", problem)
        self._said = said

    def prices(self, now: datetime) -> Prices:
        return self._pricing.prices(self._fleet, now)

    def pauses(self) -> Mapping[str, Pause]:
        """The last known ones when the ledger cannot be read: then nothing is acted on anyway."""
        try:
            self._pauses = self._ledger.pauses()
            self._pauses_unread = False
        except LedgerError as error:
            if not self._pauses_unread:  # a pass that cannot be recorded says how long it goes on
                log.error("pauses cannot be read, keeping the last known ones: %s", error)
            self._pauses_unread = True
        return self._pauses

    def stops(self, now: datetime) -> tuple[Stop, ...]:
        return self._gate.stops(now)

    def guards(self) -> Mapping[str, tuple[Guard, ...]]:
        return self._guards()

    def marks(self) -> tuple[CounterMark, ...]:
        return self._observer.marks()

    def record_intent(self, record: PassRecord) -> None:
        if self._tenure.lead() is None:
            raise LedgerError(f"{NOT_LEADING}; the pass is not recorded")
        self._ledger.record_intent(record, self._tenure.epoch)
        self._gate.recorded(record.decisions, record.at)

    def act(self, decision: Decision, now: datetime) -> Outcome:
        variant = self._fleet.services[decision.service].variants[decision.variant]
        return self._gate.act(decision, variant, self._actuators[variant.actuator], now)

    def record_outcomes(self, result: PassResult, memory: Memory) -> None:
        """With those that an earlier pass could not record: an action without an outcome is one that nobody settled."""
        everything = replace(result, outcomes=(*self._owed, *result.outcomes))
        try:
            self._ledger.record_outcomes(everything, memory, self._tenure.epoch)
        except LedgerError:
            self._owed = everything.outcomes[-MOST_OWED:]
            raise
        self._owed = ()

    def notify(self, alerts: Sequence[Alert]) -> None:
        """Of a daemon that leads no longer, nothing: its successor tells the same."""
        if self._tenure.lead() is not None:
            self._dispatcher.post(alerts)

    def elapsed_s(self) -> float:
        return time.monotonic()

    def _lookouts(self, restored: Restored, now: datetime) -> dict[str, Lookout]:
        """What was learned of each service; where no forecaster was kept, one from the ledger's minutes."""
        lookouts, began_s = {}, self.elapsed_s()
        for name, service in self._fleet.services.items():
            lookout, problems = lookout_of(name, restored.learned.states)
            for problem in problems:
                log.warning("%s", problem)
            if isnan(lookout.demand.recent.at_s) and restored.last_pass_at is not None:
                if self.elapsed_s() - began_s < RELIVE_S:
                    lookout = replace(lookout, demand=_relived(name, self._history, restored.last_pass_at, now))
                else:
                    self._unlived.append(name)
            lookouts[name] = fitting(service, lookout)
        if self._unlived:
            said = "%d services forecast from nothing until their past minutes are read, a few after each pass: %s"
            log.warning(said, len(self._unlived), ", ".join(self._unlived))
        return lookouts

    def _replicas(self, variant: Variant, now: datetime) -> tuple[ReplicaState, ...] | Missing:
        if self._tenure.lead() is None:  # to look at replicas moves each one on in its life
            return Missing("replicas", NOT_LEADING)
        try:
            return self._actuators[variant.actuator].replicas(variant, now)
        except ActError as error:
            return Missing("replicas", str(error))
        except Exception as error:  # one broken actuator must not take everybody's pass with it
            log.exception("the replicas of %s/%s could not be looked at", variant.service, variant.name)
            return Missing("replicas", f"{type(error).__name__}: {error}")


def _unread(seen: Seen) -> Iterator[Missing]:
    """One a variant whose serving targets do not answer; a replica that starts or drains need not."""
    for (service, variant), targets in _by_owner(seen.targets).items():
        serving = [target for target in targets if target.labels.get("phase", "ready") == "ready"]
        lost = [read for target in serving if isinstance(read := seen.engines.get(target.url), Missing)]
        if lost:
            yield Missing(
                f"metrics of {service}/{variant}", f"{len(lost)} of {len(serving)} targets; the first: {lost[0].why}"
            )


def _by_owner(targets: Iterable[Target]) -> dict[tuple[str, str], list[Target]]:
    owned: dict[tuple[str, str], list[Target]] = {}
    for target in targets:
        owned.setdefault((target.service, target.variant), []).append(target)
    return owned


def _relived(service: str, history: History, last_pass_at: datetime, now: datetime) -> DemandState:
    """A forecaster from the ledger's minutes up to the last pass; a new one where they cannot be read."""
    end = min(last_pass_at, now).replace(second=0, microsecond=0)
    start = end - HISTORY
    try:
        rates = np.array(history(service, start, end), dtype=np.float64)
    except LedgerError as error:
        log.warning("forecasts of %s start from nothing, its past minutes cannot be read: %s", service, error)
        return empty_state()
    known = np.flatnonzero(~np.isnan(rates))
    if not len(known):
        return empty_state()
    first, last = int(known[0]), int(known[-1])
    log.info("forecasts of %s go on from %d minutes of the ledger", service, len(known))
    return state_from_history(start + timedelta(minutes=first), MINUTE_S, rates[first : last + 1] * MINUTE_S)
