"""What is asked, and when: seeded traces for one engine, in parts of what a profile says that it carries. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from controller.facts.performance import RequestShape, StepModel
from controller.profile.predict import closed

Floats = NDArray[np.float64]

PROMPT_TOKENS, OUTPUT_TOKENS = 96.0, 48.0
SPREAD = 0.8
"""Standard deviation / mean of both lengths: none of the lengths that were profiled, and a mix of all of them."""

MOST_PROMPT_TOKENS, MOST_OUTPUT_TOKENS = 900, 400
DURATION_S = 20.0
GROUP = 8
"""Mean size of a group that comes at one moment, in the bursty case."""

AT_ONCE = 96
"""Requests of the case where all come at one moment: its throughput is the engine's, not the arrivals'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests in order: when each is due, seconds after the start, and its lengths, tokens."""

    due_s: Floats
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.due_s)


def capacity_per_s(step: StepModel, most_sequences: int) -> float:
    """Requests/s that the fitted model says the engine finishes with every place of its batch taken."""
    shape = RequestShape(prompt_tokens=PROMPT_TOKENS, output_tokens=OUTPUT_TOKENS, prompt_cv=SPREAD, output_cv=SPREAD)
    tokens_per_s = closed(step, 0.0, shape, float(most_sequences)).output_tokens_per_s
    if not isinstance(tokens_per_s, float):
        raise ValueError(f"the profile gives no capacity: {tokens_per_s}")
    return tokens_per_s / OUTPUT_TOKENS


def _poisson(random: np.random.Generator, per_s: float) -> Floats:
    gaps = random.exponential(1.0 / per_s, 20 + int(3 * per_s * DURATION_S))
    due_s = np.cumsum(gaps)
    return due_s[due_s < DURATION_S]


def _bursts(random: np.random.Generator, per_s: float) -> Floats:
    """Groups arrive as Poisson; their sizes are geometric."""
    groups = _poisson(random, per_s / GROUP)
    return np.repeat(groups, random.geometric(1.0 / GROUP, len(groups)))


def _at_once(random: np.random.Generator, per_s: float) -> Floats:
    return np.zeros(AT_ONCE)


Arrivals = Callable[[np.random.Generator, float], Floats]

CASES: Mapping[str, tuple[Arrivals, float]] = {
    "30 %": (_poisson, 0.3),
    "60 %": (_poisson, 0.6),
    "85 %": (_poisson, 0.85),
    "60 %, bursts": (_bursts, 0.6),
    "all at once": (_at_once, 1.0),
}
"""By name: how requests come, and at which part of the capacity."""


def trace(case: str, capacity: float, seed: int) -> Trace:
    """The requests of ``case`` with this seed; ``capacity``: requests/s."""
    arrivals, part = CASES[case]
    random = np.random.default_rng([seed, list(CASES).index(case)])
    due_s = arrivals(random, part * capacity)
    return Trace(
        due_s=due_s,
        prompt_tokens=_lengths(random, len(due_s), PROMPT_TOKENS, MOST_PROMPT_TOKENS),
        output_tokens=_lengths(random, len(due_s), OUTPUT_TOKENS, MOST_OUTPUT_TOKENS),
    )


def _lengths(random: np.random.Generator, count: int, mean: float, most: int) -> NDArray[np.int64]:
    """Lognormal, from 4 tokens on."""
    sigma = sqrt(log(1 + SPREAD**2))
    drawn = random.lognormal(log(mean) - sigma**2 / 2, sigma, count)
    return np.clip(np.round(drawn), 4, most).astype(np.int64)
