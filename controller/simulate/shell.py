"""The pass's outside world, simulated: what `loop.one_pass` observes, and what becomes of its decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from controller.facts.budgets import Guard
from controller.facts.decisions import Alert, Decision, Memory, Outcome, OutcomeKind, Pause
from controller.facts.fleet import CapacityType
from controller.facts.interruptions import Notice, NoticeKind, Stuck, StuckKind
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
from controller.facts.safety import Stop
from controller.simulate.fleet import SimulatedReplica
from controller.simulate.readings import Reader
from controller.simulate.stock import Loss, Mishap, Order, Place
from controller.simulate.world import World

EPOCH = datetime(2024, 5, 12, tzinfo=UTC)
"""A trace's clock starts at midnight of a Sunday, as Azure's week of 2024 does, when nothing else is said."""

STARTING = Missing("metrics", "the replica is starting")
OUTAGE = Missing("metrics", "nothing can be scraped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Which service the world's replicas are of. The rest is for a world with one kind of replica, which has no name
    there: its variant, and how it is bought."""

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
        self._reader = Reader(world.fleet, world.case.max_model_len)
        self._told = 0
        self._warned: dict[str, Notice] = {}
        self._decided: list[Decision] = []
        self.results: list[PassResult] = []

    @property
    def now(self) -> datetime:
        return self._at(self._world.now_s)

    def observe(self, now: datetime) -> Observation:
        """What a real fleet would show. As our actuators do, a replica that was lost is told as failed once; one that
        was warned drains from then on, with its notice."""
        world, service = self._world, self._seat.service
        lost = self._just_lost()
        targets = [self._target(one) for one in world.fleet.replicas.values()]
        self._reader.forget()
        states = [
            *lost.values(),
            *(self._state(one) for one in world.fleet.replicas.values() if one.name not in lost),
            *(self._waiting(order) for order in world.stock.waiting.values()),
        ]
        variants = [self._variant(name) for name in world.stock.kinds]
        return Observation(
            at=now,
            targets=tuple(targets),
            engines={target.url: self._read(target, now) for target in targets},
            gpus={(service, name): Missing("gpus", "the simulation has no GPU exporter") for name in variants},
            replicas={(service, name): tuple(one for one in states if one.variant == name) for name in variants},
            gateway={service: float(world.fleet.unrouted)},
        )

    def prices(self, now: datetime) -> Prices:
        case, seat = self._world.case, self._seat
        if not case.kinds:
            return {(seat.service, seat.variant, seat.capacity_type): _price(case.usd_per_replica_hour, seat)}
        return {
            (seat.service, kind.name, lot.type): _price(
                lot.usd_per_replica_hour,
                replace(seat, gpus_per_replica=kind.gpus_per_replica, capacity_type=lot.type),
            )
            for kind in case.kinds
            for lot in kind.lots
        }

    def pauses(self) -> Mapping[str, Pause]:
        return {}

    def stops(self, now: datetime) -> tuple[Stop, ...]:
        return ()

    def guards(self) -> Mapping[str, tuple[Guard, ...]]:
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
                self._world.order(more, reason, decision.variant if self._world.case.kinds else None)
            elif more < 0:
                alive = {*(one.name for one in self._world.alive), *self._world.stock.waiting}
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
        place = self._world.stock.places[one.name]
        bought = place.bought.type if self._world.case.kinds else self._seat.capacity_type
        labels = {"capacity_type": str(bought), "phase": str(one.phase(self._world.now_s))}
        return Target(
            service=self._seat.service,
            variant=self._variant(place.kind.name),
            replica=one.name,
            url=_url(one.name),
            labels=labels,
        )

    def _state(self, one: SimulatedReplica) -> ReplicaState:
        place = self._world.stock.places[one.name]
        phase = one.phase(self._world.now_s)
        since_s = {Phase.STARTING: place.ordered_s, Phase.READY: one.ready_s}.get(phase, one.draining_since_s or 0.0)
        state = self._told_as(one.name, place.kind.name, phase, since_s)
        notice = self._warned.get(one.name) if phase is Phase.DRAINING else None
        return self._placed(replace(state, notice=notice), place)

    def _waiting(self, order: Order) -> ReplicaState:
        """A way of buying that may be had later counts as the first that is open: that is where it waits."""
        detail, since = "waits for capacity", order.ordered_s
        state = self._told_as(order.name, order.kind.name, Phase.STARTING, since, detail)
        bought = next((lot.type for lot in order.kind.lots if lot.open), None)
        stuck = Stuck(kind=StuckKind.CAPACITY, since=self._at(since), detail="there is no such machine now")
        return replace(state, stuck=stuck, capacity_type=bought)

    def _placed(self, state: ReplicaState, place: Place) -> ReplicaState:
        """With what its machine is. In a world of one plain kind nobody asks."""
        if not self._world.case.kinds:
            return state
        return replace(state, capacity_type=place.bought.type, node=state.replica, domain=place.zone)

    def _just_lost(self) -> dict[str, ReplicaState]:
        """Those that nobody was told of yet. Of one that was on its way out anyway nothing is told, as of one that was
        warned before it was taken."""
        fresh, self._told = self._world.losses[self._told :], len(self._world.losses)
        told = [loss for loss in fresh if not loss.leaving]
        self._warned |= {loss.name: self._notice(loss) for loss in told if loss.mishap is Mishap.NOTICE}
        there = self._world.fleet.replicas
        return {
            loss.name: self._lost(loss) for loss in told if loss.mishap is not Mishap.NOTICE or loss.name not in there
        }

    def _notice(self, loss: Loss) -> Notice:
        end_s = loss.at_s + self._world.stock.notice_s
        at, deadline = self._at(loss.at_s), self._at(end_s)
        return Notice(node=loss.name, kind=NoticeKind.SPOT, at=at, deadline=deadline, source="simulated")

    def _lost(self, loss: Loss) -> ReplicaState:
        """Who was warned and had nothing to finish is gone already; its machine is still there and drains."""
        notice = self._warned.get(loss.name) if loss.mishap is Mishap.NOTICE else None
        phase = Phase.FAILED if notice is None else Phase.DRAINING
        state = self._told_as(loss.name, loss.place.kind.name, phase, loss.at_s, str(loss.mishap))
        return self._placed(replace(state, notice=notice), loss.place)

    def _told_as(self, name: str, kind: str, phase: Phase, since_s: float, detail: str = "") -> ReplicaState:
        return ReplicaState(
            replica=name,
            variant=self._variant(kind),
            phase=phase,
            since=self._at(since_s),
            url=_url(name),
            detail=detail,
        )

    def _variant(self, kind: str) -> str:
        return kind or self._seat.variant

    def _at(self, seconds: float) -> datetime:
        return self._epoch + timedelta(seconds=seconds)


def _url(replica: str) -> str:
    return f"http://{replica}.simulated"


def _price(usd_per_replica_hour: float, seat: Seat) -> Price:
    usd = usd_per_replica_hour / seat.gpus_per_replica
    return Price(usd_per_gpu_hour=usd, capacity_type=seat.capacity_type, source="the simulated case")
