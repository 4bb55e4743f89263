"""The world as a pass sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from controller.facts.budgets import Guard
from controller.facts.decisions import Alert, Decision, Memory, Outcome, Pause
from controller.facts.passes import PassRecord, PassResult
from controller.facts.prices import Prices
from controller.facts.readings import CounterMark, Observation
from controller.facts.safety import Stop


class Shell(Protocol):
    """Everything a pass reads from and does to the world. The simulator and the tests bring their own."""

    def observe(self, now: datetime) -> Observation: ...

    def prices(self, now: datetime) -> Prices: ...

    def pauses(self) -> Mapping[str, Pause]: ...

    def stops(self, now: datetime) -> tuple[Stop, ...]:
        """What operators stopped, from wherever; also where that cannot be known."""
        ...

    def guards(self) -> Mapping[str, tuple[Guard, ...]]:
        """What budgets hold back now, by service."""
        ...

    def marks(self) -> tuple[CounterMark, ...]: ...

    def record_intent(self, record: PassRecord) -> None: ...

    def act(self, decision: Decision, now: datetime) -> Outcome: ...

    def record_outcomes(self, result: PassResult, memory: Memory) -> None: ...

    def notify(self, alerts: Sequence[Alert]) -> None: ...

    def elapsed_s(self) -> float:
        """Seconds on a monotonic clock: only ever used to say how long something took."""
        ...
