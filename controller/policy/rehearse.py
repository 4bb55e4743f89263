"""Runs a policy test: the real decisions, pass by pass, on made-up signals and replicas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controller.decide.memory import remember
from controller.decide.replicas import decide_replicas
from controller.decide.rules import ServicePolicy
from controller.decide.situation import Number, ReplicaView, Signals, Situation, VariantSituation
from controller.documents import Document
from controller.errors import Problem
from controller.facts.decisions import Decision, Outcome, OutcomeKind, ServiceMemory
from controller.facts.demand import Demand, Forecast, Outlook
from controller.facts.fleet import Mode
from controller.facts.missing import Missing
from controller.facts.performance import ReplicaCapacity, ServingPoint
from controller.facts.readings import Phase
from controller.policy.script import MOST_PASSES, ExpectShape, InputShape, RehearsalShape, ScriptShape

START = datetime(2026, 1, 1, tzinfo=UTC)
"""Rehearsals have no clock; any moment would do."""

UNPRICED = Missing("usd_per_hour", "a policy test has no prices")


def rehearsed(script: ScriptShape, document: Document, policy: ServicePolicy) -> list[Problem]:
    """Every expectation of every test that the decisions do not meet."""
    problems = []
    for index, test in enumerate(script.tests):
        due, wrong = _schedule(script.every, index, test, document)
        problems += wrong
        for step, decision in enumerate(_decisions(policy, test, script.every, max(due, default=-1) + 1)):
            for which in due.get(step, ()):
                expectation = test.expect[which]
                if not _met(expectation, decision):
                    place = ("tests", index, "expect", which)
                    message = f"'{test.name}' at {expectation.at:g} s: expected {_told(expectation)}, found {decision}"
                    problems.append(document.problem(place, message))
    return problems


def _schedule(
    every_s: float, index: int, test: RehearsalShape, document: Document
) -> tuple[dict[int, list[int]], list[Problem]]:
    """Which expectations are due in which pass, and those that are due in none."""
    due: dict[int, list[int]] = {}
    problems = []
    for which, expectation in enumerate(test.expect):
        step = round(expectation.at / every_s)
        place = ("tests", index, "expect", which, "at")
        if abs(step * every_s - expectation.at) > 1e-6:
            before = int(expectation.at // every_s) * every_s
            message = (
                f"no pass is at {expectation.at:g} s; every {every_s:g} s there is one, the last before at {before:g} s"
            )
            problems.append(document.problem(place, message))
        elif step >= MOST_PASSES:
            problems.append(document.problem(place, f"is pass {step}; a test runs at most {MOST_PASSES} passes"))
        else:
            due.setdefault(step, []).append(which)
    return due, problems


def _decisions(policy: ServicePolicy, test: RehearsalShape, every_s: float, passes: int) -> Iterator[Decision]:
    """One decision a pass; what is decided is done at once."""
    memory = ServiceMemory()
    stage = _Stage(policy.variants[0].name if policy.variants else "test", test)
    for step in range(passes):
        now = START + timedelta(seconds=step * every_s)
        views = stage.views(now)
        situation = Situation(
            service=policy.service,
            at=now,
            mode=Mode.ACT,
            signals=_signals(test.input, step, sum(view.phase is Phase.READY for view in views)),
            variants={stage.variant: VariantSituation(name=stage.variant, replicas=views)},
            outlook=_outlook(policy, stage.variant, test, step, now),
        )
        decisions, memory = decide_replicas(situation, policy, memory)
        outcomes = {decision.id: _done(decision) for decision in decisions if not decision.holds}
        memory = remember(memory, decisions, outcomes, now)
        stage.apply(decisions, now)
        yield decisions[0]


@dataclass(frozen=True, slots=True)
class _Replica:
    name: str
    starting_since: datetime
    ready_since: datetime

    def view(self, now: datetime) -> ReplicaView:
        ready = now >= self.ready_since
        return ReplicaView(
            name=self.name,
            phase=Phase.READY if ready else Phase.STARTING,
            since=self.ready_since if ready else self.starting_since,
            running=Missing("running", "a policy test knows only the whole service"),
            usd_per_hour=UNPRICED,
        )


class _Stage:
    """The made-up replicas: started ones are ready after ``start_after``, removed ones vanish."""

    def __init__(self, variant: str, test: RehearsalShape) -> None:
        self.variant = variant
        self._start_after = timedelta(seconds=test.start_after)
        self._started = test.replicas
        self._replicas = [_Replica(f"r{number}", START, START) for number in range(test.replicas)]

    def views(self, now: datetime) -> tuple[ReplicaView, ...]:
        return tuple(replica.view(now) for replica in self._replicas)

    def apply(self, decisions: Sequence[Decision], now: datetime) -> None:
        for decision in decisions:
            self._replicas = [replica for replica in self._replicas if replica.name not in decision.victims]
            for _ in range(decision.desired - len(self._replicas)):
                self._replicas.append(_Replica(f"r{self._started}", now, now + self._start_after))
                self._started += 1


def _signals(shown: InputShape, step: int, ready: int) -> Signals:
    return Signals(
        read_replicas=ready,
        queue_depth=_at(shown, "queue_depth", step),
        kv_cache_ratio=_at(shown, "kv_cache", step),
        token_load_per_s=_at(shown, "token_load", step),
        gpu_utilization_ratio=_at(shown, "gpu_utilization", step),
        ttft_s=_at(shown, "ttft", step),
        tpot_s=_at(shown, "tpot", step),
        running=_at(shown, "running", step),
        requests_per_s=_at(shown, "requests", step),
        rejections_per_s=_at(shown, "rejections", step),
    )


def _outlook(policy: ServicePolicy, variant: str, test: RehearsalShape, step: int, now: datetime) -> Outlook | Missing:
    """The same demand expected all the time until a replica ordered now is ready."""
    expected = _at(test.input, "forecast", step)
    if isinstance(expected, Missing):
        return expected
    if test.capacity is None:
        return Missing("capacity", "the test says no capacity")
    point = ServingPoint(
        requests_per_s=test.capacity, running=0.0, kv_cache_ratio=0.0, busy_ratio=0.0, ttft_s=0.0, tpot_s=0.0
    )
    return Outlook(
        demand=Demand(
            requests_per_s=_at(test.input, "requests", step),
            waiting_requests=_at(test.input, "queue_depth", step),
            shape=Missing("shape", "a policy test has no requests"),
        ),
        forecasts=(
            Forecast(
                at=now,
                horizon_s=test.start_after,
                quantiles={policy.replicas.forecast.quantile: expected},
                basis="level",
                scored=0,
            ),
        ),
        capacity={
            variant: ReplicaCapacity(
                requests_per_s=test.capacity, binding="throughput", at=point, source="test", band_ratio=0.0
            )
        },
        start_up_s={variant: test.start_after},
    )


def _at(shown: InputShape, name: str, step: int) -> Number:
    values: tuple[float | None, ...] | None = getattr(shown, name)
    if values is None:
        return Missing(name, "the test gives no input for it")
    value = values[min(step, len(values) - 1)]
    return Missing(name, "the test leaves it out here") if value is None else value


def _done(decision: Decision) -> Outcome:
    return Outcome(
        decision_id=decision.id,
        service=decision.service,
        variant=decision.variant,
        kind=OutcomeKind.DONE,
        detail="rehearsed",
        at=decision.at,
    )


def _met(expected: ExpectShape, found: Decision) -> bool:
    count = expected.hold if expected.hold is not None else expected.scale
    right_verb = found.holds == (expected.hold is not None)
    return right_verb and found.desired == count and expected.because in (None, found.because)


def _told(expected: ExpectShape) -> str:
    reason = f" ({expected.because})" if expected.because is not None else ""
    return f"hold at {expected.hold}{reason}" if expected.hold is not None else f"scale to {expected.scale}{reason}"
