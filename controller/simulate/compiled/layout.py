"""Where the compiled loop keeps its numbers: a record a replica, a record a request in flight."""

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
    """Columns of ``State.counts``: what only ever grows."""

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
    """Rows of ``State.buckets`` of one replica: the histograms that vLLM keeps."""

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


ENGINE = np.dtype(
    [
        *((name, np.int64) for name in ("live", "routable", "step", "kv_capacity", "token_budget", "max_sequences")),
        *((name, np.int64) for name in ("reserves_output", "promised", "draft_tokens", "running", "waiting")),
        *((name, np.int64) for name in ("decoding", "outstanding", "ends_count")),
        *((name, np.int64) for name in ("wait_head", "wait_tail", "fill_head", "fill_tail", "run_tail")),
        *((name, np.float64) for name in ("ready_s", "clock_s", "due_s", "busy_s", "last_busy_s", "slowness")),
        *((name, np.float64) for name in ("base_s", "per_sequence_s", "per_kv_token_s", "per_prefill_token_s")),
        *((name, np.float64) for name in ("per_prefill_pair_s", "host_per_token_s", "acceptance")),
        *((name, np.float64) for name in ("growth", "kv_decoding", "kv_reserved")),
        ("random", np.uint64),
    ]
)
"""One replica; its row is free when ``live`` is 0.

due_s           until then nothing about it changes that the router sees
promised        prompt and output tokens of the running sequences, all of them
growth          tokens that a step gains, over all decoding sequences
*_head, *_tail  lists of slots: waiting and prefilling are first in, first out; running is in the order of admission
"""

SLOT = np.dtype(
    [
        *((name, np.int64) for name in ("number", "prompt", "output", "cached", "generated", "context", "todo")),
        *((name, np.int64) for name in ("start_step", "last_step", "preemptions", "next", "run_before", "run_after")),
        *((name, np.float64) for name in ("sent_s", "arrival_s", "started_s", "first_s", "last_token_s", "pace")),
    ]
)
"""One request in flight.

generated   tokens up to its last (re)start; decoding adds to it
context     tokens of KV it was let in with, of which ``todo`` are still to compute
last_step   the step that gives its last token; -1 while it does not decode
pace        tokens it gains in a step, 1 without speculation
"""

DONE = np.dtype(
    [
        *((name, np.int64) for name in ("number", "prompt", "output", "preemptions")),
        *((name, np.float64) for name in ("sent_s", "first_s", "finished_s")),
    ]
)
"""One request that got all its tokens."""

Records = NDArray[np.void]
Done = Records


class State(NamedTuple):
    """Everything.

    engines     ENGINE[replica]
    ends_step, ends_slot   int64[replica, place]: a heap of (last step, slot) of the decoding sequences
    flight      SLOT[slot];  free: int64[slot], the free ones;  levels: see below
    counts      float64[replica, Count];  buckets: [replica, Hist, bucket];  totals: [replica, Hist]
    bounds      float64[Hist, bucket], each row ending with infinity
    """

    engines: Records
    ends_step: Ints
    ends_slot: Ints
    flight: Records
    free: Ints
    levels: Ints
    counts: Floats
    buckets: Floats
    totals: Floats
    bounds: Floats


FREE, UNROUTED_HEAD, UNROUTED_TAIL, UNROUTED, SEEN = range(5)
"""Places in ``State.levels``: how many slots are free; head and tail of the requests that no replica has taken, and how
many these are; requests so far."""

# Numba freezes module constants but knows no enums: the columns once more, by value.
PROMPT_TOKENS, CACHED_PROMPT_TOKENS = Count.PROMPT_TOKENS.value, Count.CACHED_PROMPT_TOKENS.value
GENERATION_TOKENS, FINISHED = Count.GENERATION_TOKENS.value, Count.FINISHED.value
PREFIX_QUERIES, PREFIX_HITS, PREEMPTIONS = Count.PREFIX_QUERIES.value, Count.PREFIX_HITS.value, Count.PREEMPTIONS.value
DRAFTS, DRAFT_TOKENS, ACCEPTED_TOKENS = Count.DRAFTS.value, Count.DRAFT_TOKENS.value, Count.ACCEPTED_TOKENS.value
TTFT, INTER_TOKEN, TPOT, E2E = Hist.TTFT.value, Hist.INTER_TOKEN.value, Hist.TPOT.value, Hist.E2E.value
QUEUE, PREFILL, DECODE, INFERENCE = Hist.QUEUE.value, Hist.PREFILL.value, Hist.DECODE.value, Hist.INFERENCE.value
PROMPT_LENGTH, OUTPUT_LENGTH = Hist.PROMPT_LENGTH.value, Hist.OUTPUT_LENGTH.value
COMPUTED_LENGTH, STEP_TOKENS = Hist.COMPUTED_LENGTH.value, Hist.STEP_TOKENS.value
CHOICES, REQUEST_PREEMPTIONS = Hist.CHOICES.value, Hist.REQUEST_PREEMPTIONS.value
HTTP, HTTP_FEW = Hist.HTTP.value, Hist.HTTP_FEW.value


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


def new_state(rows: int, max_sequences: int, slots: int, max_model_len: int) -> State:
    """Room for ``rows`` replicas of at most ``max_sequences`` each and ``slots`` requests in flight; all of it free."""
    bounds = bounds_of(max_model_len)
    widest = max(map(len, bounds))
    padded = np.full((len(Hist), widest), inf)
    for row, one in enumerate(bounds):
        padded[row, : len(one)] = one
    return State(
        engines=np.zeros(rows, ENGINE),
        ends_step=np.zeros((rows, max_sequences + 1), np.int64),
        ends_slot=np.zeros((rows, max_sequences + 1), np.int64),
        flight=np.zeros(slots, SLOT),
        free=np.arange(slots - 1, -1, -1, dtype=np.int64),
        levels=np.array([slots, NOBODY, NOBODY, 0, 0], np.int64),
        counts=np.zeros((rows, len(Count))),
        buckets=np.zeros((rows, len(Hist), widest)),
        totals=np.zeros((rows, len(Hist))),
        bounds=padded,
    )


PER_REPLICA = ("engines", "ends_step", "ends_slot", "counts", "buckets", "totals")


def more_replicas(state: State, rows: int, max_sequences: int) -> State:
    """The same, with room for ``rows`` replicas of ``max_sequences``."""
    larger = new_state(rows, max_sequences, 1, 1)._replace(bounds=state.bounds)
    larger = larger._replace(buckets=np.zeros((rows, *state.buckets.shape[1:])))
    for name in PER_REPLICA:
        before = getattr(state, name)
        getattr(larger, name)[tuple(slice(0, size) for size in before.shape)] = before
    return larger._replace(flight=state.flight, free=state.free, levels=state.levels)


def more_slots(state: State, slots: int) -> State:
    """The same, with room for ``slots`` requests in flight."""
    before, free = len(state.flight), int(state.levels[FREE])
    flight, stack = np.zeros(slots, SLOT), np.zeros(slots, np.int64)
    flight[:before] = state.flight
    stack[:free] = state.free[:free]
    stack[free : free + slots - before] = np.arange(slots - 1, before - 1, -1)
    state.levels[FREE] = free + slots - before
    return state._replace(flight=flight, free=stack)
