"""Where the compiled loop keeps its numbers: parallel arrays, one row a replica, one slot a request in flight."""

from __future__ import annotations

from enum import IntEnum
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.simulate.histogram import (
    CHOICE_BOUNDS,
    HTTP_BOUNDS_S,
    HTTP_FEW_BOUNDS_S,
    LATENCY_BOUNDS_S,
    PREEMPTION_BOUNDS,
    STEP_TOKEN_BOUNDS,
    TPOT_BOUNDS_S,
    TTFT_BOUNDS_S,
    length_bounds,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Whole = NDArray[np.int32]

NOBODY = -1
"""No slot, no replica: the end of every list."""


class Count(IntEnum):
    """Columns of ``Tallies.counts``: what only ever grows."""

    PROMPT_TOKENS = 0
    CACHED_PROMPT_TOKENS = 1
    GENERATION_TOKENS = 2
    PREFIX_QUERIES = 3
    PREFIX_HITS = 4
    PREEMPTIONS = 5
    FINISHED = 6
    DRAFTS = 7
    DRAFT_TOKENS = 8
    ACCEPTED_TOKENS = 9


class Hist(IntEnum):
    """Rows of ``Tallies.buckets`` of one replica: the histograms that vLLM keeps."""

    TTFT = 0
    INTER_TOKEN = 1
    TPOT = 2
    E2E = 3
    QUEUE = 4
    PREFILL = 5
    DECODE = 6
    INFERENCE = 7
    PROMPT_LENGTH = 8
    OUTPUT_LENGTH = 9
    COMPUTED_LENGTH = 10
    STEP_TOKENS = 11
    CHOICES = 12
    REQUEST_PREEMPTIONS = 13
    HTTP = 14
    HTTP_FEW = 15


class Speed(IntEnum):
    """Columns of ``Engines.speed``: the step model, seconds; see facts.performance.StepModel."""

    BASE = 0
    PER_SEQUENCE = 1
    PER_KV_TOKEN = 2
    PER_PREFILL_TOKEN = 3
    PER_PREFILL_PAIR = 4
    HOST_PER_TOKEN = 5


class Engines(NamedTuple):
    """One row a replica; a row is free when ``live`` is 0.

    promised: prompt and output tokens of the running sequences, all of them
    lists of slots: waiting and prefilling are first in, first out; running is in the order of admission, both ways
    due_s: until then nothing about it changes that the router sees
    ends: a heap of (last step, slot) of the decoding sequences
    """

    live: Ints
    routable: Ints
    ready_s: Floats
    clock_s: Floats
    due_s: Floats
    busy_s: Floats
    last_busy_s: Floats
    slowness: Floats
    step: Ints
    speed: Floats
    kv_capacity: Ints
    token_budget: Ints
    max_sequences: Ints
    reserves_output: Ints
    promised: Ints
    draft_tokens: Ints
    acceptance: Floats
    random: NDArray[np.uint64]
    running: Ints
    waiting: Ints
    decoding: Ints
    growth: Floats
    kv_decoding: Floats
    kv_reserved: Floats
    outstanding: Ints
    wait_head: Ints
    wait_tail: Ints
    fill_head: Ints
    fill_tail: Ints
    run_tail: Ints
    ends_step: Ints
    ends_slot: Ints
    ends_count: Ints


class Flight(NamedTuple):
    """One slot a request in flight. ``pace``: tokens it gains in a step, 1 without speculation."""

    number: Ints
    sent_s: Floats
    arrival_s: Floats
    prompt: Ints
    output: Ints
    cached: Ints
    started_s: Floats
    first_s: Floats
    last_token_s: Floats
    generated: Ints
    context: Ints
    todo: Ints
    start_step: Ints
    last_step: Ints
    pace: Floats
    preemptions: Ints
    next: Ints
    run_before: Ints
    run_after: Ints
    free: Ints
    levels: Ints
    """[slots free, head and tail of the requests that no replica has taken, how many these are, requests so far]"""


class Tallies(NamedTuple):
    """By replica: counts[r, Count], buckets[r, Hist, bucket], totals[r, Hist]; ``bounds`` end with infinity."""

    counts: Floats
    buckets: Floats
    totals: Floats
    bounds: Floats


class Done(NamedTuple):
    """What finished in one call, one row a request, in order of the replicas' clocks."""

    number: Ints
    sent_s: Floats
    first_s: Floats
    finished_s: Floats
    prompt: Ints
    output: Ints
    preemptions: Ints


FREE, UNROUTED_HEAD, UNROUTED_TAIL, UNROUTED, SEEN = range(5)
"""Places in ``Flight.levels``."""


def bounds_of(max_model_len: int) -> tuple[tuple[float, ...], ...]:
    """The bucket bounds of every ``Hist``, each ending with infinity."""
    lengths = length_bounds(max_model_len)
    table = {
        Hist.TTFT: TTFT_BOUNDS_S,
        Hist.INTER_TOKEN: TPOT_BOUNDS_S,
        Hist.TPOT: TPOT_BOUNDS_S,
        **dict.fromkeys((Hist.E2E, Hist.QUEUE, Hist.PREFILL, Hist.DECODE, Hist.INFERENCE), LATENCY_BOUNDS_S),
        **dict.fromkeys((Hist.PROMPT_LENGTH, Hist.OUTPUT_LENGTH, Hist.COMPUTED_LENGTH), lengths),
        Hist.STEP_TOKENS: STEP_TOKEN_BOUNDS,
        Hist.CHOICES: CHOICE_BOUNDS,
        Hist.REQUEST_PREEMPTIONS: PREEMPTION_BOUNDS,
        Hist.HTTP: HTTP_BOUNDS_S,
        Hist.HTTP_FEW: HTTP_FEW_BOUNDS_S,
    }
    return tuple((*table[name], inf) for name in Hist)


def new_tallies(rows: int, max_model_len: int) -> Tallies:
    bounds = bounds_of(max_model_len)
    widest = max(map(len, bounds))
    padded = np.full((len(Hist), widest), inf)
    for row, one in enumerate(bounds):
        padded[row, : len(one)] = one
    return Tallies(
        counts=np.zeros((rows, len(Count))),
        buckets=np.zeros((rows, len(Hist), widest)),
        totals=np.zeros((rows, len(Hist))),
        bounds=padded,
    )


def new_engines(rows: int, max_sequences: int) -> Engines:
    def ints(*shape: int) -> Ints:
        return np.zeros(shape, np.int64)

    def floats(*shape: int) -> Floats:
        return np.zeros(shape, np.float64)

    def nobody() -> Ints:
        return np.full(rows, NOBODY, np.int64)

    return Engines(
        live=ints(rows),
        routable=ints(rows),
        ready_s=floats(rows),
        clock_s=floats(rows),
        due_s=floats(rows),
        busy_s=floats(rows),
        last_busy_s=floats(rows),
        slowness=floats(rows),
        step=ints(rows),
        speed=floats(rows, len(Speed)),
        kv_capacity=ints(rows),
        token_budget=ints(rows),
        max_sequences=ints(rows),
        reserves_output=ints(rows),
        promised=ints(rows),
        draft_tokens=ints(rows),
        acceptance=floats(rows),
        random=np.zeros(rows, np.uint64),
        running=ints(rows),
        waiting=ints(rows),
        decoding=ints(rows),
        growth=floats(rows),
        kv_decoding=floats(rows),
        kv_reserved=floats(rows),
        outstanding=ints(rows),
        wait_head=nobody(),
        wait_tail=nobody(),
        fill_head=nobody(),
        fill_tail=nobody(),
        run_tail=nobody(),
        ends_step=ints(rows, max_sequences + 1),
        ends_slot=ints(rows, max_sequences + 1),
        ends_count=ints(rows),
    )


def new_flight(slots: int) -> Flight:
    def ints() -> Ints:
        return np.zeros(slots, np.int64)

    def floats() -> Floats:
        return np.zeros(slots, np.float64)

    return Flight(
        number=ints(),
        sent_s=floats(),
        arrival_s=floats(),
        prompt=ints(),
        output=ints(),
        cached=ints(),
        started_s=floats(),
        first_s=floats(),
        last_token_s=floats(),
        generated=ints(),
        context=ints(),
        todo=ints(),
        start_step=ints(),
        last_step=ints(),
        pace=floats(),
        preemptions=ints(),
        next=ints(),
        run_before=ints(),
        run_after=ints(),
        free=np.arange(slots - 1, -1, -1, dtype=np.int64),
        levels=np.array([slots, NOBODY, NOBODY, 0, 0], np.int64),
    )


def grown_flight(flight: Flight, slots: int) -> Flight:
    """The same requests in flight, with room for ``slots``."""
    larger = new_flight(slots)
    before = len(flight.number)
    for name in Flight._fields:
        if name not in ("free", "levels"):
            getattr(larger, name)[:before] = getattr(flight, name)
    free_before = int(flight.levels[FREE])
    added = np.arange(slots - 1, before - 1, -1, dtype=np.int64)
    larger.free[:free_before] = flight.free[:free_before]
    larger.free[free_before : free_before + len(added)] = added
    larger.levels[:] = flight.levels
    larger.levels[FREE] = free_before + len(added)
    return larger


def new_done(rows: int) -> Done:
    def ints() -> Ints:
        return np.empty(rows, np.int64)

    def floats() -> Floats:
        return np.empty(rows, np.float64)

    return Done(
        number=ints(),
        sent_s=floats(),
        first_s=floats(),
        finished_s=floats(),
        prompt=ints(),
        output=ints(),
        preemptions=ints(),
    )
