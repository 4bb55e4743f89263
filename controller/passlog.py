"""What a pass writes to the log."""

from __future__ import annotations

import logging
import re
from collections import Counter as Tally
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controller.facts.decisions import AlertPhase, Decision, Outcome, OutcomeKind
from controller.facts.passes import PassResult

log = logging.getLogger("pennyweight")

NUMBERS = re.compile(r"\d+")

Advice = Mapping[tuple[str, str], tuple[object, ...]]
"""By service and variant: what was advised or refused last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A problem that goes on: since when, and in how many passes one after the other."""

    problem: str
    since: datetime
    passes: int

    def lasted(self, now: datetime) -> timedelta:
        return timedelta(seconds=max(0, round((now - self.since).total_seconds())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was told by now and still holds. ``troubles``: by problem, numbers left out of it."""

    advice: Advice = field(default_factory=dict)
    troubles: Mapping[str, Trouble] = field(default_factory=dict)


def write(result: PassResult, before: Told) -> Told:
    """One line for each decision that moves or failed, alert and problem, one a pass for debugging. Returns what is
    told by now."""
    advice = _decisions(result, before.advice)
    for alert in result.sent:
        log.warning("alert %s/%s %s: %s", alert.service, alert.name, alert.phase, alert.summary)
    troubles = _problems(result, before.troubles)
    reasons = Tally(decision.because for decision in result.decisions)
    firing = sum(state.phase is AlertPhase.FIRING for state in result.alerts)
    log.debug("pass at %s: %.3f s, %s, %d alerts firing", result.at, result.duration_s, dict(reasons), firing)
    return Told(advice=advice, troubles=troubles)


def _problems(result: PassResult, before: Mapping[str, Trouble]) -> dict[str, Trouble]:
    """Each is told in every pass, with how long it lasts by now, and once when it is over."""
    now, troubles = result.at, {}
    for problem in result.problems:
        key = NUMBERS.sub("", problem)
        last = before.get(key, Trouble(problem=problem, since=now, passes=0))
        one = troubles[key] = Trouble(problem=problem, since=last.since, passes=last.passes + 1)
        log.error("%s%s", problem, f" (for {one.lasted(now)} by now, {one.passes} passes)" if last.passes else "")
    for key in before.keys() - troubles.keys():
        last = before[key]
        log.info("over after %s, %d passes: %s", last.lasted(now), last.passes, last.problem)
    return troubles


def _decisions(result: PassResult, before: Advice) -> Advice:
    """Advice that nobody follows is the same in every pass: it is written when it changes. So is a refusal, such as
    that of a target which an HPA owns; it ends when something is done there, for a hold asks nobody."""
    by_id = {outcome.decision_id: outcome for outcome in result.outcomes}
    told = {}
    for decision in result.decisions:
        outcome, key = by_id.get(decision.id), (decision.service, decision.variant)
        last = before.get(key)
        if outcome is None:
            if last is not None and last[0] is OutcomeKind.REFUSED:
                told[key] = last
            continue
        now = _same(decision, outcome)
        if now is not None:
            told[key] = now
        if last is not None and last[0] is OutcomeKind.REFUSED and outcome.kind is not OutcomeKind.REFUSED:
            log.info("%s/%s: what is decided is refused no longer", *key)
        if now is None or now != last:
            log.info("%s [%s: %s]", decision, outcome.kind, outcome.detail)
    return told


def _same(decision: Decision, outcome: Outcome) -> tuple[object, ...] | None:
    """What makes two outcomes the same to a reader; None: each is told. Who refuses names counts that come and go."""
    if outcome.kind is OutcomeKind.ADVISED:
        return outcome.kind, decision.current, decision.desired, decision.because
    if outcome.kind is OutcomeKind.REFUSED:
        return outcome.kind, NUMBERS.sub("", outcome.detail)
    return None
