"""Recorded requests, as they are."""

from __future__ import annotations

from dataclasses import replace
from math import floor

import numpy as np

from controller.simulate.arrivals import Requests
from controller.simulate.workload.blocks import BLOCK_REQUESTS, BlockWorkload, Grid, joined, within


class TracedWorkload(BlockWorkload):
    """Recorded requests, once or several times over.

    A trace starts at the whole second of its first arrival and ends with the second of its last.

    repeat    times over, one after the other. An hour repeated is a stress case, not a day: say so in a report
    phase_s   the first round begins this far into the trace, and what was skipped comes after: the same requests
              meet a cold start at another moment
    """

    def __init__(self, requests: Requests, *, repeat: int = 1, phase_s: float = 0.0) -> None:
        if not len(requests):
            raise ValueError("a trace without requests has no workload")
        if repeat < 1:
            raise ValueError(f"a trace cannot be played {repeat} times")
        start_s = float(floor(requests.arrival_s[0]))
        self._span_s = floor(requests.arrival_s[-1]) + 1.0 - start_s
        self._requests = _turned(requests, start_s, self._span_s, phase_s)
        block_s = self._span_s * max(1.0, BLOCK_REQUESTS / len(requests))
        notes: list[str] = []
        if repeat > 1:
            notes.append(f"{self._span_s / 3600:.2f} h repeated {repeat} times")
        if phase_s:
            notes.append(f"started {phase_s:g} s into the trace")
        super().__init__(
            start_s=start_s,
            end_s=start_s + repeat * self._span_s,
            grid=Grid(origin_s=start_s, block_s=block_s),
            notes=tuple(notes),
        )

    def block(self, index: int) -> Requests:
        begin_s, end_s = self.grid.begin_s(index), min(self.grid.begin_s(index + 1), self.end_s)
        rounds = Grid(origin_s=self.start_s, block_s=self._span_s)
        return joined(self._round(number, begin_s, end_s) for number in rounds.indices(begin_s, end_s))

    def _round(self, number: int, begin_s: float, end_s: float) -> Requests:
        shift_s = number * self._span_s
        part = within(self._requests, begin_s - shift_s, end_s - shift_s)
        if number == 0:
            return part
        return replace(part, arrival_s=part.arrival_s + shift_s)


def _turned(requests: Requests, start_s: float, span_s: float, phase_s: float) -> Requests:
    """The requests from ``phase_s`` on, then those before."""
    if phase_s % span_s == 0:
        return requests
    early, late = requests.before(start_s + phase_s % span_s)
    turned = [(late, -(phase_s % span_s)), (early, span_s - phase_s % span_s)]
    return joined(replace(part, arrival_s=np.maximum(part.arrival_s + shift_s, start_s)) for part, shift_s in turned)
