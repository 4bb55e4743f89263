"""One service in a simulated world: requests come, replicas are ordered and dismissed, the bill runs, and every request
is judged. Any controller is rehearsed in it, ours and everybody else's, with the same router and the same engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from controller.facts.fleet import CapacityType
from controller.facts.readings import Phase
from controller.facts.slo import Slo
from controller.simulate.arrivals import NO_REQUESTS, Workload
from controller.simulate.buying import Kind, Lot
from controller.simulate.failures import NO_FAILURES, Failures
from controller.simulate.fleet import Finished, SimulatedFleet, SimulatedReplica
from controller.simulate.spot import SpotDraw, SpotMarket
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import EngineSpec
from controller.simulate.stock import Hazards, Loss, Mishap, Order, Stock

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """When a request counts as served well: it finished, and both latencies were inside their bounds (None: any).

    long_prompt_tokens, long_ttft_s   prompts of more tokens may take longer to the first token
    """

    ttft_s: float | None
    tpot_s: float | None
    long_prompt_tokens: int | None = None
    long_ttft_s: float | None = None

    @classmethod
    def of(cls, slo: Slo) -> Judge:
        """The bounds of ``slo``, each for every single request: its quantiles and its attainment say how many."""
        return cls(ttft_s=slo.ttft.seconds if slo.ttft else None, tpot_s=slo.tpot.seconds if slo.tpot else None)

    def verdicts(self, finished: Finished) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """By request: TTFT inside its bound, TPOT inside its bound."""
        everyone = np.ones(len(finished), bool)
        in_tpot = everyone if self.tpot_s is None else finished.tpot_s <= self.tpot_s
        if self.ttft_s is None:
            return everyone, in_tpot
        bound_s: NDArray[np.float64] | float = self.ttft_s
        if self.long_prompt_tokens is not None and self.long_ttft_s is not None:
            bound_s = np.where(finished.prompt_tokens > self.long_prompt_tokens, self.long_ttft_s, self.ttft_s)
        return finished.ttft_s <= bound_s, in_tpot


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What goes wrong in a stress case, in seconds of the trace's clock; None = nothing.

    outage_s    from when until when nothing can be scraped
    slow_at_s   when the steps of the oldest ready replica begin to take ``slowness`` times as long
    """

    outage_s: tuple[float, float] | None = None
    slow_at_s: float | None = None
    slowness: float = 2.0

    def blind(self, now_s: float) -> bool:
        return self.outage_s is not None and self.outage_s[0] <= now_s < self.outage_s[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What every controller of a contest meets alike.

    spec, start_up, usd_per_replica_hour   of the one kind of replica that there is, bought on demand
    kinds              instead: several, or bought in several ways. The first is the one that is there at the start
    initial_replicas   ready at the start
    interval_s         of the recorded series, and between two scrapes
    staleness_s        from a scrape to the moment at which a decision made on it takes effect
    failures           of replicas by themselves
    spot               where and when spot capacity can be had; None: always, and it is never taken
    """

    name: str
    spec: EngineSpec
    start_up: StartUp
    judge: Judge
    usd_per_replica_hour: float
    initial_replicas: int
    interval_s: float = 15.0
    staleness_s: float = 7.5
    trouble: Trouble = Trouble()
    kinds: tuple[Kind, ...] = ()
    failures: Failures = NO_FAILURES
    spot: SpotMarket | SpotDraw | None = None

    @property
    def offered(self) -> tuple[Kind, ...]:
        """The kinds of replica that there are, one at least."""
        plain = Lot(type=CapacityType.ON_DEMAND, usd_per_replica_hour=self.usd_per_replica_hour)
        return self.kinds or (Kind(name="", spec=self.spec, start_up=self.start_up, lots=(plain,)),)

    @property
    def max_model_len(self) -> int:
        """Tokens of the longest request that every kind of replica takes."""
        return min(kind.spec.max_model_len for kind in self.offered)


class World:
    """Moves on when told to. Replica names are r1, r2 … in order of their orders.

    losses   the replicas that crashed, failed to start or were taken away, in order of time
    """

    def __init__(self, case: Case, workload: Workload, seed: int) -> None:
        self.case = case
        self.start_s, self.end_s = workload.start_s, workload.end_s
        self.fleet = SimulatedFleet(workload.start_s, max_model_len=case.max_model_len, seed=seed)
        market = case.spot.over(workload.start_s, workload.end_s, seed) if case.spot is not None else None
        self.stock = Stock(case.offered, market)
        self.losses: list[Loss] = []
        self._hazards = Hazards(case.failures, seed)
        self._workload = workload
        self._random = np.random.default_rng(seed)
        self._named = 0
        self._slowed = False
        self.tape = Tape(case, workload.start_s, workload.end_s)
        self._start_first(case.initial_replicas)

    @property
    def now_s(self) -> float:
        return self.fleet.now_s

    @property
    def blind(self) -> bool:
        """Whether nothing can be scraped now."""
        return self.case.trouble.blind(self.now_s)

    @property
    def alive(self) -> list[SimulatedReplica]:
        """Starting and ready, the oldest first. Those that wait for capacity are not there yet."""
        return [one for one in self.fleet.replicas.values() if one.draining_since_s is None]

    @property
    def current(self) -> int:
        """Ordered and not on their way out: those that wait for capacity too."""
        return len(self.alive) + len(self.stock.waiting)

    def advance(self, until_s: float) -> None:
        """Let the clients ask and the engines answer until then, one interval of the series at a time."""
        while self.now_s < until_s:
            self._befall()
            end_s = min(until_s, self.tape.next_s(self.now_s), self._hazards.next_s(), self.stock.next_s(self.now_s))
            self._slow_one()
            come = self._workload.until(end_s)
            self.tape.arrived(come.arrival_s)
            self.tape.finished(self.fleet.advance(end_s, come))
            self.tape.level(end_s, self._waiting(), self._ready(), self.current)

    def order(self, more: int, reason: str, kind: str | None = None) -> list[str]:
        """Start so many of a kind, else of the first; their names."""
        before, chosen = self.current, self.stock.first if kind is None else self.stock.kinds[kind]
        names = [self._order(chosen, chosen.start_up.draw(self._random)) for _ in range(more)]
        self.tape.moved(self.now_s, before, before + more, reason)
        return names

    def dismiss(self, names: Sequence[str], reason: str) -> None:
        """Drain these; those that wait for capacity are forgotten."""
        before = self.current
        for name in names:
            if self.stock.waiting.pop(name, None) is None:
                self.fleet.drain(name)
        self.tape.moved(self.now_s, before, before - len(names), reason)

    def scale_to(self, desired: int, reason: str) -> None:
        """As Kubernetes would: what is not ready goes first, then the youngest."""
        current = self.current
        if desired > current:
            self.order(desired - current, reason)
        elif desired < current:
            there = sorted(self.alive, key=lambda one: (one.ready_s <= self.now_s, -one.created_s))
            leaving = [*reversed(self.stock.waiting), *(one.name for one in there)]
            self.dismiss(leaving[: current - desired], reason)

    def close(self) -> None:
        """No more requests: everybody finishes what there is, at the tape's expense, and goes. Whoever still waits for
        a replica is turned away: nobody is left to take it. Nothing befalls anybody any more."""
        self.stock.waiting.clear()
        self.fleet.turn_away()
        for one in self.alive:
            self.fleet.drain(one.name)
        while self.fleet.replicas:
            self.tape.finished(self.fleet.advance(self.now_s + self.case.interval_s, NO_REQUESTS))

    def _start_first(self, replicas: int) -> None:
        """The first kind, and where that has no room for so many the next. What cannot be had now is not there."""
        for kind in self.case.offered:
            fit = int(min(replicas, kind.room))
            for _ in range(fit):
                self._order(kind, 0.0)
            replicas -= fit
        self.stock.waiting.clear()

    def _order(self, kind: Kind, delay_s: float) -> str:
        self._named += 1
        name = f"r{self._named}"
        order = Order(name=name, number=self._named, kind=kind, ordered_s=self.now_s, delay_s=delay_s)
        if not self._placed(order):
            self.stock.waiting[name] = order
        return name

    def _placed(self, order: Order) -> bool:
        """Whether it could be had and started."""
        place = self.stock.place_for(order, self.now_s, self.fleet.replicas)
        if place is None:
            return False
        self.stock.places[order.name] = place
        starts = self._hazards.watch(order, self.now_s, self.stock.notice_and_end(place, self.now_s))
        self.fleet.start(order.name, order.kind.spec, order.delay_s if starts else inf)
        return True

    def _befall(self) -> None:
        """What is due now: replicas are warned, lost, and those that wait for capacity get it."""
        for name, mishap in self._hazards.due(self.now_s):
            one = self.fleet.replicas.get(name)
            if one is None:
                continue
            leaving = one.draining_since_s is not None
            place = self.stock.places[name]
            self.losses.append(Loss(at_s=self.now_s, name=name, place=place, mishap=mishap, leaving=leaving))
            if mishap is Mishap.NOTICE:
                self.fleet.drain(name)
            else:
                self.tape.lost(self.fleet.requests_on(name))
                self.fleet.fail(name)
        for order in list(self.stock.waiting.values()):
            if self._placed(order):
                del self.stock.waiting[order.name]

    def _slow_one(self) -> None:
        at_s = self.case.trouble.slow_at_s
        if at_s is None or self._slowed or self.now_s < at_s:
            return
        ready = [one.name for one in self.alive if one.phase(self.now_s) is Phase.READY]
        if ready:
            self.fleet.slow(ready[0], self.case.trouble.slowness)
            self._slowed = True

    def _waiting(self) -> int:
        return self.fleet.unrouted + sum(self.fleet.level(name).waiting for name in self.fleet.replicas)

    def _ready(self) -> int:
        return sum(one.phase(self.now_s) is Phase.READY for one in self.fleet.replicas.values())


BINS = 1200
LOWEST_S, HIGHEST_S = 1e-3, 1e3
"""Latencies are kept in logarithmic bins, 200 a decade: quantiles are exact to 1.2 %."""


class Tape:
    """What happened, by interval of the arrival. Filled while the run goes on; simulate/scoring.py reads it."""

    def __init__(self, case: Case, start_s: float, end_s: float) -> None:
        self.case, self.start_s = case, start_s
        rows = max(1, int(np.ceil((end_s - start_s) / case.interval_s - 1e-9)))
        self.come = np.zeros(rows, np.int64)
        self.within = np.zeros((rows, 3), np.int64)  # TTFT, TPOT, both
        self.waiting = np.zeros(rows, np.int32)
        self.ready = np.zeros(rows, np.int32)
        self.current = np.zeros(rows, np.int32)
        self.ttft_bins = np.zeros(BINS + 2, np.int64)
        self.tpot_bins = np.zeros(BINS + 2, np.int64)
        self.edges = np.geomspace(LOWEST_S, HIGHEST_S, BINS + 1)
        self.done = 0
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.preemptions = 0
        self.lost_numbers: NDArray[np.int64] = np.empty(0, np.int64)
        self.moves: list[tuple[float, int, int, str]] = []

    def next_s(self, now_s: float) -> float:
        """The end of the interval that ``now_s`` is in."""
        place = int((now_s - self.start_s) / self.case.interval_s + 1e-9) + 1
        return self.start_s + place * self.case.interval_s

    def arrived(self, at_s: NDArray[np.float64]) -> None:
        np.add.at(self.come, self._rows(at_s), 1)

    def finished(self, done: Finished) -> None:
        if not len(done):
            return
        in_ttft, in_tpot = self.case.judge.verdicts(done)
        if len(self.lost_numbers):
            whole = ~np.isin(done.number, self.lost_numbers)
            in_ttft, in_tpot = in_ttft & whole, in_tpot & whole
        rows = self._rows(done.sent_s)
        for column, inside in enumerate((in_ttft, in_tpot, in_ttft & in_tpot)):
            np.add.at(self.within[:, column], rows[inside], 1)
        self.ttft_bins += np.bincount(np.searchsorted(self.edges, done.ttft_s), minlength=BINS + 2)
        gaps = done.output_tokens > 1
        self.tpot_bins += np.bincount(np.searchsorted(self.edges, done.tpot_s[gaps]), minlength=BINS + 2)
        self.done += len(done)
        self.prompt_tokens += int(done.prompt_tokens.sum())
        self.output_tokens += int(done.output_tokens.sum())
        self.preemptions += int(done.preemptions.sum())

    def lost(self, numbers: NDArray[np.int64]) -> None:
        """A replica was lost with these. They are sent again, and miss the SLO all the same: their clients saw an error
        or an answer that broke off."""
        self.lost_numbers = np.union1d(self.lost_numbers, numbers)

    def level(self, at_s: float, waiting: int, ready: int, current: int) -> None:
        row = min(int(np.ceil((at_s - self.start_s) / self.case.interval_s - 1e-9)) - 1, len(self.come) - 1)
        self.waiting[row], self.ready[row], self.current[row] = waiting, ready, current

    def moved(self, at_s: float, before: int, after: int, reason: str) -> None:
        if before != after:
            self.moves.append((at_s, before, after, reason))

    def _rows(self, at_s: NDArray[np.float64]) -> NDArray[np.int64]:
        rows = ((at_s - self.start_s) / self.case.interval_s).astype(np.int64)
        return np.clip(rows, 0, len(self.come) - 1)
