"""What to send: the points of a sweep, and each point's seeded lengths and arrival times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import log, sqrt

import numpy as np

CONCURRENCY, RATE = "concurrency", "rate"

OPEN_LOOP_SHARES = (0.5, 0.7, 0.85)
"""Of the requests/s that the closed loop reached, for arrivals at random. A guess: a quiet hour, a usual one, and as
near to the limit as anybody runs a server that has an SLO."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointPlan:
    """One load to hold. Lengths are means, tokens.

    load    requests in flight (CONCURRENCY) or requests/s (RATE)
    share   the rate is this share of the most that the closed loop of the same lengths reached, and ``load`` is known
            only then; None: ``load`` was asked for
    """

    kind: str
    load: float = 0.0
    prompt_tokens: float
    output_tokens: float
    share: float | None = None

    def __str__(self) -> str:
        load = f"{self.load:g} in flight" if self.kind == CONCURRENCY else f"{self.load:g} requests/s"
        share = "" if self.share is None else f" ({self.share:.0%} of the closed loop's)"
        return f"{load}{share}, {self.prompt_tokens:g} + {self.output_tokens:g} tokens"

    def of(self, most_per_s: float) -> PointPlan:
        """With its rate, to three digits, now that the closed loop's is known."""
        return self if self.share is None else replace(self, load=float(f"{self.share * most_per_s:.3g}"))


_CALL = re.compile(r"/*(/v1(/(chat/)?completions)?)?/*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """The whole sweep.

    url            the server's, with or without /v1 and a call
    api            "completions" or "chat"
    model          None: the only one that the server names
    spread         standard deviation / mean of prompt and output lengths (lognormal); 0: all alike
    warm_up_s      load that is held before a point's window begins, and not measured
    timeout_s      a request is given up so long after it was due
    """

    url: str
    points: tuple[PointPlan, ...]
    api: str = "completions"
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    spread: float = 0.5
    duration_s: float = 30.0
    warm_up_s: float = 5.0
    timeout_s: float = 120.0
    seed: int = 1

    @property
    def root(self) -> str:
        """The server's address without /v1, or a call below it."""
        return _CALL.sub("", self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """One request's, tokens."""

    prompt: int
    output: int


class Draw:
    """A point's randomness. The n-th request has the same lengths and due time in every run with one seed.

    Its words differ from run to run (by ``run``): a prefix cache would still know those of the run before.
    """

    def __init__(self, plan: PointPlan, *, spread: float, seed: int, run: int, most_tokens: int | None) -> None:
        self._plan, self._spread, self._most = plan, spread, most_tokens
        self._shapes = np.random.default_rng([seed, 1])
        self._gaps = np.random.default_rng([seed, 2])
        self.words = np.random.default_rng([seed, 3, run])

    def lengths(self) -> Lengths:
        """The next request's, cut to what the model can hold."""
        prompt, output = self._length(self._plan.prompt_tokens), self._length(self._plan.output_tokens)
        if self._most is not None:
            output = min(output, self._most // 2)
            prompt = min(prompt, self._most - output)
        return Lengths(prompt=max(1, prompt), output=max(1, output))

    def arrivals(self) -> Iterator[float]:
        """Seconds after the start of a Poisson process of the plan's rate."""
        at = 0.0
        while True:
            at += float(self._gaps.exponential(1.0 / self._plan.load))
            yield at

    def _length(self, mean: float) -> int:
        sigma = sqrt(log(1 + self._spread**2))
        return round(float(self._shapes.lognormal(log(mean) - sigma**2 / 2, sigma)))
