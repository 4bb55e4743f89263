"""One simulated service shown as many: every pass meets real readings, and what is decided about the first is done."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from benchmarks.passes.elsewhere import INTERVAL_S, Simulated
from controller.facts.budgets import Guard
from controller.facts.decisions import Alert, Decision, Memory, Outcome, OutcomeKind, Pause
from controller.facts.fleet import Fleet, Mode, Service
from controller.facts.missing import Missing
from controller.facts.passes import PassRecord, PassResult
from controller.facts.prices import Prices
from controller.facts.readings import CounterMark, EngineReading, Observation, Target
from controller.facts.safety import Stop
from controller.ledger.write import Ledger
from controller.loop import Plan
from controller.observe.layout import shared


def made(one: Simulated, services: int, replicas: int, ledger: Ledger) -> tuple[Multiplied, Plan]:
    """``one``, ``services`` times; each keeps at least ``replicas``."""
    service, policy = one.what()
    names = [service.name, *(f"s{number}" for number in range(1, services))]
    fleet = Fleet(services={name: _as(service, name) for name in names})
    rule = replace(policy.replicas, min_replicas=replicas)
    policies = {name: replace(policy, service=name, replicas=rule) for name in names}
    plan = Plan(fleet=fleet, policies=policies, mode=Mode.ACT, interval_s=INTERVAL_S, rate_window_s=60.0)
    return Multiplied(one, names, ledger), plan


def _as(service: Service, name: str) -> Service:
    variants = {key: replace(one, service=name) for key, one in service.variants.items()}
    return replace(service, name=name, variants=variants)


class Multiplied:
    """``look_s``: CPU seconds that went into making up what was observed, which no real pass spends."""

    def __init__(self, inner: Simulated, names: Sequence[str], ledger: Ledger) -> None:
        self._inner, self._names, self._ledger = inner, names, ledger
        self.look_s = 0.0

    @property
    def now(self) -> datetime:
        return self._inner.now()

    def advance(self) -> None:
        """On to the next pass."""
        self._inner.advance()

    def observe(self, now: datetime) -> Observation:
        began_s = time.process_time()
        one = self._inner.observe(now)
        targets = {(name, target.url): _renamed(target, name) for name in self._names for target in one.targets}
        seen = Observation(
            at=now,
            targets=tuple(targets.values()),
            engines={target.url: _of(target, one.engines[url]) for (_, url), target in targets.items()},
            gpus={(name, variant): why for (_, variant), why in one.gpus.items() for name in self._names},
            replicas={(name, variant): states for (_, variant), states in one.replicas.items() for name in self._names},
            gateway={name: waiting for waiting in one.gateway.values() for name in self._names},
        )
        self.look_s = time.process_time() - began_s
        return seen

    def prices(self, now: datetime) -> Prices:
        found = self._inner.prices(now).items()
        return {(name, variant, kind): price for (_, variant, kind), price in found for name in self._names}

    def pauses(self) -> Mapping[str, Pause]:
        return self._ledger.pauses()

    def stops(self, now: datetime) -> tuple[Stop, ...]:
        return ()

    def guards(self) -> Mapping[str, tuple[Guard, ...]]:
        return {}

    def marks(self) -> tuple[CounterMark, ...]:
        return ()

    def record_intent(self, record: PassRecord) -> None:
        self._ledger.record_intent(record)

    def act(self, decision: Decision, now: datetime) -> Outcome:
        if decision.service == self._names[0]:
            return self._inner.act(decision, now)
        return Outcome.of(decision, OutcomeKind.DONE, "as the first", now)

    def record_outcomes(self, result: PassResult, memory: Memory) -> None:
        self._ledger.record_outcomes(result, memory)

    def notify(self, alerts: Sequence[Alert]) -> None:
        """Nobody is called."""

    def elapsed_s(self) -> float:
        return time.perf_counter()


def _renamed(target: Target, service: str) -> Target:
    return replace(target, service=service, url=f"{target.url}.{service}")


def _of(target: Target, reading: EngineReading | Missing) -> EngineReading | Missing:
    """With numbers of its own, as one that was read has them: memory is measured, too."""
    if isinstance(reading, Missing):
        return reading
    histograms = {
        name: replace(one, counts=shared(count + 0.0 for count in one.counts))
        for name, one in reading.histograms.items()
    }
    return replace(reading, target=target, counters=dict(reading.counters), histograms=histograms)
