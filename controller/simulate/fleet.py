"""A fleet of simulated engines behind one router: replicas start, serve, drain, fail and go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from controller.facts.readings import Phase
from controller.simulate.arrivals import Requests
from controller.simulate.compiled.engine import BLOCK_WASTE_TOKENS
from controller.simulate.compiled.layout import (
    DONE,
    FREE,
    NOBODY,
    SEEN,
    UNROUTED,
    Count,
    Done,
    more_replicas,
    more_slots,
    new_state,
)
from controller.simulate.compiled.router import advance, evict, give_up, route_waiting
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
        self._state = new_state(FIRST_ROWS, 1, FIRST_SLOTS, max_model_len)
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
        return int(self._state.levels[UNROUTED])

    @property
    def in_flight(self) -> int:
        """Requests that have come and neither finished nor were dropped."""
        return len(self._state.flight) - int(self._state.levels[FREE])

    @property
    def seen(self) -> int:
        """Requests that have come so far."""
        return int(self._state.levels[SEEN])

    def start(self, name: str, spec: EngineSpec, delay_s: float, *, slowness: float = 1.0) -> None:
        """A replica that will be ready ``delay_s`` from now. ``slowness``: its steps take so many times longer."""
        if name in self._replicas:
            raise ValueError(f"replica {name} exists already")
        row = self._free_row(spec.max_sequences)
        ready_s = self._now_s + delay_s
        self._replicas[name] = SimulatedReplica(name=name, row=row, spec=spec, created_s=self._now_s, ready_s=ready_s)
        self._fill_row(row, spec, ready_s, slowness)
        if delay_s <= 0:
            route_waiting(self._state, self._now_s)

    def drain(self, name: str) -> None:
        """No new requests for it; it goes when the last one is answered, or at once if it never served."""
        one = self._replicas[name]
        if one.draining_since_s is None:
            one.draining_since_s = self._now_s
            self._state.engines["routable"][one.row] = 0

    def fail(self, name: str) -> int:
        """It is gone now: what it had goes back to the router and starts again. How many requests."""
        one = self._replicas[name]
        self._state.engines["routable"][one.row] = 0
        lost = evict(self._state, one.row)
        self.lost += lost
        self._remove(one, self._now_s)
        route_waiting(self._state, self._now_s)
        return lost

    def requests_on(self, name: str) -> NDArray[np.int64]:
        """The numbers of those that the replica has, running and waiting."""
        engine, flight = self._state.engines[self._replicas[name].row], self._state.flight
        found = []
        for first, following in (("run_tail", "run_before"), ("wait_head", "next")):
            slot = int(engine[first])
            while slot != NOBODY:
                found.append(int(flight[slot]["number"]))
                slot = int(flight[slot][following])
        return np.array(found, np.int64)

    def turn_away(self) -> None:
        """Whoever waits at the router gives up now."""
        self.dropped += give_up(self._state, inf)

    def slow(self, name: str, slowness: float) -> None:
        """From now on its steps take ``slowness`` times as long."""
        self._state.engines["slowness"][self._replicas[name].row] = slowness

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
            ended_s = max(one.draining_since_s or 0.0, float(self._state.engines["last_busy_s"][one.row]))
            self._remove(one, ended_s)
        return _finished(parts)

    def level(self, name: str) -> Level:
        """What the replica shows now."""
        one = self._replicas[name]
        engine = self._state.engines[one.row]
        used = engine["kv_decoding"] + engine["kv_reserved"] + BLOCK_WASTE_TOKENS * engine["running"]
        return Level(
            running=int(engine["running"]),
            waiting=int(engine["waiting"]),
            kv_cache_ratio=min(1.0, float(used) / one.spec.kv_capacity_tokens),
            busy_s=float(engine["busy_s"]),
        )

    def tally(self, name: str) -> Tally:
        """What it has counted since it started."""
        return tally_of(self._state, self._replicas[name].row, self._max_model_len)

    def counts(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Copies of its counters [Count], buckets [Hist, bucket] and totals [Hist]: see simulate/compiled/layout.py."""
        row = self._replicas[name].row
        state = self._state
        return state.counts[row].copy(), state.buckets[row].copy(), state.totals[row].copy()

    def tokens_made(self) -> dict[int, int]:
        """By number of a request in flight: output tokens it has got so far."""
        state = self._state
        flight, free = state.flight, set(state.free[: state.levels[FREE]].tolist())
        step_of: dict[int, int] = {}
        for one in self._replicas.values():
            engine = state.engines[one.row]
            slot = int(engine["run_tail"])
            while slot != NOBODY:
                step_of[slot] = int(engine["step"])
                slot = int(flight[slot]["run_before"])
        made = {}
        for slot in set(range(len(flight))) - free:
            request = flight[slot]
            decoding = slot in step_of and request["last_step"] >= 0
            steps = step_of[slot] - int(request["start_step"]) if decoding else 0
            made[int(request["number"])] = int(request["generated"]) + int(request["pace"] * steps)
        return made

    def _advance(self, end_s: float, come: Requests) -> Done:
        need = len(come) - int(self._state.levels[FREE])
        if need > 0:
            self._state = more_slots(self._state, 2 * (len(self._state.flight) + need))
        done = np.empty(self.in_flight + len(come), DONE)
        arrivals = (come.arrival_s, come.prompt_tokens, come.output_tokens, come.cached_tokens)
        rows = advance(self._state, arrivals, end_s, done)
        self._now_s = end_s
        if self.unrouted:
            self.dropped += give_up(self._state, end_s - self._give_up_s)
            route_waiting(self._state, end_s)
        return done[:rows]

    def _next_event(self, until_s: float) -> float:
        """The next moment at which somebody becomes ready, or ``until_s``."""
        coming = [one.ready_s for one in self._replicas.values() if self._now_s < one.ready_s < until_s]
        return min(coming, default=until_s)

    def _may_go(self, one: SimulatedReplica) -> bool:
        engine = self._state.engines[one.row]
        return one.draining_since_s is not None and engine["running"] + engine["waiting"] == 0

    def _remove(self, one: SimulatedReplica, ended_s: float) -> None:
        busy_s = float(self._state.engines["busy_s"][one.row])
        self.gone.append(Gone(name=one.name, created_s=one.created_s, ended_s=ended_s, busy_s=busy_s))
        self._state.engines["live"][one.row] = 0
        del self._replicas[one.name]

    def _free_row(self, max_sequences: int) -> int:
        rows, width = self._state.ends_step.shape
        free = np.flatnonzero(self._state.engines["live"] == 0)
        if width <= max_sequences or not len(free):
            self._state = more_replicas(self._state, rows if len(free) else 2 * rows, max(width - 1, max_sequences))
        return int(free[0]) if len(free) else int(rows)

    def _fill_row(self, row: int, spec: EngineSpec, ready_s: float, slowness: float) -> None:
        state, step = self._state, spec.step
        for table in (state.counts, state.buckets, state.totals):
            table[row] = 0.0
        values = {
            **dict.fromkeys(("live", "routable"), 1),
            **dict.fromkeys(("wait_head", "wait_tail", "fill_head", "fill_tail", "run_tail"), NOBODY),
            **dict.fromkeys(("ready_s", "clock_s", "due_s"), ready_s),
            "base_s": step.base_s + spec.draft_s,
            "per_sequence_s": step.per_sequence_s,
            "per_kv_token_s": step.per_kv_token_s,
            "per_prefill_token_s": step.per_prefill_token_s,
            "per_prefill_pair_s": step.per_prefill_pair_s,
            "host_per_token_s": step.host_per_token_s,
            "kv_capacity": spec.kv_capacity_tokens,
            "token_budget": spec.token_budget,
            "max_sequences": spec.max_sequences,
            "reserves_output": int(spec.reserves_output),
            "draft_tokens": spec.draft_tokens,
            "acceptance": spec.acceptance_ratio,
            "random": self._seeds.spawn(1)[0].generate_state(1, np.uint64)[0] | np.uint64(1),
            "slowness": slowness,
        }
        for name in state.engines.dtype.names or ():
            state.engines[name][row] = values.get(name, 0)

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
    done = parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, DONE)])
    return Finished(
        number=done["number"],
        sent_s=done["sent_s"],
        first_token_s=done["first_s"],
        finished_s=done["finished_s"],
        prompt_tokens=done["prompt"],
        output_tokens=done["output"],
        preemptions=done["preemptions"],
    )


def generation_tokens(fleet: SimulatedFleet, name: str) -> int:
    """Output tokens a replica has made since it started."""
    return round(float(fleet.counts(name)[0][Count.GENERATION_TOKENS]))
