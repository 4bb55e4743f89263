"""A day of requests: how many at which hour, and how long they are. The same seed gives the same day."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from controller.simulate.arrivals import NO_REQUESTS, Requests, joined

DAY_S = 86_400.0

WEEKDAY_SHAPE = (
    *(0.890, 0.964, 0.964, 0.791, 0.799, 0.867, 1.010, 1.081, 1.111, 1.080, 0.980, 1.027),
    *(1.142, 1.273, 1.337, 1.249, 1.136, 1.078, 1.082, 1.020, 0.931, 0.770, 0.696, 0.721),
)
"""Requests by hour (UTC) relative to the day's mean: Monday to Friday, 13 to 17 May 2024, of Azure's conversation
service (AzureLLMInferenceDataset2024, CC-BY 4.0; Stojkovic et al., DynamoLLM, HPCA 2025), averaged."""

BUSIEST_TO_QUIETEST = 3.56
"""Busiest to quietest hour of that whole week, weekend included. A demo has one day to show what a week does."""

MEAN_PROMPT_TOKENS, MEAN_OUTPUT_TOKENS = 1632.0, 106.0
"""Published means of the same week."""

PROMPT_SIGMA, OUTPUT_SIGMA = 1.0, 1.1
"""Spread of the log-normal lengths: 95th percentiles of 5,127 and 353 tokens; the week has 4,943 and 455."""

DISPERSION = 3.0
"""Variance to mean of the requests in 10 s, around the local mean: 3.1 in that week; Poisson has 1."""


def day_shape(busiest_to_quietest: float = BUSIEST_TO_QUIETEST) -> tuple[float, ...]:
    """The weekday's hours with their contrast raised to ``busiest_to_quietest``, mean 1."""
    power = log(busiest_to_quietest) / log(max(WEEKDAY_SHAPE) / min(WEEKDAY_SHAPE))
    raised = [hour**power for hour in WEEKDAY_SHAPE]
    mean = sum(raised) / len(raised)
    return tuple(hour / mean for hour in raised)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSpec:
    """What kind of day. ``peak_per_s``: requests/s in the middle of the busiest hour.

    cached_ratio   mean share of a prompt that the prefix cache holds (0.2 is a guess: a shared system prompt)
    """

    peak_per_s: float
    shape: tuple[float, ...] = day_shape()
    dispersion: float = DISPERSION
    cached_ratio: float = 0.2
    max_tokens: int = 16_384

    def rate_per_s(self, at_s: float) -> float:
        """The mean rate at a time of day, straight lines between the middles of the hours."""
        hours = len(self.shape)
        place = at_s % DAY_S / DAY_S * hours - 0.5
        hour = int(place // 1)
        share = place - hour
        level = self.shape[hour % hours] * (1 - share) + self.shape[(hour + 1) % hours] * share
        return self.peak_per_s * level / max(self.shape)


class Traffic:
    """Requests in order of time. Each 10 s draws its rate from a Gamma, and arrivals are Poisson within it:
    the counts are negative binomial, with the wanted dispersion."""

    SLOT_S = 10.0

    def __init__(self, spec: TrafficSpec, seed: int, start_s: float) -> None:
        self.spec = spec
        self._random = np.random.default_rng(seed)
        self._slot_s = start_s
        self._drawn = NO_REQUESTS

    def until(self, end_s: float) -> Requests:
        """The requests since the last call that come before ``end_s``."""
        parts = [self._drawn]
        while self._slot_s < end_s:
            parts.append(self._slot())
            self._slot_s += self.SLOT_S
        come, self._drawn = joined(parts).before(end_s)
        return come

    def _slot(self) -> Requests:
        count = int(self._random.poisson(self._slot_rate() * self.SLOT_S))
        prompt = self._lengths(MEAN_PROMPT_TOKENS, PROMPT_SIGMA, count)
        cached = prompt * np.minimum(self._random.random(count) * 2 * self.spec.cached_ratio, 0.95)
        return Requests(
            arrival_s=self._slot_s + np.sort(self._random.random(count)) * self.SLOT_S,
            prompt_tokens=prompt,
            output_tokens=self._lengths(MEAN_OUTPUT_TOKENS, OUTPUT_SIGMA, count),
            cached_tokens=np.minimum(cached.astype(np.int32), prompt - 1),
        )

    def _slot_rate(self) -> float:
        mean = self.spec.rate_per_s(self._slot_s + self.SLOT_S / 2)
        excess = self.spec.dispersion - 1
        if excess <= 0 or mean <= 0:
            return mean
        shape = mean * self.SLOT_S / excess
        return float(self._random.gamma(shape, mean / shape))

    def _lengths(self, mean: float, sigma: float, count: int) -> NDArray[np.int32]:
        drawn = self._random.lognormal(log(mean) - sigma * sigma / 2, sigma, count)
        return np.clip(np.rint(drawn), 1, self.spec.max_tokens).astype(np.int32)
