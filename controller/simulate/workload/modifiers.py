"""What may be done to a workload. Each takes one and gives another; each leaves a note of what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf

import numpy as np

from controller.simulate.arrivals import Requests
from controller.simulate.workload.blocks import (
    BlockWorkload,
    Draw,
    Grid,
    chosen,
    generator,
    joined,
    within,
)
from controller.simulate.workload.lengths import whole_tokens

EXTRA_SPREAD_S = 10.0
"""An extra request comes in the same 10 s as the one it follows: the extra load is as bursty as the load was."""

CACHED_CONCENTRATION = 4.0
"""Of the Beta distribution of a prompt's cached share. A guess: at a mean of a half, shares from 10 to 90 %."""


class _Changed(BlockWorkload):
    """Another workload whose blocks are changed one by one."""

    def __init__(
        self,
        inner: BlockWorkload,
        change: Callable[[int, Requests], Requests],
        note: str,
        span_s: tuple[float, float] | None = None,
    ) -> None:
        self._inner, self._change = inner, change
        start_s, end_s = span_s or (inner.start_s, inner.end_s)
        super().__init__(start_s=start_s, end_s=end_s, grid=inner.grid, notes=(*inner.notes, note))

    def block(self, index: int) -> Requests:
        return self._change(index, self._inner.block(index))


def between(workload: BlockWorkload, start_s: float, end_s: float) -> BlockWorkload:
    """The part from ``start_s`` up to ``end_s`` of the trace's clock, which it keeps: days are chosen this way."""
    span_s = (max(start_s, workload.start_s), min(end_s, workload.end_s))
    if not span_s[0] < span_s[1]:
        raise ValueError(
            f"nothing is left from {start_s:g} s to {end_s:g} s of a trace "
            f"that goes from {workload.start_s:g} s to {workload.end_s:g} s"
        )
    return _Changed(workload, partial(_inside, span_s), f"from {span_s[0]:g} s to {span_s[1]:g} s", span_s)


def _inside(span_s: tuple[float, float], index: int, requests: Requests) -> Requests:
    return within(requests, *span_s)


def thinned(workload: BlockWorkload, keep_ratio: float, seed: int) -> BlockWorkload:
    """Each request stays with probability p. The rates keep their shape, but a dispersion of D becomes 1 + p (D - 1):
    the load is calmer than a service of that size would be. State p with every result."""
    if not 0 < keep_ratio <= 1:
        raise ValueError(f"a share of the requests is above 0 and at most 1, not {keep_ratio}")
    note = f"{keep_ratio:.4g} of the requests kept at random: a dispersion of D became 1 + {keep_ratio:.4g} (D - 1)"
    return _Changed(workload, partial(_thin, keep_ratio, seed), note)


def _thin(keep_ratio: float, seed: int, index: int, requests: Requests) -> Requests:
    random = generator(seed, Draw.THINNING, index)
    return chosen(requests, random.random(len(requests)) < keep_ratio)


def outputs_times(workload: BlockWorkload, factor: float) -> BlockWorkload:
    """Every output ``factor`` times as long, 1 token at least."""
    if not factor > 0:
        raise ValueError(f"outputs cannot become {factor} times as long")
    return _Changed(workload, partial(_longer, factor), f"outputs {factor:g} times as long")


def _longer(factor: float, index: int, requests: Requests) -> Requests:
    return replace(requests, output_tokens=whole_tokens(requests.output_tokens.astype(np.float64) * factor))


def load_times(
    workload: BlockWorkload, factor: float, from_s: float = -inf, to_s: float = inf, *, seed: int
) -> BlockWorkload:
    """``factor`` times as many requests from ``from_s`` up to ``to_s``. Extra ones follow those that are there, within
    10 s, with lengths drawn from the same block; below 1, requests are left out at random."""
    if not factor >= 0:
        raise ValueError(f"load cannot become {factor} times as much")
    span_s = (max(from_s, workload.start_s), min(to_s, workload.end_s))
    note = f"{factor:g} times the requests from {span_s[0]:g} s to {span_s[1]:g} s"
    return _Changed(workload, partial(_load, factor, span_s, workload.grid, seed), note)


def _load(
    factor: float, span_s: tuple[float, float], grid: Grid, seed: int, index: int, requests: Requests
) -> Requests:
    first, last = np.searchsorted(requests.arrival_s, span_s)
    there = int(last - first)
    if not there:
        return requests
    random = generator(seed, Draw.EXTRA, index)
    if factor < 1:
        kept = np.ones(len(requests), bool)
        kept[first:last] = random.random(there) < factor
        return chosen(requests, kept)
    extra = int((factor - 1) * there + random.random())
    begin_s = max(span_s[0], grid.begin_s(index))
    end_s = min(span_s[1], grid.begin_s(index + 1))
    followed = requests.arrival_s[random.integers(first, last, extra)]
    cell_s = np.floor((followed - begin_s) / EXTRA_SPREAD_S) * EXTRA_SPREAD_S + begin_s
    width_s = np.minimum(cell_s + EXTRA_SPREAD_S, end_s) - cell_s
    arrival_s = np.minimum(cell_s + random.random(extra) * width_s, np.nextafter(end_s, begin_s))
    like = chosen(requests, random.integers(first, last, extra))
    both = joined([requests, replace(like, arrival_s=arrival_s)])
    return chosen(both, np.argsort(both.arrival_s, kind="stable"))


def with_cached(workload: BlockWorkload, share_ratio: float, seed: int) -> BlockWorkload:
    """A prefix cache that holds ``share_ratio`` of each prompt on average (Beta-distributed), never all of it."""
    if not 0 <= share_ratio <= 1:
        raise ValueError(f"a share of a prompt is from 0 to 1, not {share_ratio}")
    note = f"{share_ratio:.4g} of each prompt cached on average"
    return _Changed(workload, partial(_cache, share_ratio, seed), note)


def _cache(share_ratio: float, seed: int, index: int, requests: Requests) -> Requests:
    if 0 < share_ratio < 1:
        a, b = CACHED_CONCENTRATION * share_ratio, CACHED_CONCENTRATION * (1 - share_ratio)
        share = generator(seed, Draw.CACHED, index).beta(a, b, len(requests))
    else:
        share = np.full(len(requests), share_ratio)
    held = np.minimum(np.rint(requests.prompt_tokens * share), requests.prompt_tokens - 1)
    return replace(requests, cached_tokens=held.astype(np.int32))
