"""The one mechanism under every workload: time is cut into blocks, and a block is made from its own seed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from enum import IntEnum
from math import ceil, floor
from typing import Self

import numpy as np
from numpy.typing import NDArray

from controller.simulate.arrivals import Requests

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

BLOCK_REQUESTS = 1 << 18
"""About this many requests a block: some 5 MB. A guess between the cost of a call and the memory of a block."""

MOST_TOKENS = int(np.iinfo(np.int32).max)
"""What a column of token counts can hold."""


class Draw(IntEnum):
    """What a stream of random numbers is for. Each has its own, so that changing one leaves the others as they were."""

    ARRIVALS = 0
    LENGTHS = 1
    THINNING = 2
    EXTRA = 3
    CACHED = 4
    SHAPE = 5
    CLIENTS = 6


def generator(seed: int, purpose: Draw, *place: int) -> np.random.Generator:
    """The random numbers of ``purpose`` at ``place`` (a block, a zone …). ``seed`` is 0 or more."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(purpose), *place)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How time is cut: block ``i`` is from ``origin_s + i * block_s`` up to where block ``i + 1`` begins."""

    origin_s: float
    block_s: float

    def __post_init__(self) -> None:
        if not self.block_s > 0:
            raise ValueError(f"a block of {self.block_s} s has no length")

    def begin_s(self, index: int) -> float:
        return self.origin_s + index * self.block_s

    def indices(self, start_s: float, end_s: float) -> range:
        """The blocks that hold any of ``start_s`` up to ``end_s``."""
        if not start_s < end_s:
            return range(0)
        return range(floor((start_s - self.origin_s) / self.block_s), ceil((end_s - self.origin_s) / self.block_s))


class BlockWorkload(ABC):
    """A workload (controller.simulate.arrivals.Workload) whose requests are made block by block.

    start_s, end_s  no request comes before the one, nor at or after the other
    notes           what was done to the data, in words: a report prints them
    """

    def __init__(self, *, start_s: float, end_s: float, grid: Grid, notes: tuple[str, ...] = ()) -> None:
        if not start_s <= end_s:
            raise ValueError(f"a workload cannot end at {end_s} s, before it starts at {start_s} s")
        self.start_s, self.end_s, self.grid, self.notes = start_s, end_s, grid, notes
        self._coming = iter(grid.indices(start_s, end_s))
        self._held: Requests | None = None

    @abstractmethod
    def block(self, index: int) -> Requests:
        """The requests of one block, in order of arrival. Asking twice gives the same."""

    def until(self, end_s: float) -> Requests:
        """The requests since the last call (at first: since ``start_s``) that arrive before ``end_s``."""
        come: list[Requests] = []
        while True:
            if self._held is None:
                index = next(self._coming, None)
                if index is None:
                    break
                self._held, self._held_end_s = self.block(index), self.grid.begin_s(index + 1)
            now, rest = self._held.before(end_s)
            come.append(now)
            if len(rest) or self._held_end_s >= end_s:
                self._held = rest
                break
            self._held = None
        return joined(come)

    def again(self) -> Self:
        """The same workload from its start, whatever was taken from this one."""
        fresh = copy(self)
        fresh._coming = iter(self.grid.indices(self.start_s, self.end_s))
        fresh._held = None
        return fresh

    def blocks(self) -> Iterator[Requests]:
        """All requests, a block at a time; what ``until`` has taken makes no difference."""
        return (self.block(index) for index in self.grid.indices(self.start_s, self.end_s))

    @property
    def hours(self) -> float:
        return (self.end_s - self.start_s) / 3600


def joined(parts: Iterable[Requests]) -> Requests:
    """Requests one after the other; they must follow in time."""
    some = [part for part in parts if len(part)]
    if len(some) == 1:
        return some[0]
    if not some:
        return NO_REQUESTS
    return Requests(
        arrival_s=np.concatenate([part.arrival_s for part in some]),
        prompt_tokens=np.concatenate([part.prompt_tokens for part in some]),
        output_tokens=np.concatenate([part.output_tokens for part in some]),
        cached_tokens=np.concatenate([part.cached_tokens for part in some]),
    )


def chosen(requests: Requests, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Requests:
    """Those that a mask, a list of places or a slice names."""
    return Requests(
        arrival_s=requests.arrival_s[which],
        prompt_tokens=requests.prompt_tokens[which],
        output_tokens=requests.output_tokens[which],
        cached_tokens=requests.cached_tokens[which],
    )


def uncached(arrival_s: Floats, prompt_tokens: Ints, output_tokens: Ints) -> Requests:
    """Requests of which no prefix cache holds anything."""
    return Requests(
        arrival_s=arrival_s,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        cached_tokens=np.zeros(len(arrival_s), np.int32),
    )


def within(requests: Requests, start_s: float, end_s: float) -> Requests:
    """Those that arrive from ``start_s`` up to ``end_s``. Views, not copies."""
    first, last = np.searchsorted(requests.arrival_s, (start_s, end_s), side="left")
    return chosen(requests, slice(int(first), int(last)))


NO_REQUESTS = uncached(np.empty(0, np.float64), np.empty(0, np.int32), np.empty(0, np.int32))
