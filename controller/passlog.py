"""What a pass writes to the log."""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Mapping

from controller.facts.decisions import AlertPhase, OutcomeKind
from controller.facts.passes import PassResult

log = logging.getLogger("pennyweight")

Advice = Mapping[tuple[str, str], tuple[object, ...]]
"""By service and variant: what was advised last."""


def write(result: PassResult, before: Advice) -> Advice:
    """One line for each decision that moves or failed, alert and problem, one a pass for debugging.

    Advice that nobody follows is the same in every pass: it is written when it changes. Returns this pass's advice.
    """
    by_id = {outcome.decision_id: outcome for outcome in result.outcomes}
    advice = {}
    for decision in result.decisions:
        outcome = by_id.get(decision.id)
        if outcome is None:
            continue
        key = decision.service, decision.variant
        if outcome.kind is OutcomeKind.ADVISED:
            advice[key] = (decision.current, decision.desired, decision.because)
        if key not in advice or advice[key] != before.get(key):
            log.info("%s [%s: %s]", decision, outcome.kind, outcome.detail)
    for alert in result.sent:
        log.warning("alert %s/%s %s: %s", alert.service, alert.name, alert.phase, alert.summary)
    for problem in result.problems:
        log.error("%s", problem)
    reasons = Tally(decision.because for decision in result.decisions)
    firing = sum(state.phase is AlertPhase.FIRING for state in result.alerts)
    log.debug("pass at %s: %.3f s, %s, %d alerts firing", result.at, result.duration_s, dict(reasons), firing)
    return advice
