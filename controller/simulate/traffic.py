"""A day of requests: how many at which hour, and how long they are. The same seed gives the same day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log
from random import Random

from controller.simulate.engine import Request

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
        self._random = Random(seed)
        self._requests = self._draw(start_s)
        self._next = next(self._requests)

    def until(self, end_s: float) -> list[Request]:
        """The requests since the last call that come before ``end_s``."""
        come = []
        while self._next.sent_s < end_s:
            come.append(self._next)
            self._next = next(self._requests)
        return come

    def _draw(self, start_s: float) -> Iterator[Request]:
        number, slot_s = 0, start_s
        while True:
            rate = self._slot_rate(slot_s)
            at_s = slot_s
            while rate > 0 and (at_s := at_s + self._random.expovariate(rate)) < slot_s + self.SLOT_S:
                yield self._request(number, at_s)
                number += 1
            slot_s += self.SLOT_S

    def _slot_rate(self, slot_s: float) -> float:
        mean = self.spec.rate_per_s(slot_s + self.SLOT_S / 2)
        excess = self.spec.dispersion - 1
        if excess <= 0 or mean <= 0:
            return mean
        shape = mean * self.SLOT_S / excess
        return self._random.gammavariate(shape, mean / shape)

    def _request(self, number: int, at_s: float) -> Request:
        prompt = self._length(MEAN_PROMPT_TOKENS, PROMPT_SIGMA)
        cached = int(prompt * min(self._random.random() * 2 * self.spec.cached_ratio, 0.95))
        return Request(
            number=number,
            sent_s=at_s,
            arrival_s=at_s,
            prompt_tokens=prompt,
            output_tokens=self._length(MEAN_OUTPUT_TOKENS, OUTPUT_SIGMA),
            cached_tokens=min(cached, prompt - 1),
        )

    def _length(self, mean: float, sigma: float) -> int:
        drawn = exp(self._random.gauss(log(mean) - sigma * sigma / 2, sigma))
        return max(1, min(round(drawn), self.spec.max_tokens))
