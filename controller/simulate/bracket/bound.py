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
them. Nor is a step shorter than what the host needs for its tokens, which replaces ``a`` and b by one figure a token.
Each of the four gives a bound; the largest is taken.

Conditions: billing by the second or coarser; steps never faster than the model; no start-up shorter than the shortest;
the same attainment as the score; no request dropped, or the bound holds less what the work of the dropped ones costs;
recomputing a preempted sequence takes no less than the one decode step that it replaces (it computes a context, unless
nearly all of it is cached). With speculation a step gives up to 1 + draft_tokens tokens, by which the decode steps are
divided. Left out, so L is loose by 10 to 35 %: the pace that the TPOT asks for, waiting, whole replicas, spot and
reserved capacity, a choice of variants.
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

LONGEST_WINDOW = 120
"""Slots. Work with more time than that may wait until the end: fewer columns, and never a larger bound."""

ROUNDING = 1e-7
"""The solver stops so close to the optimum, relatively; a bound stays below it."""


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


SHARES = ("sequences", "kv_cache", "token_budget", "host")


def work_s(requests: Requests, spec: EngineSpec, shared_by: str) -> Floats:
    """The least engine time of each request, with the steps' fixed cost shared by one of SHARES."""
    step, prompt = spec.step, requests.prompt_tokens.astype(np.float64)
    cached, output = requests.cached_tokens.astype(np.float64), requests.output_tokens.astype(np.float64)
    computed, more = prompt - cached, output - 1
    steps = more / (1 + spec.draft_tokens)
    contexts = steps * prompt + more * (steps - 1).clip(0) / 2  # each step reads what the ones before it added
    took: Floats = step.per_prefill_token_s * computed + step.per_prefill_pair_s * (prompt**2 - cached**2)
    took += step.per_kv_token_s * contexts
    if shared_by == "host":
        return took + step.host_per_token_s * more
    shares = {
        "sequences": steps / spec.max_sequences,
        "kv_cache": contexts / spec.kv_capacity_tokens,
        "token_budget": (computed + more) / spec.token_budget,
    }
    took += step.per_sequence_s * steps + step.base_s * shares[shared_by]
    return took


def _windows(requests: Requests, judge: Judge, slots: int) -> NDArray[np.int64]:
    """Slots from the arrival's to the deadline's, by request; ``slots`` where there is no deadline."""
    if judge.ttft_s is None or judge.tpot_s is None:
        return np.full(len(requests), slots)
    ttft_s: Floats = np.full(len(requests), judge.ttft_s)
    if judge.long_prompt_tokens is not None and judge.long_ttft_s is not None:
        ttft_s[requests.prompt_tokens > judge.long_prompt_tokens] = judge.long_ttft_s
    window_s = ttft_s + (requests.output_tokens - 1) * judge.tpot_s
    return np.minimum(np.ceil(window_s / SLOT_S).astype(np.int64), slots)


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
        windows = _windows(part, judge, slots)
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
    """The programme's value for one on-demand variant. ``min_replicas``: billed in every slot, starting ones included,
    but for the last, which the end of the run may cut short."""
    programme = _Programme(load, floor(start_up_min_s / SLOT_S), initial_replicas, min_replicas)
    replica_hours = programme.solved() * (1 - ROUNDING) * SLOT_S / HOUR_S
    return Bound(usd=replica_hours * usd_per_replica_hour, replica_hours=replica_hours, shared_by=shared_by)


def tightest(bounds: Iterable[Bound]) -> Bound:
    """Each is a bound: the largest says most."""
    return max(bounds, key=lambda bound: bound.usd)


class _Programme:
    """Rows and columns. Slots go on after the last arrival for as long as the widest window; what is still to be done
    then costs its own time."""

    def __init__(self, load: Load, delta: int, initial: int, least: int) -> None:
        self.arrivals = load.work_s.shape[1]
        self.delta, self.initial, self.least, self.late_s = delta, initial, least, load.late_s
        timed = [window < self.arrivals and window <= LONGEST_WINDOW for window in load.windows]
        self.windows = [window for window, has_time in zip(load.windows, timed, strict=True) if has_time]
        self.work_s = load.work_s[timed]
        self.open_s = load.work_s[np.logical_not(timed)].sum(axis=0)
        self.slots = self.arrivals + max(self.windows, default=0) + 1
        self.entries: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]] = []
        self.rows = 0
        self.columns = 0

    def solved(self) -> float:
        """Billed replica-slots."""
        slots, every = self.slots, np.arange(self.slots)
        self.ready, self.launch, self.end = (self._block(slots) for _ in range(3))
        self.late_out, self.stock = self._block(slots), self._block(slots)
        self.late_in = [self._block(self.arrivals) for _ in self.windows]
        self.on_time = [[self._block(self.arrivals) for _ in range(window + 1)] for window in self.windows]
        right = self._balances()
        equalities = self._matrix()
        limits = self._limits()
        cost = np.zeros(self.columns)
        cost[self.ready] = 1.0
        cost[self.launch] = np.minimum(self.delta, slots - every)
        cost[self.stock[-1]] = 1 / SLOT_S
        found = linprog(cost, A_ub=self._matrix(), b_ub=limits, A_eq=equalities, b_eq=right, method="highs-ipm")
        if found.status != 0:
            raise ValueError(f"the lower bound's programme has no solution: {found.message}")
        return float(found.fun)

    def _balances(self) -> Floats:
        """Rows that hold exactly; their right sides."""
        slots, right = self.slots, []
        rows = self._new_rows(slots)  # ready replicas follow from launches and ends
        self._add(rows, self.ready, 1.0)
        self._add(rows[1:], self.ready[:-1], -1.0)
        self._add(rows[self.delta :], self.launch[: max(slots - self.delta, 0)], -1.0)
        self._add(rows, self.end, 1.0)
        right.append(np.where(np.arange(slots) == 0, float(self.initial), 0.0))
        for work_s, late, parts in zip(self.work_s, self.late_in, self.on_time, strict=True):  # in time or late
            rows = self._new_rows(self.arrivals)
            for part in (late, *parts):
                self._add(rows, part, 1.0)
            right.append(work_s)
        rows = self._new_rows(slots)  # what is late, or has no deadline, waits until it is served
        self._add(rows, self.stock, 1.0)
        self._add(rows[1:], self.stock[:-1], -1.0)
        self._add(rows, self.late_out, 1.0)
        for late in self.late_in:
            self._add(rows[: self.arrivals], late, -1.0)
        right.append(np.pad(self.open_s, (0, slots - self.arrivals)))
        return np.concatenate(right)

    def _limits(self) -> Floats:
        """Rows that may not be exceeded; their right sides."""
        slots = self.slots
        rows = self._new_rows(slots)  # nobody works more than there are seconds
        self._add(rows, self.late_out, 1.0)
        self._add(rows, self.ready, -SLOT_S)
        for parts in self.on_time:
            for later, part in enumerate(parts):
                self._add(rows[later : later + self.arrivals], part, 1.0)
        row = self._new_rows(1)
        for late in self.late_in:
            self._add(np.repeat(row, self.arrivals), late, 1.0)
        whole = self.arrivals - 1 if self.least else 0
        rows = self._new_rows(whole)
        self._add(rows, self.ready[:whole], -1.0)
        for sooner in range(min(self.delta, whole)):
            self._add(rows[sooner:], self.launch[: whole - sooner], -1.0)
        return np.concatenate([np.zeros(slots), [self.late_s], np.full(whole, -float(self.least))])

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
