"""Alerts: inactive, pending, firing, resolved. Pure; whoever delivers them decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.decide.reach import NUMBER as REACH_NUMBER
from controller.decide.reach import REMEDY
from controller.decide.rules import AlertRule, ServicePolicy
from controller.facts.decisions import Alert, AlertPhase, AlertState, Because, Decision
from controller.facts.missing import Missing

TOLD_NUMBERS = ("usd_per_hour", "usd_per_million_output_tokens", "replicas_ready", "queue_depth", "running")
"""Money and load go with every alert, beside whatever its condition names."""

OUT_OF_REACH_FOR_S = 300.0
"""A guess: what a replica carries is worked out anew every minute, and the first minutes' requests may be odd ones."""

UNSEEN_FOR_S = 180.0
"""A guess: a Prometheus server that is restarted is back by then."""


@dataclass(frozen=True, slots=True)
class Abnormal:
    """Decisions that a person must hear of, whatever the policy's own alerts say."""

    name: str
    do: str
    of: Callable[[Decision], bool]
    for_s: float = 0.0


def _because(reason: Because) -> Callable[[Decision], bool]:
    return lambda decision: decision.because is reason


def _unseen(decision: Decision) -> bool:
    """Nothing at all can be read of who should serve; to be blind for shrinking alone is no news."""
    return decision.unseen


def _out_of_reach(decision: Decision) -> bool:
    return any(name.startswith(REACH_NUMBER) for name in decision.numbers)


ABNORMAL = (
    Abnormal(
        Because.INFEASIBLE.value,
        "Raise the capacity in the fleet file, or a group's MaxSize, or lower min_replicas; where some replicas only "
        "prefill and others decode, make a service of each kind. Nothing changes before.",
        _because(Because.INFEASIBLE),
    ),
    Abnormal(
        Because.FOREIGN_CHANGE.value,
        "Find out who else scales this target, or pause the service; we stand down meanwhile.",
        _because(Because.FOREIGN_CHANGE),
    ),
    Abnormal(
        Because.START_FAILED.value,
        "Look at the replica's log; another try follows by itself.",
        _because(Because.START_FAILED),
    ),
    Abnormal(
        Because.BLAST_LIMIT.value,
        "If so much is meant, raise the limit under `safety:` in the fleet file; if not, `pennyweight stop`.",
        _because(Because.BLAST_LIMIT),
    ),
    Abnormal(
        Because.STORM.value,
        "Spot is being taken; other capacity is used where there is any. Where there is none, allow on-demand.",
        _because(Because.STORM),
    ),
    Abnormal(
        Because.BLIND.value,
        "Look at the targets, or at the Prometheus server that reads them; nothing shrinks meanwhile, nor grows.",
        _unseen,
        UNSEEN_FOR_S,
    ),
    Abnormal("slo_out_of_reach", REMEDY, _out_of_reach, OUT_OF_REACH_FOR_S),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertStep:
    """One alert after one pass: its state, and the message to send, if any."""

    state: AlertState
    message: Alert | None = None


def advance_alerts(
    policy: ServicePolicy,
    values: Mapping[str, float | Missing],
    states: Mapping[tuple[str, str], AlertState],
    now: datetime,
) -> tuple[AlertStep, ...]:
    """Every alert of the policy, one pass further.

    A condition that cannot be evaluated (a value it needs is missing) changes nothing: neither fires nor resolves.
    """
    steps = []
    for rule in policy.alerts:
        before = states.get((policy.service, rule.name)) or AlertState(
            service=policy.service, name=rule.name, phase=AlertPhase.INACTIVE, since=now
        )
        steps.append(stepped(rule, before, rule.condition.evaluate(values), values, now))
    return tuple(steps)


def abnormal(
    decisions: Sequence[Decision], states: Mapping[tuple[str, str], AlertState], now: datetime
) -> tuple[AlertStep, ...]:
    """An alert of its own for each kind of decision in ABNORMAL, firing while such decisions are made."""
    steps = []
    by_service: dict[str, list[Decision]] = {}
    for one in decisions:
        by_service.setdefault(one.service, []).append(one)
    for kind in ABNORMAL:
        rule = AlertRule(name=kind.name, condition=Always(kind.name), severity="critical", do=kind.do, for_s=kind.for_s)
        for service, some in by_service.items():
            told = [one for one in some if kind.of(one)]
            before = states.get((service, kind.name))
            if not told and before is None:
                continue
            before = before or AlertState(service=service, name=kind.name, phase=AlertPhase.INACTIVE, since=now)
            summary = "; ".join(str(one) for one in told)
            numbers = dict(told[0].numbers) if told else {}
            steps.append(stepped(rule, before, bool(told), numbers, now, summary))
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class Always:
    """The condition of an alert that is no condition: whoever raises it knows whether it holds."""

    text: str

    def evaluate(self, values: Mapping[str, float | Missing]) -> bool | Missing:
        return True


def stepped(
    rule: AlertRule,
    before: AlertState,
    holds: bool | Missing,
    values: Mapping[str, float | Missing],
    now: datetime,
    summary: str = "",
) -> AlertStep:
    """One alert, one look further. ``summary`` "": in the condition's own words."""
    state = _next(rule, before, holds, now)
    if not _needs_sending(rule, before, state, now):
        return AlertStep(state=state)
    message = Alert(
        service=state.service,
        name=rule.name,
        phase=state.phase,
        severity=rule.severity,
        condition=rule.condition.text,
        summary=summary or _summary(rule, state, now),
        do=rule.do,
        since=state.since if state.phase is AlertPhase.FIRING else before.since,
        at=now,
        numbers=_told(rule, values),
        channels=rule.channels,
    )
    return AlertStep(state=replace(state, last_sent=now), message=message)


def _next(rule: AlertRule, before: AlertState, holds: bool | Missing, now: datetime) -> AlertState:
    """Prometheus' state machine: `for` before firing, `keep_firing_for` after; what is unknown stays as it is."""
    if isinstance(holds, Missing):
        return before
    if holds:
        return _holding(rule, before, now)
    if before.phase is AlertPhase.FIRING:
        cleared = before.cleared_since or now
        if now - cleared >= timedelta(seconds=rule.keep_firing_for_s):
            return replace(before, phase=AlertPhase.RESOLVED, since=now, cleared_since=None)
        return replace(before, cleared_since=cleared)
    if before.phase is AlertPhase.INACTIVE:
        return before
    return AlertState(service=before.service, name=before.name, phase=AlertPhase.INACTIVE, since=now)


def _holding(rule: AlertRule, before: AlertState, now: datetime) -> AlertState:
    if before.phase is AlertPhase.FIRING:
        return replace(before, cleared_since=None)
    pending_since = before.since if before.phase is AlertPhase.PENDING else now
    if now - pending_since >= timedelta(seconds=rule.for_s):
        return replace(before, phase=AlertPhase.FIRING, since=now, last_sent=None, cleared_since=None)
    return replace(before, phase=AlertPhase.PENDING, since=pending_since, last_sent=None)


def _needs_sending(rule: AlertRule, before: AlertState, state: AlertState, now: datetime) -> bool:
    if state.phase is not before.phase:
        return state.phase in (AlertPhase.FIRING, AlertPhase.RESOLVED)
    if state.phase is not AlertPhase.FIRING or state.last_sent is None:
        return False
    return now - state.last_sent >= timedelta(seconds=rule.resend_s)


def _summary(rule: AlertRule, state: AlertState, now: datetime) -> str:
    if state.phase is AlertPhase.RESOLVED:
        return f"{rule.condition.text} no longer holds"
    held = f" for {rule.for_s:g} s" if rule.for_s else ""
    return f"{rule.condition.text} has held{held}"


def _told(rule: AlertRule, values: Mapping[str, float | Missing]) -> dict[str, float | Missing]:
    """The numbers a reader needs: those the condition names, then money and load."""
    named = [name for name in values if name in rule.condition.text]
    return {name: values[name] for name in dict.fromkeys((*named, *TOLD_NUMBERS)) if name in values}
