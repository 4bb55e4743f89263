"""What every actuator does."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from controller.facts.decisions import Decision, Outcome
from controller.facts.fleet import Variant
from controller.facts.missing import Missing
from controller.facts.readings import ReplicaState


class Actuator(Protocol):
    """Starts and stops replicas. Level triggered: it looks at what is there, never at what it remembers having done."""

    name: str

    def replicas(self, variant: Variant, now: datetime) -> tuple[ReplicaState, ...] | Missing:
        """What exists; Missing when it cannot know. Called at the start of every pass, it also moves every replica one
        step on through its life. A replica that failed is reported once, as failed. Never waits."""

    def apply(self, decision: Decision, variant: Variant, now: datetime) -> Outcome:
        """Bring the count from ``decision.current`` to ``decision.desired``. Acting twice is acting once.

        StaleActError when the count found is neither of the two; ActError when it could not be done.
        """

    def close(self) -> None:
        """Let go. Engines keep running; the next daemon adopts them."""
