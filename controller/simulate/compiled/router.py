"""The router: each request goes to the ready replica with the fewest prompt and output tokens outstanding."""

from __future__ import annotations

from numba import njit

from controller.simulate.compiled.engine import run
from controller.simulate.compiled.layout import NOBODY, UNROUTED, UNROUTED_HEAD, Done, Floats, State, Whole
from controller.simulate.compiled.queues import free_slot, new_slot, pop_unrouted, push_unrouted, push_waiting


@njit(cache=True)
def advance(state: State, arrivals: tuple[Floats, Whole, Whole, Whole], until_s: float, done: Done) -> int:
    """Everything that happens before ``until_s``; how many rows of ``done`` were written.

    ``arrivals``: when, prompt, output and cached tokens; in order, none later than ``until_s``. A step under way at
    ``until_s`` is finished, so a clock may stand a step ahead: how a span is cut into calls changes nothing.
    The router sends each request to the routable replica with the fewest prompt and output tokens outstanding.
    """
    engines = state.engines
    when, prompt, output, cached = arrivals
    rows = 0
    for index in range(len(when)):
        now_s = when[index]
        for row in range(len(state.engines)):
            if engines[row].live == 1 and engines[row].due_s < now_s:
                rows = run(state, row, now_s, done, rows)
        slot = new_slot(state, now_s, prompt[index], output[index], cached[index])
        to = _least_loaded(state, now_s)
        if to == NOBODY:
            push_unrouted(state, slot)
        else:
            rows = run(state, to, now_s, done, rows)
            _send(state, to, slot, now_s)
    for row in range(len(state.engines)):
        if engines[row].live == 1:
            rows = run(state, row, until_s, done, rows)
    return rows


@njit(cache=True)
def route_waiting(state: State, now_s: float) -> None:
    """Whatever nobody could take goes to whoever is ready now, first come first served."""
    for _ in range(state.levels[UNROUTED]):
        slot = state.levels[UNROUTED_HEAD]
        pop_unrouted(state)
        to = _least_loaded(state, now_s)
        if to == NOBODY:
            push_unrouted(state, slot)
        else:
            _send(state, to, slot, now_s)


@njit(cache=True)
def give_up(state: State, sent_before_s: float) -> int:
    """Clients that have tried since before then stop trying; how many. They are first in the router's queue, but for
    those that an engine lost, which keep their place in time only roughly: the queue is looked through."""
    flight = state.flight
    lost = 0
    for _ in range(state.levels[UNROUTED]):
        slot = state.levels[UNROUTED_HEAD]
        pop_unrouted(state)
        if flight[slot].sent_s < sent_before_s:
            free_slot(state, slot)
            lost += 1
        else:
            push_unrouted(state, slot)
    return lost


@njit(cache=True)
def evict(state: State, row: int) -> int:
    """The replica is gone: its requests go back to the router and start again. How many."""
    engine = state.engines[row]
    flight = state.flight
    lost = 0
    slot = engine.run_tail
    while slot != NOBODY:
        before = flight[slot].run_before
        _send_back(state, slot)
        lost += 1
        slot = before
    slot = engine.wait_head
    while slot != NOBODY:
        after = flight[slot].next
        _send_back(state, slot)
        lost += 1
        slot = after
    return lost


@njit(cache=True)
def _send_back(state: State, slot: int) -> None:
    one = state.flight[slot]
    one.generated = 0
    one.started_s = -1.0
    one.first_s = -1.0
    one.last_step = -1
    push_unrouted(state, slot)


@njit(cache=True)
def _least_loaded(state: State, now_s: float) -> int:
    engines = state.engines
    to = NOBODY
    for row in range(len(state.engines)):
        if (
            engines[row].routable == 1
            and engines[row].ready_s <= now_s
            and (to == NOBODY or engines[row].outstanding < engines[to].outstanding)
        ):
            to = row
    return to


@njit(cache=True)
def _send(state: State, row: int, slot: int, now_s: float) -> None:
    engine = state.engines[row]
    one = state.flight[slot]
    one.arrival_s = now_s
    engine.outstanding += one.prompt + one.output
    engine.due_s = now_s
    push_waiting(state, row, slot)
