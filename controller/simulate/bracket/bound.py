"""L: a linear programme whose value no controller can get below, on-line or clairvoyant.

Time is cut into slots of ``slot_s``. Ready replicas u, launches y and terminations z are real numbers; the engine time
that requests cost is served where their deadlines allow it. Minimised is what is billed:

    price x slot x sum over slots of (u + replicas starting)
    u[s] = u[s-1] + y[s - delta] - z[s]                         delta = floor(shortest start-up / slot)
    work served in slot s <= slot x u[s]
    work on time in [arrival, deadline] + work late by the end = work arrived
    work late <= the work of the (1 - alpha) N largest requests

Any run of any policy is a feasible point: take its time averages a slot. Its bill is the average of live replicas; a
request that counts as met has finished by arrival + TTFT + (output - 1) x TPOT, so all of its work lies in its window;
at most (1 - alpha) N requests miss, and they cost at most what as many of the largest do; what was preempted and
computed again only adds. So L <= the cost of every run that reaches alpha.

The work of a request, in seconds of an engine, is at the least

    w = d1 x computed prompt tokens + d2 x (prompt² - cached²)
        + (output - 1) x b + c x sum of its contexts + a x (its share of the steps)

Every step costs ``a`` once. Its sequences number at most max_sequences, its KV tokens at most the cache, the tokens it
computes at most the budget; so each of these three shares adds up to at most 1 over a step, and so does any mixture of
them: the one that gives the largest bound is taken.

Conditions: billing by the second or coarser; steps never faster than the model; no start-up shorter than the shortest;
the same attainment as the score. With speculation a step gives up to 1 + draft_tokens tokens, by which the decode terms
are divided. Left out, so L is loose by 10 to 35 %: the pace that the TPOT asks for, waiting, whole replicas.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array

from controller.simulate.arrivals import Requests
from controller.simulate.stepmodel import EngineSpec
from controller.simulate.world import HOUR_S, Judge

Floats = NDArray[np.float64]

SLOT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """``shared_by``: what the fixed cost of a step was shared by in the largest bound."""

    usd: float
    replica_hours: float
    shared_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Engine seconds asked for: ``work_s[window, slot]`` by arrival slot and by how many slots the deadline is later.

    late_s   the most that may be served after its deadline
    """

    windows: tuple[int, ...]
    work_s: Floats
    late_s: float


SHARES = ("sequences", "kv_cache", "token_budget")


def work_s(requests: Requests, spec: EngineSpec, shared_by: str) -> Floats:
    """The least engine time of each request, with the steps' fixed cost shared by one of SHARES."""
    step, prompt = spec.step, requests.prompt_tokens.astype(np.float64)
    cached, output = requests.cached_tokens.astype(np.float64), requests.output_tokens.astype(np.float64)
    computed = prompt - cached
    steps = (output - 1) / (1 + spec.draft_tokens)
    contexts = steps * (prompt + (output - 2).clip(0) / 2)
    shares = {
        "sequences": steps / spec.max_sequences,
        "kv_cache": contexts / spec.kv_capacity_tokens,
        "token_budget": (computed + (output - 1)) / spec.token_budget,
    }
    prefill = step.per_prefill_token_s * computed + step.per_prefill_pair_s * (prompt**2 - cached**2)
    decode: Floats = steps * step.per_sequence_s + step.per_kv_token_s * contexts
    return prefill + decode + step.base_s * shares[shared_by]


def load_of(
    parts: Iterable[Requests], spec: EngineSpec, judge: Judge, alpha: float, span: tuple[float, float], shared_by: str
) -> Load:
    """What the requests of ``parts`` ask for, added up."""
    start_s, end_s = span
    slots = ceil((end_s - start_s) / SLOT_S)
    sums: dict[int, Floats] = {}
    sizes = []
    for part in parts:
        work = work_s(part, spec, shared_by)
        sizes.append(work.astype(np.float32))
        ttft_s = np.where(
            part.prompt_tokens > (judge.long_prompt_tokens or np.inf), judge.long_ttft_s or 0.0, judge.ttft_s or np.inf
        )
        window_s = ttft_s + (part.output_tokens - 1) * (judge.tpot_s if judge.tpot_s is not None else np.inf)
        windows = np.where(np.isfinite(window_s), np.ceil(window_s / SLOT_S), slots).astype(np.int64)
        places = np.clip(((part.arrival_s - start_s) / SLOT_S).astype(np.int64), 0, slots - 1)
        for window in np.unique(windows).tolist():
            inside = windows == window
            added = np.bincount(places[inside], weights=work[inside], minlength=slots)
            sums[window] = sums.get(window, np.zeros(slots)) + added
    size = np.concatenate(sizes) if sizes else np.zeros(0, np.float32)
    most_late = floor((1 - alpha) * len(size) + 1e-9)
    late = np.partition(size, len(size) - most_late)[len(size) - most_late :] if most_late else size[:0]
    order = sorted(sums)
    table = np.array([sums[window] for window in order]) if order else np.zeros((1, slots))
    return Load(windows=tuple(order) or (0,), work_s=table, late_s=float(late.astype(np.float64).sum()))


def lower_bound(
    load: Load,
    *,
    start_up_min_s: float,
    usd_per_replica_hour: float,
    initial_replicas: int,
    min_replicas: int = 0,
    shared_by: str = "",
) -> Bound:
    """The programme's value for one on-demand variant."""
    programme = _Programme(load, floor(start_up_min_s / SLOT_S), initial_replicas, min_replicas)
    replica_hours = programme.solved() * SLOT_S / HOUR_S
    return Bound(usd=replica_hours * usd_per_replica_hour, replica_hours=replica_hours, shared_by=shared_by)


def tightest(bounds: Iterable[Bound]) -> Bound:
    """Each is a bound: the largest says most."""
    return max(bounds, key=lambda bound: bound.usd)


class _Programme:
    """Rows and columns. Slots go on after the last arrival for as long as the widest window."""

    def __init__(self, load: Load, delta: int, initial: int, least: int) -> None:
        self.load, self.delta, self.initial, self.least = load, delta, initial, least
        self.arrivals = load.work_s.shape[1]
        widest = min(max(load.windows), self.arrivals)
        self.slots = self.arrivals + widest + 1
        self.entries: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]] = []
        self.rows = 0
        self.columns = 0

    def solved(self) -> float:
        """Billed replica-slots."""
        slots, every = self.slots, np.arange(self.slots)
        ready, launch, end = (self._block(slots) for _ in range(3))
        late_out, stock = self._block(slots), self._block(slots)
        late_in = [self._block(self.arrivals) for _ in self.load.windows]
        on_time = [[self._block(self.arrivals) for _ in range(window + 1)] for window in self.load.windows]

        equal: list[Floats] = []
        rows = self._new_rows(slots)  # ready replicas follow from launches and ends
        self._add(rows, ready, 1.0)
        self._add(rows[1:], ready[:-1], -1.0)
        self._add(rows[self.delta :], launch[: slots - self.delta], -1.0)
        self._add(rows, end, 1.0)
        equal.append(np.where(every == 0, float(self.initial), 0.0))
        for window, (late, parts) in enumerate(zip(late_in, on_time, strict=True)):  # all work is done, in time or late
            rows = self._new_rows(self.arrivals)
            for part in (late, *parts):
                self._add(rows, part, 1.0)
            equal.append(self.load.work_s[window])
        rows = self._new_rows(slots)  # what is late waits until it is served
        self._add(rows, stock, 1.0)
        self._add(rows[1:], stock[:-1], -1.0)
        self._add(rows, late_out, 1.0)
        for late in late_in:
            self._add(rows[: self.arrivals], late, -1.0)
        equal.append(np.zeros(slots))
        equalities, right = self._matrix(), np.concatenate(equal)

        rows = self._new_rows(slots)  # nobody works more than there are seconds
        self._add(rows, late_out, 1.0)
        self._add(rows, ready, -SLOT_S)
        for parts in on_time:
            for later, part in enumerate(parts):
                self._add(rows[later : later + self.arrivals], part, 1.0)
        row = self._new_rows(1)
        for late in late_in:
            self._add(np.repeat(row, self.arrivals), late, 1.0)
        limits = np.concatenate([np.zeros(slots), [self.load.late_s]])

        cost = np.zeros(self.columns)
        cost[ready] = 1.0
        cost[launch] = np.minimum(self.delta, slots - every)
        low = np.zeros(self.columns)
        low[ready[: self.arrivals]] = self.least
        high = np.full(self.columns, np.inf)
        high[stock[-1]] = 0.0
        found = linprog(
            cost,
            A_ub=self._matrix(),
            b_ub=limits,
            A_eq=equalities,
            b_eq=right,
            bounds=np.column_stack([low, high]),
            method="highs-ipm",
        )
        if found.status != 0:
            raise ValueError(f"the lower bound's programme has no solution: {found.message}")
        return float(found.fun)

    def _block(self, size: int) -> NDArray[np.int64]:
        self.columns += size
        return np.arange(self.columns - size, self.columns)

    def _new_rows(self, size: int) -> NDArray[np.int64]:
        self.rows += size
        return np.arange(self.rows - size, self.rows)

    def _add(self, rows: NDArray[np.int64], columns: NDArray[np.int64], value: float) -> None:
        self.entries.append((rows, columns, np.full(len(rows), value)))

    def _matrix(self) -> coo_array:
        """The rows added since the last matrix."""
        rows, columns, values = (np.concatenate(part) for part in zip(*self.entries, strict=True))
        matrix = coo_array((values, (rows, columns)), shape=(self.rows, self.columns))
        self.entries, self.rows = [], 0
        return matrix
