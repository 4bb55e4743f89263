"""The compiled loop: engines that batch continuously behind one router. Readable Python that numba turns into machine
code; every function works on the arrays of layout.py and has no other state.

Each engine is vLLM's scheduler: running sequences first, prompts computed in chunks of what is left of the token
budget, first come first served, preemption of the last admitted by recomputation when the KV cache is full. Steps that
only decode between two events are taken as one block in closed form, so the cost is per event, not per token.

Simplified, and small: KV blocks are counted in expectation (half a block of 16 a sequence is unused); a request is let
in when its whole context fits, where vLLM takes blocks chunk by chunk; cached prefixes take their space in every
sequence that uses them.
"""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
from numba import njit

from controller.simulate.layout import (
    FREE,
    NOBODY,
    SEEN,
    UNROUTED,
    UNROUTED_HEAD,
    UNROUTED_TAIL,
    Count,
    Done,
    Engines,
    Flight,
    Floats,
    Hist,
    Speed,
    Tallies,
    Whole,
)

BLOCK_TOKENS = 16
"""vLLM's default KV block on GPUs."""

BLOCK_WASTE_TOKENS = (BLOCK_TOKENS - 1) / 2
"""Tokens of its last block that a sequence does not use, on average."""

# Numba freezes module constants; enum members it does not know, so the columns are named here once more, by value.
PROMPT_TOKENS, CACHED_PROMPT_TOKENS, GENERATION_TOKENS = (
    Count.PROMPT_TOKENS.value,
    Count.CACHED_PROMPT_TOKENS.value,
    Count.GENERATION_TOKENS.value,
)
PREFIX_QUERIES, PREFIX_HITS, PREEMPTIONS, FINISHED = (
    Count.PREFIX_QUERIES.value,
    Count.PREFIX_HITS.value,
    Count.PREEMPTIONS.value,
    Count.FINISHED.value,
)
DRAFTS, DRAFT_TOKENS, ACCEPTED_TOKENS = Count.DRAFTS.value, Count.DRAFT_TOKENS.value, Count.ACCEPTED_TOKENS.value
TTFT, INTER_TOKEN, TPOT, E2E = Hist.TTFT.value, Hist.INTER_TOKEN.value, Hist.TPOT.value, Hist.E2E.value
QUEUE, PREFILL, DECODE, INFERENCE = Hist.QUEUE.value, Hist.PREFILL.value, Hist.DECODE.value, Hist.INFERENCE.value
PROMPT_LENGTH, OUTPUT_LENGTH = Hist.PROMPT_LENGTH.value, Hist.OUTPUT_LENGTH.value
COMPUTED_LENGTH, STEP_TOKENS = Hist.COMPUTED_LENGTH.value, Hist.STEP_TOKENS.value
CHOICES, REQUEST_PREEMPTIONS = Hist.CHOICES.value, Hist.REQUEST_PREEMPTIONS.value
HTTP, HTTP_FEW = Hist.HTTP.value, Hist.HTTP_FEW.value
BASE, PER_SEQUENCE, PER_KV_TOKEN = Speed.BASE.value, Speed.PER_SEQUENCE.value, Speed.PER_KV_TOKEN.value
PER_PREFILL_TOKEN, PER_PREFILL_PAIR = Speed.PER_PREFILL_TOKEN.value, Speed.PER_PREFILL_PAIR.value
HOST_PER_TOKEN = Speed.HOST_PER_TOKEN.value


@njit(cache=True)
def advance(
    engines: Engines,
    flight: Flight,
    tallies: Tallies,
    arrivals: tuple[Floats, Whole, Whole, Whole],
    until_s: float,
    done: Done,
) -> int:
    """Everything that happens before ``until_s``; how many rows of ``done`` were written.

    ``arrivals``: when, prompt, output and cached tokens; in order, none later than ``until_s``. A step under way at
    ``until_s`` is finished, so a clock may stand a step ahead: how a span is cut into calls changes nothing.
    The router sends each request to the routable replica with the fewest prompt and output tokens outstanding.
    """
    when, prompt, output, cached = arrivals
    rows = 0
    for index in range(len(when)):
        now_s = when[index]
        for row in range(len(engines.live)):
            if engines.live[row] == 1 and engines.due_s[row] < now_s:
                rows = _run(engines, flight, tallies, row, now_s, done, rows)
        slot = _new_slot(flight, now_s, prompt[index], output[index], cached[index])
        to = _least_loaded(engines, now_s)
        if to == NOBODY:
            _push_unrouted(flight, slot)
        else:
            rows = _run(engines, flight, tallies, to, now_s, done, rows)
            _send(engines, flight, to, slot, now_s)
    for row in range(len(engines.live)):
        if engines.live[row] == 1:
            rows = _run(engines, flight, tallies, row, until_s, done, rows)
    return rows


@njit(cache=True)
def route_waiting(engines: Engines, flight: Flight, now_s: float) -> None:
    """Whatever nobody could take goes to whoever is ready now, first come first served."""
    for _ in range(flight.levels[UNROUTED]):
        slot = flight.levels[UNROUTED_HEAD]
        _pop_unrouted(flight)
        to = _least_loaded(engines, now_s)
        if to == NOBODY:
            _push_unrouted(flight, slot)
        else:
            _send(engines, flight, to, slot, now_s)


@njit(cache=True)
def give_up(flight: Flight, sent_before_s: float) -> int:
    """Clients that have tried since before then stop trying; how many. They are first in the router's queue, but for
    those that an engine lost, which keep their place in time only roughly: the queue is looked through."""
    lost = 0
    for _ in range(flight.levels[UNROUTED]):
        slot = flight.levels[UNROUTED_HEAD]
        _pop_unrouted(flight)
        if flight.sent_s[slot] < sent_before_s:
            _free_slot(flight, slot)
            lost += 1
        else:
            _push_unrouted(flight, slot)
    return lost


@njit(cache=True)
def evict(engines: Engines, flight: Flight, row: int) -> int:
    """The replica is gone: its requests go back to the router and start again. How many."""
    lost = 0
    slot = engines.run_tail[row]
    while slot != NOBODY:
        before = flight.run_before[slot]
        _send_back(flight, slot)
        lost += 1
        slot = before
    slot = engines.wait_head[row]
    while slot != NOBODY:
        after = flight.next[slot]
        _send_back(flight, slot)
        lost += 1
        slot = after
    return lost


@njit(cache=True)
def _send_back(flight: Flight, slot: int) -> None:
    flight.generated[slot] = 0
    flight.started_s[slot] = -1.0
    flight.first_s[slot] = -1.0
    flight.last_step[slot] = -1
    _push_unrouted(flight, slot)


@njit(cache=True)
def _new_slot(flight: Flight, now_s: float, prompt: int, output: int, cached: int) -> int:
    flight.levels[FREE] -= 1
    slot = flight.free[flight.levels[FREE]]
    flight.number[slot] = flight.levels[SEEN]
    flight.levels[SEEN] += 1
    flight.sent_s[slot] = now_s
    flight.prompt[slot] = prompt
    flight.output[slot] = output
    flight.cached[slot] = cached
    flight.generated[slot] = 0
    flight.started_s[slot] = -1.0
    flight.first_s[slot] = -1.0
    flight.last_step[slot] = -1
    flight.preemptions[slot] = 0
    return slot


@njit(cache=True)
def _free_slot(flight: Flight, slot: int) -> None:
    flight.free[flight.levels[FREE]] = slot
    flight.levels[FREE] += 1


@njit(cache=True)
def _push_unrouted(flight: Flight, slot: int) -> None:
    flight.next[slot] = NOBODY
    if flight.levels[UNROUTED] == 0:
        flight.levels[UNROUTED_HEAD] = slot
    else:
        flight.next[flight.levels[UNROUTED_TAIL]] = slot
    flight.levels[UNROUTED_TAIL] = slot
    flight.levels[UNROUTED] += 1


@njit(cache=True)
def _pop_unrouted(flight: Flight) -> None:
    flight.levels[UNROUTED_HEAD] = flight.next[flight.levels[UNROUTED_HEAD]]
    flight.levels[UNROUTED] -= 1


@njit(cache=True)
def _least_loaded(engines: Engines, now_s: float) -> int:
    to = NOBODY
    for row in range(len(engines.live)):
        if (
            engines.routable[row] == 1
            and engines.ready_s[row] <= now_s
            and (to == NOBODY or engines.outstanding[row] < engines.outstanding[to])
        ):
            to = row
    return to


@njit(cache=True)
def _send(engines: Engines, flight: Flight, row: int, slot: int, now_s: float) -> None:
    flight.arrival_s[slot] = now_s
    engines.outstanding[row] += flight.prompt[slot] + flight.output[slot]
    engines.due_s[row] = now_s
    _push_waiting(engines, flight, row, slot)


@njit(cache=True)
def _push_waiting(engines: Engines, flight: Flight, row: int, slot: int) -> None:
    flight.next[slot] = NOBODY
    if engines.wait_head[row] == NOBODY:
        engines.wait_head[row] = slot
    else:
        flight.next[engines.wait_tail[row]] = slot
    engines.wait_tail[row] = slot
    engines.waiting[row] += 1


@njit(cache=True)
def _run(engines: Engines, flight: Flight, tallies: Tallies, row: int, until_s: float, done: Done, rows: int) -> int:
    """One engine, step by step, until its clock reaches ``until_s``."""
    while engines.clock_s[row] < until_s:
        if engines.running[row] == 0 and engines.waiting[row] == 0:
            engines.clock_s[row] = until_s
        elif _kv_used(engines, row) + engines.growth[row] > engines.kv_capacity[row] and engines.running[row] > 1:
            _preempt_last(engines, flight, tallies, row)
        elif engines.fill_head[row] != NOBODY or _can_admit(engines, flight, row):
            rows = _mixed_step(engines, flight, tallies, row, done, rows)
        else:
            rows = _decode_block(engines, flight, tallies, row, until_s, done, rows)
    engines.due_s[row] = _due_s(engines, flight, row)
    return rows


@njit(cache=True)
def _due_s(engines: Engines, flight: Flight, row: int) -> float:
    """Until when the router cannot tell whether this engine was run or not: nobody ends before, unless somebody comes.
    The start of the step that ends the next sequence."""
    if engines.fill_head[row] != NOBODY or engines.waiting[row] > 0:
        return engines.clock_s[row]
    if engines.decoding[row] == 0:
        return np.inf
    before = engines.ends_step[row, 0] - engines.step[row] - 1
    first_s = _decode_s(engines, row) * engines.slowness[row]
    more_s = engines.speed[row, PER_KV_TOKEN] * engines.growth[row] * engines.slowness[row]
    return engines.clock_s[row] + before * (first_s + more_s * (before - 1) / 2)


@njit(cache=True)
def _kv_used(engines: Engines, row: int) -> float:
    return engines.kv_decoding[row] + engines.kv_reserved[row] + BLOCK_WASTE_TOKENS * engines.running[row]


@njit(cache=True)
def _can_admit(engines: Engines, flight: Flight, row: int) -> bool:
    first = engines.wait_head[row]
    if first == NOBODY or engines.running[row] >= engines.max_sequences[row]:
        return False
    if engines.reserves_output[row] == 1:
        needed = flight.prompt[first] + flight.output[first] + BLOCK_WASTE_TOKENS
        room = engines.kv_capacity[row] - engines.promised[row] - BLOCK_WASTE_TOKENS * engines.running[row]
    else:
        needed = flight.prompt[first] + flight.generated[first] + engines.growth[row] + 1 + BLOCK_WASTE_TOKENS
        room = engines.kv_capacity[row] - _kv_used(engines, row)
    fits = needed <= room or engines.running[row] == 0
    return fits and engines.decoding[row] * (1 + engines.draft_tokens[row]) < engines.token_budget[row]


@njit(cache=True)
def _admit(engines: Engines, flight: Flight, tallies: Tallies, row: int) -> None:
    slot = engines.wait_head[row]
    engines.wait_head[row] = flight.next[slot]
    engines.waiting[row] -= 1
    if flight.started_s[slot] < 0:
        flight.started_s[slot] = engines.clock_s[row]
        tallies.counts[row, PREFIX_QUERIES] += flight.prompt[slot]
        tallies.counts[row, PREFIX_HITS] += flight.cached[slot]
    flight.context[slot] = flight.prompt[slot] + flight.generated[slot]
    flight.todo[slot] = flight.context[slot] - flight.cached[slot]
    engines.kv_reserved[row] += flight.context[slot]
    engines.running[row] += 1
    _push_running(engines, flight, row, slot)
    flight.next[slot] = NOBODY
    if engines.fill_head[row] == NOBODY:
        engines.fill_head[row] = slot
    else:
        flight.next[engines.fill_tail[row]] = slot
    engines.fill_tail[row] = slot


@njit(cache=True)
def _push_running(engines: Engines, flight: Flight, row: int, slot: int) -> None:
    engines.promised[row] += flight.prompt[slot] + flight.output[slot]
    last = engines.run_tail[row]
    flight.run_before[slot] = last
    flight.run_after[slot] = NOBODY
    if last != NOBODY:
        flight.run_after[last] = slot
    engines.run_tail[row] = slot


@njit(cache=True)
def _drop_running(engines: Engines, flight: Flight, row: int, slot: int) -> None:
    engines.promised[row] -= flight.prompt[slot] + flight.output[slot]
    before, after = flight.run_before[slot], flight.run_after[slot]
    if before != NOBODY:
        flight.run_after[before] = after
    if after != NOBODY:
        flight.run_before[after] = before
    else:
        engines.run_tail[row] = before
    engines.running[row] -= 1


@njit(cache=True)
def _drop_filling(engines: Engines, flight: Flight, row: int, slot: int) -> None:
    if engines.fill_head[row] == slot:
        engines.fill_head[row] = flight.next[slot]
        return
    before = engines.fill_head[row]
    while flight.next[before] != slot:
        before = flight.next[before]
    flight.next[before] = flight.next[slot]
    if engines.fill_tail[row] == slot:
        engines.fill_tail[row] = before


@njit(cache=True)
def _preempt_last(engines: Engines, flight: Flight, tallies: Tallies, row: int) -> None:
    """The cache is full: the sequence let in last gives up its space and will be computed again."""
    slot = engines.run_tail[row]
    _drop_running(engines, flight, row, slot)
    if flight.last_step[slot] < 0:
        _drop_filling(engines, flight, row, slot)
        engines.kv_reserved[row] -= flight.context[slot]
    else:
        made = flight.pace[slot] * (engines.step[row] - flight.start_step[slot])
        gained = int(made + 1e-9)
        tallies.counts[row, GENERATION_TOKENS] -= made - gained  # speculation's mean pace stopped between two tokens
        _stop_decoding(engines, flight, row, slot)
        _drop_end(engines, row, slot)
        flight.last_token_s[slot] = engines.clock_s[row]
        flight.generated[slot] = min(flight.generated[slot] + gained, flight.output[slot] - 1)
        flight.last_step[slot] = -1
    flight.preemptions[slot] += 1
    tallies.counts[row, PREEMPTIONS] += 1
    flight.next[slot] = engines.wait_head[row]
    if engines.wait_head[row] == NOBODY:
        engines.wait_tail[row] = slot
    engines.wait_head[row] = slot
    engines.waiting[row] += 1


@njit(cache=True)
def _stop_decoding(engines: Engines, flight: Flight, row: int, slot: int) -> None:
    gained = flight.pace[slot] * (engines.step[row] - flight.start_step[slot])
    engines.decoding[row] -= 1
    if engines.decoding[row] == 0:  # nothing is left, not even what rounding leaves
        engines.kv_decoding[row] = 0.0
        engines.growth[row] = 0.0
    else:
        engines.kv_decoding[row] -= flight.context[slot] + gained
        engines.growth[row] -= flight.pace[slot]


@njit(cache=True)
def _decode_s(engines: Engines, row: int) -> float:
    """One step that only decodes; speculation verifies each sequence's drafted tokens beside its next one."""
    sequences = engines.decoding[row]
    if sequences == 0:
        gpu_s = engines.speed[row, BASE]
    else:
        verified = sequences * (1 + engines.draft_tokens[row])
        gpu_s = engines.speed[row, BASE] + engines.speed[row, PER_SEQUENCE] * verified
    step_s = max(gpu_s, engines.speed[row, HOST_PER_TOKEN] * engines.growth[row])
    return step_s + engines.speed[row, PER_KV_TOKEN] * engines.kv_decoding[row]


@njit(cache=True)
def _mixed_step(engines: Engines, flight: Flight, tallies: Tallies, row: int, done: Done, rows: int) -> int:
    """One step that computes prompt tokens beside decoding: running ones first, then whoever can be let in."""
    decoding = engines.decoding[row]
    budget = engines.token_budget[row] - decoding * (1 + engines.draft_tokens[row])
    tokens, pairs, ready = 0, 0.0, 0
    ready_head, ready_tail = NOBODY, NOBODY
    while budget > 0 and (engines.fill_head[row] != NOBODY or _can_admit(engines, flight, row)):
        if engines.fill_head[row] == NOBODY:
            _admit(engines, flight, tallies, row)
        slot = engines.fill_head[row]
        chunk = min(budget, flight.todo[slot])
        built = flight.context[slot] - flight.todo[slot]
        flight.todo[slot] -= chunk
        budget -= chunk
        tokens += chunk
        pairs += float(chunk) * (2 * built + chunk)  # (built + chunk)² - built²: chunks add up to the whole prompt's
        if flight.todo[slot] == 0:
            engines.fill_head[row] = flight.next[slot]
            flight.next[slot] = NOBODY
            if ready_head == NOBODY:
                ready_head = slot
            else:
                flight.next[ready_tail] = slot
            ready_tail = slot
            ready += 1
    took_s = _decode_s(engines, row) + (
        engines.speed[row, PER_PREFILL_TOKEN] * tokens + engines.speed[row, PER_PREFILL_PAIR] * pairs
    )
    took_s *= engines.slowness[row]
    _observe(tallies, row, STEP_TOKENS, engines.growth[row] + tokens + ready, 1.0)
    if decoding > 0:
        _observe(tallies, row, INTER_TOKEN, took_s, float(decoding))  # one a sequence and step, as vLLM counts
    rows = _take_steps(engines, flight, tallies, row, 1, took_s, done, rows)
    while ready_head != NOBODY:
        slot = ready_head
        ready_head = flight.next[slot]
        rows = _first_token(engines, flight, tallies, row, slot, done, rows)
    return rows


@njit(cache=True)
def _decode_block(
    engines: Engines, flight: Flight, tallies: Tallies, row: int, until_s: float, done: Done, rows: int
) -> int:
    """As many steps as can go before anything else may happen: nobody comes, nobody ends, the cache holds."""
    growth = engines.growth[row]
    slow = engines.slowness[row]
    first_s = _decode_s(engines, row) * slow
    more_s = engines.speed[row, PER_KV_TOKEN] * growth * slow  # each step reads its predecessor's new tokens too
    room = int((engines.kv_capacity[row] - _kv_used(engines, row)) / growth)
    steps = _steps_to_cover(until_s - engines.clock_s[row], first_s, more_s)
    steps = max(1, min(steps, min(engines.ends_step[row, 0] - engines.step[row], room)))
    last_s = first_s + more_s * (steps - 1)
    _observe(tallies, row, STEP_TOKENS, growth, float(steps))
    _observe_spread(tallies, row, INTER_TOKEN, first_s, last_s, steps, float(engines.decoding[row]))
    return _take_steps(engines, flight, tallies, row, steps, (first_s + last_s) / 2 * steps, done, rows)


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
def _take_steps(
    engines: Engines, flight: Flight, tallies: Tallies, row: int, steps: int, took_s: float, done: Done, rows: int
) -> int:
    engines.clock_s[row] += took_s
    engines.busy_s[row] += took_s
    engines.last_busy_s[row] = engines.clock_s[row]
    engines.step[row] += steps
    gained = steps * engines.growth[row]
    engines.kv_decoding[row] += gained
    tallies.counts[row, GENERATION_TOKENS] += gained
    if engines.draft_tokens[row] > 0:
        drafts = float(steps * engines.decoding[row])
        tallies.counts[row, DRAFTS] += drafts
        tallies.counts[row, DRAFT_TOKENS] += drafts * engines.draft_tokens[row]
        tallies.counts[row, ACCEPTED_TOKENS] += gained - drafts
    while engines.ends_count[row] > 0 and engines.ends_step[row, 0] <= engines.step[row]:
        slot = engines.ends_slot[row, 0]
        _pop_end(engines, row)
        _stop_decoding(engines, flight, row, slot)
        rows = _finish(engines, flight, tallies, row, slot, done, rows)
    return rows


@njit(cache=True)
def _first_token(engines: Engines, flight: Flight, tallies: Tallies, row: int, slot: int, done: Done, rows: int) -> int:
    """Its context is computed, which gives one token: its first, or the next one after a preemption."""
    now_s = engines.clock_s[row]
    tallies.counts[row, GENERATION_TOKENS] += 1
    flight.generated[slot] += 1
    engines.kv_reserved[row] -= flight.context[slot]
    if flight.first_s[slot] < 0:
        flight.first_s[slot] = now_s
        tallies.counts[row, PROMPT_TOKENS] += flight.prompt[slot]
        tallies.counts[row, CACHED_PROMPT_TOKENS] += flight.cached[slot]
        _observe(tallies, row, TTFT, now_s - flight.arrival_s[slot], 1.0)
    else:
        _observe(tallies, row, INTER_TOKEN, now_s - flight.last_token_s[slot], 1.0)
    left = flight.output[slot] - flight.generated[slot]
    if left == 0:
        return _finish(engines, flight, tallies, row, slot, done, rows)
    steps = _steps_for(engines, row, left)
    flight.pace[slot] = left / steps
    flight.start_step[slot] = engines.step[row]
    flight.last_step[slot] = engines.step[row] + steps
    engines.kv_decoding[row] += flight.context[slot]
    engines.growth[row] += flight.pace[slot]
    engines.decoding[row] += 1
    _push_end(engines, row, flight.last_step[slot], slot)
    return rows


@njit(cache=True)
def _steps_for(engines: Engines, row: int, tokens: int) -> int:
    """Steps that give ``tokens``: each keeps one token and every drafted one up to the first that is rejected."""
    drafted = engines.draft_tokens[row]
    if drafted == 0:
        return tokens
    steps = 0
    while tokens > 0:
        steps += 1
        tokens -= 1
        for _ in range(drafted):
            if _random(engines, row) >= engines.acceptance[row]:
                break
            tokens -= 1
    return steps


@njit(cache=True)
def _random(engines: Engines, row: int) -> float:
    """Uniform in [0, 1): xorshift64*, Vigna 2016. The state is the replica's own, so cuts in time change nothing."""
    state = engines.random[row]
    state ^= state >> np.uint64(12)
    state ^= state << np.uint64(25)
    state ^= state >> np.uint64(27)
    engines.random[row] = state
    return float((state * np.uint64(2685821657736338717)) >> np.uint64(11)) / 9007199254740992.0


@njit(cache=True)
def _finish(engines: Engines, flight: Flight, tallies: Tallies, row: int, slot: int, done: Done, rows: int) -> int:
    now_s = engines.clock_s[row]
    prompt, output = flight.prompt[slot], flight.output[slot]
    _drop_running(engines, flight, row, slot)
    engines.outstanding[row] -= prompt + output
    done.number[rows] = flight.number[slot]
    done.sent_s[rows] = flight.sent_s[slot]
    done.first_s[rows] = flight.first_s[slot]
    done.finished_s[rows] = now_s
    done.prompt[rows] = prompt
    done.output[rows] = output
    done.preemptions[rows] = flight.preemptions[slot]
    queue_s = flight.started_s[slot] - flight.arrival_s[slot]
    prefill_s = flight.first_s[slot] - flight.started_s[slot]
    decode_s = now_s - flight.first_s[slot]
    tallies.counts[row, FINISHED] += 1
    _observe(tallies, row, PROMPT_LENGTH, float(prompt), 1.0)
    _observe(tallies, row, OUTPUT_LENGTH, float(output), 1.0)
    _observe(tallies, row, COMPUTED_LENGTH, float(prompt - flight.cached[slot]), 1.0)
    _observe(tallies, row, CHOICES, 1.0, 1.0)
    _observe(tallies, row, REQUEST_PREEMPTIONS, float(flight.preemptions[slot]), 1.0)
    _observe(tallies, row, QUEUE, queue_s, 1.0)
    _observe(tallies, row, PREFILL, prefill_s, 1.0)
    _observe(tallies, row, DECODE, decode_s, 1.0)
    _observe(tallies, row, INFERENCE, prefill_s + decode_s, 1.0)
    for name in (E2E, HTTP, HTTP_FEW):
        _observe(tallies, row, name, queue_s + prefill_s + decode_s, 1.0)
    if output > 1:
        _observe(tallies, row, TPOT, decode_s / (output - 1), 1.0)
    _free_slot(flight, slot)
    return rows + 1


@njit(cache=True)
def _observe(tallies: Tallies, row: int, name: int, value: float, times: float) -> None:
    """``value`` was seen ``times`` times. A value equal to a bound belongs below it, as in Prometheus."""
    bucket = 0
    while value > tallies.bounds[name, bucket]:
        bucket += 1
    tallies.buckets[row, name, bucket] += times
    tallies.totals[row, name] += value * times


@njit(cache=True)
def _observe_spread(
    tallies: Tallies, row: int, name: int, first: float, last: float, values: int, times: float
) -> None:
    """``values`` values, evenly spaced from ``first`` up to ``last``, each seen ``times`` times."""
    tallies.totals[row, name] += (first + last) / 2 * values * times
    bucket = 0
    while first > tallies.bounds[name, bucket]:
        bucket += 1
    below = 0
    while last > tallies.bounds[name, bucket]:
        share = (tallies.bounds[name, bucket] - first) / (last - first)
        upto = min(int(share * (values - 1)) + 1, values)
        tallies.buckets[row, name, bucket] += (upto - below) * times
        below = upto
        bucket += 1
    tallies.buckets[row, name, bucket] += (values - below) * times


@njit(cache=True)
def _push_end(engines: Engines, row: int, last_step: int, slot: int) -> None:
    steps, slots = engines.ends_step[row], engines.ends_slot[row]
    place = engines.ends_count[row]
    engines.ends_count[row] += 1
    while place > 0 and steps[(place - 1) // 2] > last_step:
        steps[place], slots[place] = steps[(place - 1) // 2], slots[(place - 1) // 2]
        place = (place - 1) // 2
    steps[place], slots[place] = last_step, slot


@njit(cache=True)
def _pop_end(engines: Engines, row: int) -> None:
    steps, slots = engines.ends_step[row], engines.ends_slot[row]
    engines.ends_count[row] -= 1
    count = engines.ends_count[row]
    last_step, slot = steps[count], slots[count]
    place = 0
    while 2 * place + 1 < count:
        child = 2 * place + 1
        if child + 1 < count and steps[child + 1] < steps[child]:
            child += 1
        if steps[child] >= last_step:
            break
        steps[place], slots[place] = steps[child], slots[child]
        place = child
    steps[place], slots[place] = last_step, slot


@njit(cache=True)
def _drop_end(engines: Engines, row: int, slot: int) -> None:
    """Take a preempted sequence's entry out: the heap is made again from the others. Rare."""
    count = engines.ends_count[row]
    steps, slots = engines.ends_step[row, :count].copy(), engines.ends_slot[row, :count].copy()
    engines.ends_count[row] = 0
    for place in range(count):
        if slots[place] != slot:
            _push_end(engines, row, steps[place], slots[place])
