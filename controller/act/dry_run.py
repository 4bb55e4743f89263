"""The actuator that only says what it would do."""

from __future__ import annotations

from datetime import datetime

from controller.facts.decisions import Decision, Outcome, OutcomeKind
from controller.facts.fleet import Variant
from controller.facts.missing import Missing


class DryRunActuator:
    """Touches nothing."""

    name = "dry_run"

    def replicas(self, variant: Variant, now: datetime) -> Missing:
        """Nothing of its own exists: the targets are the count."""
        del variant, now
        return Missing("replicas", "dry_run knows only the targets")

    def apply(self, decision: Decision, variant: Variant, now: datetime) -> Outcome:
        """Say it."""
        del variant
        leaving = f", removing {', '.join(decision.victims)}" if decision.victims else ""
        detail = (
            f"would {decision.verb} from {decision.current} to {decision.desired}{leaving}; dry_run touches nothing"
        )
        return Outcome.of(decision, OutcomeKind.ADVISED, detail, now)

    def close(self) -> None:
        """Nothing was opened."""
