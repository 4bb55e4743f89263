"""Recorded counts: so many requests in each bin, expanded into requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from controller.simulate.arrivals import Requests
from controller.simulate.workload.blocks import (
    BLOCK_REQUESTS,
    BlockWorkload,
    Draw,
    Floats,
    Grid,
    generator,
    uncached,
)
from controller.simulate.workload.lengths import Lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTrace:
    """Requests per bin. Bin ``i`` is from ``start_s + i * bin_s`` up to the next.

    requests   0 or more each; fractions are allowed (an estimate) and become whole by a seeded draw
    """

    start_s: float
    bin_s: float
    requests: Floats

    def __post_init__(self) -> None:
        if not self.bin_s > 0 or not len(self.requests):
            raise ValueError("a rate trace needs bins of some length")
        if not np.all(np.isfinite(self.requests)) or np.any(self.requests < 0):
            raise ValueError("a bin holds a finite number of requests, 0 or more")

    @property
    def end_s(self) -> float:
        return self.start_s + self.bin_s * len(self.requests)

    def times(self, factor: float) -> Self:
        """The same shape at ``factor`` times the level. Above 1, the dispersion grows as much: a day of a small
        service made into a large one's is burstier than that one would be."""
        return type(self)(start_s=self.start_s, bin_s=self.bin_s, requests=self.requests * factor)


class RateWorkload(BlockWorkload):
    """Each bin's own count, its arrivals uniform within it; lengths drawn independently by inverse CDF.

    What varies from bin to bin, 3 to 10 times a Poisson process in Azure's 2024 week, is the record's and stays.
    Within a bin arrivals are a Poisson process of known count, so bursts shorter than a bin are lost.
    """

    def __init__(self, rates: RateTrace, lengths: Lengths, *, seed: int) -> None:
        self.rates, self.lengths, self.seed = rates, lengths, seed
        self._bins = int(max(1, min(len(rates.requests), BLOCK_REQUESTS // max(1.0, float(rates.requests.mean())))))
        super().__init__(
            start_s=rates.start_s,
            end_s=rates.end_s,
            grid=Grid(origin_s=rates.start_s, block_s=rates.bin_s * self._bins),
            notes=(f"counts per {rates.bin_s:g} s; arrivals uniform within; lengths: {lengths.source}",),
        )

    def block(self, index: int) -> Requests:
        rates, first = self.rates, index * self._bins
        random = generator(self.seed, Draw.ARRIVALS, index)
        mean = rates.requests[first : first + self._bins]
        counts = np.floor(mean + random.random(len(mean))).astype(np.int64)
        bins = np.repeat(np.arange(first, first + len(mean)), counts)
        arrival_s = rates.start_s + (bins + random.random(len(bins))) * rates.bin_s
        begin_s, end_s = self.grid.begin_s(index), self.grid.begin_s(index + 1)
        prompts, outputs = self.lengths.draw(generator(self.seed, Draw.LENGTHS, index), len(bins))
        return uncached(np.sort(np.clip(arrival_s, begin_s, np.nextafter(end_s, begin_s))), prompts, outputs)
