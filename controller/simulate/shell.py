"""The pass's outside world, simulated: what `loop.one_pass` observes, and what becomes of its decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controller.facts.decisions import Alert, Decision, Memory, Outcome, OutcomeKind, Pause
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.passes import PassRecord, PassResult
from controller.facts.prices import Price, Prices
from controller.facts.readings import (
    CounterMark,
    EngineReading,
    Observation,
    Phase,
    ReplicaState,
    Target,
)
from controller.simulate.fleet import SimulatedReplica
from controller.simulate.readings import Reader
from controller.simulate.world import World

EPOCH = datetime(2024, 5, 12, tzinfo=UTC)
"""A trace's clock starts at midnight of a Sunday, as Azure's week of 2024 does, when nothing else is said."""

STARTING = Missing("metrics", "the replica is starting")
OUTAGE = Missing("metrics", "nothing can be scraped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Which service and variant the world's replicas are of, and how they are bought."""

    service: str
    variant: str
    gpus_per_replica: int
    capacity_type: CapacityType


class SimulatedShell:
    """``elapsed_s``: a monotonic clock of the caller's, for how long passes take.

    What is decided is carried out by ``settle``, after the staleness that the caller lets go by.
    """

    def __init__(self, world: World, seat: Seat, *, epoch: datetime = EPOCH, elapsed_s: Callable[[], float]) -> None:
        self._world = world
        self._seat = seat
        self._epoch = epoch
        self._elapsed_s = elapsed_s
        self._reader = Reader(world.fleet, world.case.spec.max_model_len)
        self._decided: list[Decision] = []
        self.results: list[PassResult] = []

    @property
    def now(self) -> datetime:
        return self._at(self._world.now_s)

    def observe(self, now: datetime) -> Observation:
        replicas = self._world.fleet.replicas.values()
        targets = {one.name: self._target(one) for one in replicas}
        key = (self._seat.service, self._seat.variant)
        self._reader.forget()
        return Observation(
            at=now,
            targets=tuple(targets.values()),
            engines={target.url: self._read(target, now) for target in targets.values()},
            gpus={key: Missing("gpus", "the simulation has no GPU exporter")},
            replicas={key: tuple(self._state(one) for one in replicas)},
            gateway={self._seat.service: float(self._world.fleet.unrouted)},
        )

    def prices(self, now: datetime) -> Prices:
        seat = self._seat
        usd = self._world.case.usd_per_replica_hour / seat.gpus_per_replica
        price = Price(usd_per_gpu_hour=usd, capacity_type=seat.capacity_type, source="the simulated case")
        return {(seat.service, seat.variant, seat.capacity_type): price}

    def pauses(self) -> Mapping[str, Pause]:
        return {}

    def marks(self) -> tuple[CounterMark, ...]:
        return ()

    def record_intent(self, record: PassRecord) -> None:
        """A rehearsal keeps no ledger."""

    def act(self, decision: Decision, now: datetime) -> Outcome:
        self._decided.append(decision)
        return Outcome.of(decision, OutcomeKind.DONE, "simulated", now)

    def record_outcomes(self, result: PassResult, memory: Memory) -> None:
        """A rehearsal keeps no ledger."""

    def notify(self, alerts: Sequence[Alert]) -> None:
        """Nobody is called during a rehearsal."""

    def elapsed_s(self) -> float:
        return self._elapsed_s()

    def settle(self) -> None:
        """Carry out what was decided."""
        for decision in self._decided:
            more = decision.desired - decision.current
            reason = f"{decision.because}: {decision.detail}"
            if more > 0:
                self._world.order(more, reason)
            elif more < 0:
                alive = {one.name for one in self._world.alive}
                self._world.dismiss([name for name in decision.victims if name in alive], reason)
        self._decided = []

    def _read(self, target: Target, now: datetime) -> EngineReading | Missing:
        one = self._world.fleet.replicas[target.replica]
        if self._world.now_s < one.ready_s:
            return STARTING
        if self._world.blind:
            return OUTAGE
        return self._reader.read(target, now, self._epoch.timestamp())

    def _target(self, one: SimulatedReplica) -> Target:
        seat = self._seat
        labels = {"capacity_type": str(seat.capacity_type), "phase": str(one.phase(self._world.now_s))}
        url = f"http://{one.name}.simulated"
        return Target(service=seat.service, variant=seat.variant, replica=one.name, url=url, labels=labels)

    def _state(self, one: SimulatedReplica) -> ReplicaState:
        phase = one.phase(self._world.now_s)
        since_s = {Phase.STARTING: one.created_s, Phase.READY: one.ready_s}.get(phase, one.draining_since_s or 0.0)
        return ReplicaState(
            replica=one.name,
            variant=self._seat.variant,
            phase=phase,
            since=self._at(since_s),
            url=f"http://{one.name}.simulated",
        )

    def _at(self, seconds: float) -> datetime:
        return self._epoch + timedelta(seconds=seconds)
