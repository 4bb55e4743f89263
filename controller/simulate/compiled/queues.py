"""The lists and heaps of slots: who waits, who runs in which order, who ends next, which slots are free."""

from __future__ import annotations

from numba import njit

from controller.simulate.compiled.layout import FREE, NOBODY, SEEN, UNROUTED, UNROUTED_HEAD, UNROUTED_TAIL, State


@njit(cache=True)
def new_slot(state: State, now_s: float, prompt: int, output: int, cached: int) -> int:
    flight = state.flight
    state.levels[FREE] -= 1
    slot = state.free[state.levels[FREE]]
    flight[slot].number = state.levels[SEEN]
    state.levels[SEEN] += 1
    flight[slot].sent_s = now_s
    flight[slot].prompt = prompt
    flight[slot].output = output
    flight[slot].cached = cached
    flight[slot].generated = 0
    flight[slot].started_s = -1.0
    flight[slot].first_s = -1.0
    flight[slot].last_step = -1
    flight[slot].preemptions = 0
    return slot


@njit(cache=True)
def free_slot(state: State, slot: int) -> None:
    state.free[state.levels[FREE]] = slot
    state.levels[FREE] += 1


@njit(cache=True)
def push_unrouted(state: State, slot: int) -> None:
    flight = state.flight
    one = flight[slot]
    one.next = NOBODY
    if state.levels[UNROUTED] == 0:
        state.levels[UNROUTED_HEAD] = slot
    else:
        flight[state.levels[UNROUTED_TAIL]].next = slot
    state.levels[UNROUTED_TAIL] = slot
    state.levels[UNROUTED] += 1


@njit(cache=True)
def pop_unrouted(state: State) -> None:
    flight = state.flight
    state.levels[UNROUTED_HEAD] = flight[state.levels[UNROUTED_HEAD]].next
    state.levels[UNROUTED] -= 1


@njit(cache=True)
def push_waiting(state: State, row: int, slot: int) -> None:
    engine = state.engines[row]
    flight = state.flight
    one = flight[slot]
    one.next = NOBODY
    if engine.wait_head == NOBODY:
        engine.wait_head = slot
    else:
        flight[engine.wait_tail].next = slot
    engine.wait_tail = slot
    engine.waiting += 1


@njit(cache=True)
def push_running(state: State, row: int, slot: int) -> None:
    engine = state.engines[row]
    flight = state.flight
    one = flight[slot]
    engine.promised += one.prompt + one.output
    last = engine.run_tail
    one.run_before = last
    one.run_after = NOBODY
    if last != NOBODY:
        flight[last].run_after = slot
    engine.run_tail = slot


@njit(cache=True)
def drop_running(state: State, row: int, slot: int) -> None:
    engine = state.engines[row]
    flight = state.flight
    one = flight[slot]
    engine.promised -= one.prompt + one.output
    before, after = one.run_before, one.run_after
    if before != NOBODY:
        flight[before].run_after = after
    if after != NOBODY:
        flight[after].run_before = before
    else:
        engine.run_tail = before
    engine.running -= 1


@njit(cache=True)
def drop_filling(state: State, row: int, slot: int) -> None:
    engine = state.engines[row]
    flight = state.flight
    one = flight[slot]
    if engine.fill_head == slot:
        engine.fill_head = one.next
        return
    before = engine.fill_head
    while flight[before].next != slot:
        before = flight[before].next
    flight[before].next = one.next
    if engine.fill_tail == slot:
        engine.fill_tail = before


@njit(cache=True)
def push_end(state: State, row: int, last_step: int, slot: int) -> None:
    engine = state.engines[row]
    steps, slots = state.ends_step[row], state.ends_slot[row]
    place = engine.ends_count
    engine.ends_count += 1
    while place > 0 and steps[(place - 1) // 2] > last_step:
        steps[place], slots[place] = steps[(place - 1) // 2], slots[(place - 1) // 2]
        place = (place - 1) // 2
    steps[place], slots[place] = last_step, slot


@njit(cache=True)
def pop_end(state: State, row: int) -> None:
    engine = state.engines[row]
    steps, slots = state.ends_step[row], state.ends_slot[row]
    engine.ends_count -= 1
    count = engine.ends_count
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
def drop_end(state: State, row: int, slot: int) -> None:
    """Take a preempted sequence's entry out: the heap is made again from the others. Rare."""
    engine = state.engines[row]
    count = engine.ends_count
    steps, slots = state.ends_step[row, :count].copy(), state.ends_slot[row, :count].copy()
    engine.ends_count = 0
    for place in range(count):
        if slots[place] != slot:
            push_end(state, row, steps[place], slots[place])
