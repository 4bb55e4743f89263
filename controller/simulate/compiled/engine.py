"""vLLM's scheduler: running sequences first, prompts computed in chunks of what is left of the token budget, first
come first served, preemption of the last admitted by recomputation when the KV cache is full. Steps that only decode
between two events are taken as one block in closed form, so the cost is per event, not per token.

Simplified, and small: KV blocks are counted in expectation (half a block of 16 a sequence is unused); a request is let
in when its whole context fits, where vLLM takes blocks chunk by chunk; cached prefixes take their space in every
sequence that uses them.
"""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
from numba import njit

from controller.simulate.compiled.layout import (
    ACCEPTED_TOKENS,
    CACHED_PROMPT_TOKENS,
    CHOICES,
    COMPUTED_LENGTH,
    DECODE,
    DRAFT_TOKENS,
    DRAFTS,
    E2E,
    FINISHED,
    GENERATION_TOKENS,
    HTTP,
    HTTP_FEW,
    INFERENCE,
    INTER_TOKEN,
    NOBODY,
    OUTPUT_LENGTH,
    PREEMPTIONS,
    PREFILL,
    PREFIX_HITS,
    PREFIX_QUERIES,
    PROMPT_LENGTH,
    PROMPT_TOKENS,
    QUEUE,
    REQUEST_PREEMPTIONS,
    STEP_TOKENS,
    TPOT,
    TTFT,
    Done,
    State,
)
from controller.simulate.compiled.queues import (
    drop_end,
    drop_filling,
    drop_running,
    free_slot,
    pop_end,
    push_end,
    push_running,
)
from controller.simulate.compiled.tally import observe, observe_spread

BLOCK_TOKENS = 16
"""vLLM's default KV block on GPUs."""

BLOCK_WASTE_TOKENS = (BLOCK_TOKENS - 1) / 2
"""Tokens of its last block that a sequence does not use, on average."""


@njit(cache=True)
def run(state: State, row: int, until_s: float, done: Done, rows: int) -> int:
    """One engine, step by step, until its clock reaches ``until_s``."""
    engine = state.engines[row]
    while engine.clock_s < until_s:
        if engine.running == 0 and engine.waiting == 0:
            engine.clock_s = until_s
        elif _kv_used(state, row) + engine.growth > engine.kv_capacity and engine.running > 1:
            _preempt_last(state, row)
        elif engine.fill_head != NOBODY or _can_admit(state, row):
            rows = _mixed_step(state, row, done, rows)
        else:
            rows = _decode_block(state, row, until_s, done, rows)
    engine.due_s = _due_s(state, row)
    return rows


@njit(cache=True)
def _due_s(state: State, row: int) -> float:
    """Until when the router cannot tell whether this engine was run or not: nobody ends before, unless somebody comes.
    The start of the step that ends the next sequence."""
    engine = state.engines[row]
    if engine.fill_head != NOBODY or engine.waiting > 0:
        return engine.clock_s
    if engine.decoding == 0:
        return np.inf
    before = state.ends_step[row, 0] - engine.step - 1
    first_s = _decode_s(state, row) * engine.slowness
    more_s = engine.per_kv_token_s * engine.growth * engine.slowness
    return engine.clock_s + before * (first_s + more_s * (before - 1) / 2)


@njit(cache=True)
def _kv_used(state: State, row: int) -> float:
    engine = state.engines[row]
    return engine.kv_decoding + engine.kv_reserved + BLOCK_WASTE_TOKENS * engine.running


@njit(cache=True)
def _can_admit(state: State, row: int) -> bool:
    engine = state.engines[row]
    flight = state.flight
    first = engine.wait_head
    if first == NOBODY or engine.running >= engine.max_sequences:
        return False
    if engine.reserves_output == 1:
        needed = flight[first].prompt + flight[first].output + BLOCK_WASTE_TOKENS
        room = engine.kv_capacity - engine.promised - BLOCK_WASTE_TOKENS * engine.running
    else:
        needed = flight[first].prompt + flight[first].generated + engine.growth + 1 + BLOCK_WASTE_TOKENS
        room = engine.kv_capacity - _kv_used(state, row)
    fits = needed <= room or engine.running == 0
    return fits and engine.decoding * (1 + engine.draft_tokens) < engine.token_budget


@njit(cache=True)
def _admit(state: State, row: int) -> None:
    engine = state.engines[row]
    flight = state.flight
    slot = engine.wait_head
    engine.wait_head = flight[slot].next
    engine.waiting -= 1
    if flight[slot].started_s < 0:
        flight[slot].started_s = engine.clock_s
        state.counts[row, PREFIX_QUERIES] += flight[slot].prompt
        state.counts[row, PREFIX_HITS] += flight[slot].cached
    flight[slot].context = flight[slot].prompt + flight[slot].generated
    flight[slot].todo = flight[slot].context - flight[slot].cached
    engine.kv_reserved += flight[slot].context
    engine.running += 1
    push_running(state, row, slot)
    flight[slot].next = NOBODY
    if engine.fill_head == NOBODY:
        engine.fill_head = slot
    else:
        flight[engine.fill_tail].next = slot
    engine.fill_tail = slot


@njit(cache=True)
def _preempt_last(state: State, row: int) -> None:
    """The cache is full: the sequence let in last gives up its space and will be computed again."""
    engine = state.engines[row]
    flight = state.flight
    slot = engine.run_tail
    drop_running(state, row, slot)
    if flight[slot].last_step < 0:
        drop_filling(state, row, slot)
        engine.kv_reserved -= flight[slot].context
    else:
        made = flight[slot].pace * (engine.step - flight[slot].start_step)
        gained = int(made + 1e-9)
        state.counts[row, GENERATION_TOKENS] -= made - gained  # speculation's mean pace stopped between two tokens
        _stop_decoding(state, row, slot)
        drop_end(state, row, slot)
        flight[slot].last_token_s = engine.clock_s
        flight[slot].generated = min(flight[slot].generated + gained, flight[slot].output - 1)
        flight[slot].last_step = -1
    flight[slot].preemptions += 1
    state.counts[row, PREEMPTIONS] += 1
    flight[slot].next = engine.wait_head
    if engine.wait_head == NOBODY:
        engine.wait_tail = slot
    engine.wait_head = slot
    engine.waiting += 1


@njit(cache=True)
def _stop_decoding(state: State, row: int, slot: int) -> None:
    engine = state.engines[row]
    one = state.flight[slot]
    gained = one.pace * (engine.step - one.start_step)
    engine.decoding -= 1
    if engine.decoding == 0:  # nothing is left, not even what rounding leaves
        engine.kv_decoding = 0.0
        engine.growth = 0.0
    else:
        engine.kv_decoding -= one.context + gained
        engine.growth -= one.pace


@njit(cache=True)
def _decode_s(state: State, row: int) -> float:
    """One step that only decodes; speculation verifies each sequence's drafted tokens beside its next one."""
    engine = state.engines[row]
    sequences = engine.decoding
    if sequences == 0:
        gpu_s = engine.base_s
    else:
        verified = sequences * (1 + engine.draft_tokens)
        gpu_s = engine.base_s + engine.per_sequence_s * verified
    step_s = max(gpu_s, engine.host_per_token_s * engine.growth)
    return step_s + engine.per_kv_token_s * engine.kv_decoding


@njit(cache=True)
def _mixed_step(state: State, row: int, done: Done, rows: int) -> int:
    """One step that computes prompt tokens beside decoding: running ones first, then whoever can be let in."""
    engine = state.engines[row]
    flight = state.flight
    decoding = engine.decoding
    budget = engine.token_budget - decoding * (1 + engine.draft_tokens)
    tokens, pairs, ready = 0, 0.0, 0
    ready_head, ready_tail = NOBODY, NOBODY
    while budget > 0 and (engine.fill_head != NOBODY or _can_admit(state, row)):
        if engine.fill_head == NOBODY:
            _admit(state, row)
        slot = engine.fill_head
        chunk = min(budget, flight[slot].todo)
        built = flight[slot].context - flight[slot].todo
        flight[slot].todo -= chunk
        budget -= chunk
        tokens += chunk
        pairs += float(chunk) * (2 * built + chunk)  # (built + chunk)² - built²: chunks add up to the whole prompt's
        if flight[slot].todo == 0:
            engine.fill_head = flight[slot].next
            flight[slot].next = NOBODY
            if ready_head == NOBODY:
                ready_head = slot
            else:
                flight[ready_tail].next = slot
            ready_tail = slot
            ready += 1
    took_s = _decode_s(state, row) + (engine.per_prefill_token_s * tokens + engine.per_prefill_pair_s * pairs)
    took_s *= engine.slowness
    observe(state, row, STEP_TOKENS, engine.growth + tokens + ready, 1.0)
    if decoding > 0:
        observe(state, row, INTER_TOKEN, took_s, float(decoding))  # one a sequence and step, as vLLM counts
    rows = _take_steps(state, row, 1, took_s, done, rows)
    while ready_head != NOBODY:
        slot = ready_head
        ready_head = flight[slot].next
        rows = _first_token(state, row, slot, done, rows)
    return rows


@njit(cache=True)
def _decode_block(state: State, row: int, until_s: float, done: Done, rows: int) -> int:
    """As many steps as can go before anything else may happen: nobody comes, nobody ends, the cache holds."""
    engine = state.engines[row]
    growth = engine.growth
    slow = engine.slowness
    first_s = _decode_s(state, row) * slow
    more_s = engine.per_kv_token_s * growth * slow  # each step reads its predecessor's new tokens too
    room = int((engine.kv_capacity - _kv_used(state, row)) / growth)
    steps = _steps_to_cover(until_s - engine.clock_s, first_s, more_s)
    steps = max(1, min(steps, min(state.ends_step[row, 0] - engine.step, room)))
    last_s = first_s + more_s * (steps - 1)
    observe(state, row, STEP_TOKENS, growth, float(steps))
    observe_spread(state, row, INTER_TOKEN, first_s, last_s, steps, float(engine.decoding))
    return _take_steps(state, row, steps, (first_s + last_s) / 2 * steps, done, rows)


@njit(cache=True)
def _steps_to_cover(span_s: float, first_s: float, more_s: float) -> int:
    """The fewest steps that reach ``span_s``, the first taking ``first_s`` and each next one ``more_s`` more.

    n x first + more x n (n - 1) / 2 >= span, solved for n.
    """
    if more_s <= 0 or span_s <= first_s:
        return max(1, ceil(span_s / first_s))
    linear = first_s - more_s / 2
    return max(1, ceil((sqrt(linear * linear + 2 * more_s * span_s) - linear) / more_s))


@njit(cache=True)
def _take_steps(state: State, row: int, steps: int, took_s: float, done: Done, rows: int) -> int:
    engine = state.engines[row]
    engine.clock_s += took_s
    engine.busy_s += took_s
    engine.last_busy_s = engine.clock_s
    engine.step += steps
    gained = steps * engine.growth
    engine.kv_decoding += gained
    state.counts[row, GENERATION_TOKENS] += gained
    if engine.draft_tokens > 0:
        drafts = float(steps * engine.decoding)
        state.counts[row, DRAFTS] += drafts
        state.counts[row, DRAFT_TOKENS] += drafts * engine.draft_tokens
        state.counts[row, ACCEPTED_TOKENS] += gained - drafts
    while engine.ends_count > 0 and state.ends_step[row, 0] <= engine.step:
        slot = state.ends_slot[row, 0]
        pop_end(state, row)
        _stop_decoding(state, row, slot)
        rows = _finish(state, row, slot, done, rows)
    return rows


@njit(cache=True)
def _first_token(state: State, row: int, slot: int, done: Done, rows: int) -> int:
    """Its context is computed, which gives one token: its first, or the next one after a preemption."""
    engine = state.engines[row]
    one = state.flight[slot]
    now_s = engine.clock_s
    state.counts[row, GENERATION_TOKENS] += 1
    one.generated += 1
    engine.kv_reserved -= one.context
    if one.first_s < 0:
        one.first_s = now_s
        state.counts[row, PROMPT_TOKENS] += one.prompt
        state.counts[row, CACHED_PROMPT_TOKENS] += one.cached
        observe(state, row, TTFT, now_s - one.arrival_s, 1.0)
    else:
        observe(state, row, INTER_TOKEN, now_s - one.last_token_s, 1.0)
    left = one.output - one.generated
    if left == 0:
        return _finish(state, row, slot, done, rows)
    steps = _steps_for(state, row, left)
    one.pace = left / steps
    one.start_step = engine.step
    one.last_step = engine.step + steps
    engine.kv_decoding += one.context
    engine.growth += one.pace
    engine.decoding += 1
    push_end(state, row, one.last_step, slot)
    return rows


@njit(cache=True)
def _steps_for(state: State, row: int, tokens: int) -> int:
    """Steps that give ``tokens``: each keeps one token and every drafted one up to the first that is rejected."""
    engine = state.engines[row]
    drafted = engine.draft_tokens
    if drafted == 0:
        return tokens
    steps = 0
    while tokens > 0:
        steps += 1
        tokens -= 1
        for _ in range(drafted):
            if _random(state, row) >= engine.acceptance:
                break
            tokens -= 1
    return steps


@njit(cache=True)
def _random(state: State, row: int) -> float:
    """Uniform in [0, 1): xorshift64*, Vigna 2016. The state is the replica's own, so cuts in time change nothing."""
    engine = state.engines[row]
    mixed = engine.random
    mixed ^= mixed >> np.uint64(12)
    mixed ^= mixed << np.uint64(25)
    mixed ^= mixed >> np.uint64(27)
    engine.random = mixed
    return float((mixed * np.uint64(2685821657736338717)) >> np.uint64(11)) / 9007199254740992.0


@njit(cache=True)
def _finish(state: State, row: int, slot: int, done: Done, rows: int) -> int:
    engine = state.engines[row]
    one = state.flight[slot]
    now_s = engine.clock_s
    prompt, output = one.prompt, one.output
    drop_running(state, row, slot)
    engine.outstanding -= prompt + output
    done[rows].number = one.number
    done[rows].sent_s = one.sent_s
    done[rows].first_s = one.first_s
    done[rows].finished_s = now_s
    done[rows].prompt = prompt
    done[rows].output = output
    done[rows].preemptions = one.preemptions
    queue_s = one.started_s - one.arrival_s
    prefill_s = one.first_s - one.started_s
    decode_s = now_s - one.first_s
    state.counts[row, FINISHED] += 1
    observe(state, row, PROMPT_LENGTH, float(prompt), 1.0)
    observe(state, row, OUTPUT_LENGTH, float(output), 1.0)
    observe(state, row, COMPUTED_LENGTH, float(prompt - one.cached), 1.0)
    observe(state, row, CHOICES, 1.0, 1.0)
    observe(state, row, REQUEST_PREEMPTIONS, float(one.preemptions), 1.0)
    observe(state, row, QUEUE, queue_s, 1.0)
    observe(state, row, PREFILL, prefill_s, 1.0)
    observe(state, row, DECODE, decode_s, 1.0)
    observe(state, row, INFERENCE, prefill_s + decode_s, 1.0)
    for name in (E2E, HTTP, HTTP_FEW):
        observe(state, row, name, queue_s + prefill_s + decode_s, 1.0)
    if output > 1:
        observe(state, row, TPOT, decode_s / (output - 1), 1.0)
    free_slot(state, slot)
    return rows + 1
