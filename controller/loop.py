"""One pass: observe, estimate, decide, record the intent, act, record the outcome. Knows no I/O library, no clock."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil, inf

from controller import passlog
from controller.decide.alerts import AlertStep, abnormal, advance_alerts
from controller.decide.clock import carried_over
from controller.decide.memory import remember
from controller.decide.replicas import decide_replicas
from controller.decide.rules import ServicePolicy
from controller.decide.situation import Situation, situation_of
from controller.errors import ActError, LedgerError, StaleActError
from controller.estimate.demand.accuracy import accuracy
from controller.estimate.demand.forecast import forecasts
from controller.estimate.demand.state import HORIZONS_S
from controller.estimate.findings import queues_after
from controller.estimate.fleet import estimate
from controller.estimate.outlook import Lookout, looked_ahead, turns
from controller.estimate.remembered import states_of
from controller.estimate.uses import replica_uses
from controller.estimate.windows import history_after
from controller.estimate.work_rates import work_rates
from controller.facts.accounts import WorkRate
from controller.facts.budgets import Guard
from controller.facts.decisions import (
    Decision,
    Memory,
    Outcome,
    OutcomeKind,
    Pause,
    ServiceMemory,
)
from controller.facts.demand import Forecast, ForecastAccuracy, Outlook
from controller.facts.estimates import Estimates
from controller.facts.fleet import Fleet, Mode
from controller.facts.learned import Learned, StateKey
from controller.facts.passes import Gap, PassRecord, PassResult
from controller.facts.prices import Prices
from controller.facts.readings import EngineReading, Observation, by_service
from controller.facts.safety import Stop
from controller.facts.slo import Slo
from controller.outside import Shell
from controller.safety.kernel import screened, seen_after, settled
from controller.safety.rules import SafetyRules
from controller.screening import Weather, as_well_as_cut, scene_of, sheltered, weather

log = logging.getLogger("pennyweight")

SHOWN_EVERY_S = 60.0
"""A service's forecasts for people are made again this often: forecasting learns by the minute."""

UNRECORDED = "nothing was acted on"
"""How the problem of a pass begins whose intent the ledger did not take."""

KEPT_EVERY_S = 240.0
"""What was learned of a service is handed to the ledger this often: a little more than once in each five-minute slot of
forecasts that it keeps. A restart loses that much at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the passes run on: all that a reload may replace.

    interval_s      seconds between passes
    rate_window_s   rates and quantiles look back this far
    cached_token_weight   what handling a cached prompt token takes of computing it, beside attention
    """

    fleet: Fleet
    policies: Mapping[str, ServicePolicy]
    mode: Mode
    interval_s: float
    rate_window_s: float
    cached_token_weight: float = 0.0
    safety: SafetyRules = field(default_factory=SafetyRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One service's forecasts at the horizons that are scored, and how good such were, as of ``at``."""

    at: datetime
    forecasts: tuple[Forecast, ...]
    accuracy: tuple[ForecastAccuracy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What one pass hands to the next. ``memory`` also lives in the ledger; the rest is rebuilt by watching.

    history         by target url: the readings of the rate window, oldest first
    queue_history   by service: (when, requests waiting)
    lookouts        by service: what looking ahead remembers; the ledger has it as of a few minutes ago
    shown           by service: the forecasts last made for people
    kept_at         by service: when the ledger was last handed what was learned
    told            what the log said by now and still holds, so that it says it once
    resumed         the pass before was made by an earlier process: what lies between is a gap
    """

    memory: Memory = field(default_factory=Memory)
    last_pass_at: datetime | None = None
    history: Mapping[str, tuple[EngineReading, ...]] = field(default_factory=dict)
    queue_history: Mapping[str, tuple[tuple[datetime, float], ...]] = field(default_factory=dict)
    lookouts: Mapping[str, Lookout] = field(default_factory=dict)
    shown: Mapping[str, Shown] = field(default_factory=dict)
    kept_at: Mapping[str, datetime] = field(default_factory=dict)
    told: passlog.Told = field(default_factory=passlog.Told)
    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What looking ahead gave in one pass. ``kept`` and ``work_rates`` are for the ledger and cover the services whose
    turn it is; ``learned`` is for people and covers all."""

    outlooks: Mapping[str, Outlook]
    lookouts: Mapping[str, Lookout]
    shown: Mapping[str, Shown]
    kept_at: Mapping[str, datetime]
    kept: Learned | None
    learned: Learned
    work_rates: tuple[WorkRate, ...]


def one_pass(shell: Shell, plan: Plan, running: Running, now: datetime) -> tuple[PassResult, Running]:
    """One trip round. What cannot be recorded first is not done."""
    began_s = shell.elapsed_s()
    observation = shell.observe(now)
    running = _on_this_clock(plan, running, observation.set_ahead, now)
    history = history_after(running.history, observation, plan.rate_window_s)
    prices = shell.prices(now)
    estimates = estimate(plan.fleet, observation, history, prices, now, running.queue_history)
    pauses = shell.pauses()
    parts = by_service(observation, plan.fleet.services)
    ahead = _look_ahead(plan, running, parts, estimates)
    found = weather(running.memory.safety, plan.safety, observation, running.memory.services)
    situations = tuple(
        sheltered(one, found)
        for one in _situations(plan, parts, estimates, prices, pauses, shell.guards(), ahead.outlooks)
    )
    stops = shell.stops(now)
    decisions, steps, memory = _screened(plan, running.memory, found, situations, estimates, stops)
    record = PassRecord(
        at=now,
        mode=plan.mode,
        estimates=estimates,
        uses=replica_uses(observation, estimates, running.last_pass_at, now),
        decisions=decisions,
        marks=shell.marks(),
        memory=memory,
        gaps=_gaps(plan, running, now),
        learned=ahead.kept,
    )
    outcomes, problems = _record_and_act(shell, plan, record, now)
    memory = _remembered(memory, decisions, outcomes, now)
    result = PassResult(
        at=now,
        mode=plan.mode,
        duration_s=shell.elapsed_s() - began_s,
        observation=observation,
        estimates=estimates,
        decisions=decisions,
        outcomes=outcomes,
        alerts=tuple(memory.alerts.values()),
        sent=tuple(step.message for step in steps if step.message is not None),
        pauses=pauses,
        problems=(*problems, *(str(one) for one in stops if one.unsure)),
        learned=ahead.learned,
        work_rates=ahead.work_rates,
        safety=seen_after(memory.safety, plan.safety, decisions, stops, now),
    )
    result = _record_outcomes(shell, result, memory)
    shell.notify(result.sent)
    return result, Running(
        memory=memory,
        last_pass_at=now,
        history=history,
        queue_history=queues_after(running.queue_history, estimates.services, now),
        lookouts=ahead.lookouts,
        shown=ahead.shown,
        kept_at=ahead.kept_at,
        told=passlog.write(result, running.told),
    )


def _screened(
    plan: Plan,
    memory: Memory,
    found: Weather,
    situations: tuple[Situation, ...],
    estimates: Estimates,
    stops: tuple[Stop, ...],
) -> tuple[tuple[Decision, ...], tuple[AlertStep, ...], Memory]:
    """What is decided and may be done, what is told of it, and the memory in which it counts as done."""
    now = estimates.at
    decided, services = _decide(plan, memory, situations)
    scene = scene_of(situations, plan.policies, found, stops, now)
    decisions, safety = screened(decided, plan.safety, found.memory, scene)
    steps = _alerts(plan, memory, estimates, as_well_as_cut(decisions, decided), now)
    alerts = {(one.state.service, one.state.name): one.state for one in steps}
    return decisions, steps, Memory(services=services, alerts=alerts, safety=safety)


def _on_this_clock(plan: Plan, running: Running, set_ahead: timedelta, now: datetime) -> Running:
    """``running`` where the clock was set, or no pass was made for long. What only watching rebuilds begins anew when
    its times lie ahead."""
    memory = carried_over(running.memory, running.last_pass_at, plan.interval_s, now, set_ahead)
    if memory is running.memory:
        return running
    if running.last_pass_at is None or now >= running.last_pass_at:
        return replace(running, memory=memory)
    log.warning("the clock went back from %s to %s: what is remembered goes back with it", running.last_pass_at, now)
    return replace(running, memory=memory, history={}, queue_history={}, shown={})


def _look_ahead(plan: Plan, running: Running, parts: Mapping[str, Observation], estimates: Estimates) -> Ahead:
    """``parts``: what was observed, by service."""
    outlooks: dict[str, Outlook] = {}
    lookouts = dict(running.lookouts)
    taking = turns(tuple(plan.fleet.services), len(estimates.loads), plan.interval_s, estimates.at)
    for name, service in plan.fleet.services.items():
        slo = plan.policies[name].slo if name in plan.policies else Slo()  # its work is accounted for all the same
        before = lookouts.get(name) or Lookout()
        outlooks[name], lookouts[name] = looked_ahead(
            service, slo, parts[name], estimates.services[name], before, plan.interval_s, taking[name]
        )
    shown = _shown(plan, running.shown, lookouts, estimates.at)
    keep = _due(plan, running.kept_at, KEPT_EVERY_S, estimates.at)
    return Ahead(
        outlooks=outlooks,
        lookouts=lookouts,
        shown=shown,
        kept_at={**running.kept_at, **dict.fromkeys(keep, estimates.at)},
        kept=_learned(keep, outlooks, shown, _states(keep, lookouts)) if keep else None,
        learned=_learned(tuple(outlooks), outlooks, shown, {}),
        work_rates=work_rates(keep, outlooks, lookouts, plan.cached_token_weight),
    )


def _due(plan: Plan, done_at: Mapping[str, datetime], every_s: float, now: datetime) -> tuple[str, ...]:
    """The services whose turn it is, longest waiting first; at most a pass's share of all, so that passes stay even."""
    share = ceil(len(plan.fleet.services) * plan.interval_s / every_s)
    waited_s = {name: (now - done_at[name]).total_seconds() if name in done_at else inf for name in plan.fleet.services}
    # Half an interval early rather than late; a clock that went back must not stop it.
    due = [name for name, waited in waited_s.items() if waited >= every_s - plan.interval_s / 2 or waited < 0]
    return tuple(sorted(due, key=lambda name: waited_s[name], reverse=True)[:share])


def _shown(plan: Plan, before: Mapping[str, Shown], lookouts: Mapping[str, Lookout], now: datetime) -> dict[str, Shown]:
    due = _due(plan, {name: one.at for name, one in before.items()}, SHOWN_EVERY_S, now)
    made = {
        name: Shown(
            at=now,
            forecasts=forecasts(lookouts[name].demand, now, HORIZONS_S),
            accuracy=accuracy(lookouts[name].demand, name),
        )
        for name in due
    }
    return {name: one for name, one in before.items() if name in plan.fleet.services} | made


def _states(services: Sequence[str], lookouts: Mapping[str, Lookout]) -> dict[StateKey, str]:
    """Half a millisecond a service."""
    return {key: text for name in services for key, text in states_of(name, lookouts[name]).items()}


def _learned(
    services: Sequence[str],
    outlooks: Mapping[str, Outlook],
    shown: Mapping[str, Shown],
    states: Mapping[StateKey, str],
) -> Learned:
    known = [name for name in services if name in shown]
    return Learned(
        states=states,
        accuracy=tuple(one for name in known for one in shown[name].accuracy),
        forecasts={name: shown[name].forecasts for name in known},
        capacity={(name, variant): one for name in services for variant, one in outlooks[name].capacity.items()},
        demand={name: outlooks[name].demand for name in services},
    )


def _situations(
    plan: Plan,
    parts: Mapping[str, Observation],
    estimates: Estimates,
    prices: Prices,
    pauses: Mapping[str, Pause],
    guards: Mapping[str, tuple[Guard, ...]],
    outlooks: Mapping[str, Outlook],
) -> Iterator[Situation]:
    for name, policy in plan.policies.items():
        pause = pauses.get(name)
        situation = situation_of(
            plan.fleet.services[name],
            policy,
            parts[name],
            estimates,
            prices,
            mode=plan.mode,
            paused=f"paused by {pause.by} since {pause.since:%Y-%m-%d %H:%M} UTC: {pause.reason}" if pause else "",
            outlook=outlooks[name],
        )
        yield replace(situation, guards=guards.get(name, ()))


def _decide(
    plan: Plan, memory: Memory, situations: Sequence[Situation]
) -> tuple[tuple[Decision, ...], dict[str, ServiceMemory]]:
    decisions: list[Decision] = []
    services = dict(memory.services)
    for situation in situations:
        name = situation.service
        made, services[name] = decide_replicas(situation, plan.policies[name], services.get(name, ServiceMemory()))
        decisions.extend(made)
    return tuple(decisions), services


def _alerts(
    plan: Plan, memory: Memory, estimates: Estimates, decisions: Sequence[Decision], now: datetime
) -> tuple[AlertStep, ...]:
    policed = [
        step
        for name, policy in plan.policies.items()
        for step in advance_alerts(policy, estimates.services[name].values(), memory.alerts, now)
    ]
    return (*policed, *abnormal(decisions, memory.alerts, now))


def _record_and_act(
    shell: Shell, plan: Plan, record: PassRecord, now: datetime
) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    """Write the intent, then act on it: growing first. Without the intent in the ledger nothing is touched."""
    moves = sorted((one for one in record.decisions if not one.holds), key=lambda one: one.desired < one.current)
    try:
        shell.record_intent(record)
    except LedgerError as error:
        # It may be in the ledger all the same, when only the answer was lost: then it has an outcome as well.
        why = f"{UNRECORDED}: the intent could not be recorded"
        return tuple(Outcome.of(one, OutcomeKind.REFUSED, why, now) for one in moves), (f"{UNRECORDED}: {error}",)
    if plan.mode is not Mode.ACT:
        return tuple(Outcome.of(one, OutcomeKind.ADVISED, f"mode is {plan.mode}", now) for one in moves), ()
    outcomes, problems = [], []
    for decision in moves:
        try:
            outcomes.append(shell.act(decision, now))
        except StaleActError as error:
            outcomes.append(Outcome.of(decision, OutcomeKind.REFUSED, str(error), now))
        except Exception as error:  # one broken actuator must not stop the others, nor the daemon
            if not isinstance(error, ActError):  # that says what happened; of anything else we need to know where
                log.exception("acting on %s failed", decision.id)
            problem = f"{type(error).__name__}: {error}; nothing is retried blindly, the next pass decides again"
            outcomes.append(Outcome.of(decision, OutcomeKind.FAILED, problem, now))
            problems.append(f"{decision.service}/{decision.variant}: {problem}")
    return tuple(outcomes), tuple(problems)


def _remembered(memory: Memory, decisions: Sequence[Decision], outcomes: Sequence[Outcome], now: datetime) -> Memory:
    by_id = {outcome.decision_id: outcome for outcome in outcomes}
    made: dict[str, list[Decision]] = {}
    for decision in decisions:
        made.setdefault(decision.service, []).append(decision)
    services = {name: remember(one, made.get(name, ()), by_id, now) for name, one in memory.services.items()}
    return replace(memory, services=services, safety=settled(memory.safety, decisions, by_id))


def _record_outcomes(shell: Shell, result: PassResult, memory: Memory) -> PassResult:
    """Where the ledger took no intent, that it takes no outcomes either is no news: of this pass they say nothing."""
    try:
        shell.record_outcomes(result, memory)
    except LedgerError as error:
        if any(one.startswith(UNRECORDED) for one in result.problems):
            return result
        return replace(result, problems=(*result.problems, f"the outcomes of this pass were not recorded: {error}"))
    return result


def _gaps(plan: Plan, running: Running, now: datetime) -> tuple[Gap, ...]:
    """Time in which no pass ran, named. Two intervals are usual: one pass may overrun into the next."""
    last = running.last_pass_at
    if last is None or now - last <= timedelta(seconds=2 * plan.interval_s):
        return ()
    why = "the daemon was not running" if running.resumed else "passes overran or the machine slept"
    return (Gap(start=last, end=now, why=why),)
