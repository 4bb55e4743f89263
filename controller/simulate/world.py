"""One service in a simulated world: requests come, replicas are ordered and dismissed, the bill runs, and every request
is judged. Any controller is rehearsed in it, ours and everybody else's, with the same router and the same engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.facts.readings import Phase
from controller.facts.slo import Slo
from controller.simulate.arrivals import NO_REQUESTS, Workload
from controller.simulate.fleet import Finished, SimulatedFleet, SimulatedReplica
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import EngineSpec

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

    initial_replicas   ready at the start
    interval_s         of the recorded series, and between two scrapes
    staleness_s        from a scrape to the moment at which a decision made on it takes effect
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


class World:
    """Moves on when told to. Replica names are r1, r2 … in order of their start."""

    def __init__(self, case: Case, workload: Workload, seed: int) -> None:
        self.case = case
        self.start_s, self.end_s = workload.start_s, workload.end_s
        self.fleet = SimulatedFleet(workload.start_s, max_model_len=case.spec.max_model_len, seed=seed)
        self._workload = workload
        self._random = np.random.default_rng(seed)
        self._named = 0
        self._slowed = False
        self.tape = Tape(case, workload.start_s, workload.end_s)
        for _ in range(case.initial_replicas):
            self._start(0.0)

    @property
    def now_s(self) -> float:
        return self.fleet.now_s

    @property
    def blind(self) -> bool:
        """Whether nothing can be scraped now."""
        return self.case.trouble.blind(self.now_s)

    @property
    def alive(self) -> list[SimulatedReplica]:
        """Starting and ready, the oldest first."""
        return [one for one in self.fleet.replicas.values() if one.draining_since_s is None]

    def advance(self, until_s: float) -> None:
        """Let the clients ask and the engines answer until then, one interval of the series at a time."""
        while self.now_s < until_s:
            end_s = min(until_s, self.tape.next_s(self.now_s))
            self._slow_one()
            come = self._workload.until(end_s)
            self.tape.arrived(come.arrival_s)
            self.tape.finished(self.fleet.advance(end_s, come))
            self.tape.level(end_s, self._waiting(), self._ready(), len(self.alive))

    def order(self, more: int, reason: str) -> list[str]:
        """Start so many; their names."""
        before = len(self.alive)
        names = [self._start(self.case.start_up.draw(self._random)) for _ in range(more)]
        self.tape.moved(self.now_s, before, before + more, reason)
        return names

    def dismiss(self, names: Sequence[str], reason: str) -> None:
        """Drain these."""
        before = len(self.alive)
        for name in names:
            self.fleet.drain(name)
        self.tape.moved(self.now_s, before, before - len(names), reason)

    def scale_to(self, desired: int, reason: str) -> None:
        """As Kubernetes would: what is not ready goes first, then the youngest."""
        alive = self.alive
        if desired > len(alive):
            self.order(desired - len(alive), reason)
        elif desired < len(alive):
            leaving = sorted(alive, key=lambda one: (one.ready_s <= self.now_s, -one.created_s))
            self.dismiss([one.name for one in leaving[: len(alive) - desired]], reason)

    def close(self) -> None:
        """No more requests: everybody finishes what there is, at the tape's expense, and goes. Whoever still waits for
        a replica is turned away: nobody is left to take it."""
        self.fleet.turn_away()
        for one in self.alive:
            self.fleet.drain(one.name)
        while self.fleet.replicas:
            self.tape.finished(self.fleet.advance(self.now_s + self.case.interval_s, NO_REQUESTS))

    def _start(self, delay_s: float) -> str:
        self._named += 1
        name = f"r{self._named}"
        self.fleet.start(name, self.case.spec, delay_s)
        return name

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

    def level(self, at_s: float, waiting: int, ready: int, current: int) -> None:
        row = min(int(np.ceil((at_s - self.start_s) / self.case.interval_s - 1e-9)) - 1, len(self.come) - 1)
        self.waiting[row], self.ready[row], self.current[row] = waiting, ready, current

    def moved(self, at_s: float, before: int, after: int, reason: str) -> None:
        if before != after:
            self.moves.append((at_s, before, after, reason))

    def _rows(self, at_s: NDArray[np.float64]) -> NDArray[np.int64]:
        rows = ((at_s - self.start_s) / self.case.interval_s).astype(np.int64)
        return np.clip(rows, 0, len(self.come) - 1)
