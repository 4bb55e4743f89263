"""The shell of the real daemon: does for a pass what the rooms with I/O can do, and decides nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import isnan

import numpy as np

from controller.act.actuator import Actuator
from controller.errors import ActError, LedgerError
from controller.estimate.demand.history import state_from_history
from controller.estimate.demand.state import MINUTE_S, DemandState, empty_state
from controller.estimate.outlook import Lookout
from controller.estimate.remembered import fitting, lookout_of
from controller.facts.budgets import Guard
from controller.facts.decisions import Alert, Decision, Memory, Outcome, OutcomeKind, Pause
from controller.facts.fleet import Fleet, Variant
from controller.facts.missing import Missing
from controller.facts.passes import PassRecord, PassResult, Restored
from controller.facts.prices import Prices
from controller.facts.readings import CounterMark, Observation, ReplicaState
from controller.ledger.write import Ledger
from controller.loop import Running
from controller.notify.dispatch import Dispatcher
from controller.observe.fleet_observer import FleetObserver
from controller.prices.pricing import Pricing

log = logging.getLogger("pennyweight")

HISTORY = timedelta(days=28)
"""Of minutes that a forecaster is made from: as many weeks as its shape of the week remembers well. A guess."""

RELIVE_S = 20.0
"""So long a start may take to make forecasters from minutes: 15 services with 28 days each, once. A guess."""

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
        guards: Callable[[], Mapping[str, tuple[Guard, ...]]] = dict,
    ) -> None:
        """``guards``: what budgets hold back now, by service; none when nobody keeps budgets."""
        self._guards = guards
        self._fleet = fleet
        self._observer = observer
        self._pricing = pricing
        self._actuators = actuators
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._pauses: Mapping[str, Pause] = {}
        self._said: set[str] = set()

    def restore(self, now: datetime, history: History) -> Running:
        """Go on where the process before stopped. ``history``: what arrived, by minute, where no forecaster was kept.

        Counters continue. What was begun and not finished is settled as unknown, and its count is taken as it is
        found. Every signal must be live for its whole window, and idleness be proven, anew before anything shrinks.
        """
        restored = self._ledger.restore()
        self._observer.restore(restored.marks, restored.last_pass_at)
        died = "the daemon died between the intent and its outcome"
        self._ledger.settle([Outcome.of(decision, OutcomeKind.UNKNOWN, died, now) for decision in restored.unfinished])
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
        return Running(
            memory=replace(restored.memory, services=services),
            last_pass_at=restored.last_pass_at,
            lookouts=self._lookouts(restored, history, now),
            resumed=restored.last_pass_at is not None,
        )

    def reload(self, fleet: Fleet, pricing: Pricing) -> None:
        """Look at and act on ``fleet`` from the next pass on."""
        self._fleet, self._pricing = fleet, pricing
        self._observer.reload(fleet)

    def close(self) -> None:
        """Let go of everything but the engines, which keep running."""
        for actuator in self._actuators.values():
            actuator.close()
        self._observer.close()
        self._dispatcher.close()
        self._ledger.close()

    # what a pass asks for

    def observe(self, now: datetime) -> Observation:
        replicas = {(variant.service, variant.name): self._replicas(variant, now) for variant in self._fleet.variants()}
        states = (state for some in replicas.values() if not isinstance(some, Missing) for state in some)
        unused_until = {state.url: state.unused_until for state in states if state.unused_until is not None}
        seen = self._observer.observe(now, unused_until)
        self._tell(seen.problems)
        return Observation(
            at=now,
            targets=seen.targets,
            engines=seen.engines,
            gpus=seen.gpus,
            replicas=replicas,
            discovery_problems=seen.problems,
            gateway=seen.gateway,
        )

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
        except LedgerError as error:
            log.error("pauses could not be read, keeping the last known ones: %s", error)
        return self._pauses

    def guards(self) -> Mapping[str, tuple[Guard, ...]]:
        return self._guards()

    def marks(self) -> tuple[CounterMark, ...]:
        return self._observer.marks()

    def record_intent(self, record: PassRecord) -> None:
        self._ledger.record_intent(record)

    def act(self, decision: Decision, now: datetime) -> Outcome:
        variant = self._fleet.services[decision.service].variants[decision.variant]
        return self._actuators[variant.actuator].apply(decision, variant, now)

    def record_outcomes(self, result: PassResult, memory: Memory) -> None:
        self._ledger.record_outcomes(result, memory)

    def notify(self, alerts: Sequence[Alert]) -> None:
        self._dispatcher.post(alerts)

    def elapsed_s(self) -> float:
        return time.monotonic()

    def _lookouts(self, restored: Restored, history: History, now: datetime) -> dict[str, Lookout]:
        """What was learned of each service; where no forecaster was kept, one from the ledger's minutes."""
        lookouts, began_s, late = {}, self.elapsed_s(), []
        for name, service in self._fleet.services.items():
            lookout, problems = lookout_of(name, restored.learned.states)
            for problem in problems:
                log.warning("%s", problem)
            if isnan(lookout.demand.recent.at_s) and restored.last_pass_at is not None:
                if self.elapsed_s() - began_s < RELIVE_S:
                    lookout = replace(lookout, demand=_relived(name, history, restored.last_pass_at, now))
                else:
                    late.append(name)
            lookouts[name] = fitting(service, lookout)
        if late:
            log.warning("%d services forecast from nothing; reading back took over %g s: %s", len(late), RELIVE_S, late)
        return lookouts

    def _replicas(self, variant: Variant, now: datetime) -> tuple[ReplicaState, ...] | Missing:
        try:
            return self._actuators[variant.actuator].replicas(variant, now)
        except ActError as error:
            return Missing("replicas", str(error))


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
