"""Recorded clients: each with its own rate, burstiness and lengths over time (as ServeGen publishes them)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import exp, lgamma, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

from controller.simulate.arrivals import Requests
from controller.simulate.workload.blocks import BlockWorkload, Draw, Floats, Grid, Ints, generator, uncached
from controller.simulate.workload.lengths import TABLE_LEVELS, Lengths, whole_tokens

Indices = NDArray[np.intp]


class Family(IntEnum):
    """Which distribution the times between a client's requests have."""

    POISSON = 0
    GAMMA = 1
    WEIBULL = 2


FAMILIES: Mapping[str, Family] = {
    "poisson": Family.POISSON,
    "exponential": Family.POISSON,
    "unfit": Family.POISSON,
    "gamma": Family.GAMMA,
    "weibull": Family.WEIBULL,
}
"""As traces write them, in lower case. Unfit: a window of too few requests to fit anything to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTrace:
    """One row a client and window, ascending by time; a client that is not there in a window sends nothing in it.

    names                           of the clients
    client, time_s                  which of them; when the window begins: ``start_s`` plus a multiple of ``window_s``
    rate_per_s, cv, family          requests/s in the window, and how the times between them are distributed
    """

    window_s: float
    names: tuple[str, ...]
    client: NDArray[np.int64]
    time_s: Floats
    rate_per_s: Floats
    cv: Floats
    family: NDArray[np.int64]

    @property
    def start_s(self) -> float:
        return float(self.time_s[0])

    @property
    def end_s(self) -> float:
        return float(self.time_s[-1]) + self.window_s

    @property
    def mean_per_s(self) -> float:
        return float(self.rate_per_s.sum()) * self.window_s / (self.end_s - self.start_s)

    def subset(self, keep_ratio: float, seed: int) -> Self:
        """This share of the clients, one drawn from each stratum of clients of like size; the others fall away whole.

        Scaling all rates instead would keep the shape of the day and average the bursts away. The load that is left
        is near ``keep_ratio`` but not equal to it, for clients differ: see ``mean_per_s``.
        """
        if not 0 < keep_ratio <= 1:
            raise ValueError(f"a share of the clients is above 0 and at most 1, not {keep_ratio}")
        random = generator(seed, Draw.CLIENTS)
        total = np.bincount(self.client, weights=self.rate_per_s, minlength=len(self.names))
        by_size = np.argsort(-total, kind="stable")
        strata = np.array_split(by_size, max(1, round(len(self.names) * keep_ratio)))
        kept = np.isin(self.client, [stratum[random.integers(len(stratum))] for stratum in strata])
        return type(self)(
            window_s=self.window_s,
            names=self.names,
            client=self.client[kept],
            time_s=self.time_s[kept],
            rate_per_s=self.rate_per_s[kept],
            cv=self.cv[kept],
            family=self.family[kept],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLengths:
    """Quantiles of some clients' lengths in windows of their own (longer than the rates').

    levels                          0..1, strictly ascending
    client, window                  of each row: its client's name and its window's number from ``start_s``
    prompt_tokens, output_tokens    one row of quantiles each; ascending within the row
    """

    start_s: float
    window_s: float
    levels: Floats
    client: tuple[str, ...]
    window: NDArray[np.int64]
    prompt_tokens: Floats
    output_tokens: Floats
    source: str

    def row_of(self, names: Sequence[str], windows: int) -> Indices:
        """The row of each client and window; the one after the last where there is none."""
        place = {name: index for index, name in enumerate(names)}
        rows = np.full((len(names), windows), len(self.client), np.intp)
        for row, (name, window) in enumerate(zip(self.client, self.window, strict=True)):
            if name in place and 0 <= window < windows:
                rows[place[name], window] = row
        return rows

    def pooled(self, weights: Floats) -> Lengths:
        """What requests of all rows together look like, each row weighing as much as it has requests."""
        used = weights > 0 if np.any(weights > 0) else np.ones(len(weights), bool)
        weight = np.where(np.any(weights > 0), weights, 1.0)[used]
        return Lengths(
            levels=TABLE_LEVELS,
            prompt_tokens=_mixed(self.levels, self.prompt_tokens[used], weight),
            output_tokens=_mixed(self.levels, self.output_tokens[used], weight),
            source=self.source,
        )


def _mixed(levels: Floats, tokens: Floats, weights: Floats) -> Floats:
    """Quantiles of the mixture of distributions: each is sampled at even steps of its level, then all are sorted."""
    steps = (np.arange(200) + 0.5) / 200
    samples = np.stack([np.interp(steps, levels, row) for row in np.maximum(tokens, 1.0)])
    order = np.argsort(samples, axis=None)
    share = np.cumsum(np.repeat(weights, len(steps))[order])
    quantiles: Floats = np.interp(TABLE_LEVELS, (share - share[0]) / (share[-1] - share[0]), samples.ravel()[order])
    quantiles[-1] = max(tokens.max(), quantiles[-2])
    return quantiles


class ClientWorkload(BlockWorkload):
    """Each client's requests in each window: as many as it had, with Gamma or Weibull times between them.

    The record gives a window's rate as measured, so the count is rate x window exactly (a fraction becomes whole by a
    seeded draw) and only the places are drawn: that many times with the given CV fill a circle as long as the window,
    turned at random. A renewal process started anew in each window would send (CV² - 1) / 2 requests too many (Cox,
    Renewal Theory, 1962, section 4.2) and vary from window to window beyond what was measured.
    """

    def __init__(self, clients: ClientTrace, lengths: Lengths | ClientLengths, *, seed: int) -> None:
        self.clients, self.lengths, self.seed = clients, lengths, seed
        windows = round((clients.end_s - clients.start_s) / clients.window_s)
        edges = clients.start_s + clients.window_s * (np.arange(windows + 1) - 0.5)
        self._first = np.searchsorted(clients.time_s, edges)
        self._pool = lengths if isinstance(lengths, Lengths) else self._place_lengths(lengths)
        present = f"{len(np.unique(clients.client))} of {len(clients.names)} clients"
        super().__init__(
            start_s=clients.start_s,
            end_s=clients.end_s,
            grid=Grid(origin_s=clients.start_s, block_s=clients.window_s),
            notes=(f"{present}, {clients.mean_per_s:.4g} requests/s on average; lengths: {lengths.source}",),
        )

    def _place_lengths(self, lengths: ClientLengths) -> Lengths:
        """Which row of lengths each client has when; clients without one draw from the pool of all."""
        clients = self.clients
        window = np.floor((clients.time_s - lengths.start_s) / lengths.window_s).astype(np.int64)
        rows = lengths.row_of(clients.names, int(max(window.max(), 0)) + 1)
        self._rows = np.where(window >= 0, rows[clients.client, np.maximum(window, 0)], len(lengths.client))
        weights = np.bincount(self._rows, weights=clients.rate_per_s, minlength=len(lengths.client) + 1)
        return lengths.pooled(weights[:-1].astype(np.float64))

    def block(self, index: int) -> Requests:
        clients, rows = self.clients, slice(self._first[index], self._first[index + 1])
        random = generator(self.seed, Draw.ARRIVALS, index)
        mean = clients.rate_per_s[rows] * clients.window_s
        counts = np.floor(mean + random.random(len(mean))).astype(np.int64)
        place, owner = circular_renewals(random, counts, clients.cv[rows], clients.family[rows])
        prompts, outputs = self._lengths_of(generator(self.seed, Draw.LENGTHS, index), owner + rows.start)
        order = np.argsort(place)
        begin_s, end_s = self.grid.begin_s(index), self.grid.begin_s(index + 1)
        arrival_s = np.clip(begin_s + place[order] * clients.window_s, begin_s, np.nextafter(end_s, begin_s))
        return uncached(arrival_s, prompts[order], outputs[order])

    def _lengths_of(self, random: np.random.Generator, entries: Indices) -> tuple[Ints, Ints]:
        """Lengths for requests of these rows of the trace."""
        prompts, outputs = self._pool.draw(random, len(entries))
        if isinstance(self.lengths, ClientLengths):
            rows = self._rows[entries]
            own = np.flatnonzero(rows < len(self.lengths.client))
            levels = self.lengths.levels
            prompts[own] = _drawn(random, levels, self.lengths.prompt_tokens, rows[own])
            outputs[own] = _drawn(random, levels, self.lengths.output_tokens, rows[own])
        return prompts, outputs


def _drawn(random: np.random.Generator, levels: Floats, tokens: Floats, rows: Indices) -> Ints:
    """One length from each of ``rows`` of quantiles, by inverse CDF."""
    level = random.random(len(rows))
    below = np.searchsorted(levels, level, side="right") - 1
    share = (level - levels[below]) / (levels[below + 1] - levels[below])
    low, high = tokens[rows, below], tokens[rows, below + 1]
    return whole_tokens(low + (high - low) * share)


def circular_renewals(
    random: np.random.Generator, counts: NDArray[np.int64], cv: Floats, family: NDArray[np.int64]
) -> tuple[Floats, Indices]:
    """Where on a circle of length 1 the events of each process stand (0..1, not sorted), and whose each event is.

    Process ``i`` has ``counts[i]`` events whose distances have the family's distribution with coefficient of variation
    ``cv[i]``, scaled to fill the circle (which leaves their CV as drawn), from a uniform start.
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    shape = _shapes(cv, family)[owner]
    gaps = np.empty(len(owner))
    weibull = family[owner] == Family.WEIBULL
    gaps[weibull] = random.standard_exponential(int(weibull.sum())) ** (1 / shape[weibull])
    gaps[~weibull] = random.standard_gamma(shape[~weibull])
    ends = np.cumsum(gaps)
    last = np.cumsum(counts) - 1
    reached = np.where(last >= 0, ends[last], 0.0) if len(ends) else np.zeros(len(counts))
    before = np.concatenate([[0.0], reached[:-1]])
    total = (reached - before)[owner]
    place = np.divide(ends - before[owner], total, out=np.zeros(len(owner)), where=total > 0)
    return (place + random.random(len(counts))[owner]) % 1.0, owner


def _shapes(cv: Floats, family: NDArray[np.int64]) -> Floats:
    """The shape parameter that gives each CV: Gamma 1 / CV²; Weibull from a table; Poisson is a Gamma of shape 1."""
    bounded = np.maximum(cv, LEAST_CV)
    weibull = np.interp(np.log(bounded), _LOG_CV_TABLE, _SHAPE_TABLE)
    return np.select([family == Family.GAMMA, family == Family.WEIBULL], [bounded**-2.0, weibull], default=1.0)


LEAST_CV = 0.02
"""Below this requests come as a clock ticks, and a smaller CV makes no difference to anybody."""


def _weibull_cv(shape: float) -> float:
    """sqrt(Γ(1 + 2/k) / Γ(1 + 1/k)² - 1), Γ by its logarithm."""
    return sqrt(max(exp(lgamma(1 + 2 / shape) - 2 * lgamma(1 + 1 / shape)) - 1, 1e-12))


_SHAPE_TABLE = np.geomspace(100.0, 0.1, 1000)
_LOG_CV_TABLE = np.log([_weibull_cv(float(shape)) for shape in _SHAPE_TABLE])
