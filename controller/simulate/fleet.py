"""A fleet of simulated engines behind one router: replicas start, serve, drain, fail and go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.facts.readings import Phase
from controller.simulate.arrivals import Requests
from controller.simulate.kernel import BLOCK_WASTE_TOKENS, advance, evict, give_up, route_waiting
from controller.simulate.layout import (
    FREE,
    NOBODY,
    SEEN,
    UNROUTED,
    Count,
    Done,
    Engines,
    Speed,
    grown_flight,
    new_done,
    new_engines,
    new_flight,
    new_tallies,
)
from controller.simulate.stepmodel import EngineSpec
from controller.simulate.tally import Tally, tally_of

GIVE_UP_S = 60.0
"""A client that finds nobody ready keeps trying for this long, then its request is dropped. A common HTTP time-out."""

FIRST_ROWS, FIRST_SLOTS = 16, 4096


@dataclass(frozen=True, slots=True)
class Finished:
    """The requests that got all their tokens in one call. Arrays of equal length; times are seconds."""

    number: NDArray[np.int64]
    sent_s: NDArray[np.float64]
    first_token_s: NDArray[np.float64]
    finished_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    preemptions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.number)

    @property
    def ttft_s(self) -> NDArray[np.float64]:
        """As the clients saw it: waiting at the router and retries included."""
        return self.first_token_s - self.sent_s

    @property
    def tpot_s(self) -> NDArray[np.float64]:
        """Mean time per output token after the first; 0 for a single token."""
        return (self.finished_s - self.first_token_s) / np.maximum(self.output_tokens - 1, 1)


@dataclass(slots=True, kw_only=True)
class SimulatedReplica:
    """One replica. ``ready_s``: when it can serve; billed from ``created_s``."""

    name: str
    row: int
    spec: EngineSpec
    created_s: float
    ready_s: float
    draining_since_s: float | None = None

    def phase(self, now_s: float) -> Phase:
        if self.draining_since_s is not None:
            return Phase.DRAINING
        return Phase.READY if now_s >= self.ready_s else Phase.STARTING


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A replica that is no more, and what it had done: for the bill."""

    name: str
    created_s: float
    ended_s: float
    busy_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What one replica shows at this moment. ``busy_s``: since it started."""

    running: int
    waiting: int
    kv_cache_ratio: float
    busy_s: float


class SimulatedFleet:
    """Replicas by name, and the requests nobody could take yet. Equal calls give equal answers.

    give_up_s   a request that no replica has taken for so long is dropped
    """

    def __init__(
        self, now_s: float, *, max_model_len: int = 32_768, seed: int = 0, give_up_s: float = GIVE_UP_S
    ) -> None:
        self._now_s = now_s
        self._max_model_len = max_model_len
        self._give_up_s = give_up_s
        self._seeds = np.random.SeedSequence(seed)
        self._engines = new_engines(FIRST_ROWS, 1)
        self._flight = new_flight(FIRST_SLOTS)
        self._tallies = new_tallies(FIRST_ROWS, max_model_len)
        self._replicas: dict[str, SimulatedReplica] = {}
        self.gone: list[Gone] = []
        self.dropped = 0
        self.lost = 0
        """Requests that a failed replica had and that were sent again."""

    @property
    def now_s(self) -> float:
        return self._now_s

    @property
    def replicas(self) -> Mapping[str, SimulatedReplica]:
        return self._replicas

    @property
    def unrouted(self) -> int:
        """Requests that wait at the router because nobody is ready."""
        return int(self._flight.levels[UNROUTED])

    @property
    def in_flight(self) -> int:
        """Requests that have come and neither finished nor were dropped."""
        return len(self._flight.number) - int(self._flight.levels[FREE])

    @property
    def seen(self) -> int:
        """Requests that have come so far."""
        return int(self._flight.levels[SEEN])

    def start(self, name: str, spec: EngineSpec, delay_s: float, *, slowness: float = 1.0) -> None:
        """A replica that will be ready ``delay_s`` from now. ``slowness``: its steps take so many times longer."""
        if name in self._replicas:
            raise ValueError(f"replica {name} exists already")
        row = self._free_row(spec.max_sequences)
        ready_s = self._now_s + delay_s
        self._replicas[name] = SimulatedReplica(name=name, row=row, spec=spec, created_s=self._now_s, ready_s=ready_s)
        self._fill_row(row, spec, ready_s, slowness)
        if delay_s <= 0:
            route_waiting(self._engines, self._flight, self._now_s)

    def drain(self, name: str) -> None:
        """No new requests for it; it goes when the last one is answered, or at once if it never served."""
        one = self._replicas[name]
        if one.draining_since_s is None:
            one.draining_since_s = self._now_s
            self._engines.routable[one.row] = 0

    def fail(self, name: str) -> int:
        """It is gone now: what it had goes back to the router and starts again. How many requests."""
        one = self._replicas[name]
        self._engines.routable[one.row] = 0
        lost = evict(self._engines, self._flight, one.row)
        self.lost += lost
        self._remove(one, self._now_s)
        route_waiting(self._engines, self._flight, self._now_s)
        return lost

    def slow(self, name: str, slowness: float) -> None:
        """From now on its steps take ``slowness`` times as long."""
        self._engines.slowness[self._replicas[name].row] = slowness

    def advance(self, until_s: float, requests: Requests) -> Finished:
        """Serve until ``until_s``. ``requests`` come in order of time, none later than that."""
        self._check(requests)
        parts = []
        while self._now_s < until_s:
            end_s = self._next_event(until_s)
            come, requests = requests.before(end_s)
            parts.append(self._advance(end_s, come))
        if len(requests):  # at until_s itself
            parts.append(self._advance(until_s, requests))
        for one in [one for one in self._replicas.values() if self._may_go(one)]:
            ended_s = max(one.draining_since_s or 0.0, float(self._engines.last_busy_s[one.row]))
            self._remove(one, ended_s)
        return _finished(parts)

    def level(self, name: str) -> Level:
        """What the replica shows now."""
        one, engines = self._replicas[name], self._engines
        row = one.row
        used = engines.kv_decoding[row] + engines.kv_reserved[row] + BLOCK_WASTE_TOKENS * engines.running[row]
        return Level(
            running=int(engines.running[row]),
            waiting=int(engines.waiting[row]),
            kv_cache_ratio=min(1.0, float(used) / one.spec.kv_capacity_tokens),
            busy_s=float(engines.busy_s[row]),
        )

    def tally(self, name: str) -> Tally:
        """What it has counted since it started."""
        return tally_of(self._tallies, self._replicas[name].row, self._max_model_len)

    def counts(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Copies of its counters [Count], buckets [Hist, bucket] and totals [Hist]: see simulate/layout.py."""
        row = self._replicas[name].row
        return self._tallies.counts[row].copy(), self._tallies.buckets[row].copy(), self._tallies.totals[row].copy()

    def tokens_made(self) -> dict[int, int]:
        """By number of a request in flight: output tokens it has got so far."""
        flight, engines = self._flight, self._engines
        free = set(flight.free[: flight.levels[FREE]].tolist())
        step_of: dict[int, int] = {}
        for one in self._replicas.values():
            slot = int(engines.run_tail[one.row])
            while slot != NOBODY:
                step_of[slot] = int(engines.step[one.row])
                slot = int(flight.run_before[slot])
        made = {}
        for slot in range(len(flight.number)):
            if slot not in free:
                decoding = slot in step_of and flight.last_step[slot] >= 0
                steps = step_of[slot] - int(flight.start_step[slot]) if decoding else 0
                made[int(flight.number[slot])] = int(flight.generated[slot]) + int(flight.pace[slot] * steps)
        return made

    def _advance(self, end_s: float, come: Requests) -> Done:
        need = len(come) - int(self._flight.levels[FREE])
        if need > 0:
            self._flight = grown_flight(self._flight, 2 * (len(self._flight.number) + need))
        done = new_done(self.in_flight + len(come))
        arrivals = (come.arrival_s, come.prompt_tokens, come.output_tokens, come.cached_tokens)
        rows = advance(self._engines, self._flight, self._tallies, arrivals, end_s, done)
        self._now_s = end_s
        if self.unrouted:
            route_waiting(self._engines, self._flight, end_s)
            self.dropped += give_up(self._flight, end_s - self._give_up_s)
        return Done._make(column[:rows] for column in done)

    def _next_event(self, until_s: float) -> float:
        """The next moment at which somebody becomes ready, or ``until_s``."""
        coming = [one.ready_s for one in self._replicas.values() if self._now_s < one.ready_s < until_s]
        return min(coming, default=until_s)

    def _may_go(self, one: SimulatedReplica) -> bool:
        busy = self._engines.running[one.row] or self._engines.waiting[one.row]
        return one.draining_since_s is not None and not busy

    def _remove(self, one: SimulatedReplica, ended_s: float) -> None:
        busy_s = float(self._engines.busy_s[one.row])
        self.gone.append(Gone(name=one.name, created_s=one.created_s, ended_s=ended_s, busy_s=busy_s))
        self._engines.live[one.row] = 0
        del self._replicas[one.name]

    def _free_row(self, max_sequences: int) -> int:
        rows, width = self._engines.ends_step.shape
        if width < max_sequences + 1:
            self._widen(rows, max_sequences)
        free = np.flatnonzero(self._engines.live == 0)
        if len(free) == 0:
            self._widen(2 * rows, max(width - 1, max_sequences))
            return int(rows)
        return int(free[0])

    def _widen(self, rows: int, max_sequences: int) -> None:
        """Room for more replicas or larger batches."""
        engines, tallies = new_engines(rows, max_sequences), new_tallies(rows, self._max_model_len)
        for old, new in ((self._engines, engines), (self._tallies, tallies)):
            for before, after in zip(old, new, strict=True):
                if before is not self._tallies.bounds:
                    after[tuple(slice(0, size) for size in before.shape)] = before
        self._engines, self._tallies = engines, tallies

    def _fill_row(self, row: int, spec: EngineSpec, ready_s: float, slowness: float) -> None:
        engines = self._engines
        for column in Engines._fields:
            getattr(engines, column)[row] = 0
        for column in ("wait_head", "wait_tail", "fill_head", "fill_tail", "run_tail"):
            getattr(engines, column)[row] = NOBODY
        for table in (self._tallies.counts, self._tallies.buckets, self._tallies.totals):
            table[row] = 0.0
        step = spec.step
        engines.speed[row, Speed.BASE] = step.base_s + spec.draft_s
        engines.speed[row, Speed.PER_SEQUENCE] = step.per_sequence_s
        engines.speed[row, Speed.PER_KV_TOKEN] = step.per_kv_token_s
        engines.speed[row, Speed.PER_PREFILL_TOKEN] = step.per_prefill_token_s
        engines.speed[row, Speed.PER_PREFILL_PAIR] = step.per_prefill_pair_s
        engines.speed[row, Speed.HOST_PER_TOKEN] = step.host_per_token_s
        engines.kv_capacity[row] = spec.kv_capacity_tokens
        engines.token_budget[row] = spec.token_budget
        engines.max_sequences[row] = spec.max_sequences
        engines.reserves_output[row] = int(spec.reserves_output)
        engines.draft_tokens[row] = spec.draft_tokens
        engines.acceptance[row] = spec.acceptance_ratio
        engines.random[row] = self._seeds.spawn(1)[0].generate_state(1, np.uint64)[0] | np.uint64(1)
        engines.slowness[row] = slowness
        engines.ready_s[row] = engines.clock_s[row] = engines.due_s[row] = ready_s
        engines.live[row] = engines.routable[row] = 1

    def _check(self, requests: Requests) -> None:
        if not len(requests):
            return
        tokens = requests.prompt_tokens + requests.output_tokens
        worst = int(np.argmax(tokens))
        if tokens[worst] > self._max_model_len:
            raise ValueError(
                f"a request of {tokens[worst]} tokens at {requests.arrival_s[worst]:.3f} s exceeds the model's length "
                f"of {self._max_model_len}"
            )


def _finished(parts: list[Done]) -> Finished:
    if len(parts) == 1:
        return Finished(*parts[0])
    whole = Done._make(map(np.concatenate, zip(*parts, strict=True))) if parts else new_done(0)
    return Finished(*whole)


def generation_tokens(fleet: SimulatedFleet, name: str) -> int:
    """Output tokens a replica has made since it started."""
    return round(float(fleet.counts(name)[0][Count.GENERATION_TOKENS]))
