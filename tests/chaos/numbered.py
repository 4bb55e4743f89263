"""The real parts of a daemon with everything that they do numbered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import event

from controller.act.actuator import Actuator
from controller.errors import LedgerError
from controller.facts.decisions import Alert, Decision, Memory, Outcome, OutcomeKind
from controller.facts.fleet import Variant
from controller.facts.passes import PassRecord, PassResult
from controller.facts.readings import Observation
from controller.ledger.write import Ledger
from controller.shell import LiveShell
from tests.chaos.books import kept_writer
from tests.chaos.tape import Fault, Sort, Tape


class NumberedLedger(Ledger):
    """The real one, every transaction of a pass numbered. ``begun``: told the connection of each that begins."""

    def __init__(self, url: str, tape: Tape, begun: Callable[[Any], None]) -> None:
        super().__init__(url)
        self.tape, self._begun, self._engine = tape, begun, kept_writer(url)
        event.listen(self._engine, "begin", begun, insert=True)

    def close(self) -> None:
        super().close()
        event.remove(self._engine, "begin", self._begun)

    def _numbered(self, label: str, do: Callable[[], Any]) -> Any:
        def broken(fault: Fault, do: Callable[[], Any]) -> Any:
            if fault is Fault.LOST:
                do()
            raise LedgerError(f"injected: {label}, {fault}")

        return self.tape.call(Sort.LEDGER, label, do, broken)

    def record_intent(self, record: PassRecord, epoch: int | None = None) -> None:
        self._numbered("record the intent", lambda: Ledger.record_intent(self, record, epoch))

    def record_outcomes(self, result: PassResult, memory: Memory, epoch: int | None = None) -> None:
        self._numbered("record the outcomes", lambda: Ledger.record_outcomes(self, result, memory, epoch))

    def stops(self) -> Any:
        return self._numbered("read the stops", lambda: Ledger.stops(self))

    def pauses(self) -> Any:
        return self._numbered("read the pauses", lambda: Ledger.pauses(self))


@dataclass
class NumberedShell:
    """The real shell with the points of the protocol around it. Keeps what a pass looked at, to decide it once more."""

    live: LiveShell
    tape: Tape
    seen: dict[str, Any] = field(default_factory=dict)

    def observe(self, now: datetime) -> Observation:
        self.tape.point("before looking")
        found = self.seen["observe"] = self.live.observe(now)
        self.tape.point("after looking")
        return found

    def record_intent(self, record: PassRecord) -> None:
        self.seen["decisions"] = record.decisions
        self.tape.point("before the intent")
        self.live.record_intent(record)
        self.tape.point("after the intent")

    def act(self, decision: Decision, now: datetime) -> Outcome:
        self.tape.point("before acting")
        done = self.live.act(decision, now)
        self.tape.point("after acting")
        return done

    def record_outcomes(self, result: PassResult, memory: Memory) -> None:
        self.seen["result"] = result
        self.tape.point("before the outcomes")
        self.live.record_outcomes(result, memory)
        self.tape.point("after the outcomes")

    def __getattr__(self, name: str) -> Any:
        if name not in ("prices", "pauses", "stops", "guards"):
            return getattr(self.live, name)

        def kept(*arguments: Any) -> Any:
            self.seen[name] = getattr(self.live, name)(*arguments)
            return self.seen[name]

        return kept


@dataclass
class Again:
    """A shell that shows what was shown once, and touches nothing."""

    seen: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.seen.get(name)

    def marks(self) -> tuple[Any, ...]:
        return ()

    def notify(self, alerts: Sequence[Alert]) -> None:
        """Nobody."""

    def elapsed_s(self) -> float:
        return 0.0

    def record_intent(self, record: PassRecord) -> None:
        """Nowhere."""

    def act(self, decision: Decision, now: datetime) -> Outcome:
        return Outcome.of(decision, OutcomeKind.REFUSED, "only decided again", now)

    def record_outcomes(self, result: PassResult, memory: Memory) -> None:
        """Nowhere."""


class Actuating:
    """The real actuator between its two points; tells which decision is being acted on."""

    def __init__(self, inner: Actuator, tape: Tape, acting: Callable[[Decision | None], None]) -> None:
        self._inner, self._tape, self._acting, self.name = inner, tape, acting, inner.name

    def apply(self, decision: Decision, variant: Variant, now: datetime) -> Outcome:
        self._tape.point("before the actuator")
        self._acting(decision)
        try:
            done = self._inner.apply(decision, variant, now)
        finally:
            self._acting(None)
        self._tape.point("after the actuator")
        return done

    def __getattr__(self, name: str) -> Any:
        if name == "warn" and not hasattr(self._inner, "warn"):
            raise AttributeError(name)
        return getattr(self._inner, name)
