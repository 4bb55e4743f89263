"""One variant, the pass that was made last, and what other autoscalers are told of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from controller.facts.actuators import ExternalOptions
from controller.facts.decisions import Because, Decision, Outcome, OutcomeKind
from controller.facts.fleet import Fleet, Mode
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.facts.readings import Observation
from controller.serve.wanted import Wanted

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
UNKNOWN = Missing("price", "a test")


def decision(current: int, desired: int, variant: str = "h100") -> Decision:
    return Decision(
        id=f"{variant}-{current}-{desired}",
        at=AT,
        service="chat",
        variant=variant,
        current=current,
        ready=current,
        desired=desired,
        wanted=desired,
        because=Because.DEMAND,
        detail="a test",
        usd_per_hour_before=UNKNOWN,
        usd_per_hour_after=UNKNOWN,
    )


def passed(*decisions: Decision, kind: OutcomeKind | None = OutcomeKind.DONE, mode: Mode = Mode.ACT) -> PassResult:
    """A pass with these decisions; ``kind``: what became of those that move, None: nothing was tried."""
    counted = {(one.service, one.variant): () for one in decisions}
    moves = [one for one in decisions if not one.holds and kind is not None]
    return PassResult(
        at=AT,
        mode=mode,
        duration_s=0.1,
        observation=Observation(at=AT, targets=(), engines={}, gpus={}, replicas=counted),
        estimates=None,  # nobody who is told a count looks at it
        decisions=decisions,
        outcomes=tuple(Outcome.of(one, kind, "a test", AT) for one in moves),
        alerts=(),
        sent=(),
        pauses={},
    )


class Stage:
    """``fleet``: of a service chat; its variants are asked for through somebody else."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.now, self.standby = fleet, AT, ""
        self.result: PassResult | None = None
        self.with_options(ExternalOptions())
        self.decide(5)

    def with_options(self, options: object, actuator: str = "external", *names: str) -> None:
        service = self.fleet.services["chat"]
        model = service.variants["h100"]
        variants = {
            name: replace(model, name=name, actuator=actuator, actuator_options=options) for name in names or ("h100",)
        }
        self.fleet = Fleet(services={"chat": replace(service, variants=variants)})

    def decide(self, desired: int, current: int = 2, kind: OutcomeKind | None = OutcomeKind.DONE) -> None:
        self.result = passed(decision(current, desired), kind=kind)

    @property
    def wanted(self) -> Wanted:
        return Wanted(
            latest=lambda: self.result,
            fleet=lambda: self.fleet,
            clock=lambda: self.now,
            late_s=lambda: 45.0,
            standby=lambda: self.standby,
        )
